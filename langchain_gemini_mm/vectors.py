"""Arithmetic on embeddings: cut to a size, bring to unit length, compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_gemini_mm.interfaces import Vector, Vectors


def unit_rows(vectors: ArrayLike) -> Vectors:
    """Scale every row to length 1.

    ```python
    from langchain_gemini_mm.vectors import unit_rows

    assert unit_rows([[3.0, 4.0]]).tolist() == [[0.6000000238418579, 0.800000011920929]]
    ```

    Args:
        vectors: `(n, d)`, anything NumPy takes.

    Returns:
        `(n, d)` float32, unit rows.

    Raises:
        ValueError: not two-dimensional, or a row is not finite or has no direction (all zeros).
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"expected an (n, d) array, got {rows.ndim} dimension(s), shape {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(f"vector {_first(np.logical_not(finite))} holds NaN or infinity")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"vector {_first(lengths[:, 0] == 0)} is all zeros and has no direction")
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit


def truncate(vectors: ArrayLike, dimensions: int) -> Vectors:
    """Keep the first `dimensions` values of every row and renormalise (Matryoshka truncation).

    Args:
        vectors: `(n, d)`.
        dimensions: 1 to d.

    Returns:
        `(n, dimensions)` float32, unit rows.

    Raises:
        ValueError: `dimensions` is not within 1 to d, or a row is not usable.
    """
    rows = np.asarray(vectors)
    if rows.ndim != 2 or not 1 <= dimensions <= rows.shape[1]:
        raise ValueError(f"cannot truncate shape {rows.shape} to {dimensions} dimensions")
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
    """Positions of the `k` highest scores, best first; equal scores keep their order."""
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
    """Pick `k` rows that are near the query and unlike each other, in the order picked.

    Args:
        query: `(d,)` float32, unit length.
        vectors: `(n, d)` float32, unit rows.
        k: how many to pick.
        lambda_mult: 1.0 looks at relevance alone, 0.0 at diversity alone.
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
