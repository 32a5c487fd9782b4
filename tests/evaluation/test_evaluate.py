"""Evaluation of stores, retrievers and functions: every type of target gives the same report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_gemini_mm import (
    ContentError,
    GeminiEmbeddings,
    Hits,
    LocalVectorStore,
    MediaStore,
    MultimodalRetriever,
    Query,
)
from langchain_gemini_mm.evaluation import (
    Comparison,
    LabelledQuery,
    Report,
    acompare_rankings,
    aevaluate,
    compare_rankings,
    evaluate,
)
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.testing import png
from tests.analysis.stores import both
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = [
    Document(id="cat", page_content="a black cat", metadata={"modality": "image", "source": "pets"}),
    Document(id="dog", page_content="a black dog", metadata={"modality": "video", "source": "pets"}),
    Document(id="puppy", page_content="a small dog", metadata={"modality": "image", "source": "young"}),
    Document(id="report", page_content="quarterly numbers", metadata={"modality": "pdf", "source": "office"}),
    Document(id="note", page_content="numbers to remember", metadata={"source": "office"}),
]
LABELLED = [
    LabelledQuery("black cat", ["cat"], modality="text"),
    LabelledQuery("dog", {"dog": 2, "puppy": 1}),
    LabelledQuery(["numbers", "quarterly"], ["report", "note"]),
    LabelledQuery("steam locomotive", []),
]


@pytest.fixture
def store() -> LocalVectorStore:
    """A store with `DOCUMENTS`."""
    store = LocalVectorStore(":memory:", WordEmbeddings(size=256))
    store.add_documents(DOCUMENTS)
    return store


@pytest.fixture(params=["sync", "async"])
def measure(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """`evaluate`, or its async twin."""
    return both(evaluate, aevaluate, request.param)


class Ours:
    """A search with the interface of a `MultimodalRetriever`."""

    def __init__(self, store: LocalVectorStore) -> None:
        self.store = store
        self.asked: list[dict[str, Any]] = []

    def search(self, query: Any, *, ranking: str | None = None, **options: Any) -> Hits:
        """Search the store."""
        self.asked.append({"ranking": ranking, **options})
        hits = self.store.search(query, **options)
        return Hits(reversed(hits)) if ranking == "normalized" else hits

    async def asearch(self, query: Any, *, ranking: str | None = None, **options: Any) -> Hits:
        """Async twin of `search`."""
        return self.search(query, ranking=ranking, **options)


class Plain(BaseRetriever):
    """A LangChain retriever without an argument `k`."""

    store: Any

    def _get_relevant_documents(self, query: Any, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        found: list[Document] = self.store.similarity_search(query, k=4)
        return found


async def _ids(store: LocalVectorStore, query: Any) -> list[Any]:
    return [hit.document.id for hit in await store.asearch(query, k=4)]


TARGETS: dict[str, Callable[[LocalVectorStore], Any]] = {
    "our store": lambda store: store,
    "what searches like our retriever": Ours,
    "our retriever, with its own ranking": lambda store: MultimodalRetriever(store=store, ranking="raw"),
    "the retriever of a store": lambda store: store.as_retriever(search_kwargs={"k": 1}),
    "a plain retriever": lambda store: Plain(store=store),
    "a function to ids": lambda store: lambda query: [hit.document.id for hit in store.search(query, k=9)],
    "a function to hits": lambda store: lambda query: store.search(query, k=4),
    "a function to documents": lambda store: lambda query: store.similarity_search(query, k=4),
}


@pytest.mark.parametrize("make", TARGETS.values(), ids=TARGETS)
def test_every_target_gives_the_same_report(
    store: LocalVectorStore, measure: Callable[..., Report], make: Callable[[LocalVectorStore], Any]
) -> None:
    """Each target is searched for the largest `k`; longer answers are cut."""
    report = measure(make(store), LABELLED, ks=(1, 2, 4), name="x", document_modalities={})
    expected = [tuple(hit.document.id for hit in store.search(one.query, k=4)) for one in LABELLED]
    assert [result.found for result in report.results] == expected
    assert report.measures == evaluate(store, LABELLED, ks=(1, 2, 4)).measures
    assert report["success@1"].value == 1.0
    assert report["success@1"].count == 3


async def test_async_functions_are_awaited(store: LocalVectorStore) -> None:
    """Coroutine functions, and functions that return an awaitable, are awaited."""
    expected = evaluate(store, LABELLED, ks=[4]).measures

    async def ids(query: Any) -> list[Any]:
        return await _ids(store, query)

    assert (await aevaluate(ids, LABELLED, ks=[4])).measures == expected
    assert (await aevaluate(lambda query: _ids(store, query), LABELLED, ks=[4])).measures == expected
    with pytest.raises(TypeError, match="the function is asynchronous"):
        evaluate(ids, LABELLED)


async def test_concurrency_is_bounded(store: LocalVectorStore) -> None:
    """At most `concurrency` queries are in flight, and each gets its own answer."""
    running = most = 0

    async def slow(query: Any) -> list[str]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return [str(query)]

    labelled = [LabelledQuery(str(n), [str(n)]) for n in range(20)]
    report = await aevaluate(slow, labelled, concurrency=3)
    assert most == 3
    assert report["success@1"].value == 1.0


def test_pairs_of_modalities(store: LocalVectorStore, measure: Callable[..., Report]) -> None:
    """Relevant documents count by modality, with their ranks in the whole answer; none is lost."""
    report = measure(store, LABELLED, ks=(1, 5))
    assert set(report.pairs) == {("text", "image"), ("text", "video"), ("text", "pdf"), ("text", "text")}
    assert report.pairs["text", "image"]["recall@5"].count == 2
    ranks = [result.found.index(id_) + 1 for result, id_ in zip(report.results, ["cat", "puppy"], strict=False)]
    assert report.pairs["text", "image"]["mrr"].value == pytest.approx(sum(1 / rank for rank in ranks) / 2)
    assert report.modalities["note"] == "text"


def test_queries_without_relevant_documents(store: LocalVectorStore, measure: Callable[..., Report]) -> None:
    """Queries without relevant documents are counted separately, by empty answers."""
    always = measure(store, LABELLED).nothing
    assert always is not None
    assert (always.value, always.count) == (0.0, 1)
    never = measure(store, LABELLED, score_threshold=0.3).nothing
    assert never is not None
    assert never.value == 1.0
    assert measure(store, LABELLED[:3]).nothing is None
    alone = measure(store, LABELLED[3:])
    assert alone.measures == {}
    with pytest.raises(KeyError, match="no metric 'mrr'; there are: none"):
        alone["mrr"]


def test_options_reach_the_search(store: LocalVectorStore, measure: Callable[..., Report]) -> None:
    """Options such as a filter are passed to every target that takes them."""
    for target in (store, Ours(store), store.as_retriever()):
        report = measure(target, LABELLED, filter={"modality": "image"})
        assert set(report.results[1].found) == {"cat", "puppy"}


def test_labels_that_are_not_stored_are_listed(store: LocalVectorStore, measure: Callable[..., Report]) -> None:
    """The report lists ids that are labelled and not stored."""
    report = measure(store, [LabelledQuery("dog", ["dog", "ghost"])], ks=(5,))
    assert report.unknown == ("ghost",)
    assert report["recall@5"].value == 0.5
    assert "Labelled but not stored: 1 (ghost)" in report.table()


def test_labels_by_source(store: LocalVectorStore, measure: Callable[..., Report]) -> None:
    """Values of a metadata key are labelled; of hits with one value the best counts."""
    report = measure(store, [LabelledQuery("dog", ["pets"]), LabelledQuery("numbers", ["office"])], by="source", ks=[2])
    assert report.results[1].found[0] == "office"
    assert "pets" in report.results[0].found
    assert all(len(set(result.found)) == len(result.found) for result in report.results)
    store.add_texts(["dog dog"], ids=["stray"])
    report = measure(store, [LabelledQuery("dog", ["pets"])], by="source", ks=[1])
    assert report.results[0].found == ("(no source: stray)",)


def test_queries_of_stored_ids(store: LocalVectorStore, measure: Callable[..., Report]) -> None:
    """`Query(like=...)` is searched unchanged; its modality is "stored"."""
    report = measure(store, [LabelledQuery(Query(like=["dog"]), ["puppy"])], ks=[1])
    assert report.results[0].modality == "stored"
    assert report.results[0].query == "like 'dog'"


def test_modalities_of_queries(
    embeddings: GeminiEmbeddings, media: MediaStore, measure: Callable[..., Report], samples: Path, tmp_path: Path
) -> None:
    """Modalities of files, references and several parts come from their bytes; a missing file is `other`."""
    store = LocalVectorStore(":memory:", embeddings)
    photo = media.put(png("a kitten"))
    store.add_documents([media.document(photo, id="kitten", metadata={"modality": "image"})])
    queries: list[Content] = [
        photo,
        samples / "sounds" / "purring.wav",
        f"at night {photo.markdown}",
        [photo, "asleep"],
    ]
    report = measure(store, [LabelledQuery(query, ["kitten"]) for query in queries], ks=[1])
    assert [result.modality for result in report.results] == ["image", "audio", "image+text", "image+text"]
    assert report.results[1].query == "<purring.wav>"
    gone = evaluate(lambda _: ["kitten"], [LabelledQuery(tmp_path / "gone.png", ["kitten"])])
    assert gone.results[0].modality == "other"


def test_other_vector_stores(measure: Callable[..., Report]) -> None:
    """Any LangChain vector store is evaluated by the ids of its documents."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=32))
    store.add_documents([Document(id=name, page_content=name) for name in ("cat", "dog", "fox")])
    report = measure(store, [LabelledQuery("dog", ["dog"]), LabelledQuery("fox", ["fox", "ghost"])], ks=(1, 2))
    assert report["success@1"].value == 1.0
    assert report.unknown == ("ghost",)


def test_rankings_are_compared(store: LocalVectorStore) -> None:
    """Each query is searched with each ranking, and the differences are reported."""
    for compare in (
        compare_rankings,
        lambda *args, **options: asyncio.run(acompare_rankings(*args, **options)),
    ):
        target = Ours(store)
        found: Comparison = compare(target, LABELLED, ("raw", "normalized"), ks=(1, 3))
        assert [report.name for report in found.reports] == ["raw", "normalized"]
        assert {one["ranking"] for one in target.asked} == {"raw", "normalized"}
        assert {one["k"] for one in target.asked} == {3}
        difference = found.difference("success@1", "normalized")
        assert difference.value == found["normalized"]["success@1"].value - 1
        assert difference.low < 0


def test_our_retriever_is_compared(store: LocalVectorStore) -> None:
    """A store is searched through a retriever; options are passed on."""
    found = compare_rankings(store, LABELLED[:2], ks=[2], modalities=["image"])
    assert [report.name for report in found.reports] == ["raw", "normalized"]
    assert set(found["normalized"].results[0].found) == {"cat", "puppy"}
    report = evaluate(MultimodalRetriever(store=store), LABELLED, ks=[5], ranking="normalized", min_confidence=1.0)
    assert report.nothing is not None


def test_progress_counts_queries(store: LocalVectorStore, measure: Callable[..., Report]) -> None:
    """Progress is reported after each batch."""
    reported: list[int] = []
    measure(store, LABELLED * 20, progress=reported.append)
    assert reported == [64, 80]


MISTAKES: list[Any] = [
    ("no queries", {"labelled": []}, ValueError, "labelled is empty"),
    ("one query", {"labelled": LABELLED[0]}, TypeError, r"write \[query\]"),
    ("a text", {"labelled": ["dog"]}, TypeError, r"labelled\[0\] is a str"),
    ("no target", {"target": 7}, TypeError, "a query to ids, got int"),
    ("no depths", {"ks": ()}, ValueError, "ks is empty"),
    ("too sure", {"confidence": 1.0}, ValueError, "between 0 and 1, such as 0.95, got 1.0"),
    ("by a number", {"by": 7}, TypeError, "by must be a metadata key, got 7"),
    ("an answer that is a text", {"target": lambda _: "cat"}, TypeError, "got one str"),
    ("an answer of numbers", {"target": lambda _: [1]}, TypeError, "ids, documents or hits, got a int"),
    ("documents without ids", {"target": lambda _: [Document("x")]}, ContentError, "have no ids"),
    (
        "ids by source",
        {"target": lambda _: ["x"], "by": "source"},
        TypeError,
        "by='source' needs documents with metadata",
    ),
    (
        "options of a function",
        {"target": lambda _: [], "search_type": "mmr"},
        TypeError,
        "got the option 'search_type'",
    ),
    ("no concurrency", {"concurrency": 0}, (ValueError, TypeError), "concurrency"),
]


@pytest.mark.parametrize(("changes", "error", "words"), [pytest.param(*case[1:], id=case[0]) for case in MISTAKES])
def test_invalid_arguments_are_named(
    store: LocalVectorStore, measure: Callable[..., Report], changes: dict[str, Any], error: Any, words: str
) -> None:
    """The error names argument and value."""
    options = {"target": store, "labelled": LABELLED, **changes}
    with pytest.raises(error, match=words):
        measure(options.pop("target"), options.pop("labelled"), **options)


def test_targets_without_rankings_are_refused() -> None:
    """The error names the type of the target."""
    with pytest.raises(TypeError, match="must be a MultimodalRetriever or a store of this package, got function"):
        compare_rankings(lambda _: [], LABELLED)
