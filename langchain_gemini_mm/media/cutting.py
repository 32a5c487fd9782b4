"""One segment out of a recording: found by seeking, so that a long file is not read from its start."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.media.containers import (
    codec_name,
    damage_told,
    opened,
    origin_s,
    packets_of,
    pictures_of,
    sound_of,
)
from langchain_gemini_mm.media.cuts import Cut, Form, Track, Uncut
from langchain_gemini_mm.media.picture_track import SOUND_CODECS, PictureTrack
from langchain_gemini_mm.media.soundtrack import CopiedSoundTrack, WrittenSoundTrack, copied_type
from langchain_gemini_mm.media.source_file import shown
from langchain_gemini_mm.media.timeline import Timeline
from langchain_gemini_mm.media.windows import Window

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEO_TYPES = ("video/mp4", "video/quicktime")
AUDIO_TYPES = ("audio/mp3", "audio/wav")
_STEPS_BACK_S = (0.0, 2.0, 10.0, 60.0, 300.0)
_SOUND_LEAD_S = 0.5
_FIRST_BYTES = 65_536

AnyTrack = PictureTrack | CopiedSoundTrack | WrittenSoundTrack


def cut(
    source: Path | BinaryIO,
    start_s: float,
    end_s: float,
    *,
    limit_s: float,
    track: Track | None = None,
    max_bytes: int | None = None,
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

    from langchain_gemini_mm.media.cutting import cut
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
    with opened(source, name, **_fast_seek(source)) as container:
        has_pictures = pictures_of(container) is not None
        wanted: Track | None = track or (None if has_pictures else "audio")
        types = mime_types or (AUDIO_TYPES if wanted == "audio" else VIDEO_TYPES)
        form = Form(limit_s=limit_s, mime_types=types, max_bytes=max_bytes, max_edge=max_edge)
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


def picture_track(
    container: InputContainer, windows: list[Window], form: Form, name: str, *, track: Track | None, anew: bool = False
) -> tuple[PictureTrack, Timeline, Timeline | None]:
    """What cuts the pictures of a recording, with the timelines of its pictures and of their sound.

    Raises:
        ContentError: there are no moving pictures.
    """
    stream = pictures_of(container)
    if stream is None:
        raise ContentError(f"{name} holds no moving pictures")
    origin = origin_s(container)
    sound = sound_of(container) if track is None else None
    if sound is not None and codec_name(sound) not in SOUND_CODECS:
        sound = None
    timeline = Timeline(stream, origin)
    beside = Timeline(sound, origin) if sound is not None else None
    return PictureTrack(timeline, windows, form, sound=beside, track=track, anew=anew), timeline, beside


def sound_track(
    container: InputContainer, windows: list[Window], form: Form, name: str, *, anew: bool = False
) -> tuple[CopiedSoundTrack | WrittenSoundTrack, Timeline]:
    """What cuts the sound of a recording, with its timeline.

    Raises:
        ContentError: there is no sound.
    """
    stream = sound_of(container)
    if stream is None:
        raise ContentError(f"{name} holds no sound")
    timeline = Timeline(stream, origin_s(container))
    copied = None if anew else copied_type(timeline, container.format.name, windows, form)
    if copied is not None:
        return CopiedSoundTrack(timeline, windows, form, copied), timeline
    return WrittenSoundTrack(timeline, windows, form), timeline


def _sought(
    container: InputContainer, window: Window, track: Track | None, form: Form, name: str, *, anew: bool
) -> Cut | Uncut | None:
    """Try from the place that the file's index gives, then from ever earlier ones."""
    for back in (*_STEPS_BACK_S, None):
        beside: Timeline | None = None
        cutter: AnyTrack
        if track == "audio":
            cutter, timeline = sound_track(container, [window], form, name, anew=anew)
            lead = _SOUND_LEAD_S
        else:
            cutter, timeline, beside = picture_track(container, [window], form, name, track=track, anew=anew)
            lead = 0.0
        place = None if back is None or window.start_s - back - lead <= 0 else window.start_s - back - lead
        at_start = not _seek(container, timeline, place)
        latest = None if at_start else timeline.ticks(window.start_s + 0.001)
        found = _run(container, cutter, timeline, beside, latest)
        if found is not _TOO_LATE:
            return found  # type: ignore[return-value]
    return None


_TOO_LATE = object()


def _run(
    container: InputContainer, cutter: AnyTrack, timeline: Timeline, beside: Timeline | None, latest: int | None
) -> object:
    streams = [line.stream for line in (timeline, beside) if line is not None]
    results: Iterator[Cut | Uncut] = iter(())
    for packet in packets_of(container, streams):
        if packet.stream is timeline.stream or packet.stream_index == timeline.stream.index:
            results = itertools.chain(results, list(cutter.feed(packet)))
            if latest is not None and cutter.first_key is not None and cutter.first_key > latest:
                return _TOO_LATE
        elif isinstance(cutter, PictureTrack):
            cutter.feed_sound(packet)
        if cutter.done:
            break
    return next(itertools.chain(results, cutter.finish()), None)


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


def _fast_seek(source: Path | BinaryIO) -> dict[str, str]:
    """For MP3 of a constant rate, whose places can be reckoned; others are read up to the place, for exact times."""
    if isinstance(source, Path):
        return {}
    source.seek(0)
    head = source.read(_FIRST_BYTES)
    return {"fflags": "fastseek"} if b"Info\x00\x00\x00" in head and b"\xff\xfb" in head else {}


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
