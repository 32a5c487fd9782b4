"""Media stores of every type."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.storage import MediaStore, Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORE_TYPES = ("folder", "memory", "links", "bytes")


class ThreadSafeByteStore(InMemoryByteStore):
    """A byte store in memory whose keys can be listed while others write."""

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """List keys."""
        return (key for key in list(self.store) if key.startswith(prefix or ""))


def make_store(store_type: str, folder: Path) -> MediaStore:
    """An empty store of a type."""
    if store_type == "memory":
        return MediaStore.memory()
    if store_type == "bytes":
        return MediaStore(ThreadSafeByteStore())
    return MediaStore.links(folder / "links") if store_type == "links" else MediaStore(folder / "media")


@pytest.fixture(params=STORE_TYPES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    """An empty store; each test runs with every type."""
    return make_store(request.param, tmp_path)


UNRELATED = MediaRef("0" * 64)
"""References nothing in any store: what a sweep keeps to remove everything."""
_CLOCK_GRAIN_S = 0.02


def swept(store: MediaStore, keep: Any, *, dry_run: bool = False) -> Sweep:
    """The result of a sweep that begins after everything was stored, by the clock of the file system."""
    time.sleep(_CLOCK_GRAIN_S)
    return store.sweep(keep, grace_s=0, dry_run=dry_run)
