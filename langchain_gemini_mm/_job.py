"""One embedding job: what the cache knows, what must be sent in which calls, and how the answers come together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from langchain_gemini_mm.embeddings.cache import from_bytes, to_bytes
from langchain_gemini_mm.embeddings.preparation import EmbedItem
from langchain_gemini_mm.errors import ServiceError
from langchain_gemini_mm.interfaces import Vector, Vectors

_SAME = 0.99
"""Cosine similarity above which two answers count as one content's; a service need not answer bit for bit alike."""


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """All contents of one `embed` call."""

    items: Sequence[EmbedItem] = field(repr=False)
    dimensions: int
    keys: Sequence[str] = ()
    """Cache keys, one an item; empty where no cache is used."""

    def known(self, values: Sequence[bytes | None]) -> dict[int, Vector]:
        """Read what the cache gave: position to vector."""
        vectors = (from_bytes(value, self.dimensions) for value in values)
        return {position: vector for position, vector in enumerate(vectors) if vector is not None}

    def missing(self, known: Mapping[int, Vector]) -> list[EmbedItem]:
        """What is yet to be embedded."""
        return [item for item in self.items if item.position not in known]

    def to_cache(self, call: Sequence[EmbedItem], vectors: Vectors) -> list[tuple[str, bytes]]:
        """Pairs to keep after a call."""
        return [(self.keys[item.position], to_bytes(row)) for item, row in zip(call, vectors, strict=True)]

    def assembled(
        self, known: Mapping[int, Vector], calls: Sequence[Sequence[EmbedItem]], answers: Sequence[Vectors]
    ) -> Vectors:
        """Put every vector in its input's place: `(n, d)` float32, unit rows."""
        result = np.empty((len(self.items), self.dimensions), dtype=np.float32)
        for position, vector in known.items():
            result[position] = vector
        for call, vectors in zip(calls, answers, strict=True):
            result[[item.position for item in call]] = vectors
        return result


def with_echo(call: Sequence[EmbedItem]) -> list[EmbedItem]:
    """Send the first item a second time, last but one: the place where every shift, reversal or rotation shows."""
    return [*call[:-1], call[0], call[-1]]


def without_echo(vectors: Vectors, call: Sequence[EmbedItem]) -> Vectors:
    """Take the echo out of an answer.

    Raises:
        ServiceError: the echo differs from the first vector, so the answer is not in the order of the call.
    """
    if float(vectors[0] @ vectors[-2]) < _SAME:
        raise ServiceError(
            f"the embedding service answered out of order: {call[0].name} was sent twice and its two vectors differ. "
            f"None of the vectors for {call[0].name} to {call[-1].name} is used"
        )
    return np.delete(vectors, -2, axis=0)
