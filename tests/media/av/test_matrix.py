"""Containers and codecs: what is sent of each is confirmed by an independent decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import pytest

from langchain_gemini_mm import GeminiEmbeddings, MediaStore
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.media.model_limits import VIDEO_CODECS, WAV_CODECS
from langchain_gemini_mm.testing import GeminiEmulator
from tests.media.av.independent import SAMPLE_RATE, needs_ffmpeg, play
from tests.media.recordings import hertz, note, recording
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from langchain_core.documents import Document
    from numpy.typing import NDArray

    from tests.media.av.independent import Played

SECONDS, FPS = 7, 10
VIDEOS = (
    ("mp4", "libx264", "aac"),
    ("mp4", "libx265", "flac"),
    ("mp4", "mpeg4", "libmp3lame"),
    ("mp4", "libsvtav1", "aac"),
    ("mov", "libx264", "pcm_s16le"),
    ("mov", "mjpeg", "pcm_s16le"),
    ("mov", "prores_ks", "alac"),
    ("matroska", "libx264", "ac3"),
    ("matroska", "libx265", "eac3"),
    ("matroska", "mpeg2video", "vorbis"),
    ("matroska", "ffv1", "flac"),
    ("webm", "libvpx", "libopus"),
    ("webm", "libvpx-vp9", "libopus"),
    ("webm", "libsvtav1", "libopus"),
    ("avi", "mpeg4", "libmp3lame"),
    ("avi", "mjpeg", "pcm_s16le"),
    ("mpegts", "libx264", "aac"),
    ("mpegts", "mpeg2video", "mp2"),
    ("mpeg", "mpeg2video", "mp2"),
    ("3gp", "libx264", "libopencore_amrnb"),
    ("3gp", "h263", "libopencore_amrnb"),
    ("asf", "wmv2", "wmav2"),
    ("flv", "libx264", "aac"),
    ("nut", "mpeg4", "libmp3lame"),
)
"""Container, video encoder and audio encoder, by libav's names."""
SOUNDS = (
    ("wav", "pcm_s16le"),
    ("wav", "pcm_s24le"),
    ("wav", "pcm_f32le"),
    ("wav", "pcm_mulaw"),
    ("wav", "adpcm_ima_wav"),
    ("w64", "pcm_s16le"),
    ("caf", "alac"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("voc", "pcm_s16le"),
    ("mp3", "libmp3lame"),
    ("mp2", "mp2"),
    ("adts", "aac"),
    ("ipod", "aac"),
    ("ipod", "alac"),
    ("matroska", "libopus"),
    ("webm", "libopus"),
    ("ogg", "libopus"),
    ("ogg", "vorbis"),
    ("flac", "flac"),
    ("amr", "libopencore_amrnb"),
    ("ac3", "ac3"),
    ("eac3", "eac3"),
    ("wv", "wavpack"),
    ("tta", "tta"),
    ("asf", "wmav2"),
)
"""Container and audio encoder."""
AUDIO_CODECS = {"mp3", *WAV_CODECS}
pytestmark = needs_ffmpeg


@pytest.fixture(scope="module")
def emulator() -> Iterator[GeminiEmulator]:
    """The emulated service."""
    with GeminiEmulator() as running:
        yield running


def needs_encoders(*names: str) -> None:
    """Skip where the wheel of PyAV lacks an encoder; that of PyAV 19 has no AMR encoder."""
    for name in names:
        try:
            av.Codec(name, "w")
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"PyAV {av.__version__} has no encoder {name}")


def sent(path: Path, emulator: GeminiEmulator, segments: Segments, *, with_audio: bool) -> list[tuple[Document, bytes]]:
    """The Documents of a file, each with the bytes that are sent for it."""
    media = MediaStore.memory()
    loader = PathLoader(path, media, segments=segments)
    documents = loader.load()
    assert not loader.skipped
    embeddings = GeminiEmbeddings(
        api_key=emulator.api_key,
        base_url=emulator.url,
        media=media,
        output_dimensionality=128,
        # Only Vertex AI hears the audio of a video.
        vertexai=with_audio,
        audio_track_extraction=with_audio,
    )
    found = []
    for document in documents:
        embeddings.embed_documents([document.page_content])
        (part,) = emulator.embed_requests[-1].items[0].parts
        assert part.data is not None
        found.append((document, part.data))
    embeddings.close()
    return found


def check(document: Document, played: Played, source: Played, *, with_audio: bool) -> None:
    """Compare what is played with the time range of a Document."""
    start_s, end_s = document.metadata.get("start_s", 0), document.metadata.get("end_s", SECONDS)
    assert played.seconds == pytest.approx(end_s - start_s, abs=0.1)
    if document.metadata["modality"] == "video":
        assert played.codecs["video"] in VIDEO_CODECS
        assert ("audio" in played.codecs) == with_audio
        times = [time - source.times[0] for time in source.times]
        inside = [n for n, time in zip(source.numbers, times, strict=True) if start_s <= time + 0.001 < end_s]
        before = max(inside[0] - 1, 0)
        assert set(played.numbers) | {before} == {*inside, before}
        assert played.times[0] < 0.11
        assert played.times[-1] == pytest.approx(times[inside[-1]] - start_s, abs=0.11)
    else:
        assert played.codecs == {"audio": played.codecs["audio"]}
        assert played.codecs["audio"] in AUDIO_CODECS
    if "audio" in played.codecs:
        length = min(end_s, len(source.samples) / SAMPLE_RATE) - start_s
        assert len(played.samples) / SAMPLE_RATE == pytest.approx(length, abs=0.1)
        check_tones(played.samples, range(round(start_s), round(min(end_s, SECONDS))), start_s)


def check_tones(samples: NDArray[np.float32], seconds: range, start_s: float) -> None:
    """Every second has its own tone."""
    for second in seconds:
        place = round((second + 0.2 - start_s) * SAMPLE_RATE)
        tone = note(samples[place : place + round(0.6 * SAMPLE_RATE)], SAMPLE_RATE)
        assert tone == pytest.approx(hertz(second), abs=10), second


@pytest.mark.slow
@pytest.mark.parametrize(("container", "video", "audio"), VIDEOS, ids=map("-".join, VIDEOS))
def test_videos(container: str, video: str, audio: str, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """The whole file and its segments, one of which begins between keyframes, and its audio track alone."""
    path = tmp_path / "film"
    size = (176, 144) if video == "h263" else (128, 64)
    needs_encoders(video, audio)
    path.write_bytes(recording(container, video=video, audio=audio, seconds=SECONDS, fps=FPS, size=size))
    source = play(path.read_bytes(), tmp_path)
    whole = sent(path, emulator, Segments(video_s=60), with_audio=True)
    assert sorted(document.metadata["modality"] for document, _ in whole) == ["audio", "video"]
    parts = sent(path, emulator, Segments(video_s=2.5, audio_s=3), with_audio=False)
    videos = [pair for pair in parts if pair[0].metadata["modality"] == "video"]
    audios = [pair for pair in parts if pair[0].metadata["modality"] == "audio"]
    assert videos[0][0].metadata["start_s"] == audios[0][0].metadata["start_s"] == 0
    assert videos[-1][0].metadata["end_s"] == pytest.approx(SECONDS, abs=0.1)
    for pairs, with_audio in ((whole, True), (videos, False), ([audios[0], audios[-1]], True)):
        for document, data in pairs:
            check(document, play(data, tmp_path), source, with_audio=with_audio)


@pytest.mark.slow
@pytest.mark.parametrize(("container", "audio"), SOUNDS, ids=map("-".join, SOUNDS))
def test_sounds(container: str, audio: str, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """The whole file, its first and its last segment."""
    path = tmp_path / "sound"
    needs_encoders(audio)
    path.write_bytes(recording(container, video=None, audio=audio, seconds=SECONDS))
    source = play(path.read_bytes(), tmp_path)
    whole = sent(path, emulator, Segments(), with_audio=True)
    parts = sent(path, emulator, Segments(audio_s=3), with_audio=True)
    assert len(whole) == 1
    assert len(parts) == 3
    for document, data in (*whole, parts[0], parts[-1]):
        assert document.metadata["modality"] == "audio"
        check(document, play(data, tmp_path), source, with_audio=True)
