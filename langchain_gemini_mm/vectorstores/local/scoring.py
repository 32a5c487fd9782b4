"""Scoring: the rows of one state of a collection that are nearest to a vector."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vector, Vectors
from langchain_gemini_mm.vectors import top_k
from langchain_gemini_mm.vectorstores.local.filter_sql import Mask
from langchain_gemini_mm.vectorstores.local.prefix import prefix_rows

SCORES_AT_ONCE = 16_000_000
"""Maximum number of scores of one matrix product; 4 bytes each."""

_GATHER_BELOW = 0.1
"""Up to this share of allowed rows, scoring only these is faster than scoring all."""
_PICK_BELOW = 0.5
"""Up to this share of allowed scores, selecting them first is faster than masking the others."""
_GROUPS_OF, _LEAST_GROUP, _GROUPS_PER_HIT = 64, 4, 4
_NOTHING = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class BestRows:
    """The best rows of a view, best first."""

    positions: NDArray[np.intp]
    scores: NDArray[np.float32]
    """Cosine similarities; of the prefixes if the view holds only these."""

    def above(self, threshold: float | None) -> BestRows:
        """The rows that reach a threshold, with scores clipped to [-1, 1]."""
        scores = np.clip(self.scores, -1.0, 1.0)
        if threshold is None:
            return BestRows(self.positions, scores)
        keep = scores >= threshold
        return BestRows(self.positions[keep], scores[keep])


@dataclass(frozen=True, slots=True, eq=False)
class RowQuery:
    """One search among the rows of a view."""

    vector: int
    """Which of the vectors."""
    mask: int
    """Which of the masks."""
    k: int


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One immutable state of a collection; threads score it without a lock."""

    numbers: NDArray[np.int64]
    """`(n,)` row numbers, ascending."""
    rows: Vectors
    """`(n, w)` float32, unit rows: whole vectors, or their prefixes."""
    alive: Mask | None
    """`(n,)`, False for deleted rows; None if there are none."""
    dimensions: int
    """Length of the whole vectors."""

    @property
    def whole(self) -> bool:
        """Whether `rows` are whole vectors in single precision."""
        return int(self.rows.shape[1]) == self.dimensions and self.rows.dtype == np.float32

    def nearest(self, vectors: Vectors, masks: Sequence[Mask | None], queries: Sequence[RowQuery]) -> list[BestRows]:
        """The best rows that are allowed and not deleted; each vector is multiplied once for all its queries.

        Args:
            vectors: `(q, d)` float32, unit rows.
            masks: which rows are allowed, each `(n,)`; None allows all.
            queries: which vector, which mask, and how many rows.
        """
        vectors = self._prefixes(vectors)
        masks = self._alive(masks)
        union = self._few(masks)
        if union is None:
            return _best_of(vectors, self.rows, masks, queries)
        positions = np.flatnonzero(union)
        inside = [None if mask is None or mask is union else mask[positions] for mask in masks]
        found = _best_of(vectors, self.rows[positions], inside, queries)
        return [BestRows(positions[best.positions], best.scores) for best in found]

    def reads_all(self, masks: Sequence[Mask | None]) -> bool:
        """Whether a search with these masks reads all rows."""
        return self._few(self._alive(masks)) is None

    def _prefixes(self, vectors: Vectors) -> Vectors:
        width = int(self.rows.shape[1])
        return prefix_rows(vectors, width) if width < self.dimensions else vectors

    def _alive(self, masks: Sequence[Mask | None]) -> Sequence[Mask | None]:
        if self.alive is None:
            return masks
        return [self.alive if mask is None else mask & self.alive for mask in masks]

    def _few(self, masks: Sequence[Mask | None]) -> Mask | None:
        """The rows that one of the masks allows, if they are so few that only these are scored."""
        given = [mask for mask in masks if mask is not None]
        if len(given) < len(masks):
            return None
        union: Mask = reduce(np.logical_or, given)
        return union if np.count_nonzero(union) <= _GATHER_BELOW * len(self.numbers) else None


@dataclass(slots=True, eq=False)
class _WaitingSearch:
    view: View
    vectors: Vectors
    masks: Sequence[Mask | None]
    queries: Sequence[RowQuery]
    found: list[BestRows] | None = None


class SharedScoring:
    """Scores the searches of several threads together, so that all rows are read from memory once for all of them.

    One thread scores. Those that come meanwhile wait, and the first of them then scores for all that wait.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._waiting: list[_WaitingSearch] = []

    def nearest(
        self, view: View, vectors: Vectors, masks: Sequence[Mask | None], queries: Sequence[RowQuery]
    ) -> list[BestRows]:
        """Do the same as `View.nearest`.

        Args:
            view: what is searched.
            vectors: `(q, d)` float32, unit rows.
            masks: which rows are allowed, each `(n,)`; None allows all.
            queries: which vector, which mask, and how many rows.
        """
        if not view.reads_all(masks):
            return view.nearest(vectors, masks, queries)
        search = _WaitingSearch(view, vectors, masks, queries)
        self._waiting.append(search)
        try:
            with self._turn:
                if search.found is None:  # None as well if a thread was interrupted while it scored for this one
                    waiting, self._waiting = self._waiting, []
                    together = [other for other in waiting if other.view is view and other is not search]
                    self._waiting += [other for other in waiting if other.view is not view]
                    _score_together([search, *together])
        finally:
            if search.found is None and search in self._waiting:
                self._waiting.remove(search)
        return search.found or []


def _score_together(searches: Sequence[_WaitingSearch]) -> None:
    vectors = np.concatenate([search.vectors for search in searches])
    masks: list[Mask | None] = []
    queries: list[RowQuery] = []
    first = 0
    for search in searches:
        queries += [RowQuery(query.vector + first, query.mask + len(masks), query.k) for query in search.queries]
        masks += search.masks
        first += len(search.vectors)
    found = iter(searches[0].view.nearest(vectors, masks, queries))
    for search in searches:
        search.found = list(islice(found, len(search.queries)))


def _best_of(
    vectors: Vectors, rows: Vectors, masks: Sequence[Mask | None], queries: Sequence[RowQuery]
) -> list[BestRows]:
    """The best rows of each query; vectors are multiplied in blocks, so that memory is bounded."""
    found: list[BestRows | None] = [None] * len(queries)
    at_once = max(1, SCORES_AT_ONCE // max(1, len(rows)))
    for start in range(0, len(vectors), at_once):
        scores = products(vectors[start : start + at_once], rows)
        for position, query in enumerate(queries):
            if start <= query.vector < start + at_once:
                found[position] = _best(scores[query.vector - start], query.k, masks[query.mask])
    return [best for best in found if best is not None]


def _best(scores: NDArray[np.float32], k: int, mask: Mask | None = None) -> BestRows:
    """The `k` highest scores, best first; equal scores keep their order.

    Of many scores only those are sorted that reach the k-th highest of the maxima of groups; at least `k` do.
    """
    if mask is not None:
        kept = int(np.count_nonzero(mask))
        if kept <= _PICK_BELOW * len(mask):
            positions = np.flatnonzero(mask)
            best = _best(scores[positions], k)
            return BestRows(positions[best.positions], best.scores)
        scores, k = np.where(mask, scores, _NOTHING), min(k, kept)
    height = min(_GROUPS_OF, len(scores) // (_GROUPS_PER_HIT * k)) if k else 0
    if height < _LEAST_GROUP:
        order = top_k(scores, k)
    else:
        columns = len(scores) // height
        highest = scores[: height * columns].reshape(height, columns).max(axis=0)
        candidates = np.flatnonzero(scores >= np.partition(highest, -k)[-k])
        order = candidates[top_k(scores[candidates], k)]
    return BestRows(order, scores[order])


def products(vectors: Vectors, rows: Vectors) -> NDArray[np.float32]:
    """The dot products of `(q, d)` vectors with `(n, d)` rows: `(q, n)` float32."""
    if rows.dtype != np.float32:
        return _products_of_halves(vectors, rows)
    scores: NDArray[np.float32] = vectors @ rows.T if len(vectors) > 1 else _ONE_VECTOR(rows, vectors[0])[None, :]
    return scores


def _products_of_halves(vectors: Vectors, rows: Vectors) -> NDArray[np.float32]:
    """The products with rows in half precision, which are converted in blocks that stay in the processor's cache."""
    scores = np.empty((len(vectors), len(rows)), dtype=np.float32)
    step = max(1, _HALF_BLOCK // max(1, rows.shape[1]))
    block = np.empty((min(step, len(rows)), rows.shape[1]), dtype=np.float32)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        block[: len(some)] = some
        np.matmul(vectors, block[: len(some)].T, out=scores[:, start : start + len(some)])
    return scores


_HALF_BLOCK = 64_000
"""Numbers that are converted at once."""


class _FastestProduct:
    """The product of `(n, d)` rows with one vector, by the function that is faster on this machine.

    NumPy passes it to BLAS, whose threads have to be woken up, or computes it row by row in this thread. Which is
    faster depends on the numbers of rows and dimensions, on the processor and on the settings of BLAS. It is measured
    once for each size, so that a search that is repeated gets the same scores: the two round differently.
    """

    def __init__(self) -> None:
        self._functions: list[Callable[[Vectors, Vector], Any]] = [np.matmul]
        if hasattr(np, "vecdot"):  # from NumPy 2 on
            self._functions.append(np.vecdot)
        self._fastest: dict[tuple[int, int], Callable[[Vectors, Vector], Any]] = {}

    def __call__(self, rows: Vectors, vector: Vector) -> Any:
        """The products: `(n,)` float32."""
        size = int(rows.shape[1]), len(rows).bit_length()
        function = self._fastest.get(size)
        if function is None:
            function = self._fastest.setdefault(size, self._measured(rows[:_MEASURED_ROWS], vector))
        return function(rows, vector)

    def _measured(self, rows: Vectors, vector: Vector) -> Callable[[Vectors, Vector], Any]:
        least = [math.inf] * len(self._functions)
        for _ in range(_ROUNDS):
            for number, function in enumerate(self._functions):
                started = time.perf_counter()
                function(rows, vector)
                least[number] = min(least[number], time.perf_counter() - started)
        return self._functions[least.index(min(least))]


_MEASURED_ROWS = 20_000
_ROUNDS = 3
_ONE_VECTOR = _FastestProduct()
