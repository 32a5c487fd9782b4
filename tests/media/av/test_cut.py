"""Segments contain every frame and sample of a recording, and none is longer than the model accepts."""

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
from tests.media.recordings import beginning, declared_seconds, hertz, moments, note, numbers, recording, sound

if TYPE_CHECKING:
    from collections.abc import Callable

VIDEO = SegmentFormat(limit_s=6, mime_types=("video/mp4",))
AUDIO = SegmentFormat(limit_s=6, mime_types=("audio/mp3", "audio/wav"))
UNEVEN = (0, 0.04, 0.1, 0.5, 0.52, 1.9, 2, 2.1, 5.3, 5.34, 6, 6.01, 6.02, 7.7, 8, 8.5, 11, 11.5)

VIDEOS: dict[str, tuple[Callable[[], bytes], bool]] = {
    "plain": (recording, True),
    "B-frames": (partial(recording, b_frames=3), True),
    "MOV": (partial(recording, "mov"), True),
    "Matroska": (partial(recording, "matroska", b_frames=2), True),
    "Matroska with Opus audio": (partial(recording, "matroska", audio="libopus"), True),
    "a live Matroska without a length": (partial(recording, "matroska", live="1"), True),
    "transport stream": (partial(recording, "mpegts", b_frames=2), True),
    "fragmented": (partial(recording, movflags="frag_keyframe+empty_moov"), True),
    "HEVC": (partial(recording, video="libx265"), True),
    "VP9": (partial(recording, "webm", video="libvpx-vp9", audio="libopus"), True),
    "VP8": (partial(recording, "webm", video="libvpx", audio="libopus"), False),
    "MPEG-4 in AVI, frames without timestamps": (partial(recording, "avi", video="mpeg4", audio="libmp3lame"), False),
    "MPEG-4 in AVI with B-frames": (partial(recording, "avi", video="mpeg4", audio=None, b_frames=2), False),
    "H.264 in AVI": (partial(recording, "avi", audio="libmp3lame"), True),
    "uneven timestamps": (partial(recording, moments=UNEVEN, key_every=4), False),
    "uneven timestamps with B-frames": (partial(recording, moments=UNEVEN, key_every=4, b_frames=2), False),
    "one keyframe": (partial(recording, key_every=1000), False),
    "one keyframe and B-frames": (partial(recording, key_every=1000, b_frames=3), False),
    "uneven timestamps and one keyframe": (partial(recording, moments=UNEVEN, key_every=1000), False),
    "keyframes between windows": (partial(recording, key_every=13), True),
    "late first timestamp": (partial(recording, "matroska", start_s=700.0), True),
    "late first timestamp in a transport stream": (partial(recording, "mpegts", start_s=40.0), True),
    "no audio": (partial(recording, audio=None), True),
    "two audio tracks": (partial(recording, audio_tracks=2), True),
    "coarse time base": (partial(recording, video_track_timescale="30"), True),
    "fine time base": (partial(recording, video_track_timescale="90000"), True),
}


def cuts(data: bytes, *, video: list[Window], form: SegmentFormat = VIDEO, with_audio: bool = False) -> list[Cut]:
    """Video segments."""
    return list(segments(io.BytesIO(data), video=video, video_format=form, with_audio=with_audio))


@pytest.mark.slow
@pytest.mark.parametrize("overlap_s", [0, 1])
@pytest.mark.parametrize(("make", "copied"), VIDEOS.values(), ids=VIDEOS)
def test_segments_contain_every_frame(make: Callable[[], bytes], copied: bool, overlap_s: float) -> None:
    """Each segment shows the frames of its window and no others, all frames are covered, and none is too long."""
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
        before = [n for n, time in zip(shown, times, strict=True) if time - began + 0.0005 < start_s]
        assert set(inside) <= set(numbers(cut.data)) <= {*inside, *before[-1:]}, cut
        assert moments(cut.data)[0] <= max(times[0] - began, 0.1)
        assert moments(cut.data)[-1] < cut.window.length_s
        assert declared_seconds(cut.data) <= VIDEO.limit_s
        assert cut.end_s - cut.start_s <= VIDEO.limit_s
        assert cut.start_s <= max(start_s, times[0] - began + 0.001)
    assert all(cut.copied for cut in found) or not copied


RECORDINGS: dict[str, tuple[Callable[[], bytes], bool]] = {
    "audio of a video": (partial(recording, key_every=1000), False),
    "AAC": (partial(recording, "ipod", video=None), False),
    "raw AAC": (partial(recording, "adts", video=None), False),
    "Opus": (partial(recording, "ogg", video=None, audio="libopus"), False),
    "FLAC": (partial(recording, "flac", video=None, audio="flac"), False),
    "AIFF": (partial(recording, "aiff", video=None, audio="pcm_s16be"), False),
    "MP3": (partial(recording, "mp3", video=None, audio="libmp3lame"), True),
    "MP3 without a header": (partial(recording, "mp3", video=None, audio="libmp3lame", write_xing="0"), True),
    "WAV": (partial(recording, "wav", video=None, audio="pcm_s16le"), True),
    "WAV of 24 bits": (partial(recording, "wav", video=None, audio="pcm_s24le"), True),
    "WAV with compressed audio": (partial(recording, "wav", video=None, audio="adpcm_ms"), False),
    "MP3 in AVI": (partial(recording, "avi", video="mpeg4", audio="libmp3lame"), True),
    "late first timestamp": (partial(recording, "mpegts", start_s=40.0), False),
}


@pytest.mark.parametrize("overlap_s", [0, 1])
@pytest.mark.parametrize(("make", "copied"), RECORDINGS.values(), ids=RECORDINGS)
def test_segments_contain_every_sample(make: Callable[[], bytes], copied: bool, overlap_s: float) -> None:
    """Each segment contains the tones of its seconds, from the beginning of its window to the end."""
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
        assert declared_seconds(cut.data) <= AUDIO.limit_s
        for second in range(round(cut.window.start_s), round(cut.window.end_s)):
            place = round((second + 0.2 - cut.start_s) * rate)
            assert note(samples[place : place + round(0.6 * rate)], rate) == pytest.approx(hertz(second), abs=4)
    assert {cut.copied for cut in found} == {copied}


def test_wav_is_cut_to_the_sample() -> None:
    """Concatenated segments of a WAV equal the original."""
    data = recording("wav", video=None, audio="pcm_s16le", seconds=10.4)
    whole, _ = sound(data)
    found = list(segments(io.BytesIO(data), audio=windows(10.4, 0.7), audio_format=AUDIO))
    assert np.array_equal(np.concatenate([sound(cut.data)[0] for cut in found]), whole)


def test_audio_of_video_segments() -> None:
    """Audio that is kept lasts as long as the video, is copied or converted to AAC, and stays in sync."""
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
    """A file that counts the bytes read."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """Count and read."""
        data = super().read(size)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize("overlap_s", [0, 1.5])
def test_the_file_is_read_once(overlap_s: float) -> None:
    """Video and audio segments, overlapping or not, come from one pass over the file."""
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
    """Only the requested windows are cut, and reading stops after the last one."""
    data = recording(seconds=40, size=(320, 160), noisy=True)
    file = Counting(data)
    planned = [Window(2, 4), Window(10.5, 12), Window(12.25, 12.5)]
    assert [cut.window for cut in segments(file, video=planned, video_format=VIDEO)] == planned
    assert file.read_bytes < len(data) / 2


def test_windows_after_the_end_give_nothing() -> None:
    """A file that is shorter than declared has fewer segments: video, copied or not, and audio."""
    for make in (recording, partial(recording, key_every=1000), partial(recording, "webm", video="libvpx", audio=None)):
        found = cuts(make(), video=windows(30, 3))
        assert [cut.window.start_s for cut in found] == [0, 3, 6, 9]
        assert found[-1].end_s <= 12.1
    data = recording("ipod", video=None)
    found = list(segments(io.BytesIO(data), audio=windows(30, 3), audio_format=AUDIO))
    assert [cut.window.start_s for cut in found][:4] == [0, 3, 6, 9]
    assert found[-1].end_s <= 12.1


def test_large_copies_are_encoded_again() -> None:
    """A segment with more bytes than the model accepts is encoded again; the others stay copies."""
    data = recording(size=(320, 160), noisy=True)
    limit = max(len(cut.data) for cut in cuts(data, video=windows(12, 3))) - 1
    found = cuts(data, video=windows(12, 3), form=SegmentFormat(limit_s=6, mime_types=("video/mp4",), max_bytes=limit))
    assert {cut.copied for cut in found} == {True, False}
    assert [cut.window for cut in found] == windows(12, 3)
    assert max(len(cut.data) for cut in found) <= limit


def test_a_limit_that_cannot_be_met_is_an_error() -> None:
    """The message names a limit that cannot be met."""
    with pytest.raises(MediaLimitError, match="900 bytes"):
        cuts(recording(), video=windows(12, 3), form=SegmentFormat(limit_s=6, mime_types=("video/mp4",), max_bytes=900))
    tiny = SegmentFormat(limit_s=6, mime_types=("audio/mp3",), max_bytes=900)
    with pytest.raises(MediaLimitError, match="900 bytes"):
        list(segments(io.BytesIO(recording()), audio=windows(12, 3), audio_format=tiny))


def test_max_edge() -> None:
    """`max_edge` scales down and keeps the aspect ratio."""
    import av

    form = SegmentFormat(limit_s=6, mime_types=("video/quicktime",), max_edge=100)
    for cut in cuts(recording(size=(640, 320)), video=windows(12, 4), form=form):
        with av.open(io.BytesIO(cut.data)) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == (100, 50)
        assert (cut.mime_type, cut.codec, cut.copied) == ("video/quicktime", "h264", False)


def test_max_lead() -> None:
    """A segment whose copy would need many packets from before its window is encoded again on request."""
    data = recording(key_every=50)
    form = SegmentFormat(limit_s=6, mime_types=("video/mp4",), lead_s=2)
    for accepted, copied in ((VIDEO, [True, True]), (form, [False, True])):
        found = cuts(data, video=[Window(3, 5), Window(6, 9)], form=accepted)
        assert [cut.copied for cut in found] == copied
        assert [(cut.start_s, cut.end_s) for cut in found] == [(3, 5), (6, 9)]
        assert [numbers(cut.data) for cut in found] == [list(range(30, 50)), list(range(60, 90))]


def test_silent_and_black_segments_can_be_skipped() -> None:
    """Silent and black segments are skipped on request."""
    silent = recording(silent=True)
    planned = windows(12, 3)
    options = {"audio": planned, "audio_format": AUDIO, "video": planned, "video_format": VIDEO}
    assert {cut.track for cut in segments(io.BytesIO(silent), **options, skip_silent=True)} == {"video"}  # type: ignore[arg-type]
    assert len(list(segments(io.BytesIO(recording()), **options, skip_silent=True, skip_black=True))) == 8  # type: ignore[arg-type]


REFUSED: dict[str, tuple[dict[str, object], type[Exception], str]] = {
    "no format": ({"video": [Window(0, 1)]}, ValueError, "video_format"),
    "out of order": ({"video": [Window(3, 4), Window(0, 1)], "video_format": VIDEO}, ValueError, "in order"),
    "backwards": ({"video": [Window(3, 2)], "video_format": VIDEO}, ValueError, "start < end"),
    "too long": ({"video": [Window(0, 7)], "video_format": VIDEO}, ValueError, "limit_s is 6"),
    "no audio": ({"audio": [Window(0, 1)], "audio_format": AUDIO}, ContentError, "'it' has no audio"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_arguments(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    """Invalid arguments are reported before anything is cut."""
    with pytest.raises(error, match=message):
        list(segments(io.BytesIO(recording(audio=None, seconds=2)), name="'it'", **arguments))  # type: ignore[arg-type]
