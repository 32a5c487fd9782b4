"""Cutting recordings: one segment by seeking, or many in one pass."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.media.av.audio_track import ConvertedAudio, CopiedAudioTrack, EncodedAudioTrack, copied_type
from langchain_gemini_mm.media.av.container import (
    audio_stream_of,
    codec_name,
    is_joined,
    opened,
    origin_s,
    reporting_damage,
    video_stream_of,
)
from langchain_gemini_mm.media.av.segments import Cut, NotCopied, SegmentFormat, Track, Window
from langchain_gemini_mm.media.av.silence import is_black, is_silent
from langchain_gemini_mm.media.av.timestamps import Sample, Timeline, Timelines
from langchain_gemini_mm.media.av.video_track import VideoTrack
from langchain_gemini_mm.media.model_limits import VIDEO_AUDIO_CODECS
from langchain_gemini_mm.media.source import Source, name_of
from langchain_gemini_mm.media.source import opened as opened_source

if TYPE_CHECKING:
    from av.container import InputContainer


VIDEO_TYPES = ("video/mp4", "video/quicktime")
AUDIO_TYPES = ("audio/mp3", "audio/wav")
_STEPS_BACK_S = (0.0, 2.0, 10.0, 60.0, 300.0)
_AUDIO_LEAD_S = 0.5
_FIRST_FRAME = 128
"""Bytes within which the first MP3 frame declares whether its bit rate is constant."""

AnyTrack = VideoTrack | CopiedAudioTrack | EncodedAudioTrack


def cut(
    source: Source,
    start_s: float,
    end_s: float,
    *,
    limit_s: float,
    track: Track | None = None,
    max_bytes: int | None = None,
    lead_s: float | None = None,
    mime_types: tuple[str, ...] | None = None,
    max_edge: int | None = None,
    keyframes_only: bool = False,
    name: str | None = None,
) -> Cut:
    """Cut one segment out of an audio or video file, in a format that a model takes.

    Video is copied from the keyframe at or before `start_s`; an edit list hides what is before `start_s` and after
    `end_s`. Where this is impossible, the model does not take the codec, or frames must be scaled down, video is
    encoded again as H.264. Audio is copied from MP3 and WAV, and encoded as mono MP3 otherwise.

    ```python
    import io

    from langchain_gemini_mm.media.av.cut import cut
    from langchain_gemini_mm.testing import mp4

    piece = cut(io.BytesIO(mp4(8.0)), 3, 5, limit_s=120)
    assert piece.start_s <= 3 and piece.end_s >= 5 and piece.copied
    ```

    Args:
        source: a path, bytes, or an open seekable binary file (left open, at any position).
        start_s: start, in seconds.
        end_s: end, in seconds; may be after the end of the recording.
        limit_s: the model's hard limit in seconds.
        track: only the audio or only the video stream; by default both, or the audio of an audio file.
        max_bytes: largest size of the segment, in bytes.
        lead_s: seconds from a keyframe to `start_s` that a copy may hide; None for as many as `limit_s` allows.
        mime_types: that the model takes; MP4 and MOV, or MP3 and WAV, by default.
        max_edge: pixels of the longer side; larger frames are scaled down.
        keyframes_only: encode only the keyframes, as a preview.
        name: of the file, for messages.

    Raises:
        ContentError: damaged, or the recording has nothing between these times.
        MediaLimitError: longer than `limit_s`, or it does not fit into `max_bytes`.
        MissingExtraError: PyAV is not installed.
    """
    window = _window(start_s, end_s, limit_s)
    name = name or name_of(source, "recording")
    with ExitStack() as stack:
        file = stack.enter_context(opened_source(source))
        container = stack.enter_context(opened(file, name, **_seeking(file)))
        has_video = video_stream_of(container) is not None
        selected: Track | None = track or (None if has_video else "audio")
        types = mime_types or (AUDIO_TYPES if selected == "audio" else VIDEO_TYPES)
        form = SegmentFormat(
            limit_s=limit_s,
            mime_types=types,
            max_bytes=max_bytes,
            lead_s=lead_s,
            max_edge=max_edge,
            keyframes_only=keyframes_only,
        )
        found = cut_one(container, window, selected, form, name, seekable=not is_joined(file))
    if found is None:
        raise ContentError(f"{name} holds nothing between {window.start_s:g} s and {window.end_s:g} s")
    return found


def cut_one(
    container: InputContainer,
    window: Window,
    track: Track | None,
    form: SegmentFormat,
    name: str,
    *,
    reencode: bool = False,
    seekable: bool = True,
) -> Cut | None:
    """Cut a window out of an open recording; None if the recording has nothing there.

    Args:
        container: the open recording.
        window: start and end, in seconds.
        track: only the audio or only the video stream; None for both.
        form: what the model takes.
        name: for messages.
        reencode: encode it even where its packets could be copied.
        seekable: whether positions can be found by their time.

    Raises:
        ContentError: damaged, or without such a stream.
        MediaLimitError: it does not fit.
    """
    sought = partial(
        _sought, container, window, track, form, name, steps=(*_STEPS_BACK_S, None) if seekable else (None,)
    )
    with reporting_damage(name):
        found = sought(reencode=reencode, fresh=True)
        if isinstance(found, NotCopied) and not reencode:
            found = sought(reencode=True)
    if not isinstance(found, NotCopied):
        return found
    raise ContentError(f"{name} cannot be cut from {window.start_s:g} s to {window.end_s:g} s: {found.reason}")


class Reading:
    """A stream that is being cut, and the packets it needs."""

    def __init__(
        self,
        cutter: AnyTrack,
        timeline: Timeline,
        audio_line: Timeline | None,
        form: SegmentFormat,
        track: Track | None,
    ):
        self.cutter, self.timeline, self.form, self.track = cutter, timeline, form, track
        self._audio = audio_line

    def feed(self, sample: Sample) -> Sequence[Cut | NotCopied]:
        """Pass on a packet that is needed; returns the segments that it completes."""
        if sample.timeline is self.timeline:
            return self.cutter.feed(sample)
        if sample.timeline is self._audio and isinstance(self.cutter, VideoTrack):
            return self.cutter.feed_audio(sample)
        return ()


def reading(
    container: InputContainer,
    timelines: Timelines,
    windows: list[Window],
    track: Track | None,
    form: SegmentFormat,
    name: str,
    *,
    reencode: bool = False,
) -> Reading:
    """Prepare to cut windows out of a stream.

    Args:
        container: the open recording.
        timelines: of its streams.
        windows: in order.
        track: only the audio or only the video stream; None for both.
        form: what the model takes.
        name: for messages.
        reencode: encode them even where packets could be copied.

    Raises:
        ContentError: there is no such stream.
    """
    audio_stream = audio_stream_of(container) if track != "video" else None
    if track == "audio":
        if audio_stream is None:
            raise ContentError(f"{name} has no audio")
        line = timelines.of(audio_stream)
        copied = None if reencode else copied_type(line, container.format.name, windows, form)
        if copied is not None:
            return Reading(CopiedAudioTrack(line, windows, form, copied), line, None, form, track)
        return Reading(EncodedAudioTrack(line, windows, form), line, None, form, track)
    stream = video_stream_of(container)
    if stream is None:
        raise ContentError(f"{name} has no video")
    line, audio_line = timelines.of(stream), None if audio_stream is None else timelines.of(audio_stream)
    converted = (
        ConvertedAudio(audio_line)
        if audio_line is not None and codec_name(audio_line.stream) not in VIDEO_AUDIO_CODECS
        else audio_line
    )
    video_track = VideoTrack(line, windows, form, audio=converted, track=track, reencode=reencode)
    return Reading(video_track, line, audio_line, form, track)


def _sought(
    container: InputContainer,
    window: Window,
    track: Track | None,
    form: SegmentFormat,
    name: str,
    *,
    steps: Sequence[float | None],
    reencode: bool,
    fresh: bool = False,
) -> Cut | NotCopied | None:
    """Start at the position that the index gives, then at earlier ones.

    None is the beginning, where a fresh container is already.
    """
    lead = _AUDIO_LEAD_S if track == "audio" else 0.0
    for back in steps:
        timelines = Timelines(origin_s(container))
        one = reading(container, timelines, [window], track, form, name, reencode=reencode)
        place = None if back is None or window.start_s - back - lead <= 0 else window.start_s - back - lead
        at_start = (fresh and place is None) or not _seek(container, one.timeline, place)
        fresh = False
        latest = None if at_start else one.timeline.ticks(window.start_s + 0.001)
        found = _run(container, timelines, one, latest)
        if found is not _TOO_LATE:
            return found  # type: ignore[return-value]
    return None


_TOO_LATE = object()


def _run(container: InputContainer, timelines: Timelines, one: Reading, latest: int | None) -> object:
    found: list[Cut | NotCopied] = []
    for sample in timelines.samples(container):
        found += one.feed(sample)
        first = one.cutter.first_key
        if latest is not None and first is not None and first > latest:
            return _TOO_LATE
        if one.cutter.done:
            break
    found += one.cutter.finish()
    return found[0] if found else None


def _seek(container: InputContainer, timeline: Timeline, seconds: float | None) -> bool:
    """Seek to a time, or to the beginning for None; False at the beginning."""
    import av

    context: Any = timeline.stream.codec_context
    context.flush_buffers()
    try:
        if seconds is not None:
            container.seek(timeline.raw(seconds), stream=timeline.stream)
            return True
        container.seek(min(timeline.raw(0), 0), stream=timeline.stream)
    except (av.error.FFmpegError, OverflowError):
        return False
    return False


def _seeking(file: BinaryIO) -> dict[str, str]:
    """Demuxer options: positions can be computed in MP3 of a constant bit rate; others are read for exact times."""
    file.seek(0)
    head = file.read(10)
    skipped = 0
    if head[:3] == b"ID3":
        skipped = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
    file.seek(skipped)
    frame = file.read(_FIRST_FRAME)
    return {"fflags": "fastseek"} if frame[:1] == b"\xff" and b"Info\x00\x00\x00" in frame else {}


def _window(start_s: float, end_s: float, limit_s: float) -> Window:
    if not 0 <= start_s < end_s < 10**9:
        raise ValueError(f"a segment needs 0 <= start_s < end_s < 10^9, got {start_s!r} and {end_s!r}")
    window = Window(round(float(start_s), 3), round(float(end_s), 3))
    if window.length_s > limit_s:
        raise MediaLimitError(
            f"{window.length_s:g} s are asked for, from {window.start_s:g} s to {window.end_s:g} s; the model takes at "
            f"most {limit_s:g} s. Make the windows shorter"
        )
    return window


def segments(
    source: Source,
    *,
    video: Iterable[Window] = (),
    audio: Iterable[Window] = (),
    video_format: SegmentFormat | None = None,
    audio_format: SegmentFormat | None = None,
    with_audio: bool = False,
    skip_silent: bool = False,
    skip_black: bool = False,
    name: str | None = None,
) -> Iterator[Cut]:
    """Cut many windows out of a recording in one pass.

    Segments are yielded as soon as they are complete: video in order, audio in order, both interleaved by their ends.
    Windows may overlap. A window in which nothing can be read gives no segment. Memory holds the segments being
    written and the packets since the last keyframe.

    ```python
    import io

    from langchain_gemini_mm.media.av.cut import segments
    from langchain_gemini_mm.media.av.segments import SegmentFormat, windows
    from langchain_gemini_mm.testing import mp4

    taken = SegmentFormat(limit_s=120, mime_types=("video/mp4",))
    film = io.BytesIO(mp4(9.0))
    assert len(list(segments(film, video=windows(9, 3), video_format=taken))) == 3
    ```

    Args:
        source: a path, bytes, or an open seekable binary file (left open, at any position).
        video: windows over the video stream, in order.
        audio: windows over the audio stream, in order.
        video_format: what the model takes of video.
        audio_format: what the model takes of audio.
        with_audio: keep the audio stream in video segments.
        skip_silent: leave out silent audio segments (`silence.is_silent`).
        skip_black: leave out black video segments (`silence.is_black`).
        name: of the file, for messages.

    Raises:
        ContentError: damaged from the start, or without a requested stream.
        MediaLimitError: a window does not fit.
        MissingExtraError: PyAV is not installed.
    """
    plans = {"video": _checked(video, video_format, "video"), "audio": _checked(audio, audio_format, "audio")}
    name = name or name_of(source, "recording")
    with opened(source, name) as container:
        timelines = Timelines(origin_s(container))
        readings: list[Reading] = []
        if plans["video"] and video_format:
            track: Track | None = None if with_audio else "video"
            readings.append(reading(container, timelines, plans["video"], track, video_format, name))
        if plans["audio"] and audio_format:
            readings.append(reading(container, timelines, plans["audio"], "audio", audio_format, name))
        for one, found in _read(container, timelines, readings):
            cut = found if isinstance(found, Cut) else None
            if isinstance(found, NotCopied):
                with opened_source(source) as file, opened(file, name) as again:
                    cut = cut_one(
                        again, found.window, one.track, one.form, name, reencode=True, seekable=not is_joined(file)
                    )
            if cut is not None and not _is_skipped(cut, silent=skip_silent, black=skip_black):
                yield cut


def _is_skipped(cut: Cut, *, silent: bool, black: bool) -> bool:
    if cut.track == "audio":
        return silent and is_silent(io.BytesIO(cut.data))
    return black and is_black(io.BytesIO(cut.data))


def _read(
    container: InputContainer, timelines: Timelines, readings: list[Reading]
) -> Iterator[tuple[Reading, Cut | NotCopied]]:
    unfinished = list(readings)
    for sample in timelines.samples(container) if readings else ():
        for one in unfinished:
            complete = one.feed(sample)
            if complete:
                for found in complete:
                    yield one, found
                unfinished = [other for other in unfinished if not other.cutter.done]
                if not unfinished:
                    return
    for one in unfinished:
        for found in one.cutter.finish():
            yield one, found


def _checked(windows: Iterable[Window], form: SegmentFormat | None, which: str) -> list[Window]:
    planned = [Window(*window) for window in windows]
    if planned and form is None:
        raise ValueError(f"windows for {which} need {which}_format: what the model takes")
    for window in planned:
        if not 0 <= window.start_s < window.end_s:
            raise ValueError(f"a window needs 0 <= start < end, got {window!r}")
        if form and window.length_s > form.limit_s:
            raise ValueError(f"{window!r} lasts {window.length_s:g} s; form.limit_s is {form.limit_s:g} s")
    if planned != sorted(planned):
        raise ValueError(f"windows for {which} must be in order")
    return planned
