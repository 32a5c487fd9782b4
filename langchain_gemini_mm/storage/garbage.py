"""Which media are still referenced, and what a sweep removed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from langchain_gemini_mm.references import MediaRef

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep removed, or would remove."""

    removed: tuple[MediaRef, ...]
    """Media that nothing references."""
    size: int
    """Bytes of these."""
    leftovers: int
    """Unfinished uploads that were cut off."""


def digests_in(keep: Any) -> set[bytes]:
    """The hashes named by references, Documents, strings, or any nesting of iterables of these.

    Generous on purpose: whatever looks like a hash is kept, also in an escaped or a torn reference.

    Raises:
        TypeError: something else was given.
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
