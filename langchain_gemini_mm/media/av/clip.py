"""Streams and length of audio and video files, measured from their packets rather than read from their headers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.media.av.container import (
    COUNTED_BYTES,
    JOINED_FORMATS,
    MICROSECONDS,
    audio_stream_of,
    codec_name,
    declared_end_s,
    is_cover,
    opened,
    origin_s,
    video_stream_of,
)
from langchain_gemini_mm.media.av.timestamps import Timelines
from langchain_gemini_mm.media.facts import Measures
from langchain_gemini_mm.media.model_limits import accepts_codecs
from langchain_gemini_mm.media.source import Source, name_of

if TYPE_CHECKING:
    from av.container import InputContainer

_UNINDEXED = {"mp3", "aac"}
"""Formats whose headers only estimate the length."""
_INDEXED = "mov,mp4,m4a,3gp,3g2,mj2"
"""Formats whose end can be read without reading what comes before."""
INSPECT_SECONDS = 30.0
"""Longest time for reading the packets of a file that has no index."""
_SMALL_BYTES = 1_000_000
"""Smaller files are read from their beginning, which is as fast as seeking."""
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
    is_cut_off: bool
    """Whether more than a tenth of the declared length is missing."""


def inspect(source: Source, *, name: str | None = None, timeout_s: float = INSPECT_SECONDS) -> Clip:
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
        timeout_s: longest time that reading its packets may take, in seconds.

    Raises:
        ContentError: damaged, or nothing in it can be read.
        MediaLimitError: it takes longer than `timeout_s`.
        MissingExtraError: PyAV is not installed.
    """
    name = name or name_of(source, "recording")
    with opened(source, name) as container:
        video, audio = video_stream_of(container), audio_stream_of(container)
        streams = [stream for stream in (video, audio) if stream is not None]
        length = _length(container, streams, name, timeout_s)
        return Clip(
            container=container.format.name,
            duration_s=round(length.seconds, 6),
            declared_s=_declared(container) or None,
            is_cut_off=not length.is_complete,
            video=None if video is None else VideoInfo(codec=codec_name(video), width=video.width, height=video.height),
            audio=None if audio is None else AudioInfo(codec=codec_name(audio)),
        )


def measure(file: BinaryIO, modality: Modality, name: str) -> Measures:
    """Measure an audio file or a video; the width is missing where a video container holds audio alone.

    Args:
        file: open, seekable.
        modality: `"audio"` or `"video"`, by the type of the file.
        name: for messages.

    Raises:
        ContentError: damaged, cut off, or without such a stream.
        MediaLimitError: reading its packets takes too long.
        MissingExtraError: PyAV is not installed.
    """
    with opened(file, name) as container:
        video, audio = video_stream_of(container) if modality == "video" else None, audio_stream_of(container)
        if video is None and audio is None:
            if modality == "video" and any(not is_cover(stream) for stream in container.streams.video):
                # A stream of a codec that libav does not know has no width.
                raise ContentError(f"{name} is damaged, or has an unknown codec; convert it to MP4 with H.264")
            raise ContentError(f"{name} has no {modality}")
        length = _length(container, [stream for stream in (video, audio) if stream], name, INSPECT_SECONDS)
        if not length.is_complete:
            raise ContentError(
                f"{name} is cut off: it says that it lasts {_declared(container):,.1f} s, and {length.seconds:,.1f} s "
                "can be read. Copy or export it again"
            )
        codecs = [None if stream is None else codec_name(stream) for stream in (video, audio)]
        # A file whose header declares a longer duration could be refused for it.
        accepted = accepts_codecs(*codecs) and _declared(container) * _TOLERANCE <= length.seconds
        measures = Measures(seconds=length.seconds, has_audio=audio is not None, needs_redraw=not accepted)
        if video is not None:
            measures |= Measures(
                width=video.width,
                height=video.height,
                video_s=length.of(container, video),
                audio_s=length.of(container, audio),
            )
        return measures


def _declared(container: InputContainer) -> float:
    return max(container.duration or 0, 0) / MICROSECONDS


@dataclass(frozen=True, slots=True)
class _Length:
    seconds: float
    is_complete: bool = True
    ends: Mapping[int, float] = field(default_factory=dict)
    """The end of each stream of which packets were read, in seconds, by the index of the stream."""

    def of(self, container: InputContainer, stream: Any) -> float | None:
        """The end of one stream, measured or else declared; None where it is not known."""
        if stream is None:
            return None
        return self.ends.get(stream.index) or declared_end_s(container, stream)


def _length(container: InputContainer, streams: Sequence[Any], name: str, timeout_s: float) -> _Length:
    """Length of some streams from their last packets; read near the end where the file has an index.

    Subtitles and other streams may last longer, so that a file is complete if any of its streams reaches its end.
    """
    deadline = time.monotonic() + timeout_s
    declared = _declared(container)
    indexed = container.format.name not in _UNINDEXED | JOINED_FORMATS
    own = max((declared_end_s(container, stream) or 0.0 for stream in streams), default=0.0) if indexed else 0.0
    if declared and container.size > COUNTED_BYTES and container.format.name != _INDEXED:
        return _Length(declared)
    for end_s in dict.fromkeys((own, declared)) if indexed and container.size > _SMALL_BYTES else ():
        if end_s:
            _seek(container, max(end_s - _TAIL_SECONDS, 0))
            ends = _read_ends(container, name, deadline)
            if last := _last(ends, streams, own, declared):
                return _Length(last, ends=ends)
    if container.size > _SMALL_BYTES:
        _seek(container, 0)
    ends = _read_ends(container, name, deadline)
    last = max((ends.get(stream.index, 0.0) for stream in streams), default=0.0)
    if last <= 0:
        raise ContentError(f"{name} is damaged or cut off: none of its audio or video can be read")
    if not indexed:
        return _Length(last, ends=ends)
    whole = _last(ends, streams, own, declared)
    return _Length(whole or last, whole is not None, ends)


def _last(ends: Mapping[int, float], streams: Sequence[Any], own: float, declared: float) -> float | None:
    """The end of some streams; None if they are cut off.

    Args:
        ends: of each stream of which packets were read, by its index.
        streams: those to measure.
        own: their end as they declare it; 0 if they do not.
        declared: the end of the file as its header declares it; 0 if it does not.
    """
    last = max((ends.get(stream.index, 0.0) for stream in streams), default=0.0)
    if own and last >= own * _TOLERANCE:
        return max(last, own)
    every_end = max(ends.values(), default=0.0)
    if not last or every_end < declared * _TOLERANCE:
        return None
    # The last packet may not say how long it lasts.
    return max(last, declared) if last == every_end else last


def _seek(container: InputContainer, seconds: float) -> None:
    container.seek(int(seconds * MICROSECONDS) + (container.start_time or 0))


def _read_ends(container: InputContainer, name: str, deadline: float) -> dict[int, float]:
    """Read packets to the end without decoding them; the end of each stream in seconds.

    Raises:
        MediaLimitError: the deadline, in seconds of `time.monotonic`, has passed.
    """
    timelines, declared = Timelines(origin_s(container)), _declared(container)
    for stream in container.streams:
        timelines.of(stream)
    ends: dict[int, float] = {}
    for sample in timelines.samples(container):
        line = sample.timeline
        if time.monotonic() > deadline:
            raise MediaLimitError(
                f"{name} has no index, and reading all of it takes longer than is allowed; convert it to MP4"
            )
        if not sample.packet.is_corrupt and line.has_times:
            end = (sample.pts + sample.duration) * line.tick
            if not sample.packet.duration and sample.pts * line.tick < declared:
                end = min(end, declared)
            ends[line.stream.index] = max(ends.get(line.stream.index, 0.0), end)
    return ends
