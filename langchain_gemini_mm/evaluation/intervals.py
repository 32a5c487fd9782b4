"""How far means can be trusted: bootstrap intervals that stay honest on few queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    from langchain_gemini_mm.evaluation.intervals import bootstrap

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
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is between 0 and 1, such as 0.95, got {confidence!r}")
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
