"""How far a cosine similarity stands out of those of the same query with other documents of its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.ranking.background import Background
from langchain_gemini_mm.types import Vector

_PRIOR_SPREAD, _PRIOR_WEIGHT = 0.08, 4.0
"""A spread of cosine similarities to begin with, and how many documents it counts as."""
_SPREAD_WEIGHT = 20.0
"""How many documents of a kind weigh as much as the spread of all kinds together."""
_LEAST_SPREAD = 0.003
_SMALL = 40
"""Up to so many sampled documents, a hit that is among them is not compared with itself."""
_MAD = 1.4826
"""Makes the median absolute deviation of a normal distribution its standard deviation."""
_TAIL = 0.1
"""The share of the sample whose scores tell how the highest thin out."""
_BROADEST, _NARROWEST = 1.0, 0.5


@dataclass(frozen=True, slots=True)
class Level:
    """Where the scores of one kind lie, for one query."""

    scores: NDArray[np.float64]
    """Of the sample, ascending."""
    location: float
    spread: float
    pull: float
    """How many documents the location of all kinds counts as,"""
    centre: float
    """and where it is."""
    count: int
    """Documents of this kind in the collection."""

    def deviation(self, cosine: float, *, is_sampled: bool = False) -> float:
        """How many spreads a score lies above the location; of a sampled document, above that of the others."""
        location = self.location
        if is_sampled and len(self.scores) <= _SMALL:
            place = min(int(np.searchsorted(self.scores, cosine - 1e-6)), len(self.scores) - 1)
            rest = np.delete(self.scores, place)
            location = _drawn(rest, self.centre, self.pull)
            if math.isnan(location):
                return 0.0
        return (cosine - location) / self.spread


@dataclass(frozen=True, slots=True)
class Levels:
    """Where the scores of each kind lie, for one query."""

    of: Mapping[str, Level]
    total: int
    """Documents in the collection."""
    start: float
    """From this deviation on the scores thin out exponentially,"""
    scale: float
    """by e with each such step."""
    is_known: bool
    """Whether there is anything to compare with."""

    def confidence(self, deviation: float) -> float:
        """The probability that none of so many documents that do not match would deviate as much."""
        if not self.is_known:
            return 0.0
        beyond = _TAIL * math.exp(-(deviation - self.start) / self.scale)
        return math.exp(-self.total * min(1.0, beyond))


def levels(background: Background, vector: Vector) -> Levels:
    """Compare a query with the background, in one small matrix product.

    Args:
        background: of the collection.
        vector: `(d,)` float32, unit length.
    """
    products = (background.vectors @ vector).astype(np.float64) if len(background.vectors) else np.empty(0)
    scores = {kind: np.sort(products[sample.rows]) for kind, sample in background.samples.items()}
    medians = {kind: _median(found) for kind, found in scores.items()}
    apart = {kind: np.sort(np.abs(found - medians[kind])) for kind, found in scores.items() if len(found)}
    sampled = sum(map(len, scores.values()))
    pooled = _pooled(np.sort(np.concatenate(list(apart.values()))) if apart else np.empty(0))
    centre = sum(len(found) * medians[kind] for kind, found in scores.items() if len(found)) / max(sampled, 1)
    pull = _pull(scores, medians, pooled)
    of = {}
    for kind, found in scores.items():
        own = _MAD * _median(apart[kind]) if len(found) else 0.0
        spread = math.sqrt((len(found) * own**2 + _SPREAD_WEIGHT * pooled**2) / (len(found) + _SPREAD_WEIGHT))
        location = _drawn(found, centre, pull)
        count = background.samples[kind].count
        of[kind] = Level(found, location, max(spread, _LEAST_SPREAD), pull, centre, count)
    start, scale = _tail([(found - of[kind].location) / of[kind].spread for kind, found in scores.items()])
    return Levels(of, sum(level.count for level in of.values()), start, scale, is_known=sampled > 1)


def _median(ascending: NDArray[np.float64]) -> float:
    """Of sorted numbers: much faster than NumPy's own on a few."""
    middle = len(ascending) // 2
    if not len(ascending):
        return math.nan
    return float(ascending[middle]) if len(ascending) % 2 else float(ascending[middle - 1] + ascending[middle]) / 2


def _pooled(apart: NDArray[np.float64]) -> float:
    """The spread of all kinds, each around its own median."""
    own = _MAD * _median(apart) if len(apart) else 0.0
    return math.sqrt((len(apart) * own**2 + _PRIOR_WEIGHT * _PRIOR_SPREAD**2) / (len(apart) + _PRIOR_WEIGHT))


def _pull(scores: Mapping[str, NDArray[np.float64]], medians: Mapping[str, float], pooled: float) -> float:
    """How much a kind's location is drawn to that of all: much where kinds hardly differ, little where they do."""
    known = [kind for kind, found in scores.items() if len(found)]
    if len(known) < 2:
        return 0.0
    noise = float(np.mean([1.57 * pooled**2 / len(scores[kind]) for kind in known]))
    between = max(float(np.var([medians[kind] for kind in known], ddof=1)) - noise, (0.05 * pooled) ** 2)
    return min(1.57 * pooled**2 / between, _SPREAD_WEIGHT)


def _drawn(ascending: NDArray[np.float64], centre: float, pull: float) -> float:
    """The median of a kind, drawn towards the location of all kinds."""
    if not len(ascending):
        return centre if pull else math.nan
    return (len(ascending) * _median(ascending) + pull * centre) / (len(ascending) + pull)


def _tail(deviations: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Where the highest deviations begin, and how fast they thin out."""
    together = np.sort(np.concatenate(deviations)) if deviations else np.empty(0)
    above = max(1, math.ceil(_TAIL * len(together)))
    if len(together) < 2:
        return 1.28, 0.5
    start = float(together[-above - 1]) if above < len(together) else float(together[0])
    weight = 10
    scale = (float((together[-above:] - start).sum()) + weight * 0.5) / (above + weight)
    return max(start, 0.5), min(max(scale, _NARROWEST), _BROADEST)
