"""Cutting by copying packets into a new file, without decoding."""

from __future__ import annotations

import io
from contextlib import suppress
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


class Output:
    """A media file that is written into memory, with a limit on its size."""

    def __init__(self, mime_type: str, max_bytes: int | None) -> None:
        import av

        self.mime_type = mime_type
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
        """
        self.container.mux(packets)
        if self._most is not None:
            self._check()

    def close(self) -> bytes:
        """Finish the file.

        Raises:
            TooManyBytesError: as in `write`.
        """
        self.container.close()
        self._check()
        return self.file.getvalue()

    def __del__(self) -> None:
        # An abandoned file must be closed before its tracks go: older PyAV crashes otherwise.
        with suppress(OSError, ValueError, AttributeError):
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
        self._stream = output.container.add_stream_from_template(timeline.stream)

    def write(self, sample: Sample, duration: int | None = None) -> None:
        """Write a packet, with times from the start of the segment."""
        packet = sample.packet
        packet.stream = self._stream
        packet.time_base = self._time_base
        packet.pts, packet.dts = sample.pts - self._shift, sample.dts - self._shift
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

    def _write(self, track: CopiedTrack, sample: Sample, duration: int | None = None) -> None:
        import av

        if self.failed:
            return
        try:
            track.write(sample, duration)
        except TooManyBytesError:
            self.failed = NotCopied(self.window, _TOO_MANY_BYTES)
        except av.error.FFmpegError as error:
            self.failed = NotCopied(self.window, f"its container cannot hold it ({type(error).__name__})")

    def _finished(self, start_s: float, end_s: float, track: Track | None) -> Cut | NotCopied:
        try:
            data = self._output.close()
        except TooManyBytesError:
            return NotCopied(self.window, _TOO_MANY_BYTES)
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
    """A copied segment of a video stream that begins at a keyframe, with its audio if wanted."""

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
        self._key = self._last = key.pts
        self._start_s = key.pts * timeline.tick
        self._shown_to = timeline.ticks(window.end_s)
        self._ahead: list[Sample] = []
        self._video = CopiedTrack(self._output, timeline, self._start_s)
        self._audio = CopiedTrack(self._output, audio, self._start_s) if audio else None
        self._audio_tick = audio.tick if audio else 1.0

    def add(self, sample: Sample) -> bool:
        """Add a video packet; False once the window is complete."""
        if sample.dts >= self._end:
            return False
        if sample.pts < self._key:
            return True  # It is shown before its keyframe, and refers to earlier packets.
        # A packet shown after the end is needed only if one shown before the end follows in the file.
        self._ahead.append(sample)
        if sample.pts < self._end:
            self._flush()
        return True

    def add_audio(self, sample: Sample) -> None:
        """Add an audio packet; those outside of the segment are ignored."""
        starts, ends = sample.pts * self._audio_tick, (sample.pts + sample.duration) * self._audio_tick
        if self._audio is not None and ends > self._start_s and starts < self.window.end_s:
            self._write(self._audio, sample)

    def close(self) -> Cut | NotCopied:
        """Finish the segment."""
        end_s = self._last * self._timeline.tick
        finished = self._finished(self._start_s, end_s, self._track)
        if isinstance(finished, Cut) and end_s - self._start_s > self._form.limit_s:
            return NotCopied(self.window, "its last frames end after the limit")
        return finished

    def _flush(self) -> None:
        for sample in self._ahead:
            duration = min(sample.duration, max(self._shown_to - sample.pts, 1))
            self._last = max(self._last, sample.pts + duration)
            self._write(self._video, sample, duration)
        self._ahead.clear()


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
