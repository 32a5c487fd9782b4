"""Cutting by copying packets into a new file, without decoding."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from langchain_gemini_mm.media.av.container import codec_name
from langchain_gemini_mm.media.av.segments import Cut, NotCopied, SegmentFormat, Track, Window
from langchain_gemini_mm.media.av.timestamps import Sample, Timeline

MUXERS = {"video/mp4": "mp4", "video/quicktime": "mov", "audio/mp3": "mp3", "audio/wav": "wav"}
_OPTIONS = {"fflags": "+bitexact", "write_xing": "1", "id3v2_version": "0"}
"""Equal segments become equal bytes with every version of libav."""
_BUFFER_BYTES = 1 << 18
_TOO_MANY_BYTES = "a copy has too many bytes"


class TooManyBytesError(Exception):
    """A file being written is larger than the model takes."""


class WriteError(Exception):
    """libav cannot encode a stream or write it into a container."""


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Distinguish errors of writing from those of a damaged source.

    Raises:
        WriteError: libav cannot write it.
    """
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        raise WriteError(f"{what} cannot be written: {error}") from error


class Output:
    """A media file that is written into memory, with a limit on its size."""

    def __init__(self, mime_type: str, max_bytes: int | None) -> None:
        import av

        self.mime_type = mime_type
        self._av_error = av.error.FFmpegError
        self.file = io.BytesIO()
        self._most = max_bytes
        muxer = MUXERS[mime_type]
        known = {"fflags"} | ({"write_xing", "id3v2_version"} if muxer == "mp3" else set())
        options = {name: value for name, value in _OPTIONS.items() if name in known}
        self.container: Any = av.open(
            self.file, "w", format=muxer, container_options=options, buffer_size=_BUFFER_BYTES
        )

    def write(self, packets: Any) -> None:
        """Write a packet or packets.

        Raises:
            TooManyBytesError: the file is over its limit.
            WriteError: the container cannot hold them.
        """
        # Without `writing`, which would take longer than the packet.
        try:
            self.container.mux(packets)
        except self._av_error as error:
            raise WriteError(f"{self.mime_type} cannot be written: {error}") from error
        if self._most is not None:
            self._check()

    def close(self, seconds: float | None = None) -> bytes:
        """Finish the file.

        Args:
            seconds: of an MP4 or MOV file, after which nothing is shown.

        Raises:
            TooManyBytesError: as in `write`.
            WriteError: as in `write`.
        """
        with writing(self.mime_type):
            self.container.close()
        self._check()
        if seconds is not None:
            with self.file.getbuffer() as data:
                limit_duration(data, seconds)
        return self.file.getvalue()

    def __del__(self) -> None:
        # An abandoned file must be closed before its tracks go: older PyAV crashes otherwise.
        with suppress(OSError, ValueError, AttributeError, WriteError):
            self.container.close()

    def _check(self) -> None:
        if self._most is not None and self.file.tell() > self._most:
            raise TooManyBytesError


class CopiedTrack:
    """A stream of an output file that receives copied packets."""

    def __init__(self, output: Output, timeline: Timeline, start_s: float) -> None:
        self._output = output
        self._time_base = timeline.time_base
        self._shift = timeline.ticks(start_s)
        # Opaque, because the encoder of the same name may be missing.
        self._stream = output.container.add_stream_from_template(timeline.stream, opaque=True)

    def write(self, sample: Sample, duration: int | None = None, pts: int | None = None) -> None:
        """Write a packet, with times from the start of the segment.

        Args:
            sample: the packet.
            duration: in ticks, instead of its own.
            pts: when it is shown, instead of its own time.
        """
        packet = sample.packet
        packet.stream = self._stream
        packet.time_base = self._time_base
        packet.pts = (sample.pts if pts is None else pts) - self._shift
        packet.dts = sample.dts - self._shift
        packet.duration = sample.duration if duration is None else duration
        self._output.write(packet)


class CopiedSegment:
    """A segment of copied packets; `failed` is set if it must be encoded instead."""

    def __init__(self, window: Window, timeline: Timeline, form: SegmentFormat, mime_type: str) -> None:
        self.window = window
        self.failed: NotCopied | None = None
        self._timeline = timeline
        self._end = end_tick(window, timeline)
        self._output = Output(mime_type, form.max_bytes)

    def _write(self, track: CopiedTrack, sample: Sample, duration: int | None = None, pts: int | None = None) -> None:
        if self.failed:
            return
        try:
            track.write(sample, duration, pts)
        except TooManyBytesError:
            self.failed = NotCopied(self.window, _TOO_MANY_BYTES)
        except WriteError as error:
            self.failed = NotCopied(self.window, str(error))

    def _finished(
        self, start_s: float, end_s: float, track: Track | None, seconds: float | None = None
    ) -> Cut | NotCopied:
        try:
            data = self._output.close(seconds)
        except TooManyBytesError:
            return NotCopied(self.window, _TOO_MANY_BYTES)
        except WriteError as error:
            return self.failed or NotCopied(self.window, str(error))
        return self.failed or Cut(
            data=data,
            mime_type=self._output.mime_type,
            window=self.window,
            start_s=max(round(start_s, 3), 0.0),
            end_s=round(end_s, 3),
            track=track,
            codec=codec_name(self._timeline.stream),
            copied=True,
        )


class CopiedVideo(CopiedSegment):
    """A copied segment of a video stream, with its audio if wanted.

    It contains the packets from a keyframe on. Those shown before the window get negative times, for which libav writes
    an edit list, so that players decode and do not show them; its end is limited in the same way.
    """

    def __init__(
        self,
        window: Window,
        key: Sample,
        timeline: Timeline,
        audio: Timeline | None,
        form: SegmentFormat,
        track: Track | None,
    ) -> None:
        super().__init__(window, timeline, form, video_type(form))
        self._form, self._track = form, track
        self._key = key.pts
        self._start_s = max(window.start_s, key.pts * timeline.tick)
        self._start = self._last = timeline.ticks(self._start_s)
        self._begins = max(start_tick(window, timeline), key.pts)
        self._shown_to = timeline.ticks(window.end_s)
        self._held: list[Sample] = []
        self._has_begun = False
        self._video = CopiedTrack(self._output, timeline, self._start_s)
        self._audio = CopiedTrack(self._output, audio, self._start_s) if audio else None
        self._audio_start, self._audio_end = (
            (audio.ticks(self._start_s), audio.ticks(window.end_s)) if audio is not None else (0, 0)
        )

    def add(self, sample: Sample) -> bool:
        """Add a video packet; False once the window is complete."""
        if sample.dts >= self._end:
            return False
        if sample.pts < self._key:
            return True  # It is shown before its keyframe, and refers to earlier packets.
        if not self._has_begun and sample.dts > self._begins:
            self._begin()
        self._held.append(sample)
        if self._has_begun and sample.pts < self._end:
            self._flush()
        return True

    def add_audio(self, sample: Sample) -> None:
        """Add an audio packet; those outside of the segment are ignored."""
        if (
            self._audio is not None
            and sample.pts < self._audio_end
            and sample.pts + sample.duration > self._audio_start
        ):
            self._write(self._audio, sample)

    def close(self) -> Cut | NotCopied:
        """Finish the segment."""
        if not self._has_begun:
            self._begin()
        end_s = self._last * self._timeline.tick
        return self._finished(self._start_s, end_s, self._track, self.window.end_s - self._start_s)

    def _begin(self) -> None:
        """Write what was held, once it is known which frame is shown when the window begins."""
        self._has_begun = True
        self._flush(max((one for one in self._held if one.pts <= self._begins), key=lambda one: one.pts))

    def _flush(self, first: Sample | None = None) -> None:
        # A packet shown after the end is needed only if one shown before the end follows in the file.
        needed = max((number for number, one in enumerate(self._held, 1) if one.pts < self._end), default=0)
        for sample in self._held[:needed]:
            duration = min(sample.duration, max(self._shown_to - sample.pts, 1))
            self._last = min(max(self._last, sample.pts + duration), self._shown_to)
            shown = max(sample.pts, self._start) if sample is first else None
            self._write(self._video, sample, duration, shown)
        del self._held[:needed]


def start_tick(window: Window, timeline: Timeline) -> int:
    """The last tick that counts as the start of a window, whose times are rounded to milliseconds."""
    return int((window.start_s + 0.001) / timeline.tick)


def end_tick(window: Window, timeline: Timeline) -> int:
    """The first tick after the window."""
    return -int(-(window.end_s - 0.001) / timeline.tick // 1)


def video_type(form: SegmentFormat) -> str:
    """The MIME type of video segments."""
    return next(
        (mime_type for mime_type in ("video/mp4", "video/quicktime") if mime_type in form.mime_types), "video/mp4"
    )


def limit_duration(data: memoryview, seconds: float) -> None:
    """Change the edit lists of an MP4 or MOV file of libav, so that they end no later than this time."""
    boxes = list(_boxes(data))
    (movie,) = (at for kind, at in boxes if kind == b"mvhd")
    longest = int(seconds * _number(data, movie + 12) + 0.5)
    # Boxes of version 0: a duration follows version, flags, times and other numbers.
    durations = {at + {b"mvhd": 16, b"tkhd": 20}[kind]: longest for kind, at in boxes if kind in (b"mvhd", b"tkhd")}
    for at in (at for kind, at in boxes if kind == b"elst"):
        *before, last = range(at + 8, at + 8 + 12 * _number(data, at + 4), 12)
        durations[last] = longest - sum(_number(data, place) for place in before)
    for place, most in durations.items():
        data[place : place + 4] = max(min(_number(data, place), most), 0).to_bytes(4, "big")


def _number(data: memoryview, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "big")


def _boxes(data: memoryview) -> Iterator[tuple[bytes, int]]:
    """Types and positions of the content of the boxes that describe a file and its tracks."""
    position = 0
    while position + 8 <= len(data):
        size, kind = _number(data, position), bytes(data[position + 4 : position + 8])
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        yield kind, position + 8
        position += 8 if kind in (b"moov", b"trak", b"edts") else max(size, 8)
