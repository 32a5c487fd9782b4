"""A small library with all modalities, on the emulator."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from tests.conftest import as_new
from tests.path_loader import PathLoader
from tests.vectorstores.contract_base import Call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
def folder(samples: Path, tmp_path: Path) -> Path:
    """A folder with files of every modality, which a test may change."""
    return shutil.copytree(samples, tmp_path / "folder")


@pytest.fixture(scope="session")
def library() -> MediaStore:
    """The media store of the samples; tests may add media."""
    return MediaStore.memory()


@pytest.fixture(scope="session")
def indexed(samples: Path, library: MediaStore, emulator_server: GeminiEmulator) -> Iterator[LocalVectorStore]:
    """The samples, indexed once for all tests."""
    as_new(emulator_server)
    service = {"api_key": emulator_server.api_key, "base_url": emulator_server.url}
    with (
        GeminiEmbeddings(media=library, output_dimensionality=768, **service) as embeddings,
        LocalVectorStore(":memory:", embeddings) as store,
    ):
        store.add_documents(PathLoader(samples, library).lazy_load())
        yield store


@pytest.fixture
def store(indexed: LocalVectorStore, emulator: GeminiEmulator) -> LocalVectorStore:
    """The samples, loaded; do not change them."""
    return indexed


@pytest.fixture
def retriever(store: LocalVectorStore) -> MultimodalRetriever:
    """A retriever of the samples with raw ranking."""
    return MultimodalRetriever(store=store, ranking="raw", k=3)
