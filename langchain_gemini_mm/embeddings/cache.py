"""Embeddings kept from earlier calls, in any LangChain `BaseStore[str, bytes]`: float32 bytes under a content key."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping

import numpy as np

from langchain_gemini_mm.interfaces import Vector

logger = logging.getLogger("langchain_gemini_mm")

_VERSION = 1
_LITTLE_ENDIAN = np.dtype("<f4")


def cache_key(space: Mapping[str, object], parts: Iterable[tuple[str, str]], fields: Iterable[str | None]) -> str:
    """Name an embedding by everything that decides it.

    Args:
        space: model, size and media preparation.
        parts: modality and digest of each part, in order, prefixes included.
        fields: what else the request says, such as the task field and the title.
    """
    identity = json.dumps([_VERSION, space, list(parts), list(fields)], sort_keys=True, ensure_ascii=False)
    return f"gemini-mm-{hashlib.sha256(identity.encode()).hexdigest()}"


def to_bytes(vector: Vector) -> bytes:
    """`(d,)` float32 as little-endian bytes."""
    return vector.astype(_LITTLE_ENDIAN).tobytes()


def from_bytes(value: bytes | None, dimensions: int) -> Vector | None:
    """Read a kept vector; anything else counts as not kept, so a damaged cache costs time and nothing more."""
    if value is None:
        return None
    if len(value) == 4 * dimensions:
        vector = np.frombuffer(value, dtype=_LITTLE_ENDIAN).astype(np.float32)
        if abs(float(np.linalg.norm(vector)) - 1.0) < 1e-3:
            return vector
    logger.warning("a cached embedding is not %d unit-length float32 values; embedding its content again", dimensions)
    return None
