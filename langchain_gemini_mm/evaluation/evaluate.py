"""Evaluation of a store, a retriever or a function with labelled queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.evaluation.metrics import checked_ks
from langchain_gemini_mm.evaluation.reports import Comparison, Report
from langchain_gemini_mm.evaluation.run import EvaluationSettings, checked_queries, evaluation_flow
from langchain_gemini_mm.flows import Call, Flow, asynchronous, synchronous
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
    document_modalities: Mapping[str, str] | None = None,
    name: str | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
    concurrency: int = CONCURRENCY,
    **options: Any,
) -> Flow[Report]:
    """Evaluate how well labelled queries find the relevant documents.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.evaluation import LabelledQuery, evaluate

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["a cat", "a dog", "a fox"], ids=["cat", "dog", "fox"])
    report = evaluate(store, [LabelledQuery("a cat", ["cat"]), LabelledQuery("a dog", ["dog"])], ks=(1, 2))
    assert report["success@1"].value == 1.0
    assert report["success@1"].low < 0.2  # two queries say little
    ```

    Args:
        target: a vector store, a `MultimodalRetriever`, another LangChain retriever, or a function from a query to ids,
            documents or hits, best first.
        labelled: queries with the ids of relevant documents.
        ks: depths of `recall@k`, `precision@k` and `ndcg@k`, 1 to 1000; the largest is the number of hits requested.
        by: the metadata key whose values are labelled instead of ids, such as `"source"`. Of several hits with one
            value only the best counts, so an answer may be shorter than k.
        document_modalities: modalities of labelled documents by id, for the table by pairs of modalities. By default
            they are looked up in the store of the target, if ids are labelled.
        name: name of the report; the class of the target by default.
        confidence: level of the confidence intervals, between 0 and 1.
        seed: seed of the bootstrap that makes the intervals.
        progress: called with the number of queries that are answered so far.
        concurrency: queries in flight in `aevaluate`, where the target takes one query at a time.
        options: options of each search, such as `filter`, `search_type` or `ranking`.

    Raises:
        TypeError: the target cannot be searched, or returns something other than ids, documents or hits.
        ValueError: there are no queries, or a depth is out of range.
        ContentError: a query cannot be embedded, or documents of an answer have no ids.
    """
    settings = EvaluationSettings(
        ks=checked_ks(ks),
        by=by,
        modalities=document_modalities,
        name=name,
        confidence=confidence,
        seed=seed,
        progress=progress,
    )
    concurrency = positive_int("concurrency", concurrency)
    return (yield from evaluation_flow(target, checked_queries(labelled), settings, concurrency, options))


aevaluate = asynchronous(evaluate)


@synchronous
def compare_rankings(
    target: Any, labelled: Iterable[LabelledQuery], rankings: Sequence[str] = ("raw", "normalized"), **options: Any
) -> Flow[Comparison]:
    """Evaluate the same queries with several rankings; each ranking embeds the queries again.

    Args:
        target: a `MultimodalRetriever`, or a store of this package.
        labelled: queries with the ids of relevant documents. With the queries it was fitted to, a calibration looks
            better than it is.
        rankings: some of `"raw"`, `"normalized"` and `"calibrated"`; the first is the baseline.
        options: the other options of `evaluate`.

    Raises:
        TypeError: the target has no rankings.
    """
    queries, retriever = checked_queries(labelled), _retriever_of(target)
    reports = []
    for ranking in rankings:
        call = Call(evaluate, aevaluate, (retriever, queries), {**options, "name": ranking, "ranking": ranking})
        reports.append((yield call))
    return Comparison(reports)


acompare_rankings = asynchronous(compare_rankings)


def _retriever_of(target: Any) -> Any:
    if isinstance(target, MultimodalVectorStore):
        return MultimodalRetriever(store=target)
    if not (hasattr(target, "search") and hasattr(target, "asearch")):
        raise InvalidTypeError(
            f"target must be a MultimodalRetriever or a store of this package, got {type(target).__name__}"
        )
    return target
