"""Unknown options, of calls and of constructors, are answered with the name of the option that was meant."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

import langchain_gemini_mm
from langchain_gemini_mm import (
    GeminiEmbeddings,
    GeminiMMError,
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
    ("a media store's folder", lambda _, __, given: MediaStore(**given), "persist_directory", "where"),
    ("a tool's hits", lambda r, _, given: create_multimodal_retriever_tool(r, "a", "b", **given), "top_k", "max_k"),
    ("a toolkit's retriever", lambda _, __, given: MultimodalToolkit(**given), "vectorstore", "retriever"),
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
        match = rf"has no option '{given}'\. Did you mean '{meant}'\? Options: .*{meant}"
        with pytest.raises(TypeError, match=match) as caught:
            call(retriever, store, {given: "value"})
        assert isinstance(caught.value, GeminiMMError)


REFUSED: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "a retriever's fusion": (
        lambda r: MultimodalRetriever(store=r.store, fusion="no"),  # type: ignore[arg-type]
        ValueError,
        "fusion: .*got 'no'",
    ),
    "a retriever's k": (lambda r: MultimodalRetriever(store=r.store, k=0), ValueError, "k must be an int >= 1, got 0"),
    "a retriever's store": (lambda r: MultimodalRetriever(store="x"), ValueError, "store: .*VectorStore, got 'x'"),  # type: ignore[arg-type]
    "a toolkit's max_k": (lambda r: MultimodalToolkit(retriever=r, max_k=-1), ValueError, "max_k must be .* got -1"),
    "a toolkit's model": (lambda r: MultimodalToolkit(retriever=r, model="gpt"), ValueError, "got 'gpt'"),
    "a toolkit's retriever": (lambda r: MultimodalToolkit(retriever=r.store), ValueError, "retriever: .*got a Local"),
    "a tool's retriever": (
        lambda r: create_multimodal_retriever_tool(r.store, "a", "b"),
        TypeError,
        "got LocalVectorStore. Give",
    ),
    "a middleware's media": (lambda r: MediaMiddleware(None), TypeError, "media is the MediaStore.*got NoneType"),  # type: ignore[arg-type]
    "one query of a batch": (lambda r: r.batch("abc"), TypeError, r"got one str; write batch\(\[query\]\)"),
    "embeddings' timeout": (lambda r: GeminiEmbeddings(api_key="k", timeout=-1), ValueError, "timeout: .*got -1"),
    "embeddings' model": (lambda r: GeminiEmbeddings(api_key="k", model=3), ValueError, "GeminiEmbeddings: model"),
    "a media store's place": (lambda r: MediaStore(3), TypeError, "got int"),  # type: ignore[arg-type]
    "a search's k": (lambda r: r.search("x", k=1.5), TypeError, "k must be an int >= 1, got 1.5"),
    "a search's type": (lambda r: r.search("x", search_type="hybird"), ValueError, "Did you mean 'hybrid'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_values_are_refused_at_once(name: str) -> None:
    """Each refusal is a GeminiMMError that is also Python's error for it, and names argument and value."""
    call, error, message = REFUSED[name]
    with LocalVectorStore(":memory:", EMBEDDING) as store:
        with pytest.raises(error, match=message) as caught:
            call(MultimodalRetriever(store=store))
        assert isinstance(caught.value, GeminiMMError)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


OF_PROGRAMS = ("media/", "content/", "testing/", "sync/", "loaders/", "embeddings/service/", "storage/ssrf", "batching")
"""Parts whose plain errors are reported as mistakes of this package, never as those of a user or of a file."""


def test_refusals_are_errors_of_this_package() -> None:
    """Modules that check arguments of users raise no plain `ValueError` or `TypeError`."""
    root = Path(langchain_gemini_mm.__file__).parent
    plain = [
        f"{path.relative_to(root).as_posix()}:{node.lineno}"
        for path in sorted(root.rglob("*.py"))
        if not path.relative_to(root).as_posix().startswith(OF_PROGRAMS)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in ("ValueError", "TypeError")
    ]
    assert not plain


def test_other_errors_are_those_of_python() -> None:
    """A missing argument, and one that is given twice."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'embedding'"):
        LocalVectorStore("x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no option 'content'"):
        Query(content="x")  # type: ignore[call-arg]
