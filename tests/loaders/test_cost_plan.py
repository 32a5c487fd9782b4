"""The plan estimates what indexing will use, and neither sends nor stores anything."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import GeminiEmbeddings, MediaStore
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.loaders.cost_plan import plan
from langchain_gemini_mm.testing import mp4, pdf, png, wav
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator


def test_the_plan_equals_the_usage(
    samples: Path, media: MediaStore, embeddings: GeminiEmbeddings, emulator: GeminiEmulator
) -> None:
    """Documents per modality equal those loaded; calls, items, tokens and money equal those used."""
    loader = PathLoader(samples, media)
    planned = plan(loader, embeddings, convert=True)
    assert list(media.refs()) == []
    assert not emulator.requests
    documents = loader.load()
    assert {modality: share.documents for modality, share in planned.by_modality.items()} == Counter(
        document.metadata["modality"] for document in documents
    )
    assert (planned.files, planned.documents) == (25, len(documents))
    embeddings.embed_documents(documents)
    used = embeddings.usage
    assert (planned.calls, planned.items) == (used.requests, used.items)
    assert {modality: share.tokens for modality, share in planned.by_modality.items()} == used.estimated_tokens
    assert planned.tokens == used.reported_tokens == emulator.tokens
    assert planned.usd == pytest.approx(used.estimated_usd)
    assert planned.batch_usd == planned.usd / 2


def test_segments_pages_and_skipped_files(tmp_path: Path) -> None:
    """Windows, pages and damaged files are counted as they are loaded; the totals are known."""
    files = {
        "a.mp4": mp4(95),
        "b.wav": wav(130),
        "c.pdf": pdf(10),
        "d.png": png(),
        "e.png": png()[:-20],
        "f.txt": b"x" * 5000,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    planned = plan(tmp_path)
    assert {modality: (share.documents, share.tokens) for modality, share in planned.by_modality.items()} == {
        "audio": (2, 25 * 130),
        "image": (1, 258),
        "pdf": (10, 2580),
        "text": (3, 860),
        "video": (3, 66 * (30 + 30 + 32)),
    }
    assert [skipped.source for skipped in planned.skipped] == [f"{tmp_path.name}/e.png"]
    assert planned.by_modality["video"].usd == pytest.approx(66 * 92 * 12 / 1e6)
    assert "5 files for gemini-embedding-2, 1 calls, 1 left out" in str(planned)
    assert plan(tmp_path, segments=Segments(video_s=10)).by_modality["video"].documents == 10
    assert set(plan(tmp_path, model="gemini-embedding-001").by_modality) == {"text"}


def test_another_model_is_refused(tmp_path: Path, media: MediaStore, emulator: GeminiEmulator) -> None:
    """A plan for embeddings with another model than the loader's is refused."""
    (tmp_path / "a.txt").write_text("words")
    with GeminiEmbeddings(model="gemini-embedding-001") as embeddings:
        assert plan(tmp_path, embeddings).model == "gemini-embedding-001"
        with pytest.raises(ValueError, match="the same model and backend"):
            plan(PathLoader(tmp_path, media), embeddings)
