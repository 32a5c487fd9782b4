"""How far a cosine similarity stands out of those of the same query with other documents of its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.ranking.background import Background

_PRIOR_SPREAD, _PRIOR_WEIGHT = 0.05, 2.0
"""A spread of cosine similarities to begin with, and how many documents it counts as."""
_LEAST_SPREAD = 0.003
_SMALL = 40
"""Up to so many sampled documents, a hit that is among them is not compared with itself."""
_MAD = 1.4826
"""Makes the median absolute deviation of a normal distribution its standard deviation."""
_CLIPPED, _CLIPPED_SPREAD = 2.0, 0.9597
"""Scores beyond so many spreads are drawn in, and what that makes of the spread of a normal distribution."""
_ALIKE = 0.05
"""Kinds are never taken to be more alike than this, in spreads."""
_TAIL = 0.1
"""The share of the sample whose scores tell how the highest thin out."""
_TAIL_START, _TAIL_EXCESS = 1.2816, 0.4734
"""Where that begins in a normal distribution, and how far beyond it lies on average."""
_BROADEST, _NARROWEST = 2.0, 0.9
_HALF_SURE = 1 / 6
"""The chance of finding as much in noise at which a match counts as likely as not: docs/ranking.md has the evidence."""
_TYPICAL_WEIGHT = 10
"""How many scores the normal distribution counts as."""


@dataclass(frozen=True, slots=True)
class Level:
    """Where the scores of one kind lie, for one query."""

    mean: float
    """Of the sampled documents."""
    spread: float
    sampled: int
    """How many sampled documents it was measured on."""
    weight: float
    """The share of the mean in the location; the rest is that of"""
    centre: float
    """the location of all kinds."""

    @property
    def location(self) -> float:
        """Where the scores of documents that do not match lie."""
        return self.weight * self.mean + (1 - self.weight) * self.centre

    def deviation(self, cosine: float, *, is_sampled: bool = False) -> float:
        """How many spreads a score lies above the location; of a sampled document, above that of the others."""
        if not is_sampled or self.sampled > _SMALL:
            return (cosine - self.location) / self.spread
        if self.sampled == 1:
            return (cosine - self.centre) / self.spread
        others = (self.sampled * self.mean - min(cosine, self.mean + _CLIPPED * self.spread)) / (self.sampled - 1)
        return (cosine - self.weight * others - (1 - self.weight) * self.centre) / self.spread


@dataclass(frozen=True, slots=True)
class Levels:
    """Where the scores of each kind lie, for one query."""

    of: Mapping[str, Level]
    total: int
    """Documents in the collection."""
    start: float
    """The deviation that the highest tenth exceeds."""
    scale: float
    """How much slower the scores thin out from there on than a normal distribution."""
    is_known: bool
    """Whether there is anything to compare with."""

    def confidence(self, deviation: float) -> float:
        """How sure it is that so much is no chance: one half where one query in six finds as much in mere noise."""
        if not self.is_known:
            return 0.0
        beyond = _beyond(_TAIL_START + (deviation - self.start) / self.scale)
        chance = -math.expm1(-self.total * beyond)
        return _HALF_SURE / (_HALF_SURE + chance)


def levels(background: Background, vector: Vector) -> Levels:
    """Compare a query with the background, in one small matrix product.

    Args:
        background: of the collection.
        vector: `(d,)` float32, unit length.
    """
    kinds = [kind for kind, sample in background.samples.items() if sample.ids]
    if not kinds:
        return Levels({}, 0, 0.0, 1.0, is_known=False)
    products = (background.vectors @ vector).astype(np.float64)
    sizes = np.array([len(background.samples[kind].ids) for kind in kinds])
    member = np.repeat(np.arange(len(kinds)), sizes)
    means, own = _measured(products, sizes, member)
    spreads, pooled = _spreads(own, sizes.astype(np.float64))
    noise: NDArray[np.float64] = np.square(spreads) / sizes
    weights = _weights(means, noise, (_ALIKE * pooled) ** 2)
    centre = float(sizes @ means) / len(products)
    numbers = zip(kinds, means.tolist(), spreads.tolist(), sizes.tolist(), weights.tolist(), strict=True)
    of = {kind: Level(mean, spread, size, weight, centre) for kind, mean, spread, size, weight in numbers}
    locations = weights * means + (1 - weights) * centre
    start, scale = _tail((products - locations[member]) / spreads[member])
    total = sum(sample.count for sample in background.samples.values())
    return Levels(of, total, start, scale, is_known=len(products) > 1)


def _measured(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], member: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Location and spread of the scores of each kind; the few that stand out hardly count.

    Args:
        scores: `(n,)`, those of a kind side by side.
        sizes: `(kinds,)`, how many there are of each.
        member: `(n,)`, the kind of each.
    """
    starts = np.cumsum(sizes) - sizes
    middles = starts + sizes // 2
    apart = 4.0 * np.arange(len(sizes))  # more than two cosines differ, so one sort does for all kinds
    ascending = np.sort(scores + apart[member])
    medians = ascending[middles]
    rough = _MAD * (np.sort(np.abs(ascending - medians[member]) + apart[member])[middles] - apart)
    reach = _CLIPPED * rough
    clipped = np.minimum(np.maximum(ascending, (medians - reach)[member]), (medians + reach)[member])
    means = np.add.reduceat(clipped, starts) / sizes
    spreads = np.sqrt(np.add.reduceat(np.square(clipped - means[member]), starts) / sizes) / _CLIPPED_SPREAD
    return means - apart, spreads


def _spreads(own: NDArray[np.float64], sampled: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The spread of each kind, drawn to that of all as far as they do not truly differ; and that of all."""
    total = float(sampled.sum())
    pooled = math.sqrt((float(np.sum(sampled * own**2)) + _PRIOR_WEIGHT * _PRIOR_SPREAD**2) / (total + _PRIOR_WEIGHT))
    held = (sampled * own**2 + _PRIOR_WEIGHT * pooled**2) / (sampled + _PRIOR_WEIGHT)
    logs = np.log(held / pooled**2) / 2
    weights = _weights(logs, 0.6 / (sampled + _PRIOR_WEIGHT), _ALIKE**2)
    return np.maximum(pooled * np.exp(weights * logs), _LEAST_SPREAD), pooled


def _weights(values: NDArray[np.float64], noise: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """How far each measured value is to be believed, against that of all: much where they truly differ."""
    if len(values) < 2:
        return np.ones(len(values))
    trust = 1 / (noise + least)
    mean = float(np.sum(trust * values) / np.sum(trust))
    excess = float(np.sum(trust * ((values - mean) ** 2 - noise)) / np.sum(trust))
    between = max(excess * len(values) / (len(values) - 1), least)
    believed: NDArray[np.float64] = between / (between + noise)
    return believed


def _tail(deviations: NDArray[np.float64]) -> tuple[float, float]:
    """Where the highest deviations begin, and how much slower they thin out than those of a normal distribution."""
    together = np.sort(deviations)
    above = math.ceil(_TAIL * len(together))
    start = float(together[-above - 1]) if above < len(together) else _TAIL_START
    excess = float((together[-above:] - start).sum())
    scale = (excess / _TAIL_EXCESS + _TYPICAL_WEIGHT) / (above + _TYPICAL_WEIGHT)
    return max(start, 0.5), min(max(scale, _NARROWEST), _BROADEST)


def _beyond(value: float) -> float:
    """The share of a normal distribution above a value."""
    return math.erfc(value / math.sqrt(2)) / 2
