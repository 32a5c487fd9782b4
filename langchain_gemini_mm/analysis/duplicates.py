"""Near-duplicates: groups of documents whose stored vectors are almost equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.analysis.stored_vectors import StoredRows, batches_flow, narrowed
from langchain_gemini_mm.flows import Flow, asynchronous, blocking, synchronous
from langchain_gemini_mm.interfaces import Filter
from langchain_gemini_mm.validation import number_in, positive_int
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.write import Progress

THRESHOLD = 0.97
"""Default for the lowest cosine similarity of near-duplicates."""

# The product of a vector and its copy may be rounded to a little under 1.
_ALIKE = 1 - 1e-5
_Positions = NDArray[np.intp]
_Alike = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two near-duplicates and their similarity."""

    first: str
    second: str
    similarity: float
    """Cosine."""


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Documents connected by pairs of near-duplicates; two of them may be less similar than the threshold."""

    representative: str
    """Id of the document to keep: the one with the most near-duplicates; ties go to the first."""
    ids: tuple[str, ...]
    """Ids of all documents of the group, the representative first, the others in the order of the store."""

    @property
    def others(self) -> tuple[str, ...]:
        """The ids without the representative."""
        return self.ids[1:]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The near-duplicates of a collection."""

    groups: tuple[DuplicateGroup, ...]
    """Groups, the largest first."""
    pairs: tuple[DuplicatePair, ...]
    """Pairs, the most similar first; at most `max_pairs`."""
    pair_count: int
    """Number of all pairs, including those beyond `max_pairs`."""
    compared: int
    """Number of documents that were compared."""

    @property
    def others(self) -> list[str]:
        """Ids of all groups without the representatives: the documents to delete."""
        return [id_ for group in self.groups for id_ in group.others]


@synchronous
def find_duplicates(
    store: MultimodalVectorStore,
    *,
    threshold: float = THRESHOLD,
    filter: Filter | None = None,  # noqa: A002 - LangChain's word
    modalities: list[str] | None = None,
    max_pairs: int = 10_000,
    progress: Progress | None = None,
) -> Flow[Duplicates]:
    """Find groups of documents whose stored vectors are almost equal; nothing is embedded.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.analysis import find_duplicates

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=32))
    store.add_texts(["a cat", "a dog", "a cat"], ids=["one", "two", "three"])
    found = find_duplicates(store)
    assert found.groups[0].ids == ("one", "three")
    store.delete(found.others)
    ```

    Every document is compared with every other one. The result is exact. Memory is bounded, because more than 64 MB of
    vectors go to a temporary file; the time grows with the square of the number of documents.

    Args:
        store: a store of this package.
        threshold: lowest cosine similarity of a pair, 0 to 1. A good value depends on the modality: look at `pairs`
            before deleting.
        filter: a metadata filter for the documents to compare.
        modalities: modalities of the documents to compare; None for all.
        max_pairs: most pairs in the result; groups and `pair_count` are made from all pairs.
        progress: called with the number of documents that have been compared with all others.

    Raises:
        ValueError: `threshold` is not within 0 to 1.
    """
    search = _Search(number_in("threshold", threshold, 0, 1), positive_int("max_pairs", max_pairs))
    with StoredRows() as rows:
        yield from batches_flow(store, narrowed(filter, modalities), rows.add)
        search.start(len(rows))
        for start, stop in rows.ranges():
            yield blocking(search.compare, rows, start, stop)
            if progress is not None:
                progress(stop)
        found: Duplicates = yield blocking(search.result, rows.ids)
    return found


afind_duplicates = asynchronous(find_duplicates)


class _Search:
    """Groups and counts of all pairs so far, and the best `max_pairs` of the pairs."""

    def __init__(self, threshold: float, max_pairs: int) -> None:
        self.threshold = np.float32(min(threshold, _ALIKE))
        self.max_pairs = max_pairs
        self.count = 0
        nothing = np.empty(0, dtype=np.intp)
        self._kept: tuple[_Positions, _Positions, NDArray[np.float32]] = (nothing, nothing, np.empty(0, np.float32))

    def start(self, size: int) -> None:
        """Start with `size` documents, each in its own group."""
        self.root = np.arange(size)
        self.degree = np.zeros(size, dtype=np.int64)

    def compare(self, rows: StoredRows, start: int, stop: int) -> None:
        """Compare a block of rows with itself and all later rows.

        Args:
            rows: all rows.
            start: first row of the block.
            stop: end of the block.
        """
        block = rows.block(start, stop)
        for other_start, other_stop in rows.ranges(start):
            others = block if other_start == start else rows.block(other_start, other_stop)
            similarity = block @ others.T
            if other_start == start:
                similarity[np.tril_indices(len(block))] = -2.0
            alike = similarity >= self.threshold
            if alike.any():
                self._take(alike, similarity, start, other_start)

    def _take(self, alike: _Alike, similarity: NDArray[np.float32], start: int, other_start: int) -> None:
        """Add the pairs of two blocks.

        Args:
            alike: `(n, m)`, which rows of the first and of the second block are near-duplicates.
            similarity: `(n, m)` float32, of the rows.
            start: first row of the first block.
            other_start: first row of the second block.
        """
        degrees = np.count_nonzero(alike, axis=1)
        self.count += int(degrees.sum())
        self.degree[start : start + len(degrees)] += degrees
        self.degree[other_start : other_start + alike.shape[1]] += np.count_nonzero(alike, axis=0)
        connected = np.flatnonzero(degrees)
        self._unite(connected + start, alike[connected].argmax(axis=1) + other_start)
        roots, other_roots = self.root[start:][: len(degrees)], self.root[other_start:][: alike.shape[1]]
        first, second = np.nonzero(alike & (roots[:, None] != other_roots))  # few: copies have one root already
        self._unite(first + start, second + other_start)
        self._keep(alike, similarity, start, other_start)

    def _keep(self, alike: _Alike, similarity: NDArray[np.float32], start: int, other_start: int) -> None:
        """Keep the best `max_pairs` pairs; only those are sorted."""
        firsts, seconds, scores = self._kept
        if len(scores) == self.max_pairs:
            alike = alike & (similarity >= scores.min())
        found = similarity[alike]
        if len(found) > self.max_pairs:  # the best of the block, and of equal ones the first
            lowest = np.partition(found, -self.max_pairs)[-self.max_pairs]
            equal = np.flatnonzero(found == lowest)[: self.max_pairs - np.count_nonzero(found > lowest)]
            best = found > lowest
            best[equal] = True
            alike = alike.copy()
            alike[alike] = best
            found = found[best]
        first, second = np.nonzero(alike)
        firsts, seconds = np.concatenate([firsts, first + start]), np.concatenate([seconds, second + other_start])
        scores = np.concatenate([scores, found])
        if len(scores) > self.max_pairs:
            order = np.lexsort((seconds, firsts, -scores))[: self.max_pairs]
            firsts, seconds, scores = firsts[order], seconds[order], scores[order]
        self._kept = firsts, seconds, scores

    def _unite(self, first: _Positions, second: _Positions) -> None:
        """Merge the groups of both ends by attaching the larger root to the smaller one, until no pair is split."""
        while True:
            one, two = self.root[first], self.root[second]
            apart = one != two
            if not apart.any():
                return
            first, second, one, two = first[apart], second[apart], one[apart], two[apart]
            np.minimum.at(self.root, np.maximum(one, two), np.minimum(one, two))
            while (self.root[self.root] != self.root).any():
                self.root = self.root[self.root]

    def result(self, ids: list[str]) -> Duplicates:
        """The groups and pairs, in an order that depends only on the vectors."""
        members: dict[int, list[int]] = {}
        for position in np.flatnonzero(self.degree).tolist():
            members.setdefault(int(self.root[position]), []).append(position)
        groups = sorted((self._group(ids, found) for found in members.values()), key=lambda group: -len(group.ids))
        first, second, similarity = self._kept
        order = np.lexsort((second, first, -similarity))
        named = zip(first[order].tolist(), second[order].tolist(), similarity[order].tolist(), strict=True)
        pairs = tuple(DuplicatePair(ids[a], ids[b], min(1.0, score)) for a, b, score in named)
        return Duplicates(tuple(groups), pairs, self.count, len(ids))

    def _group(self, ids: list[str], positions: list[int]) -> DuplicateGroup:
        best = max(positions, key=lambda position: (self.degree[position], -position))
        rest = [ids[position] for position in positions if position != best]
        return DuplicateGroup(ids[best], (ids[best], *rest))
