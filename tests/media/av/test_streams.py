"""Files as cameras, phones, recorders and browsers write them: every track is found, measured and embedded."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from langchain_gemini_mm import ContentError, GeminiEmbeddings, MediaLimitError, MediaStore
from langchain_gemini_mm.content.mime_types import HEAD_BYTES, sniff
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.media.av.container import opened, packets_of
from langchain_gemini_mm.media.av.cut import cut, segments
from langchain_gemini_mm.media.av.segments import SegmentFormat, Window
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.testing import GeminiEmulator, mp3, mp4
from tests.media.recordings import declared_seconds, hertz, moments, note, numbers, recording, sound
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VIDEO = SegmentFormat(limit_s=120, mime_types=("video/mp4",))
AUDIO = SegmentFormat(limit_s=120, mime_types=("audio/mp3", "audio/wav"))


@pytest.fixture(scope="module")
def emulator() -> Iterator[GeminiEmulator]:
    """The emulated service."""
    with GeminiEmulator() as running:
        yield running


def documents(path: Path, emulator: GeminiEmulator, **options: Any) -> list[tuple[str, Any]]:
    """Load a file and embed its Documents one by one; their modalities and ends."""
    media = MediaStore.memory()
    loader = PathLoader(path, media, **options)
    loaded = loader.load()
    assert not loader.skipped
    with GeminiEmbeddings(
        api_key=emulator.api_key, base_url=emulator.url, media=media, output_dimensionality=128
    ) as embeddings:
        for document in loaded:
            embeddings.embed_documents([document.page_content])
    return sorted((document.metadata["modality"], document.metadata.get("end_s")) for document in loaded)


def remuxed(container: str, *sources: bytes, kinds: tuple[str, ...]) -> bytes:
    """One track of each source in one file, in this order."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        packets: list[Any] = []
        opened_sources: list[Any] = [av.open(io.BytesIO(source)) for source in sources]
        for source, kind in zip(opened_sources, kinds, strict=True):
            stream = getattr(source.streams, kind)[0]
            copied = output.add_stream_from_template(stream, opaque=True)
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = copied
                    packets.append(packet)
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            output.mux(packet)
        for source in opened_sources:
            source.close()
    return buffer.getvalue()


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts"])
def test_the_last_part_of_a_track_that_is_not_the_first(
    container: str, emulator: GeminiEmulator, tmp_path: Path
) -> None:
    """Each segment is read to the end of the file alone, whichever track comes first."""
    for kinds in (("video", "audio"), ("audio", "video")):
        data = remuxed(container, recording(), recording(), kinds=kinds)
        path = tmp_path / "-".join(kinds)
        path.write_bytes(data)
        found = documents(path, emulator, segments=Segments(video_s=6, audio_s=6))
        assert [modality for modality, _ in found] == ["audio", "audio", "video", "video"]
        assert [end_s for _, end_s in found] == pytest.approx([6, 12, 6, 12], abs=0.1)
        assert len(documents(path, emulator, segments=Segments(skip_silent=True, skip_black=True))) == 2


def test_a_longer_track_that_is_not_used(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """Longer subtitles, or a longer second audio track, do not make a file incomplete or longer."""
    short, longer = recording(seconds=6), recording(seconds=20)
    for container in ("mp4", "matroska", "mpegts"):
        data = remuxed(container, short, short, longer, kinds=("video", "audio", "audio"))
        (tmp_path / container).write_bytes(data)
        assert documents(tmp_path / container, emulator, segments=Segments(video_s=4, audio_s=4)) == [
            ("audio", pytest.approx(4, abs=2.1)),
            ("audio", pytest.approx(6, abs=0.1)),
            ("video", pytest.approx(4, abs=2.1)),
            ("video", pytest.approx(6, abs=0.1)),
        ]


@pytest.mark.parametrize(
    ("container", "codec", "mime_type"), [("mp4", "mov_text", "video/mp4"), ("matroska", "subrip", "video/x-matroska")]
)
@pytest.mark.parametrize("last_s", [15, 25, 60])
def test_longer_subtitles(container: str, codec: str, mime_type: str, last_s: float) -> None:
    """The duration is that of the video."""
    import av

    buffer = io.BytesIO()
    source: Any = av.open(io.BytesIO(mp4(20)))
    output: Any = av.open(buffer, "w", format=container)
    with source, output:
        video: Any = output.add_stream_from_template(source.streams.video[0])
        text = output.add_stream(codec)
        text.codec_context.subtitle_header = b"[Script Info]\n\n[Events]\n"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        for start_s, said in ((1.0, b"Hello"), (last_s, b"Goodbye")):
            written = av.Packet(len(said).to_bytes(2, "big") + said if codec == "mov_text" else said)
            written.stream, written.time_base = text, video.time_base
            written.pts = written.dts = round(start_s / video.time_base)
            written.duration = round(1 / video.time_base)
            output.mux(written)
    assert probe(io.BytesIO(buffer.getvalue()), mime_type).seconds == pytest.approx(20, abs=0.05)
    assert not inspect(io.BytesIO(buffer.getvalue())).is_cut_off


def test_a_video_with_longer_audio(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """The video is embedded to its end, also where the audio is longer than the model takes of a video."""
    data = remuxed("mp4", recording(seconds=6), recording(seconds=130), kinds=("video", "audio"))
    (tmp_path / "a").write_bytes(data)
    found = documents(tmp_path / "a", emulator)
    assert [modality for modality, _ in found] == ["audio", "audio", "video"]
    assert [end_s for _, end_s in found][-1] == pytest.approx(6, abs=0.1)


def test_an_image_as_a_video_track_is_a_cover(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """A track with one image is no video; a track with more is."""
    song = recording("matroska", video=None, audio="libopus", seconds=3)
    for seconds, modality in ((0.1, "audio"), (3, "video")):
        images = recording("matroska", video="mjpeg", audio=None, seconds=seconds)
        path = tmp_path / modality
        path.write_bytes(remuxed("matroska", song, images, kinds=("audio", "video")))
        assert documents(path, emulator)[-1] == (modality, pytest.approx(3, abs=0.1))
        with GeminiEmbeddings(api_key=emulator.api_key, base_url=emulator.url) as embeddings:
            embeddings.embed_query(path)
        (part,) = emulator.embed_requests[-1].items[0].parts
        assert part.mime_type == ("audio/mp3" if modality == "audio" else "video/mp4")


@pytest.mark.parametrize("audio", ["libopus", "flac"])
def test_joined_ogg_files(audio: str, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """Two Ogg files in one are one recording, measured, cut in one pass and cut by time."""
    one, two = (recording("ogg", video=None, audio=audio, seconds=seconds) for seconds in (3, 5))
    (tmp_path / "a.ogg").write_bytes(one + two)
    assert documents(tmp_path / "a.ogg", emulator, segments=Segments(audio_s=4)) == [
        ("audio", 4),
        ("audio", pytest.approx(8, abs=0.05)),
    ]
    file = io.BytesIO(one + two)
    (in_one_pass,) = segments(file, audio=[Window(4, 8)], audio_format=AUDIO)
    for found in (in_one_pass, cut(file, 4, 8, limit_s=120)):
        samples, rate = sound(found.data)
        assert len(samples) / rate == pytest.approx(4, abs=0.1)
        assert [
            note(samples[round((at + 0.2) * rate) :][: round(0.6 * rate)], rate) for at in range(4)
        ] == pytest.approx([hertz(second) for second in (1, 2, 3, 4)], abs=5)


def test_joined_transport_streams() -> None:
    """Times that begin again are continued, measured and cut by time."""
    data = recording("mpegts", seconds=6) + recording("mpegts", seconds=6)
    assert inspect(io.BytesIO(data)).duration_s == pytest.approx(12, abs=0.2)
    found = cut(io.BytesIO(data), 8, 10, limit_s=120, track="video")
    assert set(numbers(found.data)) <= set(range(18, 41))


def test_few_frames_with_b_frames() -> None:
    """Slides and time lapses: a segment begins with the image on display, and shows nothing from after its end."""
    data = recording(moments=tuple(range(0, 100, 5)), b_frames=2, key_every=100, audio=None)
    for form in (VIDEO, SegmentFormat(limit_s=120, mime_types=("video/mp4",), lead_s=0)):
        (found,) = segments(io.BytesIO(data), video=[Window(32, 62)], video_format=form)
        assert numbers(found.data) == [6, 7, 8, 9, 10, 11, 12]
        assert moments(found.data) == pytest.approx([0, 3, 8, 13, 18, 23, 28], abs=0.01)
        assert declared_seconds(found.data) == pytest.approx(30, abs=0.1)
        assert (found.start_s, found.end_s) == (32, 62)


def test_formats_of_wav() -> None:
    """W64, RF64 and big-endian WAV are recognised, and become WAV or MP3."""
    for container, options, mime_type in (
        ("w64", {}, "audio/x-w64"),
        ("wav", {"rf64": "always"}, "audio/x-rf64"),
        ("caf", {}, "audio/x-caf"),
    ):
        data = recording(container, video=None, audio="pcm_s16le", seconds=3, **options)
        assert sniff(data[:HEAD_BYTES]) == mime_type
        assert probe(io.BytesIO(data), mime_type).seconds == pytest.approx(3, abs=0.01)
    little = recording("wav", video=None, audio="pcm_s16le", seconds=3)
    samples = np.frombuffer(little[-2 * 48_000 * 3 :], "<i2")
    header = b"".join(number.to_bytes(size, "big") for number, size in _WAV_FORMAT)
    sized = (len(samples) * 2).to_bytes(4, "big")
    big = b"RIFX" + (36 + len(samples) * 2).to_bytes(4, "big") + b"WAVEfmt " + header + b"data" + sized
    big += samples.astype(">i2").tobytes()
    assert sniff(big[:HEAD_BYTES]) == "audio/x-rifx"
    heard, rate = sound(cut(io.BytesIO(big), 1, 2, limit_s=9).data)
    assert note(heard[: round(0.8 * rate)], rate) == pytest.approx(hertz(1), abs=5)


_WAV_FORMAT = ((16, 4), (1, 2), (1, 2), (48_000, 4), (96_000, 4), (2, 2), (16, 2))


def test_audio_behind_other_bytes() -> None:
    """An MP3 that follows other bytes is found by its frames; text and random bytes are no media."""
    junk = bytes(range(1, 200)) + mp3(3.0, "hello")
    assert sniff(junk[:HEAD_BYTES]) == "audio/mp3"
    whole = probe(io.BytesIO(mp3(3.0, "hello")), "audio/mp3").seconds
    assert probe(io.BytesIO(junk), "audio/mp3").seconds == pytest.approx(whole, abs=0.2)
    dice = np.random.default_rng(1)
    for _ in range(500):
        genes = bytes(dice.choice(list(b"ACGT"), 3000))
        assert sniff(genes) is None
        assert sniff(dice.bytes(HEAD_BYTES)) is None


def test_packets_without_times_and_durations() -> None:
    """Packets whose duration is unknown last until the next one; times of the first ones may be missing."""
    data = recording("avi", video="mpeg4", audio="libmp3lame", seconds=6)
    with opened(io.BytesIO(data)) as container:
        assert next(packets_of(container, ())).size
    assert inspect(io.BytesIO(data)).duration_s == pytest.approx(6, abs=0.2)


def test_a_header_that_declares_too_much(emulator: GeminiEmulator) -> None:
    """An MP3 that declares a longer duration than it has is sent with the right one."""
    data = mp3(200.0)
    short = data[: len(data) // 20]
    media = MediaStore.memory()
    with GeminiEmbeddings(api_key=emulator.api_key, base_url=emulator.url, media=media) as embeddings:
        embeddings.embed_query(media.put(short))
    (part,) = emulator.embed_requests[-1].items[0].parts
    assert part.data is not None
    assert inspect(io.BytesIO(part.data)).declared_s == pytest.approx(10, abs=0.5)


def test_what_a_recording_does_not_have() -> None:
    """A request for video from an audio file is an error that says so."""
    with pytest.raises(ContentError, match="has no video"):
        list(
            segments(io.BytesIO(recording("flac", video=None, audio="flac")), video=[Window(0, 3)], video_format=VIDEO)
        )


def test_inspection_ends() -> None:
    """A file of which every packet must be read is refused after a time."""
    live = io.BytesIO(recording("matroska", live="1"))
    assert inspect(live).duration_s == pytest.approx(12, abs=0.1)
    with pytest.raises(MediaLimitError, match="no index"):
        inspect(live, timeout_s=0)


def test_large_video_is_scaled_down_where_it_is_encoded() -> None:
    """Encoded video has at most 1,280 pixels a side; copied video keeps its size."""
    import av

    data = recording(seconds=1, size=(1600, 800), key_every=100, audio=None)
    for lead_s, width in ((None, 1600), (0.0, 1280)):
        with av.open(io.BytesIO(cut(io.BytesIO(data), 0.5, 0.8, limit_s=9, lead_s=lead_s).data)) as container:
            assert container.streams.video[0].width == width


def test_preview() -> None:
    """A preview has the keyframes of its range, begins with an image, and keeps the audio."""
    found = cut(io.BytesIO(recording()), 3.3, 9.3, limit_s=30, keyframes_only=True)
    assert numbers(found.data) == [30, 40, 50, 60, 70, 80, 90]
    assert len(sound(found.data)[0]) > 0
    assert declared_seconds(found.data) == pytest.approx(6, abs=0.1)


def test_errors_of_reading_are_not_damage() -> None:
    """An error of the storage is reported as such."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(ContentError, match=r"cannot read .*Input/output error"):
        inspect(Failing(recording()))
