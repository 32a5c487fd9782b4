"""Rotten recordings: segments or one of our errors, soon, and never a crash, a hang or a full memory."""

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
"""Seconds of computing, which a busy machine does not make more."""

MADE: dict[str, Callable[[], bytes]] = {
    "mp4": recording,
    "mp4 with its index in front": partial(recording, movflags="faststart"),
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
PICTURED = {"mp4", "mp4 with its index in front", "fragmented mp4", "mkv", "webm", "ts", "avi"}


def tried(data: bytes) -> list[Cut]:
    """Everything that one does with a recording; what our errors leave over."""
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
def test_what_is_left_of_a_cut_off_recording_is_used(name: str, share: float) -> None:
    """Segments of the part that is there, none of the rest; an MP4 without its index is an error."""
    data = MADE[name]()
    started = time.process_time()
    found = tried(data[: int(len(data) * share)])
    assert time.process_time() - started < PATIENCE_S
    if name in PICTURED and name != "mp4" and share == 0.6:
        assert 2 <= len([one for one in found if one.track is None]) <= 4
        assert all(numbers(one.data) for one in found if one.track is None)
    if name in {"mp3", "wav", "ts", "mkv", "ogg", "flac"} and share == 0.6:
        assert 3 <= len([one for one in found if one.track == "audio"]) <= 5


@pytest.mark.soak
@pytest.mark.parametrize("name", MADE)
def test_flipped_bits(name: str, rounds: Callable[..., Iterable[int]]) -> None:
    """Whatever is flipped, the answer is segments within the limits or one of our errors, and it comes soon."""
    whole = MADE[name]()
    for seed in rounds(4, parts=len(MADE)):
        data, dice = bytearray(whole), random.Random(seed)
        started = time.process_time()
        for _ in range(dice.randint(1, 40)):
            place = dice.randrange(len(data)) if dice.random() < 0.5 else dice.randrange(min(4000, len(data)))
            data[place] ^= 1 << dice.randrange(8)
        for found in tried(bytes(data)):
            assert found.end_s - found.start_s <= 6.001
        assert time.process_time() - started < PATIENCE_S


@pytest.mark.parametrize("name", MADE)
def test_a_hole_in_the_middle_costs_only_what_was_in_it(name: str) -> None:
    """Zeros over a tenth of a file leave most of its segments."""
    data = bytearray(MADE[name]())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    found = tried(bytes(data))
    assert len(found) >= 3


def joined() -> bytes:
    """Two transport streams written behind one another: their times begin at zero again."""
    return recording("mpegts", seconds=6) + recording("mpegts", seconds=6)


def test_recordings_joined_into_one_file() -> None:
    """Where time stamps jump back the second half follows the first."""
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
def test_files_that_point_elsewhere_are_not_opened(data: bytes) -> None:
    """A list of other files or addresses is no recording, whatever it is called."""
    for attempt in (inspect, partial(cut, start_s=0, end_s=1, limit_s=120)):
        with pytest.raises(ContentError, match="'it'"):
            attempt(io.BytesIO(data), name="'it'")


def claiming(width: int, height: int) -> bytes:
    """An MP4 that says its pictures are huge."""
    data = bytearray(recording(audio=None))
    place = data.index(b"avc1\x00\x00\x00\x00\x00\x00\x00\x01") + 4 + 24
    data[place : place + 4] = struct.pack(">HH", width, height)
    return bytes(data)


def test_claimed_sizes_and_counts_do_not_fill_the_memory() -> None:
    """A header's numbers are only numbers."""
    data = bytearray(recording(audio=None))
    place = data.index(b"stsz") + 8
    data[place + 4 : place + 8] = struct.pack(">I", 0xFFFFFF00)
    for rotten in (bytes(data), claiming(65_535, 65_535)):
        started = time.process_time()
        tried(rotten)
        assert time.process_time() - started < PATIENCE_S


class Endless(io.BytesIO):
    """A file that says it is small and never stops giving."""

    def read(self, size: int | None = -1) -> bytes:
        """Give zeros behind the end."""
        return super().read(size) or bytes(min(size or 1, 65_536))


def test_a_file_without_end_is_given_up() -> None:
    """Reading is bounded by the size that a file had when it was opened."""
    started = time.process_time()
    with suppress(ContentError):
        inspect(Endless(recording("mpegts")))
    assert time.process_time() - started < PATIENCE_S


class Broken(io.BytesIO):
    """A file on a disk that fails."""

    def read(self, size: int | None = -1) -> bytes:
        """Fail behind the first part."""
        if self.tell() > 20_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("name", ["mkv", "ts", "mp3", "wav"])
def test_a_failing_disk(name: str) -> None:
    """Errors of the file system come as ours, or as what could be read before."""
    try:
        found = list(segments(Broken(MADE[name]()), audio=windows(12, 3), audio_format=AUDIO))
    except GeminiMMError:
        return
    assert len(found) < 5


EMPTY: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(5000),
    "noise": random.Random(3).randbytes(5000),
    "a head alone": recording()[:40],
    "a WAV without samples": recording("wav", video=None, audio="pcm_s16le", seconds=0.0001)[:44],
}


@pytest.mark.parametrize("data", EMPTY.values(), ids=EMPTY)
def test_nothing_to_cut(data: bytes) -> None:
    """Files without a single packet are errors that name them."""
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
