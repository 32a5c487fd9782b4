"""From cosine similarity and deviation to the probability of being relevant, learned from a few labelled queries."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import require_space

INFO_KEY = "ranking_calibration"
"""Where it is stored, for `get_info`."""
READ_EVERY = 2.0
"""Seconds for which what was read is believed; another process may have calibrated since."""
_FORMAT = 1
_SHARED = np.array([0.1, 0.3, 4.0])
"""How strongly bias and the two slopes are held to what is believed beforehand,"""
_APART = np.array([3.0, 20.0, 20.0])
"""and those of one pair of kinds to those of all."""
_BELIEVED = np.array([-2.0, 2.0, 0.0])
"""Before any label: half sure at a deviation of 4."""
_TURN, _UNIT = 4.0, 2.0
"""Deviations are counted from here, in steps of so many spreads."""
_ANSWER_HELD, _ANSWER_BELIEVED = np.array([0.05, 1.0]), np.array([0.0, 1.0])
_LEAST_SLOPE = 0.2
_EULER = 0.5772
"""Mean of the standard extreme value distribution."""
_WIDER, _HELD = 1.6, 4
"""How much more answers vary than the best of the rest, and how many queries that is worth."""
_NOTHING = (0.0, 0.0, 0.0)
_FOLDS = 10
_STEPS = 50

_kept: WeakKeyDictionary[MultimodalVectorStore, tuple[float, Any]] = WeakKeyDictionary()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Example:
    """A document near a labelled query."""

    query: int
    pair: str
    """Kind of the query and of the document."""
    cosine: float
    deviation: float
    is_relevant: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learned; stored with the collection as `ranking_calibration`."""

    shared: tuple[float, ...]
    """Bias, slope of the deviation, slope of the cosine."""
    pairs: Mapping[str, tuple[float, ...]]
    """What to add for a pair of kinds, such as `text>image`."""
    answer: tuple[float, float]
    """From the best document of a query to whether it has an answer: bias and slope."""
    middle: float
    """Cosine similarity that the slope turns around,"""
    width: float
    """and its unit."""
    queries: int
    """How many labelled queries it was learned from,"""
    unanswered: int
    """how many of them with nothing relevant,"""
    relevant: int
    """and how many relevant documents."""

    def logit(self, pair: str, cosine: float, deviation: float) -> float:
        """How likely a document is relevant, on the logistic scale; for a pair of kinds as `pair_of` names it."""
        bias, steep, slant = (a + b for a, b in zip(self.shared, self.pairs.get(pair, _NOTHING), strict=True))
        return bias + steep * (deviation - _TURN) / _UNIT + slant * (cosine - self.middle) / self.width

    def probability(self, logit: float) -> float:
        """That the document is relevant."""
        return _chance(logit)

    def confidence(self, logit: float) -> float:
        """That the query has an answer at all, if this is its best document; one half where both errors weigh alike."""
        return _chance(self.answer[0] + self.answer[1] * logit)

    def as_json(self, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """As it is stored."""
        return {
            "format": _FORMAT,
            "fingerprint": dict(fingerprint),
            "shared": list(self.shared),
            "pairs": {pair: list(weights) for pair, weights in self.pairs.items()},
            "answer": list(self.answer),
            "middle": self.middle,
            "width": self.width,
            "queries": self.queries,
            "unanswered": self.unanswered,
            "relevant": self.relevant,
        }


def pair_of(query: str, document: str) -> str:
    """The name of a pair of kinds."""
    return f"{query}>{document}"


def calibration_flow(store: MultimodalVectorStore) -> Flow[Calibration]:
    """The calibration of a collection.

    Raises:
        ValueError: there is none.
        SpaceMismatchError: it was learned in another embedding space.
    """
    stored = yield from stored_flow(store)
    if not is_readable(stored):
        raise ValueError(
            "ranking='calibrated' needs labelled queries, and this collection was not calibrated: call "
            "calibrate(store, [LabelledQuery(...), ...]) once, or use ranking='normalized'"
        )
    require_space("the calibration of the ranking", stored["fingerprint"], store.space.fingerprint)
    return Calibration(
        shared=tuple(stored["shared"]),
        pairs={pair: tuple(weights) for pair, weights in stored["pairs"].items()},
        answer=tuple(stored["answer"]),
        middle=stored["middle"],
        width=stored["width"],
        queries=stored["queries"],
        unanswered=stored["unanswered"],
        relevant=stored["relevant"],
    )


def stored_flow(store: MultimodalVectorStore) -> Flow[Any]:
    """What is stored, at most some seconds old."""
    now = time.monotonic()
    with _lock:
        kept = _kept.get(store)
    if kept is None or now - kept[0] > READ_EVERY:
        kept = (now, (yield from store.backend.read_info(INFO_KEY)))
        with _lock:
            _kept[store] = kept
    return kept[1]


def store_flow(store: MultimodalVectorStore, calibration: Calibration) -> Flow[None]:
    """Store a calibration with the collection."""
    stored = calibration.as_json(store.space.fingerprint)
    yield from store.backend.write_info(INFO_KEY, stored)
    with _lock:
        _kept[store] = (time.monotonic(), stored)


def is_readable(stored: Any) -> bool:
    """Whether it is a calibration that this version understands."""
    return isinstance(stored, Mapping) and stored.get("format") == _FORMAT


def fitted(examples: Sequence[Example], *, queries: int, unanswered: int, relevant: int) -> Calibration:
    """Learn from examples, by a regularised logistic regression with weights shared by all pairs of kinds.

    How the best document of a query tells whether there is an answer is learned from queries that were left out of the
    regression; the best document that is not relevant stands for a query without an answer.
    """
    numbers = list(dict.fromkeys(example.query for example in examples))
    folds = min(len(numbers), _FOLDS)
    with_answer: list[float] = []
    without: list[float] = []
    for fold in range(folds if folds > 1 else 0):
        left_out = set(numbers[fold::folds])
        part = _documents([example for example in examples if example.query not in left_out])
        for number in left_out:
            best, other = _best([example for example in examples if example.query == number], part)
            with_answer += best
            without += other
    whole = _documents(examples)
    return replace(
        whole, answer=_answer(with_answer, without), queries=queries, unanswered=unanswered, relevant=relevant
    )


def _best(examples: Sequence[Example], learned: Calibration) -> tuple[list[float], list[float]]:
    """The highest logit of a query if it has an answer, and that of what is not relevant."""
    found = [(learned.logit(one.pair, one.cosine, one.deviation), one.is_relevant) for one in examples]
    is_answered = any(right for _, right in found)
    rest = [logit for logit, right in found if not right]
    return ([max(logit for logit, _ in found)] if is_answered else []), ([max(rest)] if rest else [])


def _answer(with_answer: Sequence[float], without: Sequence[float]) -> tuple[float, float]:
    if not with_answer or not without:
        return 0.0, 1.0
    values = np.array([*with_answer, *without])
    truth = np.repeat([1.0, 0.0], [len(with_answer), len(without)])
    share = np.where(truth == 1, len(values) / (2 * len(with_answer)), len(values) / (2 * len(without)))
    turn = _crossing(np.array(with_answer), np.array(without))
    features = np.stack([np.ones(len(values)), values - turn], axis=1)
    slope = float(_regression(features, truth, _ANSWER_HELD, _ANSWER_BELIEVED, share)[1])
    slope = max(slope, _LEAST_SLOPE)
    return -slope * turn, slope


def _crossing(with_answer: NDArray[np.float64], without: NDArray[np.float64]) -> float:
    """Where the fewest errors are made, if answers are spread normally and the best of the rest as extreme values."""
    means = float(with_answer.mean()), float(without.mean())
    count, rest = len(with_answer), len(without)
    both = float(count * with_answer.var() / _WIDER + rest * without.var() * _WIDER) / (count + rest) + 1e-6
    high = math.sqrt((count * float(with_answer.var()) + _HELD * both * _WIDER) / (count + _HELD))
    low = math.sqrt((rest * float(without.var()) + _HELD * both / _WIDER) / (rest + _HELD))
    at = np.linspace(means[1] - low, max(means) + high, 400)
    scale = low * math.sqrt(6) / math.pi
    steps = (at - means[1]) / scale + _EULER
    noise = np.exp(-steps - np.exp(-steps)) / scale
    answers = np.exp(-np.square((at - means[0]) / high) / 2) / (high * math.sqrt(2 * math.pi))
    return float(at[int(np.argmin(np.cumsum(answers - noise)))])


def _documents(examples: Sequence[Example]) -> Calibration:
    """The regression over documents."""
    deviations = np.array([example.deviation for example in examples])
    cosines = np.array([example.cosine for example in examples])
    middle, width = float(np.mean(cosines)), max(float(np.std(cosines)), 1e-3)
    features = np.stack([np.ones(len(examples)), (deviations - _TURN) / _UNIT, (cosines - middle) / width], axis=1)
    names = list(dict.fromkeys(example.pair for example in examples))
    member = np.array([names.index(example.pair) for example in examples])
    blocks = [features, *(features * (member == number)[:, None] for number in range(len(names)))]
    truth = np.array([float(example.is_relevant) for example in examples])
    held = np.concatenate([_SHARED, *([_APART] * len(names))])
    believed = np.concatenate([_BELIEVED, np.zeros(3 * len(names))])
    parts = _regression(np.hstack(blocks), truth, held, believed, np.ones(len(truth))).reshape(-1, 3)
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
    held: NDArray[np.float64],
    believed: NDArray[np.float64],
    share: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The most probable weights, by Newton's method.

    Args:
        features: `(n, f)`.
        truth: `(n,)`, 0 or 1.
        held: `(f,)`, the precisions of
        believed: `(f,)`, what is believed beforehand.
        share: `(n,)`, how much each example counts.
    """
    weights = believed.copy()
    for _ in range(_STEPS):
        chance = _logistic(features @ weights)
        gradient = features.T @ (share * (chance - truth)) + held * (weights - believed)
        curvature = (features * (share * chance * (1 - chance))[:, None]).T @ features + np.diag(held)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-6:
            break
    return weights


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return found


def _chance(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))
