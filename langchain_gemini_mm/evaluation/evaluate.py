"""Measuring how well a store, a retriever or a function finds what labelled queries should find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_gemini_mm.evaluation.metrics import checked_ks
from langchain_gemini_mm.evaluation.reports import Comparison, Report
from langchain_gemini_mm.evaluation.run import Settings, checked_queries, evaluation_flow
from langchain_gemini_mm.flows import Call, Flow, synchronous
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.retrievers import MultimodalRetriever
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.write import Progress

CONCURRENCY = 8
"""Queries that an async evaluation of a retriever or a function has in flight."""


@synchronous
def evaluate(
    target: Any,
    labelled: Iterable[LabelledQuery],
    *,
    ks: Iterable[int] = (1, 5, 10),
    by: str | None = None,
    kinds: Mapping[str, str] | None = None,
    name: str | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
    concurrency: int = CONCURRENCY,
    **options: Any,
) -> Flow[Report]:
    """Measure how well labelled queries find what they should.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.evaluation import LabelledQuery, evaluate

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["a cat", "a dog", "a fox"], ids=["cat", "dog", "fox"])
    report = evaluate(store, [LabelledQuery("a cat", ["cat"]), LabelledQuery("a dog", ["dog"])], ks=(1, 2))
    assert report["success@1"].value == 1.0
    assert report["success@1"].low < 0.2  # two queries prove little
    ```

    Args:
        target: a vector store, a `MultimodalRetriever`, another LangChain retriever, or a function from a query to ids,
            documents or hits, best first.
        labelled: queries with the ids they should find.
        ks: depths of `recall@k`, `precision@k` and `ndcg@k`, 1 to 1000; the largest is how many are asked for.
        by: the metadata key whose values are labelled instead of ids, such as `"source"`; of the documents that share
            one, the best counts, so an answer may have fewer than k.
        kinds: modalities of what is labelled, for the table by pairs of kinds; where ids are labelled they are looked
            up in the store, if there is one.
        name: what the report calls the target.
        confidence: of the intervals.
        seed: of the intervals.
        progress: called with the number of queries answered so far.
        concurrency: queries that `aevaluate` has in flight, where the target answers one query at a time.
        options: passed on with each search, such as `filter`, `search_type` or `ranking`.

    Raises:
        TypeError: the target cannot be asked, or answers something else than ids, documents or hits.
        ValueError: there are no queries, or a depth is out of range.
        ContentError: a query cannot be embedded, or the documents of an answer have no ids.
    """
    settings = Settings(
        ks=checked_ks(ks), by=by, modalities=kinds, name=name, confidence=confidence, seed=seed, progress=progress
    )
    concurrency = positive_int("concurrency", concurrency)
    return (yield from evaluation_flow(target, checked_queries(labelled), settings, concurrency, options))


aevaluate = evaluate.asynchronous


@synchronous
def compare_rankings(
    target: Any, labelled: Iterable[LabelledQuery], rankings: Sequence[str] = ("raw", "normalized"), **options: Any
) -> Flow[Comparison]:
    """Measure the same queries with several rankings; each asks, and so embeds, them anew.

    Args:
        target: a `MultimodalRetriever`, or a store of this package.
        labelled: queries with the ids they should find. A calibration that was made with the same ones looks better
            than it is.
        rankings: of `"raw"`, `"normalized"`, `"calibrated"`; the first is what the others are compared with.
        options: those of `evaluate`.

    Raises:
        TypeError: the target has no rankings.
    """
    queries, retriever = checked_queries(labelled), _ranker(target)
    reports = []
    for ranking in rankings:
        call = Call(evaluate, aevaluate, (retriever, queries), {**options, "name": ranking, "ranking": ranking})
        reports.append((yield call))
    return Comparison(reports)


acompare_rankings = compare_rankings.asynchronous


def _ranker(target: Any) -> Any:
    if isinstance(target, MultimodalVectorStore):
        return MultimodalRetriever(store=target)
    if not (hasattr(target, "search") and hasattr(target, "asearch")):
        raise TypeError(f"rankings are those of a MultimodalRetriever, got {type(target).__name__}")
    return target
