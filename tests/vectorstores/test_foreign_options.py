"""Options, filters and keys that users of other stores bring along, on the local store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from weaviate.classes.query import Filter

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.errors import FilterError
from tests.vectorstores.fakes import WordEmbeddings

Store = LocalVectorStore

CALLS: list[tuple[str, Callable[[Store, Any], Any]]] = [
    ("search", lambda store, given: store.search("a", filter=given)),
    ("keyword", lambda store, given: store.search("a", filter=given, search_type="keyword")),
    ("count", lambda store, given: store.count(filter=given)),
    ("iterate", lambda store, given: list(store.iterate(filter=given))),
    ("delete", lambda store, given: store.delete(filter=given)),
]


@pytest.fixture
def store() -> LocalVectorStore:
    """Three texts with metadata."""
    found = LocalVectorStore(":memory:", WordEmbeddings())
    metadatas: list[dict[str, Any]] = [{"details": {"page": 2}, "modality": "text"}, {"a.b": 1}, {"details": 5}]
    found.add_texts(["a cat", "a dog", "a fox"], metadatas, ids=["cat", "dog", "fox"])
    return found


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CALLS])
def test_a_key_inside_a_dict_is_refused(store: LocalVectorStore, call: Callable[..., Any]) -> None:
    """The error says that keys are top-level, and what to do; literal dots and unknown keys find what there is."""
    with pytest.raises(
        FilterError, match=r"'details.page' names a value inside the dicts of 'details'.*'details_page'"
    ):
        call(store, {"$or": [{"modality": "text"}, {"details.page": 2}]})
    assert store.count() == 3
    assert store.count(filter={"a.b": 1}) == 1
    assert store.count(filter={"x.y": 1}) == 0


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CALLS])
def test_a_filter_of_weaviate_is_refused(store: LocalVectorStore, call: Callable[..., Any]) -> None:
    """Alone or inside a dict; the error says who evaluates it."""
    native = Filter.by_property("modality").equal("text")
    for given in (native, {"$and": [native, {"modality": "text"}]}, {"$not": native}):
        with pytest.raises(
            FilterError, match="cannot hold a Filter of weaviate-client, which only a Weaviate server evaluates"
        ):
            call(store, given)
    assert store.count() == 3


def test_a_misspelled_key_is_logged_once(store: LocalVectorStore, caplog: pytest.LogCaptureFixture) -> None:
    """The warning names the key that was meant; a key without a similar one is silent."""
    with caplog.at_level(logging.WARNING, "langchain_gemini_mm"):
        for _ in range(2):
            assert store.search("a cat", filter={"modalty": "text"}) == []
        assert store.count(filter={"year": 2024}) == 0
    (record,) = caplog.records
    assert record.getMessage().endswith("'modalty' that a filter names. Did you mean 'modality'?")


def test_pages_of_hits(store: LocalVectorStore) -> None:
    """`offset` leaves out the first hits of every search type; ranks go on."""
    for search_type in ("similarity", "mmr", "keyword", "hybrid"):
        options: Any = {"search_type": search_type}
        everything = store.search("a cat", k=3, **options)
        assert store.search("a cat", k=1, offset=1, **options) == everything[1:2]
        assert store.search("a cat", k=3, offset=5, **options) == []
    assert [hit.rank for hit in store.search_by_vector([1.0] * 16, k=2, offset=1)] == [2, 3]
    with pytest.raises(ValueError, match="offset must be an int >= 1, got -1"):
        store.search("a", offset=-1)
    with pytest.raises(ValueError, match="groups have no offset"):
        store.search_groups("a", offset=1)


def test_vectors_of_hits(store: LocalVectorStore) -> None:
    """On request a hit has the stored vector, whatever found it."""
    for search_type in ("similarity", "keyword", "hybrid"):
        options: Any = {"search_type": search_type}
        (hit,) = store.search("a cat", k=1, return_vectors=True, **options)
        (_, rows) = next(iter(store.vectors(filter={"modality": "text"})))
        assert hit.vector is not None
        assert hit.vector.tolist() == rows[0].tolist()
    assert store.search("a cat", k=1)[0].vector is None


def test_relevance_of_ones_own(store: LocalVectorStore) -> None:
    """`relevance_score_fn` receives the cosine similarity."""
    own = LocalVectorStore(":memory:", WordEmbeddings(), relevance_score_fn=lambda cosine: 0.25 + 0 * cosine)
    own.add_texts(["a cat"])
    assert own.similarity_search_with_relevance_scores("a dog")[0][1] == 0.25
    assert store.similarity_search_with_relevance_scores("a cat", k=1)[0][1] == pytest.approx(1.0)


def test_options_of_other_packages(store: LocalVectorStore) -> None:
    """The error names the equivalent instead of ignoring the option."""
    with pytest.raises(TypeError, match=r"search has no option 'filters'\. Did you mean 'filter'\?"):
        store.similarity_search("a", filters={"a": 1})
    with pytest.raises(ValueError, match="auto_limit is an option of Weaviate, and LocalVectorStore has none"):
        store.search("a", auto_limit=1)
