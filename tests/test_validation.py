"""Unknown options, of calls and of constructors, are answered with the name of the option that was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm import (
    GeminiEmbeddings,
    LocalVectorStore,
    MediaLoader,
    MediaMiddleware,
    MediaStore,
    MultimodalRetriever,
    MultimodalToolkit,
    Query,
    create_multimodal_retriever_tool,
)

EMBEDDING = DeterministicFakeEmbedding(size=8)
Given = dict[str, Any]

MEANT: list[tuple[str, Callable[[Any, Any, Given], object], str, str]] = [
    ("a query", lambda _, __, given: Query("x", **given), "lik", "like"),
    ("a retriever", lambda _, store, given: MultimodalRetriever(store=store, **given), "kk", "k"),
    ("a retriever's store", lambda _, __, given: MultimodalRetriever(**given), "vectorstore", "store"),
    ("a retriever's search", lambda r, _, given: r.search("x", **given), "top_k", "k"),
    ("its call", lambda r, _, given: r.invoke("x", **given), "n_results", "k"),
    ("its files", lambda r, _, given: r.sources("x", **given), "filters", "filter"),
    ("a search", lambda _, store, given: store.search("x", **given), "filtr", "filter"),
    ("a search with k", lambda _, store, given: store.search("x", **given), "limit", "k"),
    ("a similarity search", lambda _, store, given: store.similarity_search("x", **given), "where", "filter"),
    ("many searches", lambda _, store, given: store.search_many(["x"], **given), "mode", "search_type"),
    ("adding", lambda _, store, given: store.add_texts(["x"], **given), "batchsize", "batch_size"),
    ("deleting", lambda _, store, given: store.delete(**given), "where", "filter"),
    (
        "a store's file",
        lambda _, __, given: LocalVectorStore(embedding=EMBEDDING, **given),
        "persist_directory",
        "path",
    ),
    ("a store's part", lambda _, __, given: LocalVectorStore("x", EMBEDDING, **given), "collection_name", "collection"),
    ("a store's embedding", lambda _, __, given: LocalVectorStore("x", **given), "embedding_function", "embedding"),
    (
        "a filled store",
        lambda _, __, given: LocalVectorStore.from_texts([], EMBEDDING, **given),
        "persist_path",
        "path",
    ),
    ("embeddings", lambda _, __, given: GeminiEmbeddings(**given), "dimensions", "output_dimensionality"),
    ("a loader", lambda _, __, given: MediaLoader("x", MediaStore.memory(), **given), "chunksize", "chunk_size"),
    ("a media store", lambda _, __, given: MediaStore(**given), "wher", "where"),
    ("a middleware", lambda _, __, given: MediaMiddleware(MediaStore.memory(), **given), "max_byte", "max_bytes"),
    ("a tool", lambda r, _, given: create_multimodal_retriever_tool(r, "a", "b", **given), "loook", "look"),
    ("a toolkit", lambda r, _, given: MultimodalToolkit(retriever=r, **given), "max_kk", "max_k"),
]


@pytest.mark.parametrize(("call", "given", "meant"), [pytest.param(*case[1:], id=case[0]) for case in MEANT])
def test_the_option_that_was_meant_is_named(call: Callable[..., object], given: str, meant: str) -> None:
    """Slips and the names of other packages, in calls and constructors, are a TypeError that lists all options."""
    with LocalVectorStore(":memory:", EMBEDDING) as store:
        store.add_texts(["x"])
        retriever = MultimodalRetriever(store=store)
        with pytest.raises(TypeError, match=rf"has no option '{given}'\. Did you mean '{meant}'\? Options: .*{meant}"):
            call(retriever, store, {given: "value"})


def test_other_errors_are_those_of_python() -> None:
    """A missing argument, and one that is given twice."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'embedding'"):
        LocalVectorStore("x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no option 'content'"):
        Query(content="x")  # type: ignore[call-arg]
