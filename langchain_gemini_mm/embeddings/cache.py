"""The embedding cache: float32 bytes under a key of the content, in any LangChain `BaseStore[str, bytes]`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from langchain_core.stores import BaseStore

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


Cache: TypeAlias = BaseStore[str, bytes]
"""Where vectors are cached."""


class ContentIdentity(NamedTuple):
    """How a content of a run was recognized."""

    text: str
    """The text, with its references, that was to be embedded."""
    key: str | None
    """The key of the media as they are sent, where they were cut out of their files or converted."""
    known: bool
    """Whether its vector was in the cache, or is that of a content before it."""


@runtime_checkable
class IdentityJournal(Protocol):
    """A cache that is passed the identities of the contents of each run."""

    def note_contents(self, identities: Iterable[ContentIdentity]) -> None:
        """Note the contents of a run, of those that are one text or Document."""


def read_cache(cache: Cache | None, keys: Sequence[str]) -> Sequence[bytes | None]:
    """The entries of a cache; nothing where it cannot be read."""
    with _optional("read"):
        if cache is not None:
            return cache.mget(keys)
    return [None] * len(keys)


async def aread_cache(cache: Cache | None, keys: Sequence[str]) -> Sequence[bytes | None]:
    """Async twin of `read_cache`."""
    with _optional("read"):
        if cache is not None:
            return await cache.amget(keys)
    return [None] * len(keys)


def write_cache(cache: Cache | None, entries: Sequence[tuple[str, bytes]]) -> None:
    """Add entries to a cache, if it can be written."""
    with _optional("write"):
        if cache is not None and entries:
            cache.mset(entries)


async def awrite_cache(cache: Cache | None, entries: Sequence[tuple[str, bytes]]) -> None:
    """Async twin of `write_cache`."""
    with _optional("write"):
        if cache is not None and entries:
            await cache.amset(entries)


@contextmanager
def _optional(what: str) -> Iterator[None]:
    """A cache that fails costs money, but never the vectors that are paid already."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - it is code of others, of any kind
        logger.warning("cannot %s the embedding cache (%s: %s)", what, type(error).__name__, error)
