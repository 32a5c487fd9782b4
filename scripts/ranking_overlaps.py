"""Made-up scores whose overlap is known, so that the best possible answer to "does anything match?" is known, too.

Every query has an axis of its own, and every document a coordinate on each: drawn around zero where it does not answer
the query, further out where it does. Cosine similarities are then exactly what was drawn, moved and stretched by kind,
and the likelihood that a query has an answer can be written down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.evaluation import LabelledQuery
from scripts.ranking_worlds import GivenEmbeddings, Made

_LENGTH = 0.7
"""Length of the part of a query that is its own; the rest is shared by all."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How far apart the scores of answers and of others lie."""

    name: str
    distance: float
    """Of an answer's score from the middle of the others, in spreads."""
    kinds: Mapping[str, tuple[float, float]]
    """Location and spread of the scores of each kind."""
    size: int = 300
    """Documents of each kind."""
    freedom: float = math.inf
    """Degrees of freedom of Student's distribution; infinite is the normal one, few have heavy tails."""
    queries: int = 240
    """Half of them have an answer: one document of a random kind."""


@dataclass(frozen=True)
class Known:
    """The collection, and how likely it is of each query that it has an answer."""

    made: Made
    likelihood: dict[str, float]
    """Logarithm of the ratio, by query."""


def known(overlap: Overlap, seed: int) -> Known:
    """Draw the scores; the same seed draws the same."""
    dice = np.random.default_rng(seed)
    answered = dice.permutation(overlap.queries) < overlap.queries // 2
    kinds = list(overlap.kinds)
    chosen = dice.integers(len(kinds), size=overlap.queries)
    place = dice.integers(overlap.size, size=overlap.queries)
    documents, rows, ratios = [], [], []
    for number, (kind, (location, spread)) in enumerate(overlap.kinds.items()):
        drawn = _draw(dice, overlap, (overlap.size, overlap.queries))
        here = np.flatnonzero(answered & (chosen == number))
        drawn[place[here], here] += overlap.distance
        ratios.append(np.exp(_log_density(drawn - overlap.distance, overlap) - _log_density(drawn, overlap)))
        rows.append(_vectors(drawn, location, spread))
        documents += [
            Document(id=f"{kind}{n}", page_content=".", metadata={"modality": kind}) for n in range(overlap.size)
        ]
    ratio = np.log(np.concatenate(ratios).mean(axis=0))
    embeddings = GivenEmbeddings()
    labelled = []
    for query in range(overlap.queries):
        vector = np.zeros(overlap.queries + 2, dtype=np.float32)
        vector[query], vector[-2] = _LENGTH, math.sqrt(1 - _LENGTH**2)
        embeddings.vectors[f"q{query}"] = vector
        relevant = [f"{kinds[chosen[query]]}{place[query]}"] if answered[query] else []
        labelled.append(LabelledQuery(f"q{query}", relevant, modality="text"))
    store = LocalVectorStore(":memory:", embeddings)
    store.add_vectors(documents, np.concatenate(rows))
    return Known(Made(store, labelled), {f"q{query}": float(found) for query, found in enumerate(ratio)})


def _vectors(drawn: Any, location: float, spread: float) -> Any:
    """`(n, q + 2)`: a coordinate on the axis of each query, one that all share, and what makes the length 1."""
    own = drawn * spread / _LENGTH
    shared = np.full((len(own), 1), location / math.sqrt(1 - _LENGTH**2))
    left = 1 - np.square(own).sum(axis=1, keepdims=True) - np.square(shared)
    assert (left > 0).all(), f"the spread {spread} is too large for {own.shape[1]} queries"
    return np.hstack([own, shared, np.sqrt(left)])


def _draw(dice: np.random.Generator, overlap: Overlap, shape: tuple[int, int]) -> Any:
    return dice.standard_normal(shape) if overlap.freedom == math.inf else dice.standard_t(overlap.freedom, shape)


def _log_density(values: Any, overlap: Overlap) -> Any:
    """Up to a constant."""
    if overlap.freedom == math.inf:
        return -np.square(values) / 2
    return -(overlap.freedom + 1) / 2 * np.log1p(np.square(values) / overlap.freedom)


def best_threshold(values: Mapping[str, float], answered: Mapping[str, bool]) -> float:
    """The highest balanced accuracy that any threshold reaches, chosen with the answers known."""
    order = sorted(values, key=lambda name: values[name])
    positive, negative = sum(answered.values()), sum(not right for right in answered.values())
    kept, refused, best = positive, 0, 0.5
    for name in order:
        kept, refused = kept - answered[name], refused + (not answered[name])
        best = max(best, (kept / positive + refused / negative) / 2)
    return best


def balanced(said: Mapping[str, bool], answered: Mapping[str, bool]) -> float:
    """Mean of the shares of right answers among queries with and without an answer."""
    right = {truth: [said[name] == truth for name in said if answered[name] == truth] for truth in (True, False)}
    return (sum(right[True]) / len(right[True]) + sum(right[False]) / len(right[False])) / 2


_ONE = {"text": (0.35, 0.02)}
_THREE = {"text": (0.35, 0.02), "image": (0.15, 0.015), "audio": (0.05, 0.018)}
OVERLAPS = (
    *(Overlap(name=f"one kind, {far} spreads apart", distance=far, kinds=_ONE) for far in (4, 5, 6)),
    *(Overlap(name=f"three kinds, {far} spreads apart", distance=far, kinds=_THREE) for far in (4, 5, 6)),
    *(Overlap(name=f"three kinds, heavy tails, {far} apart", distance=far, kinds=_THREE, freedom=8) for far in (6, 8)),
)
"""What confidence is measured on."""
