"""Arithmetic on embeddings: truncation, normalization and comparison."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.interfaces import Vector, Vectors


def unit_rows(vectors: ArrayLike) -> Vectors:
    """Scale every row to length 1.

    ```python
    from langchain_gemini_mm.vectors import unit_rows

    assert unit_rows([[3.0, 4.0]]).tolist() == [[0.6000000238418579, 0.800000011920929]]
    ```

    Args:
        vectors: `(n, d)`, anything that NumPy converts to an array.

    Returns:
        `(n, d)` float32, unit rows.

    Raises:
        ValueError: the array is not two-dimensional, or a row is not finite, all zeros or too long for a float64.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2:
        raise InvalidValueError(f"expected an (n, d) array, got {rows.ndim} dimension(s), shape {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InvalidValueError(f"vector {_first(np.logical_not(finite))} holds NaN or infinity")
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InvalidValueError(f"the length of vector {_first(np.isinf(lengths[:, 0]))} overflows")
    if not lengths.all():
        raise InvalidValueError(f"vector {_first(lengths[:, 0] == 0)} is all zeros and cannot be normalized")
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit


def truncate(vectors: ArrayLike, dimensions: int) -> Vectors:
    """Keep the first `dimensions` values of each row and normalize it (Matryoshka truncation).

    Args:
        vectors: `(n, d)`.
        dimensions: 1 to d.

    Returns:
        `(n, dimensions)` float32, unit rows.

    Raises:
        ValueError: `dimensions` is not within 1 to d, or a row is not finite or all zeros.
    """
    rows = np.asarray(vectors)
    if rows.ndim != 2 or not 1 <= dimensions <= rows.shape[1]:
        raise InvalidValueError(f"cannot truncate shape {rows.shape} to {dimensions} dimensions")
    return unit_rows(rows[:, :dimensions])


def cosine_similarity(query: Vector, vectors: Vectors) -> NDArray[np.float32]:
    """Cosine similarity of one unit vector to many, each in [-1, 1].

    Args:
        query: `(d,)` float32, unit length.
        vectors: `(n, d)` float32, unit rows.

    Returns:
        `(n,)` float32.
    """
    similarity: NDArray[np.float32] = np.clip(vectors @ query, -1.0, 1.0)
    return similarity


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Find the `k` highest scores.

    Args:
        scores: `(n,)` float32.
        k: how many; all of them if there are fewer.

    Returns:
        Positions, best first; equal scores keep their order.
    """
    k = min(k, len(scores))
    if k <= 0:
        return np.empty(0, dtype=np.intp)
    if k < len(scores):
        lowest = scores[np.argpartition(scores, -k)[-k:]].min()
        candidates = np.flatnonzero(scores >= lowest)
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")[:k]]


def maximal_marginal_relevance(query: Vector, vectors: Vectors, k: int, lambda_mult: float = 0.5) -> list[int]:
    """Select `k` rows that are similar to the query and different from each other, in the order of selection.

    Args:
        query: `(d,)` float32, unit length.
        vectors: `(n, d)` float32, unit rows.
        k: number of rows to select.
        lambda_mult: weight of relevance against diversity, 0 to 1; 1 is relevance only.
    """
    relevance = cosine_similarity(query, vectors)
    redundancy = np.full(len(vectors), -np.inf, dtype=np.float32)
    picked: list[int] = []
    for _ in range(min(k, len(vectors))):
        score = lambda_mult * relevance - (1 - lambda_mult) * (redundancy if picked else 0 * relevance)
        score[picked] = -np.inf
        best = int(np.argmax(score))
        picked.append(best)
        redundancy = np.maximum(redundancy, vectors @ vectors[best])
    return picked


def _first(mask: ArrayLike) -> int:
    return int(np.flatnonzero(mask)[0])
