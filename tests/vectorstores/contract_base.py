"""Fixtures, documents and helper functions for the parts of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from tests.vectorstores.fakes import WordEmbeddings

FIELDS = {"modality": str, "start_s": float, "first_page": int, "tags": list[str], "draft": bool}
"""The keys that filters of the contract ask for, so that a store with declared fields can declare them."""

OpenStore = Callable[..., MultimodalVectorStore]
"""`open_store(embedding, **options)` opens the same collection each time, for one test."""

ANIMALS = [
    Document(id="cat", page_content="a black cat", metadata={"modality": "image", "tags": ["pet", "night"]}),
    Document(id="dog", page_content="a black dog", metadata={"modality": "video", "start_s": 30.0, "tags": ["pet"]}),
    Document(id="puppy", page_content="a small black dog", metadata={"modality": "video", "start_s": 60.5}),
    Document(
        id="report", page_content="quarterly report", metadata={"modality": "pdf", "first_page": 1, "draft": True}
    ),
    Document(
        id="summary", page_content="report summary", metadata={"modality": "pdf", "first_page": 7, "draft": False}
    ),
    Document(id="noise", page_content="wind and rain", metadata={"modality": "audio", "start_s": 0.0}),
]


class Call:
    """Calls a method of a store by its sync name, or its async twin."""

    def __init__(self, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous

    async def __call__(self, target: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method."""
        if self.asynchronous:
            return await getattr(target, f"a{name}")(*args, **kwargs)
        return getattr(target, name)(*args, **kwargs)

    async def list(self, target: Any, name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Read all of an iterator."""
        if self.asynchronous:
            return [item async for item in getattr(target, f"a{name}")(*args, **kwargs)]
        return list(getattr(target, name)(*args, **kwargs))


def ids_of(found: list[Any]) -> list[str]:
    """Ids of documents or hits, in order."""
    return [getattr(item, "document", item).id for item in found]


def cases(table: list[Any]) -> list[Any]:
    """Rows of a table whose first column is the id of the test case."""
    return [pytest.param(*row[1:], id=row[0]) for row in table]


class ContractBase:
    """The fixtures; subclasses provide `open_store`."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Open the collection of this test with an embedding; a second call opens the same collection."""
        raise NotImplementedError

    @pytest.fixture(params=["sync", "async"])
    def call(self, request: pytest.FixtureRequest) -> Call:
        """Sync or async."""
        return Call(asynchronous=request.param == "async")

    @pytest.fixture
    def embedding(self) -> WordEmbeddings:
        """Embeddings of any content."""
        return WordEmbeddings()

    @pytest.fixture
    def store(self, open_store: OpenStore, embedding: WordEmbeddings) -> MultimodalVectorStore:
        """An empty store."""
        return open_store(embedding)

    @pytest.fixture
    def animals(self, store: MultimodalVectorStore) -> MultimodalVectorStore:
        """A store with `ANIMALS`."""
        store.add_documents(ANIMALS)
        return store
