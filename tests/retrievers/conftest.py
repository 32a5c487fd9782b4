"""A small library of every kind of media, on the emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import LocalVectorStore, MediaLoader, MultimodalRetriever
from langchain_gemini_mm.testing import write_samples
from tests.vectorstores.contract_base import Call

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm import GeminiEmbeddings, MediaStore


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder with files of every kind."""
    folder = tmp_path / "samples"
    write_samples(folder)
    return folder


@pytest.fixture
def store(embeddings: GeminiEmbeddings, media: MediaStore, samples: Path) -> LocalVectorStore:
    """The samples, loaded."""
    made = LocalVectorStore(":memory:", embeddings)
    made.add_documents(MediaLoader(samples, media).lazy_load())
    return made


@pytest.fixture
def retriever(store: LocalVectorStore) -> MultimodalRetriever:
    """Over the samples, by raw similarity."""
    return MultimodalRetriever(store=store, ranking="raw", k=3)
