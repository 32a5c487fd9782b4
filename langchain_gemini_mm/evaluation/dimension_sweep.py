"""Evaluation of truncated vectors: stored vectors are read once and searched exactly at several dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.analysis.stored_vectors import batches_flow, narrowed
from langchain_gemini_mm.errors import ContentError, InvalidValueError
from langchain_gemini_mm.evaluation.metrics import checked_ks
from langchain_gemini_mm.evaluation.reports import Comparison
from langchain_gemini_mm.evaluation.run import (
    BATCH_SIZE,
    EvaluationSettings,
    checked_queries,
    documents_flow,
    names_of,
    report_maker_flow,
)
from langchain_gemini_mm.flows import Flow, asynchronous, synchronous
from langchain_gemini_mm.interfaces import Filter, Vector, Vectors
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectors import top_k, truncate
from langchain_gemini_mm.vectorstores import MultimodalVectorStore, Query
from langchain_gemini_mm.vectorstores.search import query_vectors_flow
from langchain_gemini_mm.vectorstores.write import Progress

SIZES = (128, 256, 512, 768, 1024, 1536, 2048, 3072)
"""Default dimensions; those above the dimensions of the store are left out."""

_QUERY_BLOCK = 1024


@synchronous
def dimension_sweep(
    store: MultimodalVectorStore,
    labelled: Iterable[LabelledQuery],
    dimensions: Iterable[int] | None = None,
    *,
    ks: Iterable[int] = (1, 5, 10),
    by: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - LangChain's word
    task_type: str | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> Flow[Comparison]:
    """Evaluate the search with truncated vectors; only the queries are embedded.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.evaluation import LabelledQuery, dimension_sweep

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=64))
    store.add_texts(["a cat", "a dog", "a fox"], ids=["cat", "dog", "fox"])
    sweep = dimension_sweep(store, [LabelledQuery("a cat", ["cat"])], [2, 64], ks=[1])
    assert sweep["64"]["success@1"].value == 1.0
    ```

    Queries are embedded once, and stored vectors are read once, in batches. The search is exact.

    Args:
        store: a store of this package.
        labelled: queries with the ids of relevant documents.
        dimensions: numbers of dimensions; by default those of `SIZES`, and the dimensions of the store.
        ks: depths of `recall@k`, `precision@k` and `ndcg@k`, 1 to 1000.
        by: the metadata key whose values are labelled instead of ids, such as `"source"`.
        filter: a metadata filter for the documents to search.
        task_type: the task of the queries, for embeddings that have tasks.
        confidence: level of the confidence intervals, between 0 and 1.
        seed: seed of the bootstrap that makes the intervals.
        progress: called with the number of documents that are read so far.

    Returns:
        One report per number of dimensions, named by it, the largest first.

    Raises:
        ValueError: there are no queries, or the store has fewer dimensions than requested.
    """
    settings = EvaluationSettings(ks=checked_ks(ks), by=by, confidence=confidence, seed=seed, progress=progress)
    asked = checked_queries(labelled)
    requested = None if dimensions is None else {positive_int("an element of dimensions", size) for size in dimensions}
    queries = [one.query if isinstance(one.query, Query) else Query(one.query) for one in asked]
    vectors: list[Vector] = []
    for start in range(0, len(queries), BATCH_SIZE):
        vectors += yield from query_vectors_flow(store.backend, queries[start : start + BATCH_SIZE], task_type)
    whole = np.stack(vectors)
    nearest = [
        _TopK(_truncated(whole, size), [query.ids for query in queries], settings.ks[-1])
        for size in _sizes(requested, whole.shape[1])
    ]

    def add(ids: list[str], rows: Vectors) -> None:
        for one in nearest:
            one.add(ids, rows)

    yield from batches_flow(store, narrowed(filter), add, settings.progress)
    make_report = yield from report_maker_flow(store, asked, settings)
    reports = []
    for one in nearest:
        found = yield from _named_flow(store, one.found(), settings)
        reports.append(make_report(str(one.dimensions), found))
    return Comparison(reports)


adimension_sweep = asynchronous(dimension_sweep)


def _sizes(requested: set[int] | None, whole: int) -> list[int]:
    sizes = {size for size in SIZES if size < whole} | {whole} if requested is None else requested
    if not sizes:
        raise InvalidValueError("dimensions is empty; leave it out for the default")
    if max(sizes) > whole:
        raise InvalidValueError(f"the vectors have {whole} dimensions; they cannot be truncated to {max(sizes)}")
    return sorted(sizes, reverse=True)


def _named_flow(
    store: MultimodalVectorStore, found: Sequence[tuple[str, ...]], settings: EvaluationSettings
) -> Flow[list[tuple[str, ...]]]:
    """Ids as they are labelled: as ids, or as values of a metadata key."""
    if settings.by is None:
        return list(found)
    documents = yield from documents_flow(store, list(dict.fromkeys(id_ for ids in found for id_ in ids)))
    by_id = {document.id: document for document in documents or ()}
    return [names_of([by_id[id_] for id_ in ids if id_ in by_id], settings.ks[-1], settings.by) for ids in found]


def _truncated(rows: Vectors, size: int) -> Vectors:
    """Truncate rows; a row whose first values are all zero becomes zero, which is similar to nothing."""
    if size == rows.shape[1]:
        return rows
    directed = rows[:, :size].any(axis=1)
    truncated = np.zeros((len(rows), size), dtype=np.float32)
    if directed.any():
        truncated[directed] = truncate(rows[directed], size)
    return truncated


class _TopK:
    """The `k` nearest rows so far of each query at one number of dimensions; ties are in the order of the store."""

    def __init__(self, queries: Vectors, excluded: Sequence[Sequence[str]], k: int) -> None:
        self.queries = queries
        self.k = k
        self._excluded = [set(ids) for ids in excluded]
        self._scores: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32) for _ in queries]
        self._ids: list[list[str]] = [[] for _ in queries]
        self._lowest = np.full(len(queries), -np.inf, dtype=np.float32)

    @property
    def dimensions(self) -> int:
        """Number of dimensions."""
        return int(self.queries.shape[1])

    def add(self, ids: list[str], rows: Vectors) -> None:
        """Score a batch of `(n, d)` rows."""
        if self.dimensions > rows.shape[1]:
            raise ContentError(f"the queries have more dimensions than the {rows.shape[1]} of the stored vectors")
        truncated = _truncated(rows, self.dimensions)
        for start in range(0, len(self.queries), _QUERY_BLOCK):
            scores = self.queries[start : start + _QUERY_BLOCK] @ truncated.T
            better = scores.max(axis=1) > self._lowest[start : start + _QUERY_BLOCK]
            for row in np.flatnonzero(better).tolist():
                self._merge(start + row, ids, scores[row])

    def _merge(self, query: int, ids: list[str], scores: NDArray[np.float32]) -> None:
        best = top_k(scores, self.k + len(self._excluded[query]))
        fresh = [(i, ids[i]) for i in best.tolist() if ids[i] not in self._excluded[query]]
        merged = np.concatenate([self._scores[query], scores[[i for i, _ in fresh]]])
        names = [*self._ids[query], *(id_ for _, id_ in fresh)]
        kept = top_k(merged, self.k)
        self._scores[query], self._ids[query] = merged[kept], [names[i] for i in kept.tolist()]
        if len(kept) == self.k:
            self._lowest[query] = merged[kept[-1]]

    def found(self) -> list[tuple[str, ...]]:
        """Ids for each query, the nearest first."""
        return [tuple(ids) for ids in self._ids]
