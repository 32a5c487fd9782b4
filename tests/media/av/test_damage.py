"""Damaged recordings give segments or an error of the package within seconds; no crash, no hang, bounded memory."""

from __future__ import annotations

import io
import random
import struct
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.errors import ContentError, GeminiMMError
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.media.av.cut import cut, segments
from langchain_gemini_mm.media.av.segments import SegmentFormat, windows
from langchain_gemini_mm.media.av.silence import is_black, is_silent
from tests.media.recordings import numbers, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from langchain_gemini_mm.media.av.segments import Cut

VIDEO = SegmentFormat(limit_s=6, mime_types=("video/mp4",))
AUDIO = SegmentFormat(limit_s=6, mime_types=("audio/mp3", "audio/wav"))
PATIENCE_S = 20
"""CPU seconds, which do not depend on the load of the machine."""

MADE: dict[str, Callable[[], bytes]] = {
    "mp4": recording,
    "mp4 with its index first": partial(recording, movflags="faststart"),
    "fragmented mp4": partial(recording, movflags="frag_keyframe+empty_moov"),
    "mkv": partial(recording, "matroska", b_frames=2),
    "webm": partial(recording, "webm", video="libvpx", audio="libopus"),
    "ts": partial(recording, "mpegts"),
    "avi": partial(recording, "avi", video="mpeg4", audio="libmp3lame"),
    "mp3": partial(recording, "mp3", video=None, audio="libmp3lame"),
    "wav": partial(recording, "wav", video=None, audio="pcm_s16le"),
    "m4a": partial(recording, "ipod", video=None),
    "ogg": partial(recording, "ogg", video=None, audio="libopus"),
    "flac": partial(recording, "flac", video=None, audio="flac"),
}
WITH_VIDEO = {"mp4", "mp4 with its index first", "fragmented mp4", "mkv", "webm", "ts", "avi"}


def cut_all(data: bytes) -> list[Cut]:
    """Open and cut a recording into audio and video segments, and ignore errors of the package."""
    found: list[Cut] = []
    with suppress(GeminiMMError):
        found += segments(io.BytesIO(data), video=windows(12, 3), video_format=VIDEO, with_audio=True)
    with suppress(GeminiMMError):
        found += segments(io.BytesIO(data), audio=windows(12, 3, 1), audio_format=AUDIO)
    for attempt in (inspect, is_silent, is_black, partial(cut, start_s=5, end_s=8, limit_s=120)):
        with suppress(GeminiMMError):
            attempt(io.BytesIO(data))
    return found


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", MADE)
def test_truncated_recordings(name: str, share: float) -> None:
    """The part that is present is cut into segments; an MP4 without its index is an error."""
    data = MADE[name]()
    started = time.process_time()
    found = cut_all(data[: int(len(data) * share)])
    assert time.process_time() - started < PATIENCE_S
    if name in WITH_VIDEO and name != "mp4" and share == 0.6:
        assert 2 <= len([one for one in found if one.track is None]) <= 4
        assert all(numbers(one.data) for one in found if one.track is None)
    if name in {"mp3", "wav", "ts", "mkv", "ogg", "flac"} and share == 0.6:
        assert 3 <= len([one for one in found if one.track == "audio"]) <= 5


@pytest.mark.soak
@pytest.mark.parametrize("name", MADE)
def test_flipped_bits(name: str, rounds: Callable[..., Iterable[int]]) -> None:
    """Flipped bits give segments within the limits or an error of the package, within the time limit."""
    whole = MADE[name]()
    for seed in rounds(4, parts=len(MADE)):
        data, dice = bytearray(whole), random.Random(seed)
        started = time.process_time()
        for _ in range(dice.randint(1, 40)):
            place = dice.randrange(len(data)) if dice.random() < 0.5 else dice.randrange(min(4000, len(data)))
            data[place] ^= 1 << dice.randrange(8)
        for found in cut_all(bytes(data)):
            assert found.end_s - found.start_s <= 6.001
        assert time.process_time() - started < PATIENCE_S


@pytest.mark.parametrize("name", MADE)
def test_zeroed_bytes_affect_only_their_segments(name: str) -> None:
    """Zeros over a tenth of a file leave most of its segments."""
    data = bytearray(MADE[name]())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    found = cut_all(bytes(data))
    assert len(found) >= 3


def joined() -> bytes:
    """Two concatenated transport streams: timestamps begin at zero again."""
    return recording("mpegts", seconds=6) + recording("mpegts", seconds=6)


def test_concatenated_recordings() -> None:
    """If timestamps jump back, the second half follows the first."""
    found = list(segments(io.BytesIO(joined()), video=windows(12, 3), video_format=VIDEO))
    assert [one.window.start_s for one in found] == [0, 3, 6, 9]
    assert sum(len(numbers(one.data)) for one in found) >= 118


PLAYLISTS = {
    "HLS": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
    "DASH": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    "SDP": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\n",
}


@pytest.mark.parametrize("data", PLAYLISTS.values(), ids=PLAYLISTS)
def test_playlists_are_not_opened(data: bytes) -> None:
    """A list of other files or addresses is not accepted as a recording, whatever its name."""
    for attempt in (inspect, partial(cut, start_s=0, end_s=1, limit_s=120)):
        with pytest.raises(ContentError, match="'it'"):
            attempt(io.BytesIO(data), name="'it'")


def declaring(width: int, height: int) -> bytes:
    """An MP4 whose header declares a huge frame size."""
    data = bytearray(recording(audio=None))
    place = data.index(b"avc1\x00\x00\x00\x00\x00\x00\x00\x01") + 4 + 24
    data[place : place + 4] = struct.pack(">HH", width, height)
    return bytes(data)


def test_declared_sizes_do_not_allocate_memory() -> None:
    """Sizes and counts in a header do not allocate memory."""
    data = bytearray(recording(audio=None))
    place = data.index(b"stsz") + 8
    data[place + 4 : place + 8] = struct.pack(">I", 0xFFFFFF00)
    for damaged in (bytes(data), declaring(65_535, 65_535)):
        started = time.process_time()
        cut_all(damaged)
        assert time.process_time() - started < PATIENCE_S


class Endless(io.BytesIO):
    """A file that reports a small size and never ends."""

    def read(self, size: int | None = -1) -> bytes:
        """Return zeros after the end."""
        return super().read(size) or bytes(min(size or 1, 65_536))


def test_endless_files() -> None:
    """Reading is bounded by the size that a file had when it was opened."""
    started = time.process_time()
    with suppress(ContentError):
        inspect(Endless(recording("mpegts")))
    assert time.process_time() - started < PATIENCE_S


class Broken(io.BytesIO):
    """A file on a failing disk."""

    def read(self, size: int | None = -1) -> bytes:
        """Fail after the first part."""
        if self.tell() > 20_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("name", ["mkv", "ts", "mp3", "wav"])
def test_a_failing_disk(name: str) -> None:
    """Errors of the file system raise an error of the package, or the part read before them is used."""
    try:
        found = list(segments(Broken(MADE[name]()), audio=windows(12, 3), audio_format=AUDIO))
    except GeminiMMError:
        return
    assert len(found) < 5


EMPTY: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(5000),
    "noise": random.Random(3).randbytes(5000),
    "a header only": recording()[:40],
    "a WAV without samples": recording("wav", video=None, audio="pcm_s16le", seconds=0.0001)[:44],
}


@pytest.mark.parametrize("data", EMPTY.values(), ids=EMPTY)
def test_nothing_to_cut(data: bytes) -> None:
    """Files without packets are errors that name them."""
    for attempt in (inspect, partial(cut, start_s=0, end_s=1, limit_s=120)):
        with pytest.raises(ContentError, match="'it'"):
            attempt(io.BytesIO(data), name="'it'")


def test_special_files(tmp_path: Path) -> None:
    """A folder and a missing file are refused before anything is opened."""
    for path in (tmp_path, tmp_path / "missing.mp4"):
        with pytest.raises(ContentError):
            cut(path, 0, 1, limit_s=120)
        with pytest.raises(ContentError):
            inspect(path)
