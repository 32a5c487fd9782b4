"""Other vector stores become multimodal with `GeminiEmbeddings`; `index()` embeds only changes."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore
from langchain_gemini_mm.testing import GeminiEmulator, png
from tests.path_loader import PathLoader


def chroma(embeddings: GeminiEmbeddings, folder: Path) -> VectorStore:
    """Chroma on a folder."""
    from chromadb.config import Settings
    from langchain_chroma import Chroma

    return Chroma(
        f"c{uuid.uuid4().hex}",
        embedding_function=embeddings,
        persist_directory=str(folder / "chroma"),
        client_settings=Settings(
            anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder / "chroma")
        ),
        collection_metadata={"hnsw:space": "cosine"},
    )


def faiss(embeddings: GeminiEmbeddings, folder: Path) -> VectorStore:
    """FAISS in memory, from LangChain's community package."""
    import faiss as library
    from langchain_community.docstore.in_memory import InMemoryDocstore
    from langchain_community.vectorstores import FAISS

    return FAISS(embeddings, library.IndexFlatL2(768), InMemoryDocstore(), {})


def qdrant(embeddings: GeminiEmbeddings, folder: Path) -> VectorStore:
    """Qdrant's local mode."""
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    client = QdrantClient(":memory:")
    client.create_collection("c", VectorParams(size=768, distance=Distance.COSINE))
    return QdrantVectorStore(client, "c", embeddings)


def in_memory(embeddings: GeminiEmbeddings, folder: Path) -> VectorStore:
    """The store in langchain-core."""
    return InMemoryVectorStore(embeddings)


def local(embeddings: GeminiEmbeddings, folder: Path) -> VectorStore:
    """Our own store."""
    return LocalVectorStore(folder / "index.db", embeddings)


foreign = pytest.mark.stores
STORES: list[Any] = [
    pytest.param(chroma, marks=foreign),
    pytest.param(faiss, marks=[foreign, pytest.mark.filterwarnings("ignore::DeprecationWarning")]),
    pytest.param(qdrant, marks=foreign),
    in_memory,
    local,
]
Make = Callable[[GeminiEmbeddings, Path], VectorStore]


@pytest.fixture
def store(request: pytest.FixtureRequest, emulator: GeminiEmulator, media: MediaStore, tmp_path: Path) -> Iterator[Any]:
    """An empty store of each type."""
    with GeminiEmbeddings(media=media, output_dimensionality=768) as embeddings:
        made = request.param(embeddings, tmp_path)
        yield made
        if hasattr(made, "close"):
            made.close()


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_any_store_becomes_multimodal(store: VectorStore, media: MediaStore, samples: Path) -> None:
    """Images, audio, video, PDFs and texts are added as Documents; texts and images find them."""
    documents = PathLoader(samples, media).load()
    store.add_documents(documents, ids=[str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))) for n in range(len(documents))])

    def ask(question: str, k: int = 3) -> list[str]:
        return [found.metadata["source"] for found in store.similarity_search(question, k=k)]

    # A query by image in a store that knows only text: the query is the reference.
    puppy = media.put_file(samples / "pictures/puppy2.jpg")
    assert ask(puppy.markdown)[:2] == ["pictures/puppy2.jpg", "pictures/puppy.png"]
    assert "pictures/sleeping-puppy.png" in ask(f"{puppy.markdown} but sleeping")
    assert {"notes/trip.md", "sounds/waves.wav"} <= set(ask("waves on a beach"))

    (found,) = store.similarity_search(puppy.markdown, k=1)
    assert found.page_content == puppy.markdown
    assert media.get(puppy) == (samples / "pictures/puppy2.jpg").read_bytes()


@pytest.mark.parametrize("store", STORES[3:], indirect=True)
def test_index_embeds_only_what_changed(
    store: VectorStore, media: MediaStore, samples: Path, emulator: GeminiEmulator, tmp_path: Path
) -> None:
    """An unchanged or merely touched folder embeds nothing; a changed one embeds only the changes."""
    folder = tmp_path / "folder"
    shutil.copytree(samples, folder)
    records = InMemoryRecordManager("folder")
    records.create_schema()

    def sync() -> tuple[dict[str, int], int]:
        before = emulator.embedded
        documents: Iterator[Document] = PathLoader(folder, media).lazy_load()
        counts = index(
            documents, records, store, cleanup="full", source_id_key="source", key_encoder="sha256", batch_size=10
        )
        return {key.removeprefix("num_"): count for key, count in counts.items() if count}, emulator.embedded - before  # type: ignore[misc]

    assert sync() == ({"added": 29}, 29)
    assert sync() == ({"skipped": 29}, 0)

    for path in folder.rglob("*.*"):
        os.utime(path, (1, 1))
    assert sync() == ({"skipped": 29}, 0)

    (folder / "pictures/apple.png").write_bytes(png("a green apple", colour="green"))
    (folder / "pictures/bird.jpg").unlink()
    assert sync() == ({"added": 1, "skipped": 27, "deleted": 2}, 1)


@pytest.mark.stores
def test_chroma_accepts_images_by_path(
    emulator: GeminiEmulator, media: MediaStore, samples: Path, tmp_path: Path
) -> None:
    """Chroma's own `add_images` finds `embed_image`."""
    store: Any = chroma(GeminiEmbeddings(media=media, output_dimensionality=768), tmp_path)

    store.add_images([str(samples / "pictures/puppy.png"), str(samples / "pictures/pizza.png")], [{"n": 1}, {"n": 2}])

    (found,) = store.similarity_search("a puppy", k=1)
    assert found.metadata == {"n": 1}
