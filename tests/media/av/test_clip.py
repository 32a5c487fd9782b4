"""Recordings: their streams and durations, and one window cut by seeking."""

from __future__ import annotations

import io
import struct
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.media.av.container import opened
from langchain_gemini_mm.media.av.cut import cut
from langchain_gemini_mm.media.av.silence import is_black, is_silent
from langchain_gemini_mm.testing import mp4, wav
from tests.media.recordings import declared_seconds, hertz, note, numbers, recording, sound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FACTS: dict[str, tuple[Callable[[], bytes], dict[str, object]]] = {
    "a video": (recording, {"video": ("h264", 128, 64), "audio": "aac"}),
    "without audio": (partial(recording, audio=None), {"video": ("h264", 128, 64), "audio": None}),
    "audio only": (
        partial(recording, "mp3", video=None, audio="libmp3lame"),
        {"video": None, "audio": "mp3"},
    ),
    "Opus": (partial(recording, "ogg", video=None, audio="libopus"), {"video": None, "audio": "opus"}),
    "VP8": (
        partial(recording, "webm", video="libvpx", audio=None),
        {"video": ("vp8", 128, 64), "audio": None},
    ),
    "AV1": (partial(recording, video="libsvtav1", audio=None), {"video": ("av1", 128, 64), "audio": None}),
}


@pytest.mark.parametrize(("make", "expected"), FACTS.values(), ids=FACTS)
def test_streams_of_a_recording(make: Callable[[], bytes], expected: dict[str, object]) -> None:
    """Codecs and sizes are those of the encoder."""
    clip = inspect(io.BytesIO(make()))
    video, audio = clip.video, clip.audio
    assert expected == {
        "video": video and (video.codec, video.width, video.height),
        "audio": audio and audio.codec,
    }
    assert clip.duration_s == pytest.approx(12, abs=0.1)
    assert not clip.is_cut_off


def test_samples_that_look_like_a_transport_stream() -> None:
    """Samples may look like the packets of an MPEG transport stream; a WAV stays a WAV."""
    data = bytearray(wav(3))
    for place in range(0x40, len(data) - 188, 188):
        data[place : place + 4] = b"G\x00\x11\x10"
    clip = inspect(io.BytesIO(data))
    assert clip.audio is not None
    assert (clip.audio.codec, clip.duration_s) == ("pcm_s16le", 3)


def test_programming_errors_are_not_reported_as_damage() -> None:
    """Only exceptions of libav are reported as damage of the file."""
    for mistake in (TypeError, ValueError, KeyError, RuntimeError):
        with pytest.raises(mistake, match="no such argument"), opened(io.BytesIO(wav(1))):
            raise mistake("no such argument")


def wrong_duration(factor: float) -> bytes:
    """A Matroska file whose header declares another duration."""
    data = recording("matroska")
    place = data.index(b"\x44\x89\x88") + 3
    length = struct.unpack(">d", data[place : place + 8])[0]
    return data[:place] + struct.pack(">d", length * factor) + data[place + 8 :]


def test_durations_come_from_the_packets() -> None:
    """A duration in the header that is wrong or missing is replaced by that of the packets."""
    assert inspect(io.BytesIO(wrong_duration(10))).duration_s == pytest.approx(12, abs=0.1)
    assert not inspect(io.BytesIO(wrong_duration(10))).is_cut_off
    assert inspect(io.BytesIO(wrong_duration(0.5))).duration_s == pytest.approx(12, abs=0.1)
    assert inspect(io.BytesIO(recording("matroska", live="1"))).duration_s == pytest.approx(12, abs=0.1)
    data = recording(movflags="faststart", noisy=True)
    half = inspect(io.BytesIO(data[: len(data) // 2]))
    assert half.is_cut_off
    assert 4 < half.duration_s < 8
    assert half.declared_s == pytest.approx(12, abs=0.1)


def song_with_cover() -> bytes:
    """An M4A with a cover, which is stored as a video stream."""
    import av

    data = recording("ipod", video=None)
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as song, av.open(buffer, "w", format="matroska") as output:
        output.add_stream_from_template(song.streams.audio[0])
        output.add_attachment("cover.png", "image/png", b"\x89PNG\r\n\x1a\n" + bytes(100))
        for packet in song.demux():
            if packet.size:
                packet.stream = output.streams[0]
                output.mux(packet)
    return buffer.getvalue()


def test_a_cover_is_not_a_video_stream() -> None:
    """A song with a cover has no video, and is cut as audio."""
    clip = inspect(io.BytesIO(song_with_cover()))
    assert clip.video is None
    assert cut(io.BytesIO(song_with_cover()), 2, 4, limit_s=180).track == "audio"


class Counting(io.BytesIO):
    """A file that counts the bytes read."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """Count and read."""
        data = super().read(size)
        self.read_bytes += len(data)
        return data


Track = Literal["audio", "video"]
LONG: dict[str, tuple[Callable[[], bytes], Track | None]] = {
    "MP4": (partial(recording, seconds=45, noisy=True), None),
    "video track": (partial(recording, seconds=45, noisy=True), "video"),
    "audio track": (partial(recording, seconds=45, noisy=True), "audio"),
    "MOV": (partial(recording, "mov", seconds=45, noisy=True), None),
    "Matroska": (partial(recording, "matroska", seconds=45, noisy=True), None),
    "WebM": (partial(recording, "webm", seconds=45, video="libvpx", audio="libopus", noisy=True), None),
    "AVI": (partial(recording, "avi", seconds=45, video="mpeg4", audio="libmp3lame", noisy=True), None),
    "WAV": (partial(recording, "wav", seconds=45, video=None, audio="pcm_s16le"), None),
    "M4A": (partial(recording, "ipod", seconds=120, video=None), None),
    "MP3 at a constant bit rate": (partial(recording, "mp3", seconds=120, video=None, audio="libmp3lame"), None),
    "Ogg": (partial(recording, "ogg", seconds=120, video=None, audio="libopus"), None),
    "FLAC": (partial(recording, "flac", seconds=150, video=None, audio="flac"), None),
}


@pytest.mark.slow
@pytest.mark.parametrize(("make", "track"), LONG.values(), ids=LONG)
def test_a_window_is_found_by_seeking(make: Callable[[], bytes], track: Track | None) -> None:
    """Of a long file only the header, the end and the window are read, and the cut is the right one."""
    data = make()
    file = Counting(data)
    found = cut(file, 31, 34, limit_s=120, track=track)
    assert len(data) > 400_000
    assert file.read_bytes < len(data) * 0.4 + 200_000, (file.read_bytes, len(data))
    assert found.start_s <= 31.05
    assert found.end_s >= 33.95
    if found.track != "audio":
        assert set(range(311, 339)) <= set(numbers(found.data))
        assert len(numbers(found.data)) <= 45
    if found.track != "video":
        samples, rate = sound(found.data)
        place = round((32.2 - found.start_s) * rate)
        assert note(samples[place : place + round(0.6 * rate)], rate) == pytest.approx(hertz(32), abs=4)


def test_cutting_one_window_equals_cutting_all() -> None:
    """If a file has an index, cutting one window gives the same as cutting all of them."""
    from langchain_gemini_mm.media.av.cut import segments
    from langchain_gemini_mm.media.av.segments import SegmentFormat, windows

    data = recording(b_frames=2)
    form = SegmentFormat(limit_s=120, mime_types=("video/mp4",))
    for one in segments(io.BytesIO(data), video=windows(12, 3), video_format=form):
        alone = cut(io.BytesIO(data), *one.window, limit_s=120, track="video")
        assert (alone.start_s, alone.end_s, alone.data) == (one.start_s, one.end_s, one.data)


def test_a_path_and_an_open_file_give_the_same(tmp_path: Path) -> None:
    """A file that is passed open stays open."""
    path = tmp_path / "talk.mp4"
    path.write_bytes(recording())
    with path.open("rb") as file:
        assert cut(file, 3, 5, limit_s=120) == cut(path, 3, 5, limit_s=120)
        assert not file.closed


def rotated(degrees: int) -> bytes:
    """A video with a rotation in its metadata."""
    import av

    buffer = io.BytesIO()
    with av.open(io.BytesIO(recording(audio=None)), "r") as source, av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    # The matrix is in the header of the track; PyAV can write it only since 17.1.
    data = bytearray(buffer.getvalue())
    matrix = data.index(b"tkhd") + 44
    cosine, sine = {90: (0, -1), 180: (-1, 0), 270: (0, 1)}[degrees]
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(
        ">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30
    )
    return bytes(data)


def rotation_of(data: bytes) -> int:
    """Degrees counter-clockwise by which a player rotates a video."""
    import av

    with av.open(io.BytesIO(data), "r") as container:
        return int(next(container.decode(video=0)).rotation) % 360


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_kept(degrees: int) -> None:
    """A copy keeps the rotation in its metadata; a segment that is encoded again is upright."""
    import av

    data = rotated(degrees)
    assert rotation_of(data) == rotation_of(cut(io.BytesIO(data), 2, 4, limit_s=120).data) == degrees
    encoded = cut(io.BytesIO(data), 2, 4, limit_s=120, max_edge=128).data
    upright = inspect(io.BytesIO(encoded)).video
    assert upright is not None
    assert (upright.width, upright.height) == ((64, 128) if degrees % 180 else (128, 64))
    assert rotation_of(encoded) == 0
    with av.open(io.BytesIO(data), "r") as source, av.open(io.BytesIO(encoded), "r") as written:
        stored = list(source.decode(video=0))[20].to_ndarray(format="gray").astype(int)
        shown = next(written.decode(video=0)).to_ndarray(format="gray").astype(int)
    import numpy as np

    assert abs(np.rot90(stored, degrees // 90) - shown).mean() < 8


LIMITED: dict[str, tuple[dict[str, float], type[Exception], str]] = {
    "longer than the model accepts": ({"start_s": 0, "end_s": 130}, MediaLimitError, r"130 s are asked for.*120 s"),
    "after the end": ({"start_s": 50, "end_s": 60}, ContentError, "'it' holds nothing between 50 s and 60 s"),
    "backwards": ({"start_s": 5, "end_s": 4}, ValueError, "start_s < end_s"),
    "not a number": ({"start_s": 0, "end_s": float("nan")}, ValueError, "start_s < end_s"),
}


@pytest.mark.parametrize(("window", "error", "message"), LIMITED.values(), ids=LIMITED)
def test_invalid_windows(window: dict[str, float], error: type[Exception], message: str) -> None:
    """The message contains the value and the limit."""
    with pytest.raises(error, match=message):
        cut(io.BytesIO(recording()), limit_s=120, name="'it'", **window)  # type: ignore[arg-type]


def test_a_copy_never_exceeds_the_limit() -> None:
    """If the keyframe is too far back for the limit, the segment is encoded again, exactly as long as asked."""
    data = recording(key_every=60)
    assert cut(io.BytesIO(data), 4, 5.9, limit_s=6).copied
    found = cut(io.BytesIO(data), 4, 5.9, limit_s=5)
    assert (found.copied, found.start_s, found.end_s) == (False, 4, 5.9)
    assert declared_seconds(found.data) <= 1.95
    assert numbers(found.data) == list(range(40, 59))


def test_silent_and_black_streams() -> None:
    """Inaudible audio is silent and invisible video is black, up to the first audible or visible sample."""
    assert is_silent(io.BytesIO(recording(silent=True)))
    assert is_silent(io.BytesIO(recording(audio=None)))
    assert not is_silent(io.BytesIO(recording(seconds=3)))
    assert is_black(io.BytesIO(mp4(2.0, colour="black")))
    assert not is_black(io.BytesIO(mp4(2.0, colour="dimgray")))
    assert not is_black(io.BytesIO(wav(1.0)))
