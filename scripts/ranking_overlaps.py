"""Synthetic scores with known overlap, for which the best possible answer to "does anything match?" is known.

Every query has an axis of its own, and every document a coordinate on each axis: drawn around zero if it does not
answer the query, and around `distance` if it does. The cosine similarities are exactly the drawn values, shifted and
scaled by modality, so the likelihood that a query has an answer has a closed form.
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
"""Length of the query's component on its own axis; the rest is shared by all queries."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Distributions of the scores of answers and of other documents."""

    name: str
    distance: float
    """Distance of an answer's score from the centre of the others, in spreads."""
    modalities: Mapping[str, tuple[float, float]]
    """Location and spread of the scores, by modality."""
    size: int = 300
    """Number of documents per modality."""
    freedom: float = math.inf
    """Degrees of freedom of Student's t-distribution: infinity is the normal distribution, few give heavy tails."""
    queries: int = 240
    """Number of queries; half of them have an answer, one document of a random modality."""


@dataclass(frozen=True)
class Known:
    """The collection, and the likelihood that each query has an answer."""

    made: Made
    likelihood: dict[str, float]
    """Logarithm of the likelihood ratio, by query."""


def known(overlap: Overlap, seed: int) -> Known:
    """Draw the scores; equal seeds give equal scores."""
    dice = np.random.default_rng(seed)
    answered = dice.permutation(overlap.queries) < overlap.queries // 2
    modalities = list(overlap.modalities)
    chosen = dice.integers(len(modalities), size=overlap.queries)
    place = dice.integers(overlap.size, size=overlap.queries)
    documents, rows, ratios = [], [], []
    for number, (modality, (location, spread)) in enumerate(overlap.modalities.items()):
        drawn = _draw(dice, overlap, (overlap.size, overlap.queries))
        here = np.flatnonzero(answered & (chosen == number))
        drawn[place[here], here] += overlap.distance
        ratios.append(np.exp(_log_density(drawn - overlap.distance, overlap) - _log_density(drawn, overlap)))
        rows.append(_vectors(drawn, location, spread))
        documents += [
            Document(id=f"{modality}{n}", page_content=".", metadata={"modality": modality})
            for n in range(overlap.size)
        ]
    ratio = np.log(np.concatenate(ratios).mean(axis=0))
    embeddings = GivenEmbeddings()
    labelled = []
    for query in range(overlap.queries):
        vector = np.zeros(overlap.queries + 2, dtype=np.float32)
        vector[query], vector[-2] = _LENGTH, math.sqrt(1 - _LENGTH**2)
        embeddings.vectors[f"q{query}"] = vector
        relevant = [f"{modalities[chosen[query]]}{place[query]}"] if answered[query] else []
        labelled.append(LabelledQuery(f"q{query}", relevant, modality="text"))
    store = LocalVectorStore(":memory:", embeddings)
    store.add_vectors(documents, np.concatenate(rows))
    return Known(Made(store, labelled), {f"q{query}": float(found) for query, found in enumerate(ratio)})


def _vectors(drawn: Any, location: float, spread: float) -> Any:
    """Return `(n, q + 2)`: a coordinate per query axis, a shared one, and one that makes the length 1."""
    own = drawn * spread / _LENGTH
    shared = np.full((len(own), 1), location / math.sqrt(1 - _LENGTH**2))
    left = 1 - np.square(own).sum(axis=1, keepdims=True) - np.square(shared)
    assert (left > 0).all(), f"the spread {spread} is too large for {own.shape[1]} queries"
    return np.hstack([own, shared, np.sqrt(left)])


def _draw(dice: np.random.Generator, overlap: Overlap, shape: tuple[int, int]) -> Any:
    return dice.standard_normal(shape) if overlap.freedom == math.inf else dice.standard_t(overlap.freedom, shape)


def _log_density(values: Any, overlap: Overlap) -> Any:
    """Return the log density up to a constant."""
    if overlap.freedom == math.inf:
        return -np.square(values) / 2
    return -(overlap.freedom + 1) / 2 * np.log1p(np.square(values) / overlap.freedom)


def best_threshold(values: Mapping[str, float], answered: Mapping[str, bool]) -> float:
    """Return the highest balanced accuracy of any threshold, chosen in hindsight."""
    order = sorted(values, key=lambda name: values[name])
    positive, negative = sum(answered.values()), sum(not right for right in answered.values())
    kept, refused, best = positive, 0, 0.5
    for name in order:
        kept, refused = kept - answered[name], refused + (not answered[name])
        best = max(best, (kept / positive + refused / negative) / 2)
    return best


def balanced(said: Mapping[str, bool], answered: Mapping[str, bool]) -> float:
    """Return the mean of the accuracies on queries with and without an answer."""
    right = {truth: [said[name] == truth for name in said if answered[name] == truth] for truth in (True, False)}
    return (sum(right[True]) / len(right[True]) + sum(right[False]) / len(right[False])) / 2


_ONE = {"text": (0.35, 0.02)}
_THREE = {"text": (0.35, 0.02), "image": (0.15, 0.015), "audio": (0.05, 0.018)}
OVERLAPS = (
    *(Overlap(name=f"one modality, {far} spreads apart", distance=far, modalities=_ONE) for far in (4, 5, 6)),
    *(Overlap(name=f"three modalities, {far} spreads apart", distance=far, modalities=_THREE) for far in (4, 5, 6)),
    *(
        Overlap(name=f"three modalities, heavy tails, {far} apart", distance=far, modalities=_THREE, freedom=8)
        for far in (6, 8)
    ),
)
"""The distributions on which confidence is measured."""
