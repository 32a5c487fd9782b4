"""Searching by the first numbers of each vector: when it is done, and how much it finds of what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vectors

PREFIX = 256
"""How many numbers of each vector a large collection keeps in memory."""
PREFIX_ABOVE = 256_000_000
"""Bytes of vectors up to which they are held whole, when nothing is said."""
CANDIDATES = 200
"""Rows that the prefixes find best and that are scored again with their whole vectors."""
CANDIDATES_PER_HIT = 10
"""At least so many candidates for each row asked for."""
LEAST_RECALL = 0.99
"""Below this, measured on a sample, a collection that is large by itself is held whole all the same."""

_TIE = 2e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """How much of what an exact search finds the search by prefixes finds, too."""

    recall: float
    """Mean share of the `k` nearest documents that were found, 0 to 1."""
    worst: float
    """The smallest share of one query."""
    sample: int
    """How many stored vectors were asked with, each without finding itself."""
    k: int
    prefix: int | None
    """How many numbers of each vector are searched; None where it is all of them, and the search exact."""


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """What was said about prefixes when the store was opened."""

    prefix: int | bool | None
    """How many numbers; False for whole vectors; None decides by size."""
    candidates: int
    above: int = PREFIX_ABOVE
    """Bytes of vectors from which on None means prefixes,"""
    default_prefix: int = PREFIX
    """and of how many numbers."""

    def width(self, rows: int, dimensions: int) -> int:
        """How many numbers of each vector to hold, before any look at how well it works."""
        if self.prefix is None:
            return min(self.default_prefix, dimensions) if 4 * rows * dimensions > self.above else dimensions
        return min(self.prefix, dimensions) if self.prefix else dimensions

    def count(self, k: int) -> int:
        """How many candidates to score again for `k` rows."""
        return max(self.candidates, CANDIDATES_PER_HIT * k)


def prefix_plan(prefix: Any, candidates: Any) -> PrefixPlan:
    """Check the two options.

    Raises:
        ValueError: one of them is out of range.
    """
    if prefix is not None and prefix is not False and not _is_count(prefix):
        raise ValueError(f"prefix is a number of dimensions such as {PREFIX}, False for none, or None, got {prefix!r}")
    if not _is_count(candidates):
        raise ValueError(f"candidates must be at least 1, got {candidates!r}")
    return PrefixPlan(prefix, candidates)


def prefix_rows(vectors: Vectors, width: int) -> Vectors:
    """The first `width` numbers of each row, at unit length; zeros stay zeros."""
    rows = np.ascontiguousarray(vectors[:, :width], dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    lengths[lengths == 0] = 1
    unit: Vectors = np.divide(rows, lengths[:, None], dtype=np.float32)
    return unit


def exact_scores(batches: Iterable[Vectors], queries: Vectors, k: int) -> NDArray[np.float32]:
    """The `k` highest cosine similarities of each query to all rows, read in batches: `(q, k)`, ascending."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for rows in batches:
        both = np.concatenate([best, queries @ rows.T], axis=1)
        best = np.partition(both, -k, axis=1)[:, -k:]
    return np.sort(best, axis=1)


def shares(exact: NDArray[np.float32], found: Sequence[Sequence[float]]) -> list[float]:
    """The share of the exact scores that was found, of each query; equal scores may stand for each other.

    Args:
        exact: `(q, k)`, ascending, each row beginning with -inf where there are fewer than `k`.
        found: scores of each query, in any order.
    """
    answer = []
    for row, scores in zip(exact, found, strict=True):
        wanted = row[np.isfinite(row)]
        hits = sum(score >= wanted[0] - _TIE for score in scores) if len(wanted) else 0
        answer.append(float(min(hits, len(wanted)) / len(wanted)) if len(wanted) else 1.0)
    return answer


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
