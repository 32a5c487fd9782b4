"""What one answer is worth: the usual measures of ranked lists, each from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.validation import positive_int

MAX_K = 1000
"""The longest answers that are looked at."""


def checked_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """The depths to measure at, each once, ascending.

    Raises:
        TypeError: one is not a whole number.
        ValueError: there is none, or one is not within 1 to 1000.
    """
    found = sorted({positive_int("an element of ks", k) for k in ks})
    if not found:
        raise ValueError("ks is empty; give depths to measure at, such as (1, 5, 10)")
    if found[-1] > MAX_K:
        raise ValueError(f"ks goes up to {MAX_K}, got {found[-1]}")
    return tuple(found)


def checked_confidence(confidence: float) -> float:
    """The confidence level of intervals.

    Raises:
        ValueError: it is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is between 0 and 1, such as 0.95, got {confidence!r}")
    return float(confidence)


def names_of_measures(ks: Sequence[int]) -> tuple[str, ...]:
    """What `measures` calls its values, in its order."""
    each = [f"{word}@{k}" for word in ("recall", "precision", "ndcg") for k in ks]
    return ("success@1", "mrr", *each)


def measures(found: Sequence[str], relevant: Mapping[str, float], ks: Sequence[int]) -> dict[str, float]:
    """Measure one answer.

    ```python
    from langchain_gemini_mm.evaluation.metrics import measures

    values = measures(["b", "a"], {"a": 2.0, "c": 1.0}, ks=[1, 2])
    assert (values["success@1"], values["mrr"], values["recall@2"]) == (0.0, 0.5, 0.5)
    ```

    Args:
        found: ids, best first, each once.
        relevant: at least one id, with grades > 0.
        ks: from `checked_ks`.
    """
    values = {"success@1": success(found, relevant, 1), "mrr": reciprocal_rank(found, relevant, ks[-1])}
    for word, measure in (("recall", recall), ("precision", precision), ("ndcg", ndcg)):
        values |= {f"{word}@{k}": measure(found, relevant, k) for k in ks}
    return values


def recall(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """The part of the relevant documents that is among the first `k`."""
    return sum(id_ in relevant for id_ in found[:k]) / len(relevant)


def precision(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """The part of `k` places that a relevant document has; an empty place counts as a wrong one."""
    return sum(id_ in relevant for id_ in found[:k]) / k


def success(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """1 if a relevant document is among the first `k`, else 0."""
    return float(any(id_ in relevant for id_ in found[:k]))


def reciprocal_rank(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """1 / place of the first relevant document among the first `k`; 0 if there is none."""
    return next((1 / place for place, id_ in enumerate(found[:k], start=1) if id_ in relevant), 0.0)


def ndcg(found: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """The gain of the first `k`, in parts of the best order's: grade / log2(1 + place), summed."""
    best = _gain(sorted(relevant.values(), reverse=True)[:k])
    return min(1.0, _gain([relevant.get(id_, 0.0) for id_ in found[:k]]) / best)


def _gain(grades: Sequence[float]) -> float:
    highest = max(grades, default=0.0)  # so that huge grades do not add up to infinity
    return highest * math.fsum(grade / highest / math.log2(1 + place) for place, grade in enumerate(grades, 1) if grade)


RESAMPLES = 10_000
"""How often the queries are weighted anew; of more than 500 queries, whose intervals are narrow, a fifth of it."""

_MANY = 500
_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Measure:
    """A mean over queries, and where it may be for queries like these."""

    value: float
    low: float
    high: float
    count: int
    """How many queries."""

    def __str__(self) -> str:
        """Show `0.83 [0.70, 0.92]`."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap(
    values: NDArray[np.float64], *, confidence: float = 0.95, seed: int = 0, least: float = 0.0, most: float = 1.0
) -> list[Measure]:
    """Means of the columns of `(queries, measures)` values, with intervals.

    The queries are weighted at random, again and again (the Bayesian bootstrap). To each end of an interval one more
    query is added that went as badly, or as well, as a query can: so three successes of three are not certainty, as
    they would be by drawing from the three alone. Where values are 0 or 1 this is the interval of Clopper and Pearson.

    ```python
    import numpy as np

    from langchain_gemini_mm.evaluation.metrics import bootstrap

    (measure,) = bootstrap(np.array([[1.0], [1.0], [1.0]]))
    assert (measure.value, measure.high) == (1.0, 1.0)
    assert 0.25 < measure.low < 0.35
    ```

    Args:
        values: each within `least` to `most`.
        confidence: how often the interval should hold the true mean, 0 to 1.
        seed: the same seed gives the same intervals.
        least: the worst a query can be.
        most: the best.

    Raises:
        ValueError: `confidence` is not between 0 and 1.
    """
    checked_confidence(confidence)
    count = len(values)
    if not count:
        return []
    rng = np.random.default_rng(seed)
    resamples = RESAMPLES if count <= _MANY else RESAMPLES // 5
    size = max(1, min(resamples, _AT_ONCE // (count + 1)))
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
