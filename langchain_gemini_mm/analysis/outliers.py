"""Outliers: documents that are far from all other documents of their modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from langchain_gemini_mm.analysis.stored_vectors import StoredRows, batches_flow, narrowed
from langchain_gemini_mm.flows import Call, Flow, asynchronous, blocking, synchronous
from langchain_gemini_mm.interfaces import Filter, Modality
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.write import Progress

_FEWEST = 3
_MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True, slots=True)
class Outlier:
    """A document that is far from its nearest neighbours."""

    document: Document
    score: float
    """Distance to its neighbours, in robust standard deviations above the median of its modality."""
    similarity: float
    """Mean cosine similarity to its nearest neighbours."""
    modality: str | None
    """The modality it was compared within; None for documents without a known modality."""


@synchronous
def find_outliers(
    store: MultimodalVectorStore,
    *,
    k: int = 20,
    n_neighbors: int = 10,
    filter: Filter | None = None,  # noqa: A002 - LangChain's word
    modalities: list[str] | None = None,
    progress: Progress | None = None,
) -> Flow[list[Outlier]]:
    """Find the documents that are farthest from their nearest neighbours of the same modality; nothing is embedded.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.analysis import find_outliers

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=4))
    store.add_texts(["a cat", "a cat", "a cat", "a cat", "a dog"])
    assert find_outliers(store, n_neighbors=2)[0].document.page_content == "a dog"
    ```

    Documents are compared within their modality, because similarities across modalities are lower; scores of different
    modalities are comparable. A modality with fewer than three documents is left out. The result is exact, and memory
    is bounded as in `find_duplicates`.

    Args:
        store: a store of this package.
        k: most outliers to return.
        n_neighbors: number of neighbours. Unusual documents are not found if more than `n_neighbors` of them are
            similar to each other.
        filter: a metadata filter for the documents to compare.
        modalities: modalities of the documents to compare; None for all.
        progress: called with the number of documents that have been compared with all others.

    Returns:
        Outliers, the highest score first. Even a collection without outliers has a highest score; below 3 it is usual.
    """
    k, n_neighbors = positive_int("k", k), positive_int("n_neighbors", n_neighbors)
    given = narrowed(filter, modalities)
    suspects: list[_Suspect] = []
    done = 0
    for modality in (*get_args(Modality), None):
        only: Filter = {"modality": {"$nin": list(get_args(Modality))} if modality is None else modality}
        with StoredRows() as rows:
            done += yield from batches_flow(store, narrowed(given, None, only), rows.add)
            if len(rows) < _FEWEST:
                continue
            closeness = []
            for start, stop in rows.ranges():
                closeness.append((yield blocking(_closeness, rows, start, stop, n_neighbors)))
                if progress is not None:
                    progress(done - len(rows) + stop)
            suspects += _suspects(rows.ids, np.concatenate(closeness), modality, k)
    suspects = sorted(suspects, key=lambda suspect: (-suspect.score, suspect.similarity))[:k]
    documents = yield Call(store.get_by_ids, store.aget_by_ids, ([suspect.id for suspect in suspects],))
    by_id = {document.id: document for document in documents}
    return [
        Outlier(by_id[suspect.id], suspect.score, suspect.similarity, suspect.modality)
        for suspect in suspects
        if suspect.id in by_id
    ]


afind_outliers = asynchronous(find_outliers)


@dataclass(frozen=True, slots=True)
class _Suspect:
    id: str
    score: float
    similarity: float
    modality: str | None


def _closeness(rows: StoredRows, start: int, stop: int, k: int) -> NDArray[np.float64]:
    """Mean similarity of each row of a block to its `k` nearest neighbours."""
    block = rows.block(start, stop)
    k = min(k, len(rows) - 1)
    nearest = np.full((len(block), k), -np.inf, dtype=np.float32)
    for other_start, other_stop in rows.ranges():
        similarity = block @ rows.block(other_start, other_stop).T
        if other_start == start:
            np.fill_diagonal(similarity, -np.inf)
        nearest = _merged(nearest, similarity)
    means: NDArray[np.float64] = np.clip(nearest, -1, 1).mean(axis=1, dtype=np.float64)
    return means


def _merged(nearest: NDArray[np.float32], similarity: NDArray[np.float32]) -> NDArray[np.float32]:
    """The highest values of both arrays in each row, ascending, as many as `nearest` has columns."""
    k = nearest.shape[1]
    better = similarity > nearest[:, :1]
    counts = np.count_nonzero(better, axis=1)
    most = int(counts.max(initial=0))
    if not most:
        return nearest
    if most <= similarity.shape[1] // 4:
        # After the first blocks few values of a row are candidates, and sorting only these is much faster.
        candidates = np.full((len(similarity), most), -np.inf, dtype=np.float32)
        columns = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        candidates[np.repeat(np.arange(len(counts)), counts), columns] = similarity[better]
        similarity = candidates
    both = np.concatenate([nearest, similarity], axis=1)
    return np.sort(np.partition(both, -k, axis=1)[:, -k:], axis=1)


def _suspects(ids: list[str], closeness: NDArray[np.float64], modality: str | None, k: int) -> list[_Suspect]:
    middle = np.median(closeness)
    spread = _MAD_TO_DEVIATION * float(np.median(np.abs(closeness - middle)))
    if spread < 1e-6:  # more than half of the values are equal
        spread = float(closeness.std())
    scores = (middle - closeness) / spread if spread > 1e-6 else np.zeros(len(ids))
    order = np.argsort(-scores, kind="stable")[:k]
    return [_Suspect(ids[i], float(scores[i]), float(closeness[i]), modality) for i in order.tolist()]
