"""Outliers: documents that are far from everything else of their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from langchain_gemini_mm.analysis.stored_vectors import StoredRows, batches_flow, narrowed
from langchain_gemini_mm.flows import Call, Flow, blocking, synchronous
from langchain_gemini_mm.interfaces import Filter, Modality
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.write import Progress

_FEWEST = 3
_MAD_TO_DEVIATION = 1.4826


@dataclass(frozen=True, slots=True)
class Outlier:
    """A document far from its neighbours."""

    document: Document
    score: float
    """How many (robust) standard deviations it is farther from its neighbours than is usual for its kind."""
    similarity: float
    """The mean cosine similarity to its nearest neighbours."""
    modality: str | None
    """The kind it was compared within; None for documents that name none of ours."""


@synchronous
def find_outliers(
    store: MultimodalVectorStore,
    *,
    k: int = 10,
    limit: int = 20,
    filter: Filter | None = None,  # noqa: A002 - LangChain's word
    modalities: list[str] | None = None,
    progress: Progress | None = None,
) -> Flow[list[Outlier]]:
    """Find the documents that are farthest from their nearest neighbours of the same kind; nothing is embedded.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.analysis import find_outliers

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=4))
    store.add_texts(["a cat", "a cat", "a cat", "a cat", "a dog"])
    assert find_outliers(store, k=2)[0].document.page_content == "a dog"
    ```

    Kinds are compared within themselves, because similarities of different kinds are at different levels; the score
    brings them to one measure. A kind with fewer than three documents is left out. Exact, in blocks, like
    `find_duplicates`.

    Args:
        store: a store of this package.
        k: how many neighbours count. A group of k or fewer strange documents that are alike hides itself.
        limit: how many outliers to return at most.
        filter: only documents that match; they are compared with each other alone.
        modalities: only documents of these kinds.
        progress: called with the number of documents that have been compared with all others.

    Returns:
        The farthest out first. There is always a farthest one: look at the scores; under 3 is nothing unusual.
    """
    k, limit = positive_int("k", k), positive_int("limit", limit)
    given = narrowed(filter, modalities)
    suspects: list[_Suspect] = []
    done = 0
    for modality in (*get_args(Modality), None):
        kind: Filter = {"modality": {"$nin": list(get_args(Modality))} if modality is None else modality}
        with StoredRows() as rows:
            done += yield from batches_flow(store, narrowed(given, None, kind), rows.add)
            if len(rows) < _FEWEST:
                continue
            closeness = []
            for start, stop in rows.ranges():
                closeness.append((yield blocking(_closeness, rows, start, stop, k)))
                if progress is not None:
                    progress(done - len(rows) + stop)
            suspects += _suspects(rows.ids, np.concatenate(closeness), modality, limit)
    suspects = sorted(suspects, key=lambda suspect: (-suspect.score, suspect.similarity))[:limit]
    documents = yield Call(store.get_by_ids, store.aget_by_ids, ([suspect.id for suspect in suspects],))
    by_id = {document.id: document for document in documents}
    return [
        Outlier(by_id[suspect.id], suspect.score, suspect.similarity, suspect.modality)
        for suspect in suspects
        if suspect.id in by_id
    ]


afind_outliers = find_outliers.asynchronous


@dataclass(frozen=True, slots=True)
class _Suspect:
    id: str
    score: float
    similarity: float
    modality: str | None


def _closeness(rows: StoredRows, start: int, stop: int, k: int) -> NDArray[np.float64]:
    """The mean similarity of each row of a block to its `k` nearest of all others."""
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
    """The highest values of both in each row, ascending, as many as there were."""
    k = nearest.shape[1]
    better = similarity > nearest[:, :1]
    counts = np.count_nonzero(better, axis=1)
    most = int(counts.max(initial=0))
    if not most:
        return nearest
    if most <= similarity.shape[1] // 4:
        # After the first blocks a row has few candidates: sorting these alone takes a fraction of the time.
        candidates = np.full((len(similarity), most), -np.inf, dtype=np.float32)
        places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        candidates[np.repeat(np.arange(len(counts)), counts), places] = similarity[better]
        similarity = candidates
    both = np.concatenate([nearest, similarity], axis=1)
    return np.sort(np.partition(both, -k, axis=1)[:, -k:], axis=1)


def _suspects(ids: list[str], closeness: NDArray[np.float64], modality: str | None, limit: int) -> list[_Suspect]:
    middle = np.median(closeness)
    spread = _MAD_TO_DEVIATION * float(np.median(np.abs(closeness - middle)))
    if spread < 1e-6:  # more than half are exactly alike
        spread = float(closeness.std())
    scores = (middle - closeness) / spread if spread > 1e-6 else np.zeros(len(ids))
    order = np.argsort(-scores, kind="stable")[:limit]
    return [_Suspect(ids[i], float(scores[i]), float(closeness[i]), modality) for i in order.tolist()]
