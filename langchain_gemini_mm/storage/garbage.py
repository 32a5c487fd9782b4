"""Sweeps: the media that are referenced, and the result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.references import MediaRef

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", re.IGNORECASE)
_SCALARS = (int, float, complex, bytes, type(None))


@dataclass(frozen=True, slots=True)
class Sweep:
    """The result of a sweep: what it removed, or would remove."""

    removed: tuple[MediaRef, ...]
    """Media that nothing references."""
    size: int
    """Size of the removed media, in bytes."""
    leftovers: int
    """Number of unfinished uploads."""


def digests_in(keep: Any) -> set[bytes]:
    """The hashes in references, Documents, hits, stores, texts, or any nesting of iterables of these.

    Everything that looks like a hash is included, also in escaped and torn references, and anywhere in metadata.

    Raises:
        TypeError: another type.
    """
    if isinstance(keep, MediaRef):
        return {bytes.fromhex(keep.sha256)}
    if isinstance(keep, str):
        return {bytes.fromhex(digest) for digest in _DIGEST.findall(keep)}
    if isinstance(getattr(keep, "page_content", None), str):
        metadata = getattr(keep, "metadata", None) or {}
        return digests_in([keep.page_content, str(getattr(keep, "id", None) or "")]) | _in_metadata(metadata)
    if hasattr(keep, "store") and hasattr(keep, "invoke"):  # a retriever
        return digests_in(keep.store)
    if callable(getattr(keep, "iterate", None)):
        return digests_in(keep.iterate())
    if hasattr(keep, "document"):
        return digests_in(keep.document)
    if isinstance(keep, Mapping):
        return _in_metadata(keep)
    if isinstance(keep, Iterable) and not isinstance(keep, bytes):
        found: set[bytes] = set()
        for item in keep:
            found |= digests_in(item)
        return found
    raise InvalidTypeError(
        "keep takes media references, Documents, hits, stores and retrievers of this package, texts, or iterables of "
        f"these, got {type(keep).__name__}"
    )


def referenced_by(keep: Any) -> set[bytes]:
    """The hashes in `keep`, of which there must be one.

    Raises:
        ValueError: there is none, as with ids or paths instead of Documents, or an exhausted iterator.
        TypeError: it is of a type that has none.
    """
    found = digests_in(keep)
    if not found:
        raise InvalidValueError(
            f"nothing in keep ({type(keep).__name__}) references media, so that all media would count as unused. Pass "
            "the Documents, references or stores that are in use. To remove everything, delete each of refs()"
        )
    return found


def _in_metadata(value: Any) -> set[bytes]:
    """The hashes in metadata, where values of other types count as texts."""
    if isinstance(value, Mapping):
        return set().union(*(_in_metadata(item) for pair in value.items() for item in pair))
    if isinstance(value, list | tuple | set | frozenset):
        return set().union(*map(_in_metadata, value))
    if isinstance(value, _SCALARS):
        return set()
    return digests_in(str(value))
