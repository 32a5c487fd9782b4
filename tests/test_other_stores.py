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

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore, MultimodalRetriever
from langchain_gemini_mm.errors import MirrorError
from langchain_gemini_mm.testing import GeminiEmulator, mp3, pdf, png
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


def sources_of(store: Any) -> dict[str, list[str]]:
    """The texts of a store, sorted, by source."""
    if hasattr(store, "_collection"):
        ids = store.get()["ids"]
    elif hasattr(store, "index_to_docstore_id"):
        ids = list(store.index_to_docstore_id.values())
    elif hasattr(store, "client"):
        ids = [str(point.id) for point in store.client.scroll("c", limit=1000)[0]]
    elif hasattr(store, "iterate"):
        ids = [document.id for document in store.iterate()]
    else:
        ids = list(store.store)
    found: dict[str, list[str]] = {}
    for document in store.get_by_ids(ids):
        found.setdefault(document.metadata["source"], []).append(document.page_content)
    assert sum(map(len, found.values())) == len(ids)
    return {source: sorted(texts) for source, texts in found.items()}


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_a_folder_is_mirrored(store: VectorStore, media: MediaStore, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """Changed, shortened, moved, damaged and deleted files are what they are; only new contents are embedded."""
    retriever = MultimodalRetriever(store=store, media=media, ledger=tmp_path / "ledger.db")
    folder, other = tmp_path / "work", tmp_path / "holiday"
    paragraphs = ["\n".join(f"paragraph {n} line {i} with some words" for i in range(45)) for n in range(8)]

    def mirror(place: Path = folder) -> tuple[Any, int]:
        before = emulator.embedded
        return retriever.mirror(place), emulator.embedded - before

    for place in (folder, other):
        (place / "photos").mkdir(parents=True)
        (place / "notes.txt").write_text(f"notes of {place.name}")
        (place / "photos" / "IMG_0001.png").write_bytes(png(f"a castle at {place.name}"))
    (folder / "long.txt").write_text("\n\n".join(paragraphs))
    (folder / "talk.mp3").write_bytes(mp3(200))
    (folder / "paper.pdf").write_bytes(pdf(tuple(f"page {number}" for number in range(9))))
    assert len(mirror()[0].added) == 5
    assert len(mirror(other)[0].added) == 2
    first = sources_of(store)
    assert len(first) == 7
    assert {source: len(texts) > 1 for source, texts in first.items() if source.startswith("work/")} == {
        "work/long.txt": True,
        "work/notes.txt": False,
        "work/paper.pdf": True,
        "work/photos/IMG_0001.png": False,
        "work/talk.mp3": True,
    }
    report, embedded = mirror()
    assert (report.is_current, embedded) == (True, 0)

    # A paragraph in front, a moved file and a damaged one.
    (folder / "long.txt").write_text("\n\n".join(["\n".join(["A new paragraph in front."] * 70)[:1900], *paragraphs]))
    (folder / "notes.txt").rename(folder / "photos" / "cat.txt")
    (folder / "photos" / "IMG_0001.png").write_bytes(png("a castle")[:80])
    report, embedded = mirror()
    assert embedded == 1
    assert report.moved == (("work/notes.txt", "work/photos/cat.txt"),)
    assert [kept.source for kept in report.kept] == ["work/photos/IMG_0001.png"]
    now = sources_of(store)
    assert len(now["work/long.txt"]) == len(first["work/long.txt"]) + 1
    assert now["work/photos/IMG_0001.png"] == first["work/photos/IMG_0001.png"]
    assert now["work/photos/cat.txt"] == first["work/notes.txt"]
    assert now.keys() == first.keys() - {"work/notes.txt"} | {"work/photos/cat.txt"}

    # Shorter files, and a deleted one.
    (folder / "talk.mp3").write_bytes(mp3(70))
    (folder / "paper.pdf").write_bytes(pdf(("a new page",)))
    (folder / "long.txt").unlink()
    assert mirror()[0].deleted == ("work/long.txt",)
    now = sources_of(store)
    assert [len(now[f"work/{name}"]) for name in ("talk.mp3", "paper.pdf")] == [1, 1]

    # A folder that is not connected.
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()
    with pytest.raises(MirrorError, match="contains no files"):
        mirror()
    assert sources_of(store) == now
    retriever.forget("work")
    assert sources_of(store).keys() == {"holiday/notes.txt", "holiday/photos/IMG_0001.png"}


@pytest.mark.stores
def test_chroma_accepts_images_by_path(
    emulator: GeminiEmulator, media: MediaStore, samples: Path, tmp_path: Path
) -> None:
    """Chroma's own `add_images` finds `embed_image`."""
    store: Any = chroma(GeminiEmbeddings(media=media, output_dimensionality=768), tmp_path)

    store.add_images([str(samples / "pictures/puppy.png"), str(samples / "pictures/pizza.png")], [{"n": 1}, {"n": 2}])

    (found,) = store.similarity_search("a puppy", k=1)
    assert found.metadata == {"n": 1}
