"""Index updates: unchanged and touched files are not embedded, and of changed files only the changes are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import png, wav
from tests.path_loader import PathLoader
from tests.storage.conftest import swept

if TYPE_CHECKING:
    from pathlib import Path


class Counting(Embeddings):
    """Embeddings that record their inputs."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Record the texts."""
        self.texts += texts
        return [[1.0, 0.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return a constant vector."""
        return [1.0, 0.0]


class Synced:
    """A folder and its index."""

    def __init__(self, folder: Path, media: MediaStore) -> None:
        self.folder = folder
        self.media = media
        self.embeddings = Counting()
        self.store = InMemoryVectorStore(self.embeddings)
        self.records = InMemoryRecordManager("test")
        self.records.create_schema()

    def sync(self) -> tuple[dict[str, Any], list[str]]:
        """Index the folder again; return the counts of `index` and the embedded texts."""
        self.embeddings.texts.clear()
        loader = PathLoader(self.folder, self.media)
        counts = index(loader, self.records, self.store, cleanup="full", source_id_key="source", key_encoder="sha256")
        return dict(counts), list(self.embeddings.texts)


@pytest.fixture
def synced(tmp_path: Path) -> Synced:
    """A folder with two texts and two media files, indexed once."""
    folder = tmp_path / "library"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes" / "a.txt").write_text("about a cat")
    (folder / "notes" / "b.txt").write_text("about a dog")
    (folder / "cat.png").write_bytes(png("cat"))
    (folder / "rain.wav").write_bytes(wav(0.2))
    synced = Synced(folder, MediaStore(tmp_path / "media"))
    assert synced.sync()[0]["num_added"] == 4
    return synced


NOTHING = {"num_added": 0, "num_updated": 0, "num_skipped": 4, "num_deleted": 0}


def test_an_unchanged_folder_embeds_nothing(synced: Synced) -> None:
    """Every Document is known."""
    assert synced.sync() == (NOTHING, [])


def test_touched_files_embed_nothing(synced: Synced) -> None:
    """File times are not part of a Document."""
    for path in synced.folder.rglob("*.*"):
        os.utime(path, (1, 1))
    assert synced.sync() == (NOTHING, [])


def test_a_changed_text_is_embedded(synced: Synced) -> None:
    """Only the change is embedded, and the previous version is deleted."""
    (synced.folder / "notes" / "b.txt").write_text("about a bird")
    counts, embedded = synced.sync()
    assert embedded == ["about a bird"]
    assert counts == {"num_added": 1, "num_updated": 0, "num_skipped": 3, "num_deleted": 1}


def test_a_changed_image_is_embedded(synced: Synced) -> None:
    """Changed content has another reference and is another Document."""
    (synced.folder / "cat.png").write_bytes(png("kitten"))
    counts, embedded = synced.sync()
    assert (len(embedded), counts["num_added"], counts["num_deleted"]) == (1, 1, 1)
    assert len(swept(synced.media, kept(synced)).removed) == 1


def kept(synced: Synced) -> list[str]:
    """The texts in the index."""
    return [entry["text"] for entry in synced.store.store.values()]


def test_removed_files_leave_the_index(synced: Synced) -> None:
    """A removed file is deleted from the index."""
    (synced.folder / "cat.png").unlink()
    assert synced.sync()[0]["num_deleted"] == 1
