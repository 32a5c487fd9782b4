"""Arithmetic on embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from langchain_core.vectorstores.utils import maximal_marginal_relevance as langchains

from langchain_gemini_mm.vectors import (
    cosine_similarity,
    maximal_marginal_relevance,
    top_k,
    truncate,
    unit_rows,
)

SCORES = npst.arrays(np.float32, st.integers(0, 40), elements=st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]))


def random_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Unit rows of a normal distribution."""
    return unit_rows(np.random.default_rng(seed).standard_normal((n, d)))


def test_unit_rows_are_float32_of_length_one() -> None:
    """Every row keeps its direction and gets length 1, even from very large or small numbers."""
    rows = unit_rows(np.array([[3, 4], [1e30, 0], [0, 1e-30]]))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        pytest.param([[1.0, 2.0], [np.nan, 1.0]], "vector 1 holds NaN", id="nan"),
        pytest.param([[np.inf, 2.0]], "vector 0 holds NaN or infinity", id="infinity"),
        pytest.param([[1.0], [0.0]], "vector 1 is all zeros", id="zeros"),
        pytest.param([1.0, 2.0], "1 dimension", id="one vector"),
    ],
)
def test_unusable_rows_are_named(vectors: object, message: str) -> None:
    """The error has the position of an invalid row."""
    with pytest.raises(ValueError, match=message):
        unit_rows(vectors)  # type: ignore[arg-type]


def test_truncation_keeps_the_first_values_and_renormalises() -> None:
    """A truncated vector has unit length."""
    np.testing.assert_allclose(truncate([[3.0, 4.0, 12.0]], 2), [[0.6, 0.8]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"\(1, 3\) to 4 dimensions"):
        truncate([[3.0, 4.0, 12.0]], 4)


def test_cosine_similarity_stays_within_its_range() -> None:
    """Similarities are at most 1 despite rounding."""
    rows = random_rows(200, 768)
    scores = np.concatenate([cosine_similarity(row, rows) for row in rows[:50]])
    assert scores.max() <= 1.0


@given(SCORES, st.integers(0, 45))
def test_top_k_is_a_stable_sort_cut_at_k(scores: np.ndarray, k: int) -> None:
    """Positions are sorted by score; equal scores keep their order."""
    assert top_k(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


@given(st.integers(1, 12), st.integers(1, 15), st.floats(0, 1), st.integers(0, 1000))
def test_mmr_picks_what_langchain_picks(n: int, k: int, lambda_mult: float, seed: int) -> None:
    """Our vectorised MMR and LangChain's loop choose the same rows in the same order."""
    rows = random_rows(n + 1, 8, seed)
    query, candidates = rows[0], rows[1:]
    candidates = candidates[np.argsort(-candidates @ query)]
    theirs = langchains(query, candidates.tolist(), lambda_mult=lambda_mult, k=k)
    assert maximal_marginal_relevance(query, candidates, k, lambda_mult) == theirs
