"""Scoring: the rows of one state of a collection that are nearest to a vector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vectors
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
        """Whether `rows` are whole vectors."""
        return int(self.rows.shape[1]) == self.dimensions

    def nearest(self, vectors: Vectors, masks: Sequence[Mask | None], queries: Sequence[RowQuery]) -> list[BestRows]:
        """The best rows that are allowed and not deleted; each vector is multiplied once for all its queries.

        Args:
            vectors: `(q, d)` float32, unit rows.
            masks: which rows are allowed, each `(n,)`; None allows all.
            queries: which vector, which mask, and how many rows.
        """
        if self.rows.shape[1] < self.dimensions:
            vectors = prefix_rows(vectors, self.rows.shape[1])
        if self.alive is not None:
            masks = [self.alive if mask is None else mask & self.alive for mask in masks]
        given = [mask for mask in masks if mask is not None]
        union: Mask | None = reduce(np.logical_or, given) if len(given) == len(masks) else None
        if union is None or np.count_nonzero(union) > _GATHER_BELOW * len(self.numbers):
            return _best_of(vectors, self.rows, masks, queries)
        positions = np.flatnonzero(union)
        inside = [None if mask is None or mask is union else mask[positions] for mask in masks]
        found = _best_of(vectors, self.rows[positions], inside, queries)
        return [BestRows(positions[best.positions], best.scores) for best in found]


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
    scores: NDArray[np.float32]
    if len(vectors) > 1:
        scores = vectors @ rows.T
    elif _ROW_BY_ROW is not None and (rows.shape[1] <= _SHORT or rows.nbytes <= _SMALL or _one_thread()):
        scores = _ROW_BY_ROW(rows, vectors[0])[None, :]
    else:
        scores = (rows @ vectors[0])[None, :]
    return scores


# One OpenBLAS thread needs two to three times as long for a matrix-vector product as `vecdot` for the same rows, so two
# threads gain nothing for short rows, and for few rows their synchronization costs more than it saves.
_ROW_BY_ROW: Any = getattr(np, "vecdot", None)  # from NumPy 2 on
_SHORT = 512
_SMALL = 8_000_000


def _one_thread() -> bool:
    """Whether OpenBLAS uses one thread; it reads these variables in this order."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").strip():
            return os.environ[name].strip() == "1"
    return os.cpu_count() == 1
