"""Sweeps: the media that are referenced, and the result."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from langchain_gemini_mm.references import MediaRef

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


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
    """The hashes in references, Documents, strings, or any nesting of iterables of these.

    Everything that looks like a hash is included, also in escaped and split references.

    Raises:
        TypeError: another type.
    """
    if isinstance(keep, MediaRef):
        return {bytes.fromhex(keep.sha256)}
    if isinstance(keep, str):
        return {bytes.fromhex(digest) for digest in _DIGEST.findall(keep)}
    content = getattr(keep, "page_content", None)
    if isinstance(content, str):
        return digests_in(content) | digests_in(str((getattr(keep, "metadata", None) or {}).get("media_sha256", "")))
    if isinstance(keep, Iterable) and not isinstance(keep, bytes | dict):
        found: set[bytes] = set()
        for item in keep:
            found |= digests_in(item)
        return found
    raise TypeError(
        f"sweep(keep=...) takes media references, Documents, strings, or iterables of these, got {type(keep).__name__}"
    )
