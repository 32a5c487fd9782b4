"""LangChain's own standard tests for vector stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.vectorstores import LocalVectorStore

if TYPE_CHECKING:
    from pathlib import Path

# The oldest langchain-core that we allow is older than its standard tests take.
pytest.importorskip("langchain_tests")

from langchain_tests.integration_tests import VectorStoreIntegrationTests


class TestStandardOnFile(VectorStoreIntegrationTests):
    """LangChain's suite on a file."""

    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[LocalVectorStore]:
        """An empty store."""
        with LocalVectorStore(tmp_path / "index.db", self.get_embeddings()) as store:
            yield store


class TestStandardInMemory(VectorStoreIntegrationTests):
    """LangChain's suite in memory."""

    @pytest.fixture
    def vectorstore(self) -> Iterator[LocalVectorStore]:
        """An empty store."""
        with LocalVectorStore(":memory:", self.get_embeddings()) as store:
            yield store
