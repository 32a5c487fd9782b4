"""A small library of all modalities, and a retriever of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.loaders import Segments
from langchain_gemini_mm.testing import GeminiEmulator, mp4
from langchain_gemini_mm.testing.samples.clips import tone
from tests.conftest import as_new
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = (
    "pictures/puppy.png",
    "pictures/puppy2.jpg",
    "pictures/kitten.png",
    "sounds/barking.mp3",
    "videos/puppy-playing.mp4",
    "videos/waves.mov",
    "papers/birds.pdf",
    "notes/kitten.md",
)
TALK_S = 60


@pytest.fixture(scope="session")
def library(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few samples and a talk of a minute."""
    folder = tmp_path_factory.mktemp("library")
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((samples / name).read_bytes())
    talk = mp4(TALK_S, "a talk about volcanoes", fps=2, samples=tone(TALK_S))
    (folder / "talk.mp4").write_bytes(talk)
    return folder


@pytest.fixture(scope="session")
def media() -> MediaStore:
    """The media store of the library; tests may add media."""
    return MediaStore.memory()


@pytest.fixture(scope="session")
def indexed(library: Path, media: MediaStore, emulator_server: GeminiEmulator) -> Iterator[MultimodalRetriever]:
    """The library, indexed once for all tests; the talk has four segments."""
    as_new(emulator_server)
    service = {"api_key": emulator_server.api_key, "base_url": emulator_server.url}
    embeddings = GeminiEmbeddings(media=media, **service)
    with embeddings, LocalVectorStore(":memory:", embeddings) as store:
        loader = PathLoader(library, media, segments=Segments(video_s=15, audio_s=15))
        store.add_documents(loader.lazy_load())
        yield MultimodalRetriever(store=store, k=3)


@pytest.fixture
def retriever(indexed: MultimodalRetriever, emulator: GeminiEmulator) -> MultimodalRetriever:
    """A retriever of the library; do not change the collection."""
    return indexed
