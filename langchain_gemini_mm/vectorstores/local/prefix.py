"""Searching by prefixes of the vectors: when it is used, and its recall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.validation import one_of

PREFIX = 256
"""Default prefix length of large collections."""
PREFIX_ABOVE = 256_000_000
"""Collections with more bytes of vectors use prefixes by default."""
CANDIDATES_PER_HIT = 10
"""Minimum number of candidates per requested row."""
Precision: TypeAlias = Literal["single", "half"]
"""How many bytes each number in memory has: four or two."""
LEAST_RECALL = 0.99
"""With less recall, measured on a sample, whole vectors are held unless prefixes were requested."""

_TIE = 2e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """The recall of a search by prefixes, compared with an exact search."""

    recall: float
    """Mean recall of the `k` nearest documents, 0 to 1."""
    worst: float
    """The lowest recall of one query."""
    sample: int
    """Number of queries; a stored vector as a query does not count as its own neighbour."""
    k: int
    prefix: int | None
    """How many numbers of each vector are searched; None for whole vectors and an exact search."""


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """The options of a store about prefixes.

    Raises:
        ValueError: one of them is out of range.
    """

    prefix: int | bool | None
    """Prefix length; False for whole vectors; None decides by the size of the collection."""
    candidates: int
    above: int = PREFIX_ABOVE
    """If `prefix` is None: collections with more bytes of vectors use prefixes."""
    default_prefix: int = PREFIX
    """If `prefix` is None: the prefix length."""
    precision: Precision = "single"
    """In which precision vectors are held."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers that are held."""
        return np.dtype(np.float16 if self.precision == "half" else "<f4")

    def __post_init__(self) -> None:
        """Check the options."""
        prefix, candidates = self.prefix, self.candidates
        if prefix is not None and prefix is not False and not _is_count(prefix):
            raise InvalidValueError(
                f"prefix is a number of dimensions such as {PREFIX}, False for none, or None, got {prefix!r}"
            )
        one_of("precision", self.precision, get_args(Precision))
        if not _is_count(candidates):
            raise InvalidValueError(f"candidates must be at least 1, got {candidates!r}")

    def count(self, k: int) -> int:
        """Number of candidates that are scored again for `k` rows."""
        return max(self.candidates, CANDIDATES_PER_HIT * k)


def prefix_rows(vectors: Vectors, width: int) -> Vectors:
    """The first `width` numbers of each row, normalized to unit length; a prefix of zeros stays zero."""
    rows = np.ascontiguousarray(vectors[:, :width], dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    lengths[lengths == 0] = 1
    unit: Vectors = np.divide(rows, lengths[:, None], dtype=np.float32)
    return unit


def exact_scores(batches: Iterable[Vectors], queries: Vectors, k: int) -> NDArray[np.float32]:
    """The `k` highest cosine similarities of each query to all rows.

    Args:
        batches: `(n, d)` float32 unit rows each.
        queries: `(q, d)` float32, unit rows.
        k: how many.

    Returns:
        `(q, k)` float32, ascending; -inf where there are fewer than `k` rows.
    """
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for rows in batches:
        best = with_more_rows(best, queries, rows)
    return np.sort(best, axis=1)


def with_more_rows(best: NDArray[np.float32], queries: Vectors, rows: Vectors) -> NDArray[np.float32]:
    """The `(q, k)` highest scores of each query, after more rows were compared; in any order.

    Args:
        best: `(q, k)`, those of earlier rows; -inf where there were fewer.
        queries: `(q, d)` float32, unit rows.
        rows: `(n, d)` float32, unit rows.
    """
    k = best.shape[1]
    both = np.concatenate([best, queries @ rows.T], axis=1)
    return np.partition(both, -k, axis=1)[:, -k:]


def shares(exact: NDArray[np.float32], found: Sequence[Sequence[float]]) -> list[float]:
    """The recall of each query: the share of the exact scores that was found, up to ties.

    Args:
        exact: `(q, k)`, ascending; rows with fewer than `k` scores begin with -inf.
        found: scores of each query, in any order.
    """
    answer = []
    for row, scores in zip(exact, found, strict=True):
        exact_scores = row[np.isfinite(row)]
        hits = sum(score >= exact_scores[0] - _TIE for score in scores) if len(exact_scores) else 0
        answer.append(float(min(hits, len(exact_scores)) / len(exact_scores)) if len(exact_scores) else 1.0)
    return answer


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
