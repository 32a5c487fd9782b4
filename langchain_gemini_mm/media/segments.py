"""All segments of a recording, in one reading of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_gemini_mm.media.containers import opened, packets_of
from langchain_gemini_mm.media.cuts import Cut, Form, Track, Uncut
from langchain_gemini_mm.media.cutting import AnyTrack, cut_one, picture_track, sound_track
from langchain_gemini_mm.media.picture_track import PictureTrack
from langchain_gemini_mm.media.source_file import shown
from langchain_gemini_mm.media.timeline import Timeline
from langchain_gemini_mm.media.windows import Window

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet


def segments(
    source: Path | BinaryIO,
    *,
    video: Iterable[Window] = (),
    audio: Iterable[Window] = (),
    video_form: Form | None = None,
    audio_form: Form | None = None,
    with_sound: bool = False,
    name: str | None = None,
) -> Iterator[Cut]:
    """Cut many windows out of a recording while it is read once, from its start to the last window's end.

    Segments come as soon as they are complete: those of pictures in order, those of sound in order, both interleaved by
    where they end. Windows may overlap. A window in which nothing can be read gives no segment. Memory holds the
    segments that are being written and the packets since the last keyframe.

    ```python
    import io

    from langchain_gemini_mm.media.cuts import Form
    from langchain_gemini_mm.media.segments import segments
    from langchain_gemini_mm.media.windows import windows
    from langchain_gemini_mm.testing import mp4

    taken = Form(limit_s=120, mime_types=("video/mp4",))
    film = io.BytesIO(mp4(9.0))
    assert len(list(segments(film, video=windows(9, 3), video_form=taken))) == 3
    ```

    Args:
        source: a path, or an open seekable binary file (left open, at any position).
        video: windows over its pictures, in order.
        audio: windows over its sound, in order.
        video_form: what the model takes of pictures.
        audio_form: what the model takes of sound.
        with_sound: keep the sound beside the pictures.
        name: of the file, for messages.

    Raises:
        ContentError: damaged from the start, or without the track that is asked for.
        MediaLimitError: a window does not fit.
        MissingExtraError: PyAV is not installed.
    """
    plans = {"video": _checked(video, video_form, "video"), "audio": _checked(audio, audio_form, "audio")}
    name = name or (shown(source.name) if isinstance(source, Path) else "the recording")
    with opened(source, name) as container, ExitStack() as again:
        cutters: list[_Reading] = []
        if plans["video"] and video_form:
            track: Track | None = None if with_sound else "video"
            pictures, line, beside = picture_track(container, plans["video"], video_form, name, track=track)
            cutters.append(_Reading(pictures, line, beside, video_form, track))
        if plans["audio"] and audio_form:
            sound, line = sound_track(container, plans["audio"], audio_form, name)
            cutters.append(_Reading(sound, line, None, audio_form, "audio"))
        second: InputContainer | None = None
        for reading, found in _read(container, cutters):
            if isinstance(found, Cut):
                yield found
                continue
            if second is None:
                second = again.enter_context(opened(source, name))
            cut = cut_one(second, found.window, reading.track, reading.form, name, anew=True)
            if cut is not None:
                yield cut


class _Reading:
    """One cutter, and which packets it wants."""

    def __init__(
        self, cutter: AnyTrack, timeline: Timeline, beside: Timeline | None, form: Form, track: Track | None
    ) -> None:
        self.cutter, self.form, self.track = cutter, form, track
        self.streams = [line.stream for line in (timeline, beside) if line is not None]
        self._index = timeline.stream.index
        self._beside = beside.stream.index if beside else None

    def feed(self, packet: Packet[Any]) -> Iterator[Cut | Uncut]:
        """Hand a packet on, if it is wanted."""
        if packet.stream_index == self._index:
            yield from self.cutter.feed(packet)
        elif packet.stream_index == self._beside and isinstance(self.cutter, PictureTrack):
            self.cutter.feed_sound(packet)


def _read(container: InputContainer, readings: list[_Reading]) -> Iterator[tuple[_Reading, Cut | Uncut]]:
    streams = list({stream.index: stream for reading in readings for stream in reading.streams}.values())
    open_ones = list(readings)
    for packet in packets_of(container, streams) if readings else ():
        for reading in open_ones:
            for found in reading.feed(packet):
                yield reading, found
        if any(reading.cutter.done for reading in open_ones):
            open_ones = [reading for reading in open_ones if not reading.cutter.done]
            if not open_ones:
                return
    for reading in open_ones:
        for found in reading.cutter.finish():
            yield reading, found


def _checked(windows: Iterable[Window], form: Form | None, which: str) -> list[Window]:
    planned = [Window(*window) for window in windows]
    if planned and form is None:
        raise ValueError(f"windows for {which} need {which}_form: what the model takes")
    for window in planned:
        if not 0 <= window.start_s < window.end_s:
            raise ValueError(f"a window needs 0 <= start < end, got {window!r}")
        if form and window.length_s > form.limit_s:
            raise ValueError(f"{window!r} lasts {window.length_s:g} s; form.limit_s is {form.limit_s:g} s")
    if planned != sorted(planned):
        raise ValueError(f"windows for {which} must be in order")
    return planned
