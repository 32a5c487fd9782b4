"""Parts of long media: their number, references and ids, which stay the same between runs."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from tests.media.recordings import recording
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document

    from langchain_gemini_mm.storage import MediaStore


def tone(seconds: float) -> np.ndarray:
    """Audible samples."""
    return (np.sin(np.arange(round(seconds * 8000)) / 5) * 0.5).astype(np.float32)


def load(path: Path, data: bytes, media: MediaStore, **options: Any) -> list[Document]:
    """The Documents of one file, none of which is skipped."""
    path.write_bytes(data)
    loader = PathLoader(path, media, **options)
    documents = loader.load()
    assert loader.skipped == []
    return documents


def parts(documents: list[Document]) -> list[str]:
    """The fragments of the references, empty for a whole file."""
    return [document.page_content.removesuffix(")").partition("#")[2] for document in documents]


CASES: dict[str, tuple[str, bytes, dict[str, Any], list[str]]] = {
    "a short video": ("a.mp4", mp4(20), {}, [""]),
    "a video slightly longer than a window": ("a.mp4", mp4(35), {}, [""]),
    "a long video": ("a.mp4", mp4(75), {}, ["t=0,30", "t=30,60", "t=60,75"]),
    "with overlap": ("a.mp4", mp4(50), {"video_s": 20, "video_overlap_s": 5}, ["t=0,20", "t=15,35", "t=30,50"]),
    "short windows": ("a.mp4", mp4(4), {"video_s": 2}, ["t=0,2", "t=2,4"]),
    "a short video with audio": ("a.mp4", mp4(5, samples=tone(5)), {}, ["", "t=0,5&track=audio"]),
    "its video stream only": ("a.mp4", mp4(5, samples=tone(5)), {"audio_tracks": False}, [""]),
    "a long video with audio": (
        "a.mp4",
        mp4(95, samples=tone(95)),
        {},
        ["t=0,30", "t=30,60", "t=0,60&track=audio", "t=60,95", "t=60,95&track=audio"],
    ),
    "audio that ends earlier": (
        "a.mp4",
        mp4(75, samples=tone(20)),
        {},
        ["t=0,20&track=audio", "t=0,30", "t=30,60", "t=60,75"],
    ),
    "short audio": ("a.mp3", mp3(50), {}, [""]),
    "long audio": ("a.wav", wav(190), {}, ["t=0,60", "t=60,120", "t=120,190"]),
    "one page": ("a.pdf", pdf(1), {}, [""]),
    "pages": ("a.pdf", pdf(3), {}, ["page=1,1", "page=2,2", "page=3,3"]),
    "windows of pages": ("a.pdf", pdf(8), {"pages": 6, "page_overlap": 1}, ["page=1,6", "page=6,8"]),
    "few pages": ("a.pdf", pdf(6), {"pages": 6}, [""]),
    "an image": ("a.png", png(), {}, [""]),
    "a type that must be converted": (
        "a.flac",
        recording("flac", video=None, audio="flac", seconds=3),
        {},
        ["t=0,3"],
    ),
    "audio in a video container": (
        "a.webm",
        recording("webm", video=None, audio="libopus", seconds=3),
        {},
        ["t=0,3&track=audio"],
    ),
}


@pytest.mark.parametrize(("name", "data", "segment_options", "expected"), CASES.values(), ids=CASES)
def test_parts(
    tmp_path: Path, media: MediaStore, name: str, data: bytes, segment_options: dict[str, Any], expected: list[str]
) -> None:
    """Media within the window and the limits stay whole; others are covered by windows; the file is stored once."""
    documents = load(tmp_path / name, data, media, segments=Segments(**segment_options))
    # Encoders add a frame at the end, which FFmpeg 8.0 counts.
    assert [re.sub(r"\.0[0-2]\d", "", part) for part in parts(documents)] == expected
    assert len(list(media.refs())) == 1
    assert len({document.id for document in documents}) == len(documents)
    assert all(media.get(MediaRef.parse(document.page_content)) == data for document in documents)


def test_metadata_of_parts(tmp_path: Path, media: MediaStore) -> None:
    """Times, pages, track and position are numbers under the documented keys; whole files have no times."""
    video = load(tmp_path / "talk.mp4", mp4(40, samples=tone(40)), media, segments=Segments(video_s=20))
    first, last, audio = (document.metadata for document in video)
    assert {key: first[key] for key in ("start_s", "end_s", "position", "modality")} == {
        "start_s": 0.0,
        "end_s": 20.0,
        "position": 0,
        "modality": "video",
    }
    assert (last["start_s"], last["end_s"], last["position"]) == (20.0, 40.0, 1)
    assert (audio["modality"], audio["track"], audio["position"]) == ("audio", "audio", 0)
    assert audio["mime_type"] == "video/mp4"
    assert "track" not in first
    pages = [document.metadata for document in load(tmp_path / "a.pdf", pdf(3), media, segments=Segments(pages=2))]
    assert [(page["first_page"], page["last_page"], page["position"]) for page in pages] == [(1, 2, 0), (3, 3, 1)]
    assert not {"start_s", "first_page", "track"} & load(tmp_path / "a.jpg", jpeg(), media)[0].metadata.keys()


def test_ids_come_from_source_and_content(tmp_path: Path, media: MediaStore) -> None:
    """Another file of the same name, and other windows, have other ids; the same file has the same ids again."""
    path = tmp_path / "talk.mp4"
    one = load(path, mp4(60, "one"), media)
    two = load(path, mp4(60, "two"), media)
    assert not {document.id for document in one} & {document.id for document in two}
    again = load(path, mp4(60, "one"), media)
    assert [document.id for document in one] == [document.id for document in again]
    other = load(path, mp4(60, "one"), media, segments=Segments(video_s=20))
    assert not {document.id for document in one} & {document.id for document in other}


def test_segments_cover_everything(tmp_path: Path, media: MediaStore) -> None:
    """Segments cover the recording without a gap, and none exceeds the limit of the model."""
    data = mp4(301.5, samples=tone(301.5))
    documents = load(tmp_path / "long.mp4", data, media, segments=Segments(video_s=13, video_overlap_s=2, audio_s=180))
    length = inspect(io.BytesIO(data)).duration_s
    for modality, limit_s in (("video", 120), ("audio", 180)):
        bounds = sorted(
            (document.metadata["start_s"], document.metadata["end_s"])
            for document in documents
            if document.metadata["modality"] == modality
        )
        assert bounds[0][0] == 0
        assert bounds[-1][1] == pytest.approx(length, abs=0.2)
        assert all(two[0] <= one[1] for one, two in pairwise(bounds))
        assert max(end - start for start, end in bounds) <= limit_s


def test_silent_and_black_segments_can_be_skipped(tmp_path: Path, media: MediaStore) -> None:
    """Silent and black segments are skipped on request, and a file with no other segments is reported."""
    samples = np.concatenate([tone(10), np.zeros(80_000, np.float32), tone(10)])
    video = mp4(30, samples=samples, frame=lambda t: _frame("black" if t < 1 / 3 else "orange"))
    segment_options: dict[str, Any] = {"video_s": 10.0, "audio_s": 10.0}
    skipping = Segments(**segment_options, skip_silent=True, skip_black=True)
    path = tmp_path / "a.mp4"
    everything = load(path, video, media, segments=Segments(**segment_options))
    kept = load(path, video, media, segments=skipping)
    bounds = sorted((document.metadata["modality"], document.metadata["start_s"]) for document in kept)
    assert bounds == [("audio", 0.0), ("audio", 20.0), ("video", 10.0), ("video", 20.0)]
    assert [document for document in everything if document.id in {one.id for one in kept}] == kept
    path.write_bytes(wav(samples=np.zeros(16_000, np.float32)))
    loader = PathLoader(path, media, segments=skipping)
    assert loader.load() == []
    assert "silence or blackness" in loader.skipped[0].reason


def _frame(colour: str) -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64), colour)


MODALITIES: dict[str, tuple[set[str], list[str]]] = {
    "images": ({"image"}, ["a.png"]),
    "audio and audio tracks": ({"audio"}, ["b.mp3", "c.mp4"]),
    "videos": ({"video"}, ["c.mp4"]),
    "texts and pages": ({"text", "pdf"}, ["d.pdf", "e.txt"]),
}


@pytest.mark.parametrize(("chosen", "expected"), MODALITIES.values(), ids=MODALITIES)
def test_modalities(tmp_path: Path, media: MediaStore, chosen: set[Any], expected: list[str]) -> None:
    """Only the selected modalities are loaded; others are neither reported nor stored."""
    files = {"a.png": png(), "b.mp3": mp3(1), "c.mp4": mp4(2, samples=tone(2)), "d.pdf": pdf(1), "e.txt": b"words"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    loader = PathLoader(tmp_path, media, modalities=chosen)
    documents = loader.load()
    assert [document.metadata["source"] for document in documents] == expected
    assert {document.metadata["modality"] for document in documents} <= chosen
    assert loader.skipped == []


def test_file_sizes(tmp_path: Path, media: MediaStore) -> None:
    """Files outside the size limits are reported with their size and the limit."""
    for size in (1, 10, 100):
        (tmp_path / f"{size:03}.txt").write_text("x" * size)
    loader = PathLoader(tmp_path, media, min_bytes=5, max_bytes=50)
    assert [document.metadata["source"] for document in loader.load()] == ["010.txt"]
    assert [skipped.reason for skipped in loader.skipped] == [
        "it has 1 bytes; min_bytes is 5",
        "it has 100 bytes; max_bytes is 50",
    ]


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "longer than the model accepts": ({"segments": Segments(video_s=121)}, "video_s must be at most 120"),
    "more pages than the model accepts": ({"segments": Segments(pages=7)}, "pages must be at most 6"),
    "unknown modality": ({"modalities": ["movie"]}, "modalities must be some of"),
    "no modality": ({"modalities": []}, "modalities must be some of"),
    "min_bytes above max_bytes": ({"min_bytes": 5, "max_bytes": 4}, "min_bytes <= max_bytes"),
    "too many workers": ({"workers": 1000}, "workers must be from 0 to 64"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_invalid_options(tmp_path: Path, media: MediaStore, options: dict[str, Any], message: str) -> None:
    """Invalid options are refused when the loader is created."""
    with pytest.raises(ValueError, match=message):
        PathLoader(tmp_path, media, **options)


@pytest.mark.parametrize(
    "wrong", [{"video_s": 0}, {"audio_s": 5, "audio_overlap_s": 5}, {"pages": 0}, {"page_overlap": 1}]
)
def test_invalid_windows(wrong: dict[str, Any]) -> None:
    """A window has a positive length and a shorter overlap."""
    with pytest.raises(ValueError, match=r"window"):
        Segments(**wrong)
