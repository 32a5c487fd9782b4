"""Segments: every frame and every sample of a recording is in one, and none is longer than the model takes."""

from __future__ import annotations

import io
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.media.av.cut import segments
from langchain_gemini_mm.media.av.segments import Cut, SegmentFormat, Window, windows
from tests.media.recordings import beginning, hertz, moments, note, numbers, recording, sound, told_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

VIDEO = SegmentFormat(limit_s=6, mime_types=("video/mp4",))
AUDIO = SegmentFormat(limit_s=6, mime_types=("audio/mp3", "audio/wav"))
UNEVEN = (0, 0.04, 0.1, 0.5, 0.52, 1.9, 2, 2.1, 5.3, 5.34, 6, 6.01, 6.02, 7.7, 8, 8.5, 11, 11.5)

PICTURES: dict[str, tuple[Callable[[], bytes], bool]] = {
    "plain": (recording, True),
    "B-frames": (partial(recording, b_frames=3), True),
    "MOV": (partial(recording, "mov"), True),
    "Matroska": (partial(recording, "matroska", b_frames=2), True),
    "Matroska with Vorbis-like sound": (partial(recording, "matroska", audio="libopus"), True),
    "a live Matroska without a length": (partial(recording, "matroska", live="1"), True),
    "transport stream": (partial(recording, "mpegts", b_frames=2), True),
    "fragmented": (partial(recording, movflags="frag_keyframe+empty_moov"), True),
    "HEVC": (partial(recording, video="libx265"), True),
    "VP9": (partial(recording, "webm", video="libvpx-vp9", audio="libopus"), True),
    "VP8": (partial(recording, "webm", video="libvpx", audio="libopus"), False),
    "MPEG-4 in AVI, frames without times": (partial(recording, "avi", video="mpeg4", audio="libmp3lame"), False),
    "MPEG-4 in AVI with B-frames": (partial(recording, "avi", video="mpeg4", audio=None, b_frames=2), False),
    "H.264 in AVI": (partial(recording, "avi", audio="libmp3lame"), True),
    "uneven times": (partial(recording, moments=UNEVEN, key_every=4), False),
    "uneven times with B-frames": (partial(recording, moments=UNEVEN, key_every=4, b_frames=2), False),
    "one keyframe": (partial(recording, key_every=1000), False),
    "one keyframe and B-frames": (partial(recording, key_every=1000, b_frames=3), False),
    "uneven times and one keyframe": (partial(recording, moments=UNEVEN, key_every=1000), False),
    "keyframes off the windows": (partial(recording, key_every=13), True),
    "times that begin late": (partial(recording, "matroska", start_s=700.0), True),
    "times that begin late in a transport stream": (partial(recording, "mpegts", start_s=40.0), True),
    "no sound": (partial(recording, audio=None), True),
    "two sounds": (partial(recording, sounds=2), True),
    "large ticks": (partial(recording, video_track_timescale="30"), True),
    "small ticks": (partial(recording, video_track_timescale="90000"), True),
}


def cuts(data: bytes, *, video: list[Window], form: SegmentFormat = VIDEO, with_audio: bool = False) -> list[Cut]:
    """Segments of pictures."""
    return list(segments(io.BytesIO(data), video=video, video_format=form, with_audio=with_audio))


@pytest.mark.parametrize("overlap_s", [0, 1])
@pytest.mark.parametrize(("make", "copied"), PICTURES.values(), ids=PICTURES)
def test_every_frame_is_in_a_segment(make: Callable[[], bytes], copied: bool, overlap_s: float) -> None:
    """Each segment shows the frames of its window, all of them are shown, and none of them lasts too long."""
    data = make()
    shown, times = numbers(data), moments(data)
    planned = windows(inspect(io.BytesIO(data)).duration_s, 3, overlap_s)
    found = cuts(data, video=planned)
    assert [cut.window for cut in found] == planned
    assert {number for cut in found for number in numbers(cut.data)} == set(shown)
    began = beginning(data)
    for cut in found:
        start_s, end_s = cut.window
        inside = [n for n, time in zip(shown, times, strict=True) if start_s <= time - began + 0.0005 < end_s]
        assert set(inside) <= set(numbers(cut.data)), cut
        assert told_seconds(cut.data) <= VIDEO.limit_s
        assert cut.end_s - cut.start_s <= VIDEO.limit_s
        assert cut.start_s <= max(start_s, times[0] - began + 0.001)
    assert all(cut.copied for cut in found) or not copied


SOUNDS: dict[str, tuple[Callable[[], bytes], bool]] = {
    "of a video": (partial(recording, key_every=1000), False),
    "AAC": (partial(recording, "ipod", video=None), False),
    "raw AAC": (partial(recording, "adts", video=None), False),
    "Opus": (partial(recording, "ogg", video=None, audio="libopus"), False),
    "FLAC": (partial(recording, "flac", video=None, audio="flac"), False),
    "AIFF": (partial(recording, "aiff", video=None, audio="pcm_s16be"), False),
    "MP3": (partial(recording, "mp3", video=None, audio="libmp3lame"), True),
    "MP3 without a header": (partial(recording, "mp3", video=None, audio="libmp3lame", write_xing="0"), True),
    "WAV": (partial(recording, "wav", video=None, audio="pcm_s16le"), True),
    "WAV of 24 bits": (partial(recording, "wav", video=None, audio="pcm_s24le"), True),
    "WAV with packed sound": (partial(recording, "wav", video=None, audio="adpcm_ms"), False),
    "MP3 in AVI": (partial(recording, "avi", video="mpeg4", audio="libmp3lame"), True),
    "times that begin late": (partial(recording, "mpegts", start_s=40.0), False),
}


@pytest.mark.parametrize("overlap_s", [0, 1])
@pytest.mark.parametrize(("make", "copied"), SOUNDS.values(), ids=SOUNDS)
def test_every_sample_is_in_a_segment(make: Callable[[], bytes], copied: bool, overlap_s: float) -> None:
    """Each segment sounds the notes of its seconds, from its window's beginning to its end."""
    data = make()
    planned = windows(12, 3, overlap_s)
    found = list(segments(io.BytesIO(data), audio=planned, audio_format=AUDIO))
    assert [cut.window for cut in found] == planned
    for cut in found:
        samples, rate = sound(cut.data)
        assert cut.start_s <= cut.window.start_s + 0.05
        assert cut.end_s >= cut.window.end_s - 0.05
        assert len(samples) / rate == pytest.approx(cut.end_s - cut.start_s, abs=0.12)
        assert len(samples) / rate >= cut.window.length_s - 0.05
        assert told_seconds(cut.data) <= AUDIO.limit_s
        for second in range(round(cut.window.start_s), round(cut.window.end_s)):
            place = round((second + 0.2 - cut.start_s) * rate)
            assert note(samples[place : place + round(0.6 * rate)], rate) == pytest.approx(hertz(second), abs=4)
    assert {cut.copied for cut in found} == {copied}


def test_wav_is_cut_to_the_sample() -> None:
    """The segments of a WAV put together are the whole."""
    data = recording("wav", video=None, audio="pcm_s16le", seconds=10.4)
    whole, _ = sound(data)
    found = list(segments(io.BytesIO(data), audio=windows(10.4, 0.7), audio_format=AUDIO))
    assert np.array_equal(np.concatenate([sound(cut.data)[0] for cut in found]), whole)


def test_sound_beside_pictures() -> None:
    """Where sound is kept it lasts as long as the pictures, copied or turned into AAC, and stands at its place."""
    for make in (recording, partial(recording, "matroska", audio="libopus"), partial(recording, key_every=1000)):
        data = make()
        for cut in cuts(data, video=windows(12, 3), with_audio=True):
            samples, rate = sound(cut.data)
            assert cut.track is None
            assert len(samples) / rate == pytest.approx(cut.end_s - cut.start_s, abs=0.15)
            place = round((cut.window.start_s + 1.2 - cut.start_s) * rate)
            tone = note(samples[place : place + round(0.6 * rate)], rate)
            assert tone == pytest.approx(hertz(round(cut.window.start_s) + 1), abs=4)


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """Count and read."""
        data = super().read(size)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize("overlap_s", [0, 1.5])
def test_the_file_is_read_once(overlap_s: float) -> None:
    """Pictures and sound, overlapping or not, come out of one reading, the sound when it is due."""
    data = recording(seconds=40, size=(320, 160), noisy=True)
    file = Counting(data)
    planned = windows(40, 4, overlap_s)
    found = list(
        segments(file, video=planned, audio=windows(40, 5), video_format=VIDEO, audio_format=AUDIO, with_audio=True)
    )
    assert len([cut for cut in found if cut.track is None]) == len(planned)
    assert len([cut for cut in found if cut.track == "audio"]) == 8
    assert file.read_bytes < 1.2 * len(data) + 200_000
    ends = [cut.window.end_s for cut in found]
    assert all(later > sooner - 6 for sooner, later in pairwise(ends))


def test_windows_may_leave_gaps() -> None:
    """Only what is asked for is cut, and reading stops behind the last window."""
    data = recording(seconds=40, size=(320, 160), noisy=True)
    file = Counting(data)
    planned = [Window(2, 4), Window(10.5, 12), Window(12.25, 12.5)]
    assert [cut.window for cut in segments(file, video=planned, video_format=VIDEO)] == planned
    assert file.read_bytes < len(data) / 2


def test_windows_behind_the_end_give_nothing() -> None:
    """A file that is shorter than it says has fewer segments, of pictures copied or not and of sound."""
    for make in (recording, partial(recording, key_every=1000), partial(recording, "webm", video="libvpx", audio=None)):
        found = cuts(make(), video=windows(30, 3))
        assert [cut.window.start_s for cut in found] == [0, 3, 6, 9]
        assert found[-1].end_s <= 12.1
    data = recording("ipod", video=None)
    found = list(segments(io.BytesIO(data), audio=windows(30, 3), audio_format=AUDIO))
    assert [cut.window.start_s for cut in found][:4] == [0, 3, 6, 9]
    assert found[-1].end_s <= 12.1


def test_large_copies_are_written_anew() -> None:
    """A segment with more bytes than the model takes is made smaller; the others stay copies."""
    data = recording(size=(320, 160), noisy=True)
    most = max(len(cut.data) for cut in cuts(data, video=windows(12, 3))) - 1
    found = cuts(data, video=windows(12, 3), form=SegmentFormat(limit_s=6, mime_types=("video/mp4",), max_bytes=most))
    assert {cut.copied for cut in found} == {True, False}
    assert [cut.window for cut in found] == windows(12, 3)
    assert max(len(cut.data) for cut in found) <= most


def test_what_cannot_be_small_enough_is_an_error() -> None:
    """A limit that nothing meets is named."""
    with pytest.raises(MediaLimitError, match="900 bytes"):
        cuts(recording(), video=windows(12, 3), form=SegmentFormat(limit_s=6, mime_types=("video/mp4",), max_bytes=900))
    tiny = SegmentFormat(limit_s=6, mime_types=("audio/mp3",), max_bytes=900)
    with pytest.raises(MediaLimitError, match="900 bytes"):
        list(segments(io.BytesIO(recording()), audio=windows(12, 3), audio_format=tiny))


def test_smaller_pictures() -> None:
    """`max_edge` scales down and keeps the shape."""
    import av

    form = SegmentFormat(limit_s=6, mime_types=("video/quicktime",), max_edge=100)
    for cut in cuts(recording(size=(640, 320)), video=windows(12, 4), form=form):
        with av.open(io.BytesIO(cut.data)) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == (100, 50)
        assert (cut.mime_type, cut.codec, cut.copied) == ("video/quicktime", "h264", False)


def test_a_long_lead_can_be_refused() -> None:
    """Where a copy would begin long before its window, it is encoded again on demand."""
    data = recording(key_every=50)
    wished = cuts(data, video=[Window(3, 5)])
    assert (wished[0].start_s, wished[0].copied) == (0, True)
    form = SegmentFormat(limit_s=6, mime_types=("video/mp4",), lead_s=2)
    exact = cuts(data, video=[Window(3, 5), Window(6, 9)], form=form)
    assert [(cut.start_s, cut.copied) for cut in exact] == [(3, False), (5, True)]


def test_silence_and_blackness_can_be_left_out() -> None:
    """Segments without anything to hear or see are not made when they are not wanted."""
    quiet = recording(silent=True)
    planned = windows(12, 3)
    asked = {"audio": planned, "audio_format": AUDIO, "video": planned, "video_format": VIDEO}
    assert {cut.track for cut in segments(io.BytesIO(quiet), **asked, skip_silent=True)} == {"video"}  # type: ignore[arg-type]
    assert len(list(segments(io.BytesIO(recording()), **asked, skip_silent=True, skip_black=True))) == 8  # type: ignore[arg-type]


REFUSED: dict[str, tuple[dict[str, object], type[Exception], str]] = {
    "no form": ({"video": [Window(0, 1)]}, ValueError, "video_format"),
    "out of order": ({"video": [Window(3, 4), Window(0, 1)], "video_format": VIDEO}, ValueError, "in order"),
    "backwards": ({"video": [Window(3, 2)], "video_format": VIDEO}, ValueError, "start < end"),
    "too long": ({"video": [Window(0, 7)], "video_format": VIDEO}, ValueError, "limit_s is 6"),
    "no sound": ({"audio": [Window(0, 1)], "audio_format": AUDIO}, ContentError, "'it' has no audio"),
}


@pytest.mark.parametrize(("given", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked(given: dict[str, object], kind: type[Exception], words: str) -> None:
    """Mistakes are named before anything is cut."""
    with pytest.raises(kind, match=words):
        list(segments(io.BytesIO(recording(audio=None, seconds=2)), name="'it'", **given))  # type: ignore[arg-type]
