"""From cosine similarity and deviation to the probability of being relevant, learned from a few labelled queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores.primitives import Primitives
from langchain_gemini_mm.vectorstores.spaces import require_space

INFO_KEY = "ranking_calibration"
"""Where it is stored, for `get_info`."""
_FORMAT = 1
_SHARED = np.array([0.1, 0.05, 0.1])
"""How strongly bias and the two slopes are held to what is believed beforehand,"""
_APART = np.array([1.0, 4.0, 4.0])
"""and those of one pair of kinds to those of all."""
_BELIEVED = np.array([-2.0, 2.0, 0.0])
"""Before any label: half sure at a deviation of 4."""
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Example:
    """A document near a labelled query."""

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

    def probability(self, query: str, document: str, cosine: float, deviation: float) -> float:
        """The probability that a document of a kind is relevant to a query of a kind."""
        weights = np.array(self.shared) + np.array(self.pairs.get(pair_of(query, document), (0.0, 0.0, 0.0)))
        return float(
            _logistic(_features(np.array([deviation]), np.array([cosine]), self.middle, self.width) @ weights)[0]
        )

    def as_json(self, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """As it is stored."""
        return {
            "format": _FORMAT,
            "fingerprint": dict(fingerprint),
            "shared": list(self.shared),
            "pairs": {pair: list(weights) for pair, weights in self.pairs.items()},
            "middle": self.middle,
            "width": self.width,
            "queries": self.queries,
            "unanswered": self.unanswered,
            "relevant": self.relevant,
        }


def pair_of(query: str, document: str) -> str:
    """The name of a pair of kinds."""
    return f"{query}>{document}"


def calibration_flow(store: Primitives) -> Flow[Calibration]:
    """Read the calibration of a collection.

    Raises:
        ValueError: there is none.
        SpaceMismatchError: it was learned in another embedding space.
    """
    stored = yield Call(store._read_info, store._aread_info, (INFO_KEY,))
    if not isinstance(stored, Mapping) or stored.get("format") != _FORMAT:
        raise ValueError(
            "ranking='calibrated' needs labelled queries, and this collection was not calibrated: call "
            "calibrate(store, [LabelledQuery(...), ...]) once, or use ranking='normalized'"
        )
    require_space("the calibration of the ranking", stored.get("fingerprint"), store.space.fingerprint)
    return Calibration(
        shared=tuple(stored["shared"]),
        pairs={pair: tuple(weights) for pair, weights in stored["pairs"].items()},
        middle=stored["middle"],
        width=stored["width"],
        queries=stored["queries"],
        unanswered=stored["unanswered"],
        relevant=stored["relevant"],
    )


def fitted(examples: Sequence[Example], *, queries: int, unanswered: int, relevant: int) -> Calibration:
    """Learn from examples, by a regularised logistic regression with weights shared by all pairs of kinds."""
    deviations = np.array([example.deviation for example in examples])
    cosines = np.array([example.cosine for example in examples])
    middle, width = float(np.mean(cosines)), max(float(np.std(cosines)), 1e-3)
    features = _features(deviations, cosines, middle, width)
    names = list(dict.fromkeys(example.pair for example in examples))
    member = np.array([names.index(example.pair) for example in examples])
    blocks = [features, *(features * (member == number)[:, None] for number in range(len(names)))]
    held = np.concatenate([_SHARED, *([_APART] * len(names))])
    believed = np.concatenate([_BELIEVED, np.zeros(3 * len(names))])
    weights = _regression(np.hstack(blocks), np.array([float(e.is_relevant) for e in examples]), held, believed)
    parts = weights.reshape(-1, 3)
    return Calibration(
        shared=tuple(parts[0].tolist()),
        pairs={name: tuple(part.tolist()) for name, part in zip(names, parts[1:], strict=True)},
        middle=middle,
        width=width,
        queries=queries,
        unanswered=unanswered,
        relevant=relevant,
    )


def _features(
    deviations: NDArray[np.float64], cosines: NDArray[np.float64], middle: float, width: float
) -> NDArray[np.float64]:
    """`(n, 3)`: one, the deviation from 4 in steps of 2, and the cosine."""
    return np.stack([np.ones(len(deviations)), (deviations - 4) / 2, (cosines - middle) / width], axis=1)


def _regression(
    features: NDArray[np.float64],
    truth: NDArray[np.float64],
    held: NDArray[np.float64],
    believed: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The most probable weights, by Newton's method; `held` are the precisions of the beliefs."""
    weights = believed.copy()
    for _ in range(_STEPS):
        chance = _logistic(features @ weights)
        gradient = features.T @ (chance - truth) + held * (weights - believed)
        curvature = (features * (chance * (1 - chance))[:, None]).T @ features + np.diag(held)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-6:
            break
    return weights


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return found
