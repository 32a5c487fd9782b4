"""How many dimensions are enough: stored vectors read once, truncated, and searched exactly at each size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.analysis.stored_vectors import batches_flow, narrowed
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.evaluation.metrics import checked_ks
from langchain_gemini_mm.evaluation.reports import Comparison
from langchain_gemini_mm.evaluation.run import (
    TOGETHER,
    Settings,
    background_flow,
    checked_queries,
    documents_flow,
    names_of,
)
from langchain_gemini_mm.flows import Flow, synchronous
from langchain_gemini_mm.interfaces import Filter, Vector, Vectors
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectors import top_k, truncate
from langchain_gemini_mm.vectorstores import MultimodalVectorStore, Query
from langchain_gemini_mm.vectorstores.search import query_vectors_flow
from langchain_gemini_mm.vectorstores.write import Progress

SIZES = (128, 256, 512, 768, 1024, 1536, 2048, 3072)
"""Dimensions that are tried when nothing is said, as far as the vectors go."""

_QUERIES = 1024


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
    """Measure what is lost when vectors are cut to fewer dimensions, before embedding anything again.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.evaluation import LabelledQuery, dimension_sweep

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=64))
    store.add_texts(["a cat", "a dog", "a fox"], ids=["cat", "dog", "fox"])
    sweep = dimension_sweep(store, [LabelledQuery("a cat", ["cat"])], [2, 64], ks=[1])
    assert sweep["64"]["success@1"].value == 1.0
    ```

    The queries are embedded once, and the stored vectors read once, in batches; the search is exact at each size.

    Args:
        store: a store of this package.
        labelled: queries with the ids they should find.
        dimensions: the sizes; by default the usual ones of Matryoshka embeddings, and the whole.
        ks: as for `evaluate`.
        by: as for `evaluate`.
        filter: only documents that match.
        task_type: what the queries are for, where the embedding knows tasks.
        confidence: of the intervals.
        seed: of the intervals.
        progress: called with the number of documents read so far.

    Returns:
        A report for each size, named by it, the largest first.

    Raises:
        ValueError: a size is larger than the stored vectors, or there are no queries.
    """
    settings = Settings(ks=checked_ks(ks), by=by, confidence=confidence, seed=seed, progress=progress)
    asked = checked_queries(labelled)
    wanted = None if dimensions is None else {positive_int("an element of dimensions", size) for size in dimensions}
    queries = [one.query if isinstance(one.query, Query) else Query(one.query) for one in asked]
    vectors: list[Vector] = []
    for start in range(0, len(queries), TOGETHER):
        vectors += yield from query_vectors_flow(store.backend, queries[start : start + TOGETHER], task_type)
    whole = np.stack(vectors)
    nearest = [
        _Nearest(_cut(whole, size), [query.ids for query in queries], settings.ks[-1])
        for size in _sizes(wanted, whole.shape[1])
    ]

    def add(ids: list[str], rows: Vectors) -> None:
        for one in nearest:
            one.add(ids, rows)

    yield from batches_flow(store, narrowed(filter), add, settings.progress)
    background = yield from background_flow(store, asked, settings)
    reports = []
    for one in nearest:
        found = yield from _named_flow(store, one.found(), settings)
        reports.append(background(str(one.dimensions), found))
    return Comparison(reports)


adimension_sweep = dimension_sweep.asynchronous


def _sizes(wanted: set[int] | None, whole: int) -> list[int]:
    sizes = {size for size in SIZES if size < whole} | {whole} if wanted is None else wanted
    if not sizes:
        raise ValueError("dimensions is empty; leave it out for the usual ones")
    if max(sizes) > whole:
        raise ValueError(f"the vectors have {whole} dimensions; they cannot be cut to {max(sizes)}")
    return sorted(sizes, reverse=True)


def _named_flow(
    store: MultimodalVectorStore, found: Sequence[tuple[str, ...]], settings: Settings
) -> Flow[list[tuple[str, ...]]]:
    """Ids as they are labelled: as ids, or by a value in the metadata of their documents."""
    if settings.by is None:
        return list(found)
    documents = yield from documents_flow(store, list(dict.fromkeys(id_ for ids in found for id_ in ids)))
    by_id = {document.id: document for document in documents or ()}
    return [names_of([by_id[id_] for id_ in ids if id_ in by_id], settings.ks[-1], settings.by) for ids in found]


def _cut(rows: Vectors, size: int) -> Vectors:
    """Truncated rows; one whose first values are all zero has no direction and is similar to nothing."""
    if size == rows.shape[1]:
        return rows
    directed = rows[:, :size].any(axis=1)
    cut = np.zeros((len(rows), size), dtype=np.float32)
    if directed.any():
        cut[directed] = truncate(rows[directed], size)
    return cut


class _Nearest:
    """The nearest rows so far of each query at one size; equal ones in the order they came."""

    def __init__(self, queries: Vectors, excluded: Sequence[Sequence[str]], k: int) -> None:
        self.queries = queries
        self.k = k
        self._excluded = [set(ids) for ids in excluded]
        self._scores: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32) for _ in queries]
        self._ids: list[list[str]] = [[] for _ in queries]
        self._lowest = np.full(len(queries), -np.inf, dtype=np.float32)

    @property
    def dimensions(self) -> int:
        """The size."""
        return int(self.queries.shape[1])

    def add(self, ids: list[str], rows: Vectors) -> None:
        """Score some rows."""
        if self.dimensions > rows.shape[1]:
            raise ContentError(f"the queries have more than the {rows.shape[1]} dimensions that are stored")
        cut = _cut(rows, self.dimensions)
        for start in range(0, len(self.queries), _QUERIES):
            scores = self.queries[start : start + _QUERIES] @ cut.T
            better = scores.max(axis=1) > self._lowest[start : start + _QUERIES]
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
        """Ids of each query, the nearest first."""
        return [tuple(ids) for ids in self._ids]
