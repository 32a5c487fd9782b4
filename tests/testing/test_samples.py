"""The sample files, and the results of searches in them."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter

import numpy as np
import pytest
from google.genai.types import Part

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, modality_of, sniff
from langchain_gemini_mm.testing import mp3, mp4, pdf, wav, write_samples
from langchain_gemini_mm.testing.space.describe_media import Prober


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The samples, written once."""
    path = tmp_path_factory.mktemp("samples")
    write_samples(path)
    return path


@pytest.fixture(scope="module")
def media(folder):
    """Bytes of the samples that are not text, by name."""
    files = {path.name: path.read_bytes() for path in sorted(folder.rglob("*.*"))}
    return {name: data for name, data in files.items() if sniff(data[:HEAD_BYTES])}


def test_samples_have_all_modalities(folder, media):
    """There are small images, audio files, videos, PDFs and texts."""
    modalities = Counter(modality_of(sniff(data) or "") for data in media.values())
    assert modalities == {"image": 13, "audio": 3, "video": 2, "pdf": 3}
    assert len(list(folder.rglob("*.*"))) == 25
    assert sum(path.stat().st_size for path in folder.rglob("*.*")) < 500_000


def test_file_names_match_the_type(folder):
    """The file extension matches the content."""
    endings = {
        ".png": "image/png", ".jpg": "image/jpeg", ".wav": "audio/wav", ".mp3": "audio/mp3", ".mp4": "video/mp4",
        ".mov": "video/quicktime", ".pdf": "application/pdf",
    }  # fmt: skip
    for path in folder.rglob("*.*"):
        assert sniff(path.read_bytes()[:HEAD_BYTES]) == endings.get(path.suffix), path.name
    ast.parse((folder / "notes/sorting.py").read_text(encoding="utf-8"))


def test_writing_again_gives_the_same_bytes(folder, tmp_path):
    """The samples are equal in every run, except for video, whose encoding by x264 may vary under load."""
    for path in write_samples(tmp_path):
        name = path.relative_to(tmp_path)
        same = path.read_bytes() == (folder / name).read_bytes()
        assert same or name.parts[0] == "videos", name


@pytest.mark.parametrize(
    ("question", "modality", "first"),
    [
        ("an image of an animal", "image", {"puppy.png", "puppy2.jpg", "kitten.png", "bird.jpg", "sleeping-puppy.png"}),
        ("an image of food", "image", {"pizza.png", "bananas.jpg", "apple.png"}),
        ("cat", "image", {"kitten.png"}),
        ("cat", "audio", {"purring.wav"}),
        ("a dog barking", "audio", {"barking.mp3"}),
        ("the sound of the ocean", "audio", {"waves.wav"}),
        ("a dog playing with a ball", "video", {"puppy-playing.mp4"}),
        ("how much money did we earn", "pdf", {"annual-report.pdf"}),
        ("how much money did we earn", "image", {"revenue-chart.png"}),
        ("something red", "image", {"red.png"}),
        ("sleepy dog", "image", {"sleeping-puppy.png"}),
    ],
)
def test_questions_find_their_answers(embed, media, question, modality, first):
    """Among the samples of a modality, those that answer a question come first."""
    names = [name for name, data in media.items() if modality_of(sniff(data) or "") == modality]
    files = embed(*[Part.from_bytes(data=media[name], mime_type=sniff(media[name]) or "") for name in names])
    (query,) = embed(f"task: search result | query: {question}")
    best = np.argsort(-(files @ query))[: len(first)]
    assert {names[n] for n in best} == first


@pytest.mark.parametrize(
    ("made", "seconds"),
    [(wav(2.5), 2.5), (mp3(2.5), 2.5), (mp4(2.5), 2.5), (mp4(3, samples=np.zeros(24_000, "f4")), 3)],
)
def test_clips_have_the_requested_duration(made, seconds):
    """Audio and video files have the requested duration, to a tenth of a second."""
    assert Prober()(made, hashlib.sha256(made).hexdigest()).seconds == pytest.approx(seconds, abs=0.1)


def test_pdf_pages():
    """A PDF has the requested number of pages; brackets and backslashes in its text are kept."""
    made = pdf([r"a (b) \c", "second"], title="Title (1)")
    probe = Prober()(made, "pdf")
    assert probe.pages == 2
    assert {"b", "c", "second", "title"} <= {word.stem for word in probe.meaning.words}
