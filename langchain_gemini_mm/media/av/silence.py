"""Detection of silent audio and black video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_gemini_mm.media.av.container import (
    Decoder,
    Resampler,
    audio_stream_of,
    is_huge,
    opened,
    packets_of,
    video_stream_of,
)
from langchain_gemini_mm.media.source import Source

if TYPE_CHECKING:
    from av.container import InputContainer

SILENT_DB = -50.0
"""Audio below this level over a tenth of a second, in dB of full scale, is silent; a quiet room has -60 to -50."""
BLACK_LEVEL = 0.1
"""A pixel whose colours are all below this share of white is black, as in libav's own filter."""
BLACK_SHARE = 0.999
"""A frame with this share of black pixels is black; white text on black is not."""

_RATE = 16_000
_PIECE = _RATE // 10
_EDGE = 320
_EVERY_S = 1.0
_FULL_SCALE = 32768.0


def is_silent(source: Source, *, below_db: float = SILENT_DB, name: str | None = None) -> bool:
    """Whether a recording has no audio, or only silence; stops at the first audible part.

    ```python
    import io

    from langchain_gemini_mm.media.av.silence import is_silent
    from langchain_gemini_mm.testing import mp4, wav

    assert is_silent(io.BytesIO(mp4(1.0))) and not is_silent(io.BytesIO(wav(1.0)))
    ```

    Args:
        source: a path, bytes, or an open seekable binary file.
        below_db: the level of silence, in decibels of full scale.
        name: of the file, for messages.

    Raises:
        ContentError: damaged.
        MissingExtraError: PyAV is not installed.
    """
    most = 10 ** (below_db / 20) * _FULL_SCALE
    with opened(source, name) as container:
        return all(loudness < most for loudness in _loudness(container))


def is_black(source: Source, *, name: str | None = None) -> bool:
    """Whether a video is black throughout; stops at the first other frame.

    Keyframes are decoded first, then a frame a second. A recording without video is not black.

    Raises:
        ContentError: damaged.
        MissingExtraError: PyAV is not installed.
    """
    for skipped in ("NONKEY", "DEFAULT"):
        with opened(source, name) as container:
            stream = video_stream_of(container)
            if stream is None or is_huge(stream):
                return False
            stream.codec_context.skip_frame = skipped
            if not all(_all_black(frame) for frame in _spaced(container)):
                return False
    return True


def _loudness(container: InputContainer) -> Iterator[float]:
    """Root mean square of each tenth of a second, on the scale of 16-bit samples."""
    stream = audio_stream_of(container)
    if stream is None:
        return
    resampler = Resampler("s16", _RATE, _PIECE)
    for frame in _frames(container, stream):
        for piece in resampler.frames(frame):
            yield float(np.sqrt(np.mean(np.square(piece.to_ndarray().astype(np.float64)))))


def _spaced(container: InputContainer) -> Iterator[Any]:
    """A frame a second."""
    following = float("-inf")
    for frame in _frames(container, video_stream_of(container)):
        moment = frame.time if frame.time is not None else following
        if moment >= following:
            following = moment + _EVERY_S
            yield frame


def _frames(container: InputContainer, stream: Any) -> Iterator[Any]:
    decoder = Decoder(stream)
    for packet in packets_of(container, [stream]):
        yield from decoder.frames(packet)


def _all_black(frame: Any) -> bool:
    scale = min(1.0, _EDGE / max(frame.width, frame.height))
    width, height = max(round(frame.width * scale), 1), max(round(frame.height * scale), 1)
    pixels = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    dark = pixels.max(axis=2) < BLACK_LEVEL * 255
    return bool(dark.mean() >= BLACK_SHARE)
