"""One state of a collection in memory, and which of its rows are nearest to a vector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectors import top_k
from langchain_gemini_mm.vectorstores.local.filter_masks import Mask
from langchain_gemini_mm.vectorstores.local.prefix import prefix_rows

_GATHER_BELOW = 0.1
"""Share of rows up to which scoring only the allowed rows beats scoring all."""
_PICK_BELOW = 0.5
"""Share of scores up to which looking at the allowed ones alone beats looking at all."""
_GROUPS_OF, _LEAST_GROUP, _GROUPS_PER_HIT = 64, 4, 4
_NOTHING = np.float32(-np.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Rows of a view, best first."""

    positions: NDArray[np.intp]
    scores: NDArray[np.float32]
    """Cosine similarities; of the prefixes, where the view has no more."""

    def above(self, threshold: float | None) -> Found:
        """Those that reach a threshold; rounding errors beyond 1 are taken off."""
        scores = np.clip(self.scores, -1.0, 1.0)
        if threshold is None:
            return Found(self.positions, scores)
        keep = scores >= threshold
        return Found(self.positions[keep], scores[keep])


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What is looked for among the rows of a view."""

    vector: int
    """Which of the vectors it is near to."""
    k: int
    allowed: Mask | None
    """`(n,)`; None allows all. Equal masks are best one object."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One state of the collection; it never changes, so threads score it without a lock."""

    numbers: NDArray[np.int64]
    """`(n,)` row numbers, ascending."""
    rows: Vectors
    """`(n, w)` float32, unit rows: whole vectors, or their prefixes."""
    alive: Mask | None
    """`(n,)`, or None while nothing is deleted."""
    dimensions: int
    """Length of the whole vectors."""

    @property
    def whole(self) -> bool:
        """Whether `rows` are whole vectors."""
        return int(self.rows.shape[1]) == self.dimensions

    def nearest(self, vectors: Vectors, wanted: Sequence[Wanted]) -> list[Found]:
        """The best rows among those allowed and alive; each vector is multiplied once, however often it is asked for.

        Args:
            vectors: `(q, d)` float32, unit rows.
            wanted: what to find.
        """
        if not self.whole:
            vectors = prefix_rows(vectors, self.rows.shape[1])
        masks = {id(one.allowed): self._both(one.allowed) for one in wanted}
        union = _union(list(masks.values()))
        if union is None or np.count_nonzero(union) > _GATHER_BELOW * len(self.numbers):
            scores = products(vectors, self.rows)
            return [_masked(scores[one.vector], masks[id(one.allowed)], one.k) for one in wanted]
        positions = np.flatnonzero(union)
        scores = products(vectors, self.rows[positions])
        inside = {key: None if mask is None or mask is union else mask[positions] for key, mask in masks.items()}
        found = [_masked(scores[one.vector], inside[id(one.allowed)], one.k) for one in wanted]
        return [Found(positions[best.positions], best.scores) for best in found]

    def _both(self, allowed: Mask | None) -> Mask | None:
        if allowed is None or self.alive is None:
            return self.alive if allowed is None else allowed
        both: Mask = allowed & self.alive
        return both


def _union(masks: Sequence[Mask | None]) -> Mask | None:
    """What any of the masks allows; None where one allows all."""
    total: Mask | None = None
    for mask in masks:
        if mask is None:
            return None
        total = mask if total is None else total | mask
    return total


def _masked(scores: NDArray[np.float32], mask: Mask | None, k: int) -> Found:
    if mask is None:
        return _best(scores, k)
    kept = int(np.count_nonzero(mask))
    if kept > _PICK_BELOW * len(mask):
        return _best(np.where(mask, scores, _NOTHING), min(k, kept))
    positions = np.flatnonzero(mask)
    best = _best(scores[positions], k)
    return Found(positions[best.positions], best.scores)


def _best(scores: NDArray[np.float32], k: int) -> Found:
    """The `k` highest scores, best first; equal scores keep their order.

    Of many scores only those are sorted that reach the `k` best of the highest scores of groups: at least `k` do.
    """
    height = min(_GROUPS_OF, len(scores) // (_GROUPS_PER_HIT * k)) if k else 0
    if height < _LEAST_GROUP:
        best = top_k(scores, k)
        return Found(best, scores[best])
    columns = len(scores) // height
    highest = scores[: height * columns].reshape(height, columns).max(axis=0)
    candidates = np.flatnonzero(scores >= np.partition(highest, -k)[-k])
    best = candidates[top_k(scores[candidates], k)]
    return Found(best, scores[best])


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


# A thread of OpenBLAS takes two to three times as long for a matrix and a vector as for the same rows one by one, so
# two threads win nothing on short rows; on few rows they are not worth waiting for each other, long on busy cores.
_ROW_BY_ROW: Any = getattr(np, "vecdot", None)  # from NumPy 2 on
_SHORT = 512
_SMALL = 8_000_000


def _one_thread() -> bool:
    """Whether OpenBLAS has been told to use one thread, or finds one core; it looks in this order."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").strip():
            return os.environ[name].strip() == "1"
    return os.cpu_count() == 1
