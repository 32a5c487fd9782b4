"""Probability that a document is relevant, learned from a few labelled queries."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.embedding_space import require_space

INFO_KEY = "ranking_calibration"
"""Key under which the calibration is stored, for `get_info`."""
READ_EVERY = 2.0
"""Seconds for which a calibration that was read is used; another process may calibrate meanwhile."""
_FORMAT = 1
_PRECISION_SHARED = np.array([0.1, 0.3, 4.0])
"""Prior precision of bias and the two slopes that all pairs share."""
_PRECISION_PAIR = np.array([3.0, 20.0, 20.0])
"""Prior precision of the additions of one pair of modalities."""
_PRIOR = np.array([-2.0, 2.0, 0.0])
"""Prior mean of bias and slopes: a probability of one half at a deviation of 4."""
_CENTRE, _UNIT = 4.0, 2.0
"""Origin and unit of the deviations in the regression."""
_ANSWER_PRECISION, _ANSWER_PRIOR = np.array([0.05, 1.0]), np.array([0.0, 1.0])
_MIN_SLOPE = 0.2
_EULER = 0.5772
"""Mean of the standard extreme value distribution."""
_VARIANCE_RATIO, _VARIANCE_WEIGHT = 1.6, 4
"""Prior ratio of the variance of answers to that of the best of the rest, and the number of queries it counts as."""
_NOTHING = (0.0, 0.0, 0.0)
_FOLDS = 10
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Example:
    """A document near a labelled query."""

    query: int
    """Number of the query."""
    pair: str
    """Modality of the query and of the document, as `pair_of` names it."""
    cosine: float
    deviation: float
    is_relevant: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """A learned relation of scores and relevance; stored with the collection as `ranking_calibration`."""

    shared: tuple[float, ...]
    """Bias, slope of the deviation, slope of the cosine similarity."""
    pairs: Mapping[str, tuple[float, ...]]
    """Additions to these for a pair of modalities, such as `text>image`."""
    answer: tuple[float, float]
    """Bias and slope from the best document of a query to whether the query has an answer."""
    middle: float
    """Origin of the cosine similarities in the regression."""
    width: float
    """Unit of the cosine similarities in the regression."""
    queries: int
    """Number of labelled queries it was learned from."""
    unanswered: int
    """Number of those without a relevant document."""
    relevant: int
    """Number of relevant documents."""
    fingerprint: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The embedding space it was learned in."""

    def logit(self, pair: str, cosine: float, deviation: float) -> float:
        """Return the log-odds that a document is relevant.

        Args:
            pair: modalities of query and document, as `pair_of` names them.
            cosine: cosine similarity of the document.
            deviation: of that similarity from the background, in standard deviations.
        """
        added = self.pairs.get(pair, _NOTHING)
        return (
            self.shared[0]
            + added[0]
            + (self.shared[1] + added[1]) * (deviation - _CENTRE) / _UNIT
            + (self.shared[2] + added[2]) * (cosine - self.middle) / self.width
        )

    def probability(self, logit: float) -> float:
        """Return the probability that the document is relevant."""
        return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))

    def confidence(self, logit: float) -> float:
        """Return the probability that the query has an answer, if this is its best document."""
        return self.probability(self.answer[0] + self.answer[1] * logit)


_kept: WeakKeyDictionary[Backend, tuple[float, Calibration | None]] = WeakKeyDictionary()
_lock = threading.Lock()


def pair_of(query: str, document: str) -> str:
    """Name a pair of modalities."""
    return f"{query}>{document}"


def calibration_flow(backend: Backend) -> Flow[Calibration]:
    """Return the calibration of a collection.

    Raises:
        ValueError: there is none.
        SpaceMismatchError: it was learned in another embedding space.
    """
    found = yield from stored_calibration_flow(backend)
    if found is None:
        raise InvalidValueError(
            "ranking='calibrated' needs labelled queries, and this collection was not calibrated: call "
            "calibrate(store, [LabelledQuery(...), ...]) once, or use ranking='normalized'"
        )
    require_space("the calibration of the ranking", found.fingerprint, backend.space.fingerprint)
    return found


def stored_calibration_flow(backend: Backend) -> Flow[Calibration | None]:
    """Return the stored calibration, at most `READ_EVERY` seconds old; None where there is none that can be read."""
    now = time.monotonic()
    with _lock:
        kept = _kept.get(backend)
    if kept is None or now - kept[0] > READ_EVERY:
        stored = yield from backend.read_info(INFO_KEY)
        found = None
        if isinstance(stored, Mapping) and stored.get("format") == _FORMAT:
            values = {one.name: stored[one.name] for one in fields(Calibration)}
            values |= {name: tuple(values[name]) for name in ("shared", "answer")}
            values["pairs"] = {pair: tuple(weights) for pair, weights in values["pairs"].items()}
            found = Calibration(**values)
        kept = (now, found)
        with _lock:
            _kept[backend] = kept
    return kept[1]


def store_calibration_flow(backend: Backend, calibration: Calibration) -> Flow[Calibration]:
    """Store a calibration with the collection, and return it with the embedding space of the collection."""
    stored = replace(calibration, fingerprint=dict(backend.space.fingerprint))
    yield from backend.write_info(INFO_KEY, {"format": _FORMAT, **asdict(stored)})
    with _lock:
        _kept[backend] = (time.monotonic(), stored)
    return stored


def fit(examples: Sequence[Example], *, queries: int, unanswered: int, relevant: int) -> Calibration:
    """Learn from examples by a regularised logistic regression, with weights that all pairs of modalities share.

    How the confidence depends on the log-odds of a query's best document is learned by cross-validation. The best
    document that is not relevant represents a query without an answer.

    Args:
        examples: documents near the labelled queries.
        queries: number of labelled queries.
        unanswered: number of those without a relevant document.
        relevant: number of relevant documents.
    """
    numbers = list(dict.fromkeys(example.query for example in examples))
    folds = min(len(numbers), _FOLDS)
    with_answer: list[float] = []
    without: list[float] = []
    for fold in range(folds if folds > 1 else 0):
        left_out = set(numbers[fold::folds])
        part = _fit_documents([example for example in examples if example.query not in left_out])
        for number in left_out:
            logits: dict[bool, list[float]] = {True: [], False: []}
            for one in examples:
                if one.query == number:
                    logits[one.is_relevant].append(part.logit(one.pair, one.cosine, one.deviation))
            if logits[True]:
                with_answer.append(max(*logits[True], *logits[False], -math.inf))
            if logits[False]:
                without.append(max(logits[False]))
    return replace(
        _fit_documents(examples),
        answer=_fit_answer(with_answer, without),
        queries=queries,
        unanswered=unanswered,
        relevant=relevant,
    )


def _fit_answer(with_answer: Sequence[float], without: Sequence[float]) -> tuple[float, float]:
    """Learn bias and slope from the log-odds of the best documents of queries with and without an answer."""
    if not with_answer or not without:
        return 0.0, 1.0
    values = np.array([*with_answer, *without])
    truth = np.repeat([1.0, 0.0], [len(with_answer), len(without)])
    share = np.where(truth == 1, len(values) / (2 * len(with_answer)), len(values) / (2 * len(without)))
    turn = _crossing(np.array(with_answer), np.array(without))
    features = np.stack([np.ones(len(values)), values - turn], axis=1)
    slope = float(_regression(features, truth, _ANSWER_PRECISION, _ANSWER_PRIOR, share)[1])
    slope = max(slope, _MIN_SLOPE)
    return -slope * turn, slope


def _crossing(with_answer: NDArray[np.float64], without: NDArray[np.float64]) -> float:
    """Find the log-odds that separate both with the fewest errors.

    Answers are assumed to be normally distributed, the best of the rest as extreme values.
    """
    means = float(with_answer.mean()), float(without.mean())
    count, rest = len(with_answer), len(without)
    both = (
        float(count * with_answer.var() / _VARIANCE_RATIO + rest * without.var() * _VARIANCE_RATIO) / (count + rest)
        + 1e-6
    )
    high = math.sqrt(
        (count * float(with_answer.var()) + _VARIANCE_WEIGHT * both * _VARIANCE_RATIO) / (count + _VARIANCE_WEIGHT)
    )
    low = math.sqrt(
        (rest * float(without.var()) + _VARIANCE_WEIGHT * both / _VARIANCE_RATIO) / (rest + _VARIANCE_WEIGHT)
    )
    at = np.linspace(means[1] - low, max(means) + high, 400)
    scale = low * math.sqrt(6) / math.pi
    steps = (at - means[1]) / scale + _EULER
    noise = np.exp(-steps - np.exp(-steps)) / scale
    answers = np.exp(-np.square((at - means[0]) / high) / 2) / (high * math.sqrt(2 * math.pi))
    return float(at[int(np.argmin(np.cumsum(answers - noise)))])


def _fit_documents(examples: Sequence[Example]) -> Calibration:
    """Fit the weights of documents; the answer and the counts are filled in later."""
    deviations = np.array([example.deviation for example in examples])
    cosines = np.array([example.cosine for example in examples])
    middle, width = float(np.mean(cosines)), max(float(np.std(cosines)), 1e-3)
    features = np.stack([np.ones(len(examples)), (deviations - _CENTRE) / _UNIT, (cosines - middle) / width], axis=1)
    names = list(dict.fromkeys(example.pair for example in examples))
    member = np.array([names.index(example.pair) for example in examples])
    blocks = [features, *(features * (member == number)[:, None] for number in range(len(names)))]
    truth = np.array([float(example.is_relevant) for example in examples])
    precision = np.concatenate([_PRECISION_SHARED, *([_PRECISION_PAIR] * len(names))])
    prior = np.concatenate([_PRIOR, np.zeros(3 * len(names))])
    parts = _regression(np.hstack(blocks), truth, precision, prior, np.ones(len(truth))).reshape(-1, 3)
    return Calibration(
        shared=tuple(parts[0].tolist()),
        pairs={name: tuple(part.tolist()) for name, part in zip(names, parts[1:], strict=True)},
        answer=(0.0, 1.0),
        middle=middle,
        width=width,
        queries=0,
        unanswered=0,
        relevant=0,
    )


def _regression(
    features: NDArray[np.float64],
    truth: NDArray[np.float64],
    precision: NDArray[np.float64],
    prior: NDArray[np.float64],
    share: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find the weights of maximum posterior probability, by Newton's method.

    Args:
        features: `(n, f)`.
        truth: `(n,)`, 0 or 1.
        precision: `(f,)`, precision of the prior.
        prior: `(f,)`, mean of the prior.
        share: `(n,)`, weight of each example.
    """
    weights = prior.copy()
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (share * (chance - truth)) + precision * (weights - prior)
        curvature = (features * (share * chance * (1 - chance))[:, None]).T @ features + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-6:
            break
    return weights
