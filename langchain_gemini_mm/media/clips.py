"""Sound and video, opened with PyAV: real lengths, by what can be read rather than by what the header says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.errors import ContentError, GeminiMMError, MissingExtraError
from langchain_gemini_mm.media.facts import Measures

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

_MICROSECONDS = 1_000_000
_UNINDEXED = {"mp3", "aac"}
"""Formats whose headers only guess the length."""
_COUNTED_BYTES = 256_000_000
"""A larger file is longer than any limit, so its own word on its length does."""
_TAIL_SECONDS = 2.0
_TOLERANCE = 0.9


def measure_audio(file: BinaryIO, size: int, name: str) -> Measures:
    """Measure a sound.

    Raises:
        ContentError: damaged, cut off, or without sound.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(file, name) as container:
        sounds = list(container.streams.audio)
        if not sounds:
            raise ContentError(f"{name} holds no sound")
        return Measures(seconds=_seconds(container, [sounds[0]], size, name), has_audio=True)


def measure_video(file: BinaryIO, size: int, name: str) -> Measures:
    """Measure a video.

    Raises:
        ContentError: damaged, cut off, or without moving pictures.
        MissingExtraError: PyAV is not installed.
    """
    with _opened(file, name) as container:
        pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not pictures:
            raise ContentError(f"{name} holds no moving pictures; store its sound as MP3 or WAV")
        # A stream of a codec that libav does not know has no such attributes at all.
        width, height = getattr(pictures[0], "width", 0), getattr(pictures[0], "height", 0)
        if not width or not height:
            raise ContentError(f"{name} is damaged, or a video of an unknown kind; convert it to MP4 with H.264")
        sounds = list(container.streams.audio)
        return Measures(
            width=width,
            height=height,
            seconds=_seconds(container, [pictures[0], *sounds[:1]], size, name),
            has_audio=bool(sounds),
        )


@contextmanager
def _opened(file: BinaryIO, name: str) -> Iterator[InputContainer]:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(f"opening {name}", package="PyAV", extra="media") from error
    try:
        with av.open(file, "r", metadata_errors="ignore") as container:
            if not container.streams.audio and not container.streams.video:
                raise ContentError(f"{name} is damaged or cut off: no sound or pictures can be found in it")
            yield container
    except GeminiMMError:
        raise
    except (av.error.FFmpegError, OSError, ValueError, LookupError, RuntimeError, ArithmeticError) as error:
        raise ContentError(f"{name} cannot be opened as sound or video: it is damaged or cut off") from error


def _is_cover(stream: Stream) -> bool:
    """Whether a picture track is only a cover in a sound file."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _seconds(container: InputContainer, streams: list[Stream], size: int, name: str) -> float:
    declared = (container.duration or 0) / _MICROSECONDS
    if declared and size > _COUNTED_BYTES:
        return declared
    if declared and container.format.name not in _UNINDEXED:
        _seek(container, max(declared - _TAIL_SECONDS, 0))
        end = _read_end(container, streams)
        if end >= declared * _TOLERANCE:
            return max(declared, end)
    _seek(container, 0)
    end = _read_end(container, streams)
    if end <= 0:
        raise ContentError(f"{name} is damaged or cut off: none of its sound or pictures can be read")
    if end < declared * _TOLERANCE and container.format.name not in _UNINDEXED:
        raise ContentError(
            f"{name} is cut off: it says that it lasts {declared:,.1f} s, and {end:,.1f} s can be read. Copy or export "
            "it again"
        )
    return end


def _seek(container: InputContainer, seconds: float) -> None:
    container.seek(int(seconds * _MICROSECONDS) + (container.start_time or 0))


def _read_end(container: InputContainer, streams: list[Stream]) -> float:
    """Read packets to the end, without decoding: the last end time in seconds, 0 when there is no packet."""
    import av

    start = (container.start_time or 0) / _MICROSECONDS
    end = 0.0
    try:
        for packet in container.demux(streams):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is None or packet.is_corrupt:
                continue
            end = max(end, float((time + (packet.duration or 0)) * packet.time_base) - start)
    except (av.error.FFmpegError, EOFError):
        return end
    return end
