"""`store.replace`: the documents of a source are replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import ContentError, LocalVectorStore, PartialWriteError
from tests.vectorstores.contract_base import Call
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
def store(tmp_path: Path) -> LocalVectorStore:
    """Two sources with two documents each."""
    store = LocalVectorStore(tmp_path / "index.db", WordEmbeddings())
    store.add_documents([pages("a", number) for number in (1, 2)] + [pages("b", number) for number in (1, 2)])
    return store


def pages(source: str, number: int) -> Document:
    """A document of a source."""
    return Document(f"page {number} of {source}", id=f"{source}{number}", metadata={"source": source})


async def test_a_source_is_replaced(store: LocalVectorStore, call: Call) -> None:
    """What a source does not have any more is deleted, what it keeps is not embedded, others stay."""
    embeddings = store.space.embedding
    assert isinstance(embeddings, WordEmbeddings)
    embeddings.calls.clear()
    assert await call(store, "replace", [pages("a", 2), pages("a", 3)]) == ["a2", "a3"]
    assert sorted(document.id or "" for document in store.iterate()) == ["a2", "a3", "b1", "b2"]
    assert [len(texts) for texts, _, _ in embeddings.calls] == [1]


async def test_a_document_without_the_key(store: LocalVectorStore, call: Call) -> None:
    """Nothing is changed."""
    with pytest.raises(ContentError, match=r"documents\[1\] has no text, number or boolean under 'source'"):
        await call(store, "replace", [pages("a", 3), Document("x")])
    assert store.count() == 4
    assert await call(store, "replace", []) == []


async def test_nothing_is_deleted_if_something_fails(store: LocalVectorStore, call: Call) -> None:
    """A document that cannot be stored keeps what would be deleted."""
    lone = Document("half a pair \ud800", id="bad", metadata={"source": "a"})
    with pytest.raises(PartialWriteError, match="1 documents are not stored, and nothing was deleted"):
        await call(store, "replace", [pages("a", 3), lone])
    assert {"a1", "a2", "a3"} <= {document.id for document in store.iterate()}
