"""Measures of one answer, and intervals of their means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.evaluation.metrics import Measure, bootstrap, checked_ks, measures, names_of_measures

IDS = st.sampled_from("abcdefgh")
FOUND = st.lists(IDS, unique=True, max_size=8)
RELEVANT = st.dictionaries(IDS, st.floats(0.01, 1e6), min_size=1, max_size=8)
KS = st.lists(st.integers(1, 12), min_size=1, max_size=4).map(checked_ks)

BY_HAND: list[Any] = [
    ("first", "abc", {"a": 1}, 1, {"success@1": 1, "mrr": 1, "recall@1": 1, "precision@1": 1, "ndcg@1": 1}),
    ("third", "xya", {"a": 1}, 3, {"success@1": 0, "mrr": 1 / 3, "recall@3": 1, "precision@3": 1 / 3, "ndcg@3": 0.5}),
    ("too deep", "xya", {"a": 1}, 2, {"mrr": 0, "recall@2": 0, "precision@2": 0, "ndcg@2": 0}),
    ("half", "axb", {"a": 1, "c": 1}, 3, {"mrr": 1, "recall@3": 0.5, "precision@3": 1 / 3}),
    ("a short answer", "a", {"a": 1}, 5, {"recall@5": 1, "precision@5": 0.2, "ndcg@5": 1}),
    ("nothing", "", {"a": 1}, 5, {"success@1": 0, "mrr": 0, "recall@5": 0, "ndcg@5": 0}),
    ("more than k are relevant", "ab", {"a": 1, "b": 1, "c": 1, "d": 1}, 2, {"recall@2": 0.5, "ndcg@2": 1}),
    (
        "grades",
        "bac",
        {"a": 3, "b": 1},
        2,
        {"ndcg@2": (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)), "mrr": 1, "recall@2": 1},
    ),
]


@pytest.mark.parametrize(
    ("found", "relevant", "k", "expected"), [pytest.param(*case[1:], id=case[0]) for case in BY_HAND]
)
def test_measures_by_hand(found: str, relevant: dict[str, float], k: int, expected: dict[str, float]) -> None:
    """Metrics equal values computed by hand; grades are gains."""
    values = measures(list(found), relevant, [k])
    assert {name: values[name] for name in expected} == pytest.approx(expected)


@given(found=FOUND, relevant=RELEVANT, ks=KS)
def test_measures_are_from_0_to_1(found: list[str], relevant: dict[str, float], ks: tuple[int, ...]) -> None:
    """All metrics are present, each from 0 to 1, and recall grows with depth."""
    values = measures(found, relevant, ks)
    assert tuple(values) == names_of_measures(ks)
    assert all(0 <= value <= 1 for value in values.values())
    recalls = [values[f"recall@{k}"] for k in ks]
    assert recalls == sorted(recalls)


@given(found=FOUND, relevant=RELEVANT, k=st.integers(1, 12))
def test_ndcg_follows_the_definition(found: list[str], relevant: dict[str, float], k: int) -> None:
    """NDCG equals the definition; the best order has 1, and no order has more."""

    def gain(ids: list[str]) -> float:
        return sum(relevant.get(id_, 0) / math.log2(place + 2) for place, id_ in enumerate(ids[:k]))

    best = sorted(relevant, key=lambda id_: -relevant[id_])
    assert measures(found, relevant, [k])[f"ndcg@{k}"] == pytest.approx(gain(found) / gain(best), abs=1e-9)
    assert measures(best, relevant, [k])[f"ndcg@{k}"] == pytest.approx(1)


def test_huge_grades_do_not_overflow() -> None:
    """The largest floats are valid grades."""
    values = measures(["a", "b"], {"a": 1.7e308, "b": 1.7e308}, [2])
    assert values["ndcg@2"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("ks", "error", "words"),
    [
        pytest.param([], ValueError, "ks is empty", id="none"),
        pytest.param([0], ValueError, "got 0", id="zero"),
        pytest.param([1001], ValueError, "at most 1000, got 1001", id="too deep"),
        pytest.param(["5"], TypeError, "got '5'", id="a word"),
    ],
)
def test_depths_are_checked(ks: Any, error: type[Exception], words: str) -> None:
    """Depths are ints within bounds; they are sorted, without duplicates."""
    assert checked_ks([5, 1, 5]) == (1, 5)
    with pytest.raises(error, match=words):
        checked_ks(ks)


# Clopper and Pearson's limits at 95 %, from tables.
BINOMIAL = [(3, 3, 0.292, 1.0), (0, 5, 0.0, 0.522), (5, 10, 0.187, 0.813), (18, 20, 0.683, 0.988), (1, 1, 0.025, 1.0)]


@pytest.mark.parametrize(("right", "count", "low", "high"), BINOMIAL)
def test_intervals_of_successes_are_clopper_and_pearsons(right: int, count: int, low: float, high: float) -> None:
    """Few queries give wide intervals, even if all of them succeed."""
    (measure,) = bootstrap(np.array([[1.0]] * right + [[0.0]] * (count - right)))
    assert (measure.value, measure.count) == (right / count, count)
    assert measure.low == pytest.approx(low, abs=0.015)
    assert measure.high == pytest.approx(high, abs=0.015)


def test_intervals_contain_the_true_mean() -> None:
    """In 300 samples of 15 queries at least 93 % of the intervals contain the true mean, and they are not trivial."""
    rng = np.random.default_rng(3)
    samples = rng.choice([0.0, 0.25, 0.5, 1.0], p=[0.1, 0.2, 0.1, 0.6], size=(300, 15))
    found = [bootstrap(sample[:, None], seed=seed)[0] for seed, sample in enumerate(samples)]
    assert np.mean([one.low <= 0.7 <= one.high for one in found]) >= 0.93
    assert np.mean([one.high - one.low for one in found]) < 0.5


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30), seed=st.integers(0, 9))
def test_intervals_contain_the_sample_mean(values: list[float], seed: int) -> None:
    """An interval is within 0 to 1 and contains the mean; equal seeds give equal intervals."""
    column = np.array(values)[:, None]
    (measure,) = bootstrap(column, seed=seed)
    assert 0 <= measure.low <= measure.value <= measure.high <= 1
    assert bootstrap(column, seed=seed) == [measure]


def test_more_queries_give_narrower_intervals() -> None:
    """More queries, and a lower confidence, give narrower intervals."""
    few, many = (bootstrap(np.array([[1.0], [0.0]] * n))[0] for n in (5, 500))
    assert many.high - many.low < (few.high - few.low) / 5
    (bold,) = bootstrap(np.array([[1.0], [0.0]] * 5), confidence=0.5)
    assert few.low < bold.low < bold.high < few.high
    with pytest.raises(ValueError, match=r"between 0 and 1, .* got 95"):
        bootstrap(np.ones((1, 1)), confidence=95)


def test_measures_as_text() -> None:
    """The text of a measure is its value and its interval."""
    assert str(Measure(0.8333, 0.7, 0.92, 12)) == "0.83 [0.70, 0.92]"
