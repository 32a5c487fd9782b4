"""The embedding cache: float32 bytes under a key of the content, in any LangChain `BaseStore[str, bytes]`."""

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
    """Derive the key of an embedding from everything that determines it.

    Args:
        space: model, number of dimensions and media preparation.
        parts: modality and digest of each part, in order, of texts with their prefix.
        fields: other request fields, such as task type and title.
    """
    identity = json.dumps([_VERSION, space, list(parts), list(fields)], sort_keys=True, ensure_ascii=False)
    return f"gemini-mm-{hashlib.sha256(identity.encode()).hexdigest()}"


def to_bytes(vector: Vector) -> bytes:
    """Encode a `(d,)` float32 vector as little-endian bytes."""
    return vector.astype(_LITTLE_ENDIAN).tobytes()


def from_bytes(value: bytes | None, dimensions: int) -> Vector | None:
    """Decode a cached vector; returns None for anything else, so that a damaged entry is only embedded again."""
    if value is None:
        return None
    if len(value) == 4 * dimensions:
        vector = np.frombuffer(value, dtype=_LITTLE_ENDIAN).astype(np.float32)
        if abs(float(np.linalg.norm(vector)) - 1.0) < 1e-3:
            return vector
    logger.warning("a cached embedding is not %d unit-length float32 values; embedding its content again", dimensions)
    return None
