"""Streams and length of audio and video files, measured from their packets rather than read from their headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.media.av.container import (
    MICROSECONDS,
    audio_stream_of,
    codec_name,
    is_cover,
    opened,
    origin_s,
    video_stream_of,
)
from langchain_gemini_mm.media.facts import Measures
from langchain_gemini_mm.media.source import Source, name_of

if TYPE_CHECKING:
    from av.container import InputContainer

_UNINDEXED = {"mp3", "aac"}
"""Formats whose headers only estimate the length."""
_INDEXED = "mov,mp4,m4a,3gp,3g2,mj2"
"""Formats whose end can be read without reading what comes before."""
_COUNTED_BYTES = 256_000_000
"""The declared length of a larger file is accepted where its end cannot be read alone: it is over any limit."""
_TAIL_SECONDS = 2.0
_TOLERANCE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """The video stream in use."""

    codec: str
    """libav's name, such as `h264`."""
    width: int
    """Pixels as stored, before rotation."""
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInfo:
    """The audio stream in use."""

    codec: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The streams and the length of a recording."""

    container: str
    """libav's names for the format, such as `matroska,webm`."""
    duration_s: float
    """Seconds, measured from its packets."""
    declared_s: float | None
    """Seconds, declared by its header; None where it declares none."""
    video: VideoInfo | None
    """None for audio files; a cover image is no video."""
    audio: AudioInfo | None

    @property
    def is_cut_off(self) -> bool:
        """Whether more than a tenth of the declared length is missing."""
        guessed = self.container in _UNINDEXED
        return not guessed and self.declared_s is not None and self.duration_s < self.declared_s * _TOLERANCE


def inspect(source: Source, *, name: str | None = None) -> Clip:
    """Find the streams and the length of a recording; of a truncated one, the length of the rest.

    ```python
    import io

    from langchain_gemini_mm.media.av.clip import inspect
    from langchain_gemini_mm.testing import mp4

    clip = inspect(io.BytesIO(mp4(3.0)))
    assert clip.duration_s == 3 and clip.video.codec == "h264" and clip.audio is None
    ```

    Args:
        source: a path, bytes, or an open seekable binary file (left open, at any position).
        name: for messages.

    Raises:
        ContentError: damaged, or nothing in it can be read.
        MissingExtraError: PyAV is not installed.
    """
    name = name or name_of(source, "recording")
    with opened(source, name) as container:
        video, audio = video_stream_of(container), audio_stream_of(container)
        length = _length(container, [stream for stream in (video, audio) if stream is not None], container.size, name)
        return Clip(
            container=container.format.name,
            duration_s=round(length, 6),
            declared_s=_declared(container) or None,
            video=None if video is None else VideoInfo(codec=codec_name(video), width=video.width, height=video.height),
            audio=None if audio is None else AudioInfo(codec=codec_name(audio)),
        )


def measure(file: BinaryIO, modality: Modality, size: int, name: str) -> Measures:
    """Measure an audio file or a video; the width is missing where a video container holds audio alone.

    Args:
        file: open, seekable.
        modality: `"audio"` or `"video"`, by the type of the file.
        size: of the file, in bytes.
        name: for messages.

    Raises:
        ContentError: damaged, cut off, or without such a stream.
        MissingExtraError: PyAV is not installed.
    """
    with opened(file, name) as container:
        video, audio = video_stream_of(container) if modality == "video" else None, audio_stream_of(container)
        if video is None and audio is None:
            if modality == "video" and any(not is_cover(stream) for stream in container.streams.video):
                # A stream of a codec that libav does not know has no width.
                raise ContentError(f"{name} is damaged, or has an unknown codec; convert it to MP4 with H.264")
            raise ContentError(f"{name} has no {modality}")
        seconds = _whole_length(container, [stream for stream in (video, audio) if stream], size, name)
        measures = Measures(seconds=seconds, has_audio=audio is not None)
        if video is not None:
            measures |= Measures(width=video.width, height=video.height)
        return measures


def _declared(container: InputContainer) -> float:
    return max(container.duration or 0, 0) / MICROSECONDS


def _whole_length(container: InputContainer, streams: Sequence[Any], size: int, name: str) -> float:
    """Length in seconds of a recording that is not truncated."""
    declared = _declared(container)
    length = _length(container, streams, size, name)
    if length < declared * _TOLERANCE and container.format.name not in _UNINDEXED:
        raise ContentError(
            f"{name} is cut off: it says that it lasts {declared:,.1f} s, and {length:,.1f} s can be read. Copy or "
            "export it again"
        )
    return length


def _length(container: InputContainer, streams: Sequence[Any], size: int, name: str) -> float:
    """Length in seconds from the last packets; read near the end where the file has an index."""
    declared = _declared(container)
    if declared and size > _COUNTED_BYTES and container.format.name != _INDEXED:
        return declared
    if declared and container.format.name not in _UNINDEXED:
        _seek(container, max(declared - _TAIL_SECONDS, 0))
        end = _read_end(container, streams)
        if end >= declared * _TOLERANCE:
            return max(declared, end)
    _seek(container, 0)
    end = _read_end(container, streams)
    if end <= 0:
        raise ContentError(f"{name} is damaged or cut off: none of its audio or video can be read")
    return end


def _seek(container: InputContainer, seconds: float) -> None:
    container.seek(int(seconds * MICROSECONDS) + (container.start_time or 0))


def _read_end(container: InputContainer, streams: Sequence[Any]) -> float:
    """Read packets to the end without decoding them; the largest end time in seconds, 0 if there is no packet."""
    import av

    start = origin_s(container)
    ticks = {stream.index: float(stream.time_base or 0) for stream in streams}
    end = 0.0
    try:
        for packet in container.demux(*streams):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or packet.is_corrupt:
                continue
            end = max(end, (time + (packet.duration or 0)) * ticks[packet.stream_index] - start)
    except (av.error.FFmpegError, EOFError):
        return end
    return end
