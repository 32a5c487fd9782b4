"""Deviation of a cosine similarity from those of the same query with other documents of the same modality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.ranking.background import Background

_PRIOR_SPREAD, _PRIOR_WEIGHT = 0.05, 2.0
"""Prior of the standard deviation of cosine similarities, and the number of documents it counts as."""
_MIN_SPREAD = 0.003
_SMALL = 40
"""With up to so many sampled documents, a hit that is among them is not compared with itself."""
_MAD = 1.4826
"""Factor from the median absolute deviation of a normal distribution to its standard deviation."""
_CLIPPED, _CLIPPED_SPREAD = 2.0, 0.9597
"""Standard deviations beyond which scores are clipped, and that of a normal distribution clipped so."""
_MIN_DIFFERENCE = 0.05
"""Smallest assumed difference between modalities, in standard deviations."""
_TAIL = 0.1
"""Share of the sample, the highest scores, that the tail is estimated from."""
_TAIL_START, _TAIL_EXCESS = 1.2816, 0.4734
"""Where that tail begins in a normal distribution, and the mean excess over it."""
_MAX_SCALE, _MIN_SCALE = 2.0, 0.9
_MIN_START, _MAX_START, _MAX_NOISE = 0.5, 2.0, 5.0
"""Bounds of where the tail begins, and the deviation beyond which a score counts as a match and not for the tail."""
_MIN_SPLIT, _MIN_UNMATCHED, _MIN_MATCHED = 8, 0.3, 0.2
"""Sampled documents of a modality below which its scores are not split, and the smallest shares of the two groups."""
_COPY = 0.98
"""Cosine similarity from which a document is a copy of what is asked, such as a stored file that is the query."""
_SEPARATION, _SMALL_SAMPLE = 4.0, 16.0
"""Distance of the means of two groups, in standard deviations within them, from which they are distinct, and what is
added to it, over the square root of their number: docs/ranking.md has the false alarms."""
_EVEN_CHANCE = 1 / 6
"""Probability of such a deviation by chance at which a confidence is one half: docs/ranking.md has the evidence."""
_TYPICAL_WEIGHT = 10
"""Number of scores that the normal distribution counts as in the estimate of the tail."""


@dataclass(frozen=True, slots=True)
class Level:
    """Where the scores of one modality lie, for one query."""

    mean: float
    """Mean of the clipped scores of the sampled documents."""
    spread: float
    """Their standard deviation."""
    sampled: int
    """Number of sampled documents."""
    weight: float
    """Share of `mean` in the location, from 0 to 1; the rest is that of `centre`."""
    centre: float
    """Mean of all modalities."""
    limit: float = math.inf
    """Sampled documents with higher scores match and are not part of the estimates. No sampled score is near it: stores
    round the same score differently."""

    def deviation(self, cosine: float, *, is_sampled: bool = False) -> float:
        """Return how many standard deviations a score lies above the location of documents that do not match.

        Args:
            cosine: the score, a cosine similarity.
            is_sampled: whether its document is in the sample, which is then left out of the location.
        """
        mean = self.mean
        is_sampled = is_sampled and cosine <= self.limit
        if is_sampled and self.sampled == 1:
            mean = self.centre
        elif is_sampled and self.sampled <= _SMALL:
            clipped = min(cosine, self.mean + _CLIPPED * self.spread)
            mean = (self.sampled * self.mean - clipped) / (self.sampled - 1)
        return (cosine - self.weight * mean - (1 - self.weight) * self.centre) / self.spread


@dataclass(frozen=True, slots=True)
class BackgroundComparison:
    """Where the scores of each modality lie, for one query."""

    levels: Mapping[str, Level]
    """By modality."""
    total: int
    """Documents in the collection."""
    start: float
    """Deviation exceeded by the highest tenth of the scores."""
    scale: float
    """Scale of the scores above it, relative to the tail of a normal distribution."""
    is_known: bool
    """Whether there is anything to compare with."""

    def confidence(self, deviation: float) -> float:
        """Return from 0 to 1 how sure it is that a deviation is not by chance.

        It is one half where one query in six finds such a deviation among the documents that do not match.
        """
        if not self.is_known:
            return 0.0
        standard = _TAIL_START + (deviation - self.start) / self.scale
        above = math.erfc(standard / math.sqrt(2)) / 2  # share of a normal distribution
        chance = -math.expm1(-self.total * above)
        return _EVEN_CHANCE / (_EVEN_CHANCE + chance)


def compare(background: Background, vector: Vector) -> BackgroundComparison:
    """Compare a query with the background, in one small matrix product.

    Args:
        background: of the collection.
        vector: of the query, `(d,)` float32, unit length.
    """
    sizes = background.sizes
    if not len(sizes):
        return BackgroundComparison({}, 0, 0.0, 1.0, is_known=False)
    products, sizes, limits = _unmatched((background.vectors @ vector).astype(np.float64), sizes)
    known = np.flatnonzero(sizes).tolist()
    sizes = sizes[known]
    member = np.repeat(np.arange(len(sizes)), sizes)
    means, own = _measured(products, sizes, member)
    spreads, pooled = _spreads(own, sizes.astype(np.float64))
    noise: NDArray[np.float64] = np.square(spreads) / sizes
    weights = _weights(means, noise, (_MIN_DIFFERENCE * pooled) ** 2)
    centre = float(sizes @ means) / len(products)
    levels: dict[str, Level] = {}
    for number, modality in enumerate(background.sampled):
        numbers = centre, max(pooled, _MIN_SPREAD), 0, 0.0  # where all documents are copies of what is asked
        if number in known:
            place = known.index(number)
            numbers = float(means[place]), float(spreads[place]), int(sizes[place]), float(weights[place])
        levels[modality] = Level(*numbers, centre, limits[number])
    locations = weights * means + (1 - weights) * centre
    start, scale = _tail((products - locations[member]) / spreads[member])
    return BackgroundComparison(levels, background.total, start, scale, is_known=len(products) > 1)


def _unmatched(
    scores: NDArray[np.float64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[float]]:
    """Leave out the scores of copies of what is asked, and of a distinct upper group of each modality, if many match.

    Args:
        scores: `(n,)`, those of a modality next to each other.
        sizes: `(m,)`, number of scores of each modality.

    Returns:
        The other scores, their number in each modality, and the limit between kept and left out in each modality.
    """
    groups = np.split(scores, np.cumsum(sizes)[:-1])
    others = [group[group < _COPY] for group in groups]
    if not any(map(len, others)):
        others = groups
    kept = list(map(_lower_group, others))
    if sum(map(len, kept)) > (1 - _TAIL) * sum(map(len, others)):
        kept = others
    limits = [_limit(group, own) for group, own in zip(groups, kept, strict=True)]
    return np.concatenate(kept), np.array([len(group) for group in kept], dtype=np.int64), limits


def _limit(scores: NDArray[np.float64], kept: NDArray[np.float64]) -> float:
    """The middle between the highest of the scores that are kept and the lowest of those that are left out."""
    if len(kept) == len(scores):
        return math.inf
    highest = float(kept.max(initial=-1.0))
    return (highest + float(scores[scores > highest].min(initial=1.0))) / 2


def _lower_group(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lower of two distinct groups of scores, in order, or all scores.

    The groups are those with the least variance within them (Otsu's method).
    """
    n = len(scores)
    if n < _MIN_SPLIT:
        return scores
    ascending = np.sort(scores)
    lower = np.arange(1, n)
    sums = np.cumsum(ascending)[:-1]
    distance = (sums[-1] + ascending[-1] - sums) / (n - lower) - sums / lower
    between = np.where((lower >= _MIN_UNMATCHED * n) & (n - lower >= _MIN_MATCHED * n), lower * (n - lower), 0)
    between = between * np.square(distance) / n
    split = int(np.argmax(between))
    within = max(float(np.var(scores)) * n - float(between[split]), 0.0) / (n - 2)
    needed = (_SEPARATION + _SMALL_SAMPLE / math.sqrt(n)) * max(math.sqrt(within), _MIN_SPREAD)
    return ascending[: split + 1] if distance[split] > needed else scores


def _measured(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], member: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate mean and standard deviation of the scores of each modality, robust against outliers.

    Args:
        scores: `(n,)`, those of a modality next to each other.
        sizes: `(m,)`, number of scores of each modality.
        member: `(n,)`, the index of the modality of each score.
    """
    starts = np.cumsum(sizes) - sizes
    middles = starts + sizes // 2
    apart = 4.0 * np.arange(len(sizes))  # more than two cosines can differ, so one sort orders each modality
    ascending = np.sort(scores + apart[member])
    medians = ascending[middles]
    rough = _MAD * (np.sort(np.abs(ascending - medians[member]) + apart[member])[middles] - apart)
    reach = _CLIPPED * rough
    clipped = np.minimum(np.maximum(ascending, (medians - reach)[member]), (medians + reach)[member])
    means = np.add.reduceat(clipped, starts) / sizes
    spreads = np.sqrt(np.add.reduceat(np.square(clipped - means[member]), starts) / sizes) / _CLIPPED_SPREAD
    return means - apart, spreads


def _spreads(own: NDArray[np.float64], sampled: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Shrink the standard deviation of each modality towards that of all; return these, and that of all.

    Args:
        own: `(m,)`, standard deviation of each modality.
        sampled: `(m,)`, number of scores of each modality.
    """
    total = float(sampled.sum())
    pooled = math.sqrt((float(np.sum(sampled * own**2)) + _PRIOR_WEIGHT * _PRIOR_SPREAD**2) / (total + _PRIOR_WEIGHT))
    shrunk = (sampled * own**2 + _PRIOR_WEIGHT * pooled**2) / (sampled + _PRIOR_WEIGHT)
    logs = np.log(shrunk / pooled**2) / 2
    weights = _weights(logs, 0.6 / (sampled + _PRIOR_WEIGHT), _MIN_DIFFERENCE**2)
    return np.maximum(pooled * np.exp(weights * logs), _MIN_SPREAD), pooled


def _weights(values: NDArray[np.float64], noise: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return the weight of each estimate, from 0 to 1, against the mean of all: high where they differ significantly.

    Args:
        values: `(m,)`, the estimates.
        noise: `(m,)`, the variance of each.
        least: smallest variance assumed between them.
    """
    if len(values) < 2:
        return np.ones(len(values))
    trust = 1 / (noise + least)
    mean = float(np.sum(trust * values) / np.sum(trust))
    excess = float(np.sum(trust * ((values - mean) ** 2 - noise)) / np.sum(trust))
    between = max(excess * len(values) / (len(values) - 1), least)
    weights: NDArray[np.float64] = between / (between + noise)
    return weights


def _tail(deviations: NDArray[np.float64]) -> tuple[float, float]:
    """Estimate where the tail of the deviations begins, and its scale relative to that of a normal distribution."""
    together = np.sort(deviations)
    together = together[: max(1, int(np.searchsorted(together, _MAX_NOISE, side="right")))]
    above = math.ceil(_TAIL * len(together))
    start = float(together[-above - 1]) if above < len(together) else _TAIL_START
    excess = float((together[-above:] - start).sum())
    scale = (excess / _TAIL_EXCESS + _TYPICAL_WEIGHT) / (above + _TYPICAL_WEIGHT)
    return min(max(start, _MIN_START), _MAX_START), min(max(scale, _MIN_SCALE), _MAX_SCALE)
