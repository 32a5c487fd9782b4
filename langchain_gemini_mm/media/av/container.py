"""Opening recordings with PyAV: choice of streams, limits for hostile files, and translation of libav's errors."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, sniff
from langchain_gemini_mm.errors import ContentError, MissingExtraError
from langchain_gemini_mm.media.source import Source, name_of
from langchain_gemini_mm.media.source import opened as opened_source

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

MICROSECONDS = 1_000_000

_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dv,eac3,flac,flv,h264,hevc,iff,ivf,matroska,mov,mp2,mp3,mpc,mpc8,mpeg,"
    "mpegts,mpegvideo,m4v,mxf,nut,ogg,rm,tak,tta,voc,w64,wav,wv"
)
"""Only formats that contain their media: a playlist disguised as a video would open other files and addresses."""
_PCM_FORMATS = {
    (b"RIFF", b"WAVE"): "wav",
    (b"RF64", b"WAVE"): "wav",
    (b"FORM", b"AIFF"): "aiff",
    (b"FORM", b"AIFC"): "aiff",
}
"""libav's names of formats by the first four bytes and those after the length."""
_MAX_PIXELS = 50_000_000
"""Larger frames are not decoded; 8K video has 33 million pixels."""
_MAX_STREAMS = 100
COUNTED_BYTES = 256_000_000
"""Larger files are measured by their declared length where their end cannot be read alone, and cut by seeking."""
JOINED_FORMATS = frozenset({"mpeg", "mpegts", "ogg"})
"""Formats whose files can be joined byte by byte, so that times begin again in the middle."""
_OGG_HEADER = 27
_IMAGE_CODECS = frozenset({"bmp", "gif", "jpeg2000", "mjpeg", "png", "tiff", "webp"})
_COVER_PACKETS = 2_000
"""Packets among which a video of images has a second one; a cover image has none."""
_READ_BYTES = 1 << 16
_HEAD_BYTES = 12
_BAD_PACKETS = 1_000
_SPARE_BYTES = 256_000_000
_SPARE_FACTOR = 16
_MAX_DAMAGES = 50
_BYTES_A_CALL = 256
"""Cost of a call: an endless loop at the end of a file reads nothing."""


@contextmanager
def opened(source: Source, name: str | None = None, **options: str) -> Iterator[InputContainer]:
    """Open a recording; an open file is left open.

    Args:
        source: a path, bytes, or an open seekable binary file.
        name: of the file, for messages.
        options: of libav's demuxer.

    Raises:
        ContentError: damaged or cut off, now or while it is used.
        MissingExtraError: PyAV is not installed.
    """
    name = name or name_of(source, "recording")
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(f"opening {name}", package="PyAV", extra="media") from error
    given = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "max_streams": str(_MAX_STREAMS), **options}
    with opened_source(source) as file, reporting_damage(name):
        watched = _BoundedFile(file, name)
        head = watched.read(_HEAD_BYTES)
        if head[:4] == b"RIFX":
            watched = _LittleEndianWav(file, name)
            head = watched.head[:_HEAD_BYTES]
        watched.seek(0)
        with av.open(
            watched, "r", container_options=given, buffer_size=_READ_BYTES, **reading_options(head)
        ) as container:
            if not container.streams.audio and not container.streams.video:
                raise ContentError(f"{name} is damaged or cut off: no audio or video stream can be found in it")
            _mark_covers(container)
            yield container


def reading_options(head: bytes) -> dict[str, Any]:
    """Arguments of `av.open` for a file that begins with these bytes.

    The format is named where the bytes leave no doubt: the samples of a WAV or AIFF file can look like MPEG transport
    packets, and FFmpeg 9 then takes the file for such a stream.
    """
    import av

    named = {"format": _PCM_FORMATS.get((head[:4], head[8:12]))}
    # Tags that are not UTF-8 are no errors; from PyAV 19 on they never are.
    return named | ({} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"})


@contextmanager
def reporting_damage(name: str) -> Iterator[None]:
    """Report an error of libav as a `ContentError` that names the file; other errors are not the file's fault."""
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        raise ContentError(f"{name} cannot be opened as audio or video: it is damaged or cut off") from error
    except av.codec.codec.UnknownCodecError as error:
        raise ContentError(f"{name} cannot be read: PyAV was built without the codec {error}") from error


def video_stream_of(container: InputContainer) -> VideoStream | None:
    """The default video stream or the first one; cover images and unknown codecs do not count."""
    chosen: VideoStream | None = _chosen(_known_videos(container))
    return chosen


def _known_videos(container: InputContainer) -> list[VideoStream]:
    return [stream for stream in container.streams.video if not is_cover(stream) and getattr(stream, "width", None)]


def audio_stream_of(container: InputContainer) -> AudioStream | None:
    """The default audio stream or the first one that libav can decode."""
    chosen: AudioStream | None = _chosen(
        [s for s in container.streams.audio if getattr(s, "rate", None) and getattr(s, "channels", None)]
    )
    return chosen


def is_cover(stream: VideoStream) -> bool:
    """Whether a video stream is only the cover image of an audio file."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _mark_covers(container: InputContainer) -> None:
    """Mark a video stream with a single image as a cover, which Matroska files do not do."""
    from av.stream import Disposition

    images = [s for s in _known_videos(container) if codec_name(s) in _IMAGE_CODECS]
    if not images or not container.streams.audio:
        return
    counts: Counter[int] = Counter()
    for packet in islice(packets_of(container, ()), _COVER_PACKETS):
        counts[packet.stream.index] += bool(packet.size)
        if all(counts[stream.index] > 1 for stream in images):
            break
    for stream in images:
        if counts[stream.index] == 1:
            # PyAV 17 takes a number here.
            stream.disposition = (stream.disposition | Disposition.attached_pic).value  # type: ignore[assignment]
    container.seek(min(container.start_time or 0, 0))


def is_huge(stream: VideoStream) -> bool:
    """Whether a stream declares frames that are too large to be decoded."""
    return stream.width * stream.height > _MAX_PIXELS


def origin_s(container: InputContainer) -> float:
    """The first time stamp of a recording, in seconds; often not 0, sometimes negative."""
    return (container.start_time or 0) / MICROSECONDS


def declared_end_s(container: InputContainer, stream: Any) -> float | None:
    """The end of a stream as it declares it, in seconds from the beginning of the file."""
    if stream is None:
        return None
    if stream.duration:
        start = float((stream.start_time or 0) * stream.time_base) - origin_s(container)
        return float(stream.duration * stream.time_base) + max(start, 0.0)
    match = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def is_joined(file: BinaryIO) -> bool:
    """Whether times may begin again in a file, so that positions in it cannot be found by their time."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if head[:4] != b"OggS":
        return size <= COUNTED_BYTES and sniff(head + file.read(HEAD_BYTES)) in ("video/mp2t", "video/mpeg")
    position, has_begun = 0, False
    while position < size:
        file.seek(position)
        page = file.read(_OGG_HEADER + 255)
        if page[:4] != b"OggS" or len(page) < _OGG_HEADER:
            return True
        is_first = bool(page[5] & 2)
        if is_first and has_begun:
            return True
        has_begun = has_begun or not is_first
        position += _OGG_HEADER + page[26] + sum(page[_OGG_HEADER : _OGG_HEADER + page[26]])
    return False


def packets_of(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet[Any]]:
    """Packets in file order; damaged ones are skipped."""
    import av

    for _ in range(_MAX_DAMAGES):
        try:
            yield from container.demux(*streams)
            return
        except EOFError:
            return
        except av.error.FFmpegError:
            continue


def codec_name(stream: Stream) -> str:
    """The codec's own name, whichever library decodes it."""
    return str(getattr(stream.codec_context.codec, "canonical_name", stream.codec_context.name))


class Decoder:
    """Decodes the packets of one stream; damaged packets give no frames."""

    def __init__(self, stream: Any, refusal: str | None = None) -> None:
        self._context = stream.codec_context
        self._refusal = refusal
        self._bad = 0

    def frames(self, packet: Packet[Any] | None) -> list[Any]:
        """Decode a packet; None returns the frames that the decoder still holds.

        Raises:
            ContentError: more than 1,000 packets are damaged, if the decoder was created with a `refusal`.
        """
        import av

        try:
            return list(self._context.decode(packet))
        except (av.error.FFmpegError, EOFError) as error:
            self._bad += 1
            if self._refusal and self._bad > _BAD_PACKETS:
                raise ContentError(self._refusal) from error
            return []


class Resampler:
    """Converts audio frames to mono in one format, also if the format of the stream changes.

    Args:
        format: libav's name of the sample format.
        rate: samples per second.
        frame_size: samples in each frame; None for as many as there are.
    """

    def __init__(self, format: str, rate: int, frame_size: int | None = None) -> None:  # noqa: A002
        self._target = {"format": format, "layout": "mono", "rate": rate, "frame_size": frame_size}
        self._resampler: Any = None
        self._source: tuple[object, ...] = ()
        """What the frames have in common that the resampler has got."""

    def frames(self, frame: Any) -> list[Any]:
        """Convert a frame; None returns the samples that are left."""
        import av

        rest: list[Any] = []
        source = self._source if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is not None and source != self._source:
            # An incomplete frame would end the input of an encoder.
            rest = [] if self._target["frame_size"] else list(self._resampler.resample(None))
            self._resampler = None
        if self._resampler is None:
            if frame is None:
                return []
            self._source = source
            self._resampler = av.AudioResampler(**self._target)  # type: ignore[arg-type]
        return [*rest, *self._resampler.resample(frame)]


def _chosen(streams: Sequence[Any]) -> Any:
    from av.stream import Disposition

    return next((s for s in streams if s.disposition & Disposition.default), streams[0] if streams else None)


class _BoundedFile:
    """A file that raises an error if a decoder reads far more than its size."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._size = file.seek(0, 2)
        self._left = self._size * _SPARE_FACTOR + _SPARE_BYTES
        self._position = 0

    def read(self, length: int) -> bytes:
        # Another container may read the same file in between.
        self._file.seek(self._position)
        try:
            data = self._file.read(length)
        except OSError as error:
            raise ContentError(f"cannot read {self._name}: {error.strerror or error}") from error
        self._position += len(data)
        self._left -= len(data) + _BYTES_A_CALL
        if self._left < 0:
            raise ContentError(f"{self._name} is damaged: its structure would make a decoder read without end")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + {0: 0, 1: self._position, 2: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position


class _LittleEndianWav(_BoundedFile):
    """A big-endian WAV file as a little-endian one; libav would decode noise."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file, name)
        self._width = 1
        swapped = [b"RIFF", super().read(8)[:3:-1], super().read(4)]
        while len(chunk := super().read(8)) == 8:
            swapped += [chunk[:4], chunk[:3:-1]]
            if chunk[:4] == b"data":
                break
            content = super().read(min(int.from_bytes(chunk[4:], "big"), _READ_BYTES))
            if chunk[:4] == b"fmt " and len(content) >= 16:
                numbers = struct.unpack(">HHIIHH", content[:16])
                self._width = max(numbers[-1] // 8, 1)
                content = struct.pack("<HHIIHH", *numbers) + content[16:]
            swapped.append(content)
        self.head = b"".join(swapped)

    def read(self, length: int) -> bytes:
        start, begins = self._position, len(self.head)
        if start < begins:
            self._position = min(start + length, begins)
            return self.head[start : self._position]
        before = (start - begins) % self._width
        self._position -= before
        data = super().read(-(-(before + length) // self._width) * self._width)
        samples = np.frombuffer(data[: len(data) // self._width * self._width], np.uint8)
        swapped = samples.reshape(-1, self._width)[:, ::-1].tobytes()[before : before + length]
        self._position = start + len(swapped)
        return swapped
