"""After any history of a folder, its index in the local store equals one made from scratch, and costs no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

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


@pytest.mark.soak
def test_histories(emulator: GeminiEmulator, tmp_path: Path, rounds: Callable[..., Iterator[int]]) -> None:
    """Run random histories."""
    for number in rounds(1):
        run_histories(LocalHistories, number, 12, emulator=emulator, home=tmp_path)
