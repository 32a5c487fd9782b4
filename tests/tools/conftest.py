"""A small library of all kinds, and the retriever over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.loaders import MediaLoader, Segments
from langchain_gemini_mm.testing import mp4
from langchain_gemini_mm.testing.clips import tone

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


@pytest.fixture
def retriever(library: Path, embeddings: GeminiEmbeddings, media: MediaStore) -> Iterator[MultimodalRetriever]:
    """The library, searched; the talk is cut in four."""
    with LocalVectorStore.memory(embeddings) as store:
        loader = MediaLoader(library, media, segments=Segments(video_s=15, audio_s=15))
        store.add_documents(loader.lazy_load())
        yield MultimodalRetriever(store=store, k=3)
