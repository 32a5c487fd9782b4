"""A metadata key that no document has is reported where it would make an answer meaningless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm import GeminiMMError, LocalVectorStore, MultimodalRetriever
from langchain_gemini_mm.analysis import classify, recommend
from langchain_gemini_mm.evaluation import LabelledQuery, evaluate


@pytest.fixture
def store() -> Iterator[LocalVectorStore]:
    """Eight documents of four sources."""
    with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=16)) as found:
        found.add_documents(
            [
                Document(
                    f"d{n}",
                    id=str(n),
                    metadata={"source": f"s{n % 4}", "modality": "text" if n % 2 else "image", "album": "a"},
                )
                for n in range(8)
            ]
        )
        yield found


CALLS: dict[str, Callable[[LocalVectorStore, str], Any]] = {
    "groups": lambda store, key: store.search_groups("x", k=3, by=key),
    "sources, raw": lambda store, key: MultimodalRetriever(store=store, ranking="raw").sources("x", by=key),
    "sources": lambda store, key: MultimodalRetriever(store=store, ranking="normalized").sources("x", by=key),
    "recommendations": lambda store, key: recommend(store, ["1"], k=3, by=key),
    "labels": lambda store, key: classify(store, "d1", labels=key),
    "an evaluation": lambda store, key: evaluate(store, [LabelledQuery("d1", {"s1": 1})], by=key, ks=(1, 3)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_misspelt_key_is_refused(store: LocalVectorStore, name: str) -> None:
    """The error names the key, and a similar one that documents have; the right key is answered."""
    assert CALLS[name](store, "source")
    with pytest.raises(ValueError, match="has the metadata key 'sorce'") as caught:
        CALLS[name](store, "sorce")
    assert isinstance(caught.value, GeminiMMError)
    assert "Did you mean 'source'?" in str(caught.value)


@pytest.mark.parametrize("name", ["groups", "sources", "recommendations"])
def test_documents_without_a_value_are_groups_of_their_own(store: LocalVectorStore, name: str) -> None:
    """A key that is like no other, or that some other document has, is no mistake."""
    assert CALLS[name](store, "chapter")
    store.add_documents([Document("far", id="far", metadata={"sorce": "x"})])
    assert CALLS[name](store, "sorce")


def test_a_modality_of_a_labelled_query_exists() -> None:
    """A misspelt modality is refused when the query is made."""
    with pytest.raises(ValueError, match=r"modality must be one of .*'imgae'\. Did you mean 'image'"):
        LabelledQuery("x", ["1"], modality="imgae")  # type: ignore[arg-type]
