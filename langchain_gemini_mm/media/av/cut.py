"""One segment out of a recording: found by seeking, so that a long file is not read from its start."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.media.av.audio_track import CopiedSoundTrack, WrittenSoundTrack, copied_type
from langchain_gemini_mm.media.av.container import (
    codec_name,
    damage_told,
    opened,
    origin_s,
    pictures_of,
    sound_of,
)
from langchain_gemini_mm.media.av.segments import Window
from langchain_gemini_mm.media.av.timestamps import Sample, Timeline, Timelines
from langchain_gemini_mm.media.av.video_track import SOUND_CODECS, PictureTrack
from langchain_gemini_mm.media.cuts import Cut, Form, Track, Uncut
from langchain_gemini_mm.media.sound_beside import ConvertedSound
from langchain_gemini_mm.media.source import open_source, shown

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEO_TYPES = ("video/mp4", "video/quicktime")
AUDIO_TYPES = ("audio/mp3", "audio/wav")
_STEPS_BACK_S = (0.0, 2.0, 10.0, 60.0, 300.0)
_SOUND_LEAD_S = 0.5
_FIRST_FRAME = 128
"""Bytes within which the first MP3 frame says whether its rate is constant."""

AnyTrack = PictureTrack | CopiedSoundTrack | WrittenSoundTrack


def cut(
    source: Path | BinaryIO,
    start_s: float,
    end_s: float,
    *,
    limit_s: float,
    track: Track | None = None,
    max_bytes: int | None = None,
    lead_s: float | None = None,
    mime_types: tuple[str, ...] | None = None,
    max_edge: int | None = None,
    name: str | None = None,
) -> Cut:
    """Cut one stretch out of a sound or video, as a file that a model takes.

    Pictures are copied from the keyframe at or before `start_s`, so that the segment may begin earlier than asked, but
    never lasts longer than `limit_s`; where that cannot be, or the model does not take the codec, or they must become
    smaller, they are written anew as H.264. Sound is copied from MP3 and WAV, and written as mono MP3 otherwise.

    ```python
    import io

    from langchain_gemini_mm.media.av.cut import cut
    from langchain_gemini_mm.testing import mp4

    piece = cut(io.BytesIO(mp4(8.0)), 3, 5, limit_s=120)
    assert piece.start_s <= 3 and piece.end_s >= 5 and piece.copied
    ```

    Args:
        source: a path, or an open seekable binary file (left open, at any position).
        start_s: from where, in seconds.
        end_s: to where; what lies behind the recording's end is left away.
        limit_s: the model's hard limit in seconds.
        track: only the sound or only the pictures of a video; by default both, or the sound of a sound file.
        max_bytes: most bytes of the segment.
        lead_s: how much earlier than asked a copy may begin; None for as much as `limit_s` allows.
        mime_types: what the model takes; MP4 and MOV, or MP3 and WAV, by default.
        max_edge: longest edge of its pictures in pixels.
        name: of the file, for messages.

    Raises:
        ContentError: damaged, or there is nothing to be cut out between these times.
        MediaLimitError: more than `limit_s` is asked for, or it does not fit into `max_bytes`.
        MissingExtraError: PyAV is not installed.
    """
    window = _window(start_s, end_s, limit_s)
    name = name or (shown(source.name) if isinstance(source, Path) else "the recording")
    with ExitStack() as stack:
        file = stack.enter_context(closing(open_source(source)[0])) if isinstance(source, Path) else source
        container = stack.enter_context(opened(file, name, **_seeking(file)))
        has_pictures = pictures_of(container) is not None
        wanted: Track | None = track or (None if has_pictures else "audio")
        types = mime_types or (AUDIO_TYPES if wanted == "audio" else VIDEO_TYPES)
        form = Form(limit_s=limit_s, mime_types=types, max_bytes=max_bytes, lead_s=lead_s, max_edge=max_edge)
        found = cut_one(container, window, wanted, form, name)
    if found is None:
        raise ContentError(f"{name} holds nothing between {window.start_s:g} s and {window.end_s:g} s")
    return found


def cut_one(
    container: InputContainer, window: Window, track: Track | None, form: Form, name: str, *, anew: bool = False
) -> Cut | None:
    """Cut a window out of an open recording; None when it holds nothing there.

    Raises:
        ContentError: damaged, or without such a track.
        MediaLimitError: it does not fit.
    """
    with damage_told(name):
        found = _sought(container, window, track, form, name, anew=anew)
        if isinstance(found, Uncut) and not anew:
            found = _sought(container, window, track, form, name, anew=True)
    if not isinstance(found, Uncut):
        return found
    raise ContentError(f"{name} cannot be cut from {window.start_s:g} s to {window.end_s:g} s: {found.reason}")


class Reading:
    """A track that is being cut, and which packets it wants."""

    def __init__(self, cutter: AnyTrack, timeline: Timeline, beside: Timeline | None, form: Form, track: Track | None):
        self.cutter, self.timeline, self.form, self.track = cutter, timeline, form, track
        self._beside = beside

    def feed(self, sample: Sample) -> Sequence[Cut | Uncut]:
        """Hand a packet on, if it is wanted."""
        if sample.timeline is self.timeline:
            return self.cutter.feed(sample)
        if sample.timeline is self._beside and isinstance(self.cutter, PictureTrack):
            return self.cutter.feed_sound(sample)
        return ()


def reading(
    container: InputContainer,
    timelines: Timelines,
    windows: list[Window],
    track: Track | None,
    form: Form,
    name: str,
    *,
    anew: bool = False,
) -> Reading:
    """Make ready to cut windows out of a track: only its sound, only its pictures, or for None both.

    Raises:
        ContentError: there is no such track.
    """
    sound = sound_of(container) if track != "video" else None
    if track == "audio":
        if sound is None:
            raise ContentError(f"{name} holds no sound")
        line = timelines.of(sound)
        copied = None if anew else copied_type(line, container.format.name, windows, form)
        if copied is not None:
            return Reading(CopiedSoundTrack(line, windows, form, copied), line, None, form, track)
        return Reading(WrittenSoundTrack(line, windows, form), line, None, form, track)
    stream = pictures_of(container)
    if stream is None:
        raise ContentError(f"{name} holds no moving pictures")
    line, beside = timelines.of(stream), None if sound is None else timelines.of(sound)
    converted = (
        ConvertedSound(beside) if beside is not None and codec_name(beside.stream) not in SOUND_CODECS else beside
    )
    pictures = PictureTrack(line, windows, form, sound=converted, track=track, anew=anew)
    return Reading(pictures, line, beside, form, track)


def _sought(
    container: InputContainer, window: Window, track: Track | None, form: Form, name: str, *, anew: bool
) -> Cut | Uncut | None:
    """Try from the place that the file's index gives, then from ever earlier ones."""
    lead = _SOUND_LEAD_S if track == "audio" else 0.0
    for back in (*_STEPS_BACK_S, None):
        timelines = Timelines(origin_s(container))
        one = reading(container, timelines, [window], track, form, name, anew=anew)
        place = None if back is None or window.start_s - back - lead <= 0 else window.start_s - back - lead
        at_start = not _seek(container, one.timeline, place)
        latest = None if at_start else one.timeline.ticks(window.start_s + 0.001)
        found = _run(container, timelines, one, latest)
        if found is not _TOO_LATE:
            return found  # type: ignore[return-value]
    return None


_TOO_LATE = object()


def _run(container: InputContainer, timelines: Timelines, one: Reading, latest: int | None) -> object:
    found: list[Cut | Uncut] = []
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
    """Go to a place, or to the beginning for None; False when it is the beginning."""
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
    """For MP3 of a constant rate, whose places can be reckoned; others are read up to the place, for exact times."""
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
