"""Still images out of a video, for models that do not take video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.av.container import Decoder, is_huge, opened, origin_s, packets_of, video_stream_of
from langchain_gemini_mm.media.images.transform import JPEG, PreparedImage, encoded_image
from langchain_gemini_mm.media.source import Source, name_of

if TYPE_CHECKING:
    from av.container import InputContainer

_MAX_PACKETS = 2_000
"""Packets decoded from the keyframe before a moment, at most."""
_ROUNDING_S = 0.001


@dataclass(frozen=True, slots=True)
class Still:
    """A still image of a video."""

    time_s: float
    """Time in the video, in seconds."""
    image: PreparedImage


def stills(source: Source, moments: Sequence[float], *, max_edge: int = 1024, name: str | None = None) -> list[Still]:
    """The images that a video shows at some moments, found by seeking.

    ```python
    import io

    from langchain_gemini_mm.media.av.stills import stills
    from langchain_gemini_mm.testing import mp4

    first, second = stills(io.BytesIO(mp4(4.0)), [0.5, 3])
    assert first.image.width == 64 and second.time_s <= 3
    ```

    Args:
        source: a path, bytes, or an open seekable binary file (left open, at any position).
        moments: seconds, in order; a moment after the end gives the last image, and each image is returned once.
        max_edge: pixels of the longer side.
        name: of the file, for messages.

    Raises:
        ContentError: damaged, without video, or no frame can be decoded.
        MissingExtraError: PyAV or Pillow is not installed.
    """
    name = name or name_of(source, "recording")
    found: list[Still] = []
    with opened(source, name) as container:
        stream = video_stream_of(container)
        if stream is None or is_huge(stream):
            raise ContentError(f"{name} has no video that can be decoded")
        for moment in moments:
            still = _still(container, stream, moment, max_edge)
            if still is not None and all(still.time_s != other.time_s for other in found):
                found.append(still)
    if not found:
        raise ContentError(f"no frame of {name} can be decoded")
    return found


def _still(container: InputContainer, stream: Any, moment: float, max_edge: int) -> Still | None:
    import av

    origin = origin_s(container)
    last: Any = None
    try:
        container.seek(int((moment + origin) / stream.time_base), stream=stream)
    except av.error.FFmpegError:
        container.seek(0)
    decoder = Decoder(stream)
    for number, packet in enumerate(packets_of(container, [stream])):
        for frame in decoder.frames(packet):
            if last is not None and (frame.time or 0.0) - origin > moment + _ROUNDING_S:
                return _drawn(last, origin, max_edge)
            last = frame
        if number > _MAX_PACKETS:
            break
    return None if last is None else _drawn(last, origin, max_edge)


def _drawn(frame: Any, origin: float, max_edge: int) -> Still:
    from PIL.Image import Transpose

    scale = min(1.0, max_edge / max(frame.width, frame.height))
    size = (max(round(frame.width * scale), 1), max(round(frame.height * scale), 1))
    image = frame.reformat(*size, format="rgb24").to_image()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    if turns:
        image = image.transpose((Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)[turns - 1])
    return Still(max(round((frame.time or 0.0) - origin, 3), 0.0), encoded_image(image, JPEG))
