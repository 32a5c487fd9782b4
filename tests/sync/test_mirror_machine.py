"""After any history of a folder, its index in the local store equals one made from scratch, and costs no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_gemini_mm import LocalVectorStore
from tests.sync.folder_histories import FolderHistories, run_histories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from langchain_gemini_mm import GeminiEmbeddings
    from langchain_gemini_mm.testing import GeminiEmulator


class LocalHistories(FolderHistories):
    """Histories of an index in a file."""

    def open_store(self, embeddings: GeminiEmbeddings) -> Any:
        """Open a file."""
        return LocalVectorStore(self.base / "index.db", embeddings)

    def close_store(self) -> None:
        """Check the file."""
        assert self.store.check().ok
        self.store.close()


class ForeignHistories(FolderHistories):
    """Histories of an index of another package, with a ledger in a file."""

    keeps_vectors = True

    def open_store(self, embeddings: GeminiEmbeddings) -> Any:
        """Open a store in memory."""
        return InMemoryVectorStore(embeddings)

    def all_ids(self) -> list[str]:
        """The ids of all documents of the store."""
        return list(self.store.store)

    def vectors(self) -> dict[str, Any]:
        """The vectors of the store by id."""
        return {id_: entry["vector"] for id_, entry in self.store.store.items()}


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kind", "examples"),
    [pytest.param(LocalHistories, 8, id="local"), pytest.param(ForeignHistories, 4, id="foreign")],
)
def test_histories(
    kind: type[FolderHistories],
    examples: int,
    emulator: GeminiEmulator,
    tmp_path: Path,
    rounds: Callable[..., Iterator[int]],
) -> None:
    """Run random histories."""
    for number in rounds(1, parts=2):
        run_histories(kind, number, examples, emulator=emulator, home=tmp_path)
