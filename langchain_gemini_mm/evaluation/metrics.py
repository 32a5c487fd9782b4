"""Ranking metrics of answers, each from 0 to 1, and their means with bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.validation import positive_int

MAX_K = 1000
"""Largest depth of a metric."""


def checked_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """Check depths, and return them sorted without duplicates.

    Raises:
        TypeError: a depth is not an int.
        ValueError: there is no depth, or one is not within 1 to 1000.
    """
    found = sorted({positive_int("an element of ks", k) for k in ks})
    if not found:
        raise InvalidValueError("ks is empty; pass depths such as (1, 5, 10)")
    if found[-1] > MAX_K:
        raise InvalidValueError(f"a depth in ks must be at most {MAX_K}, got {found[-1]}")
    return tuple(found)


def checked_confidence(confidence: float) -> float:
    """The confidence level of intervals.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InvalidValueError(f"confidence must be between 0 and 1, such as 0.95, got {confidence!r}")
    return float(confidence)


def names_of_measures(ks: Sequence[int]) -> tuple[str, ...]:
    """Names of the metrics that `measures` computes, in its order."""
    each = [f"{word}@{k}" for word in ("recall", "precision", "ndcg") for k in ks]
    return ("success@1", "mrr", *each)


def measures(found: Sequence[str], relevant: Mapping[str, float], ks: Sequence[int]) -> dict[str, float]:
    """Compute all metrics of one answer.

    ```python
    from langchain_gemini_mm.evaluation.metrics import measures

    values = measures(["b", "a"], {"a": 2.0, "c": 1.0}, ks=[1, 2])
    assert (values["success@1"], values["mrr"], values["recall@2"]) == (0.0, 0.5, 0.5)
    ```

    Args:
        found: ids, best first, without duplicates.
        relevant: at least one id, with grades > 0.
        ks: depths, ascending; the largest is that of the reciprocal rank.
    """
    values = {"success@1": success(found, relevant, 1), "mrr": reciprocal_rank(found, relevant, ks[-1])}
    for word, measure in (("recall", recall), ("precision", precision), ("ndcg", ndcg)):
        values |= {f"{word}@{k}": measure(found, relevant, k) for k in ks}
    return values


def recall(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Share of the relevant documents that are among the first `k`.

    Args:
        found: ids, best first, without duplicates.
        relevant: grades > 0 of at least one id.
        k: depth.
    """
    return sum(id_ in relevant for id_ in found[:k]) / len(relevant)


def precision(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Share of relevant documents among the first `k`; the share is of `k` even if the answer is shorter.

    Args:
        found: ids, best first, without duplicates.
        relevant: grades > 0 of at least one id.
        k: depth.
    """
    return sum(id_ in relevant for id_ in found[:k]) / k


def success(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """1.0 if a relevant document is among the first `k`, else 0.0.

    Args:
        found: ids, best first, without duplicates.
        relevant: grades > 0 of at least one id.
        k: depth.
    """
    return float(any(id_ in relevant for id_ in found[:k]))


def reciprocal_rank(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """1 / rank of the first relevant document among the first `k`; 0 if there is none.

    Args:
        found: ids, best first, without duplicates.
        relevant: grades > 0 of at least one id.
        k: depth.
    """
    return next((1 / rank for rank, id_ in enumerate(found[:k], start=1) if id_ in relevant), 0.0)


def ndcg(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Normalized discounted cumulative gain of the first `k`, with gain = grade / log2(1 + rank).

    Args:
        found: ids, best first, without duplicates.
        relevant: grades > 0 of at least one id.
        k: depth.
    """
    best = _gain(sorted(relevant.values(), reverse=True)[:k])
    return min(1.0, _gain([relevant.get(id_, 0.0) for id_ in found[:k]]) / best)


def _gain(grades: Sequence[float]) -> float:
    highest = max(grades, default=0.0)  # avoids an overflow of huge grades
    return highest * math.fsum(grade / highest / math.log2(1 + rank) for rank, grade in enumerate(grades, 1) if grade)


RESAMPLES = 10_000
"""Resamples of the bootstrap; a fifth of them for more than 500 queries, whose intervals are narrow."""

_MANY_QUERIES = 500
_WEIGHTS_PER_BLOCK = 2_000_000


@dataclass(frozen=True, slots=True)
class Measure:
    """The mean of a metric over queries, with its confidence interval."""

    value: float
    low: float
    high: float
    count: int
    """Number of queries."""

    def __str__(self) -> str:
        """Show `0.83 [0.70, 0.92]`."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap(
    values: NDArray[np.float64], *, confidence: float = 0.95, seed: int = 0, least: float = 0.0, most: float = 1.0
) -> list[Measure]:
    """Compute the means of the columns of `values`, with confidence intervals.

    The intervals come from the Bayesian bootstrap, which gives the queries random weights. For the lower end one query
    with the worst possible value is added, for the upper end one with the best: without it, three successes of three
    would have an interval of length 0. For values of 0 and 1 this is the Clopper-Pearson interval.

    ```python
    import numpy as np

    from langchain_gemini_mm.evaluation.metrics import bootstrap

    (measure,) = bootstrap(np.array([[1.0], [1.0], [1.0]]))
    assert (measure.value, measure.high) == (1.0, 1.0)
    assert 0.25 < measure.low < 0.35
    ```

    Args:
        values: `(queries, metrics)` float64, each within `least` to `most`.
        confidence: level of the intervals, between 0 and 1.
        seed: seed of the random weights.
        least: worst possible value.
        most: best possible value.

    Raises:
        ValueError: `confidence` is not between 0 and 1.
    """
    checked_confidence(confidence)
    count = len(values)
    if not count:
        return []
    rng = np.random.default_rng(seed)
    resamples = RESAMPLES if count <= _MANY_QUERIES else RESAMPLES // 5
    size = max(1, min(resamples, _WEIGHTS_PER_BLOCK // (count + 1)))
    parts = []
    for start in range(0, resamples, size):
        weights = rng.standard_exponential((min(size, resamples - start), count + 1))
        total = weights.sum(axis=1, keepdims=True)
        parts.append((weights[:, :-1] @ values / total, weights[:, -1:] / total))
    sums, spare = (np.concatenate(part) for part in zip(*parts, strict=True))
    tail = (1 - confidence) / 2
    means = values.mean(axis=0)
    low = np.minimum(np.quantile(sums + least * spare, tail, axis=0), means)
    high = np.maximum(np.quantile(sums + most * spare, 1 - tail, axis=0), means)
    limits = np.clip([means, low, high], least, most).T.tolist()
    return [Measure(mean, lowest, highest, count) for mean, lowest, highest in limits]
