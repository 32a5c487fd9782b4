"""All segments of a recording, in one reading of it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.media.av.container import opened, origin_s
from langchain_gemini_mm.media.av.cut import Reading, cut_one, reading
from langchain_gemini_mm.media.av.segments import Window
from langchain_gemini_mm.media.av.silence import is_black, is_silent
from langchain_gemini_mm.media.av.timestamps import Timelines
from langchain_gemini_mm.media.cuts import Cut, Form, Track, Uncut
from langchain_gemini_mm.media.source import shown

if TYPE_CHECKING:
    from av.container import InputContainer


def segments(
    source: Path | BinaryIO,
    *,
    video: Iterable[Window] = (),
    audio: Iterable[Window] = (),
    video_form: Form | None = None,
    audio_form: Form | None = None,
    with_sound: bool = False,
    skip_silent: bool = False,
    skip_black: bool = False,
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
    from langchain_gemini_mm.media.av.segments import windows
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
        skip_silent: leave out segments of sound in which nothing can be heard (`quiet.is_silent`).
        skip_black: leave out segments of pictures in which nothing can be seen (`quiet.is_black`).
        name: of the file, for messages.

    Raises:
        ContentError: damaged from the start, or without the track that is asked for.
        MediaLimitError: a window does not fit.
        MissingExtraError: PyAV is not installed.
    """
    plans = {"video": _checked(video, video_form, "video"), "audio": _checked(audio, audio_form, "audio")}
    name = name or (shown(source.name) if isinstance(source, Path) else "the recording")
    with opened(source, name) as container, ExitStack() as again:
        timelines = Timelines(origin_s(container))
        readings: list[Reading] = []
        if plans["video"] and video_form:
            track: Track | None = None if with_sound else "video"
            readings.append(reading(container, timelines, plans["video"], track, video_form, name))
        if plans["audio"] and audio_form:
            readings.append(reading(container, timelines, plans["audio"], "audio", audio_form, name))
        second: InputContainer | None = None
        for one, found in _read(container, timelines, readings):
            cut = found if isinstance(found, Cut) else None
            if isinstance(found, Uncut):
                if second is None:
                    second = again.enter_context(opened(source, name))
                cut = cut_one(second, found.window, one.track, one.form, name, anew=True)
            if cut is not None and not _is_skipped(cut, silent=skip_silent, black=skip_black):
                yield cut


def _is_skipped(cut: Cut, *, silent: bool, black: bool) -> bool:
    if cut.track == "audio":
        return silent and is_silent(io.BytesIO(cut.data))
    return black and is_black(io.BytesIO(cut.data))


def _read(
    container: InputContainer, timelines: Timelines, readings: list[Reading]
) -> Iterator[tuple[Reading, Cut | Uncut]]:
    unfinished = list(readings)
    for sample in timelines.samples(container) if readings else ():
        for one in unfinished:
            for found in one.feed(sample):
                yield one, found
        if any(one.cutter.done for one in unfinished):
            unfinished = [one for one in unfinished if not one.cutter.done]
            if not unfinished:
                return
    for one in unfinished:
        for found in one.cutter.finish():
            yield one, found


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
