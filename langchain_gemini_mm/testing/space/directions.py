"""Deterministic unit vectors in which related words are similar, as a substitute for a model.

Each direction is drawn from SHAKE-128 of a name, so it is equal in all processes and on all platforms. The energy falls
along the dimensions, so that truncated vectors keep their neighbours, as with a Matryoshka model.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Modality, Vector
from langchain_gemini_mm.testing.space.concepts import Meaning, Word, topics

DIMENSIONS = 3072
"""Dimensions of vectors before truncation."""

# Weights of the components, relative to the words of a content (1.0).
_TOPIC = 0.8
_FINGERPRINT = 0.25
_TASK = {"document": 0.15}
_OTHER_TASK = 0.3
_COMMON = 0.45

# An image and a text with cosine 0.413 fused to 0.607 against the text and 0.786 against the image: these two weights
# and the share of the interaction solve those equations (docs/api-assumptions.md, "fused input").
_FUSED_TEXT = 0.34
_FUSED_MEDIA = 0.645
_INTERACTION = 0.535

_profile = (1.0 / np.sqrt(1.0 + np.arange(DIMENSIONS, dtype=np.float32) / np.float32(256.0))).astype(np.float32)
_fingerprint_scale = (_FINGERPRINT * _profile / np.sqrt(np.square(_profile).sum(dtype=np.float64))).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One part of a content."""

    modality: Modality
    meaning: Meaning
    digest: bytes
    """Hash of the text or bytes, by which contents with equal words have different vectors."""


def draw(name: str) -> Vector:
    """Draw a `(3072,)` float32 unit vector from a name."""
    return _unit(_noise(name, DIMENSIONS) * _profile)


@lru_cache(maxsize=512)
def direction(name: str) -> Vector:
    """`draw` with a cache, for topics, tasks and modalities."""
    return draw(name)


@lru_cache(maxsize=4096)
def word_vector(space: str, stem: str) -> Vector:
    """The vector of a word: its own direction plus those of its topics."""
    total = draw(f"{space}|word|{stem}")
    for topic in topics().get(stem, ()):
        total += np.float32(_TOPIC) * direction(f"{space}|word|{topic}")
    return _unit(total)


def content_vector(space: str, pieces: Sequence[Piece], *, modality_gap: float, task: str | None = None) -> Vector:
    """Embed one content of one or more parts.

    Args:
        space: name of the embedding space; vectors of different spaces are unrelated.
        pieces: the parts in order, at least one.
        modality_gap: distance between modalities that is independent of the content, 0 to 1.
        task: a task in a request field (`gemini-embedding-001`).

    Returns:
        `(3072,)` float32, unit length.
    """
    vectors = [_piece_vector(space, piece, modality_gap, task) for piece in pieces]
    if len(vectors) == 1:
        return vectors[0]
    return _fuse(vectors, [_FUSED_TEXT if piece.modality == "text" else _FUSED_MEDIA for piece in pieces])


def _piece_vector(space: str, piece: Piece, modality_gap: float, task: str | None) -> Vector:
    total = _bag(space, piece.meaning.words)
    total += _fingerprint(space, piece.digest)
    known_task = task or piece.meaning.task
    if known_task:
        total += np.float32(_TASK.get(known_task, _OTHER_TASK)) * direction(f"{space}|task|{known_task}")
    total /= _length(total)
    total += _modality_component(space, piece.modality, modality_gap)
    return _unit(total)


def _bag(space: str, words: Sequence[Word]) -> NDArray[np.float32]:
    """The sum of the word vectors, at unit length; words of equal weight are added first, which is faster."""
    by_weight: dict[float, NDArray[np.float32]] = {}
    for stem, weight in words:
        vector = word_vector(space, stem)
        if weight in by_weight:
            by_weight[weight] += vector
        else:
            by_weight[weight] = vector.copy()
    total = np.zeros(DIMENSIONS, dtype=np.float32)
    for weight, summed in by_weight.items():
        total += summed if weight == 1.0 else np.float32(weight) * summed
    if by_weight:
        total /= _length(total)
    return total


def _fingerprint(space: str, digest: bytes) -> NDArray[np.float32]:
    """A direction for one content.

    Drawing it would cost more than everything else, so windows of two fixed arrays, chosen by the digest, are
    multiplied instead.
    """
    first, second = _arrays(space)
    here, there = (int.from_bytes(digest[n : n + 2], "big") for n in (0, 2))
    scaled: NDArray[np.float32] = first[here : here + DIMENSIONS] * second[there : there + DIMENSIONS]
    scaled *= _fingerprint_scale
    return scaled


@lru_cache(maxsize=4)
def _arrays(space: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    size = 65_536 + DIMENSIONS
    first, second = (_noise(f"{space}|tape {n}", size) for n in (1, 2))
    return first / first.std(), second / second.std()


@lru_cache(maxsize=64)
def _modality_component(space: str, modality: Modality, modality_gap: float) -> NDArray[np.float32]:
    """The component that all contents of a modality have in common."""
    apart = direction(f"{space}|modality|{modality}")
    return np.asarray(_COMMON * direction(f"{space}|common") + modality_gap**0.5 * apart, dtype=np.float32)


def _noise(name: str, size: int) -> NDArray[np.float32]:
    return np.frombuffer(hashlib.shake_128(name.encode()).digest(2 * size), "<i2").astype(np.float32)


def _fuse(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Fuse interleaved parts: mostly the media, plus a term that depends on the parts and their order."""
    blend = np.zeros(DIMENSIONS, dtype=np.float32)
    meeting = np.zeros(DIMENSIONS, dtype=np.float32)
    for weight, vector in zip(weights, vectors, strict=True):
        blend += np.float32(weight) * vector
    for first, second in pairwise(vectors):
        meeting += np.roll(first / _profile, 1) * (second / _profile) * _profile
    length = np.float32(np.sqrt(1.0 - _INTERACTION**2))
    return _unit(length * _unit(blend) + np.float32(_INTERACTION) * _unit(meeting))


def _length(values: NDArray[np.float32]) -> float:
    """The length, in double precision, so that it hardly depends on the order of summation."""
    return math.sqrt(np.square(values).sum(dtype=np.float64))


def _unit(values: NDArray[np.float32]) -> Vector:
    return (values / np.float64(_length(values))).astype(np.float32)
