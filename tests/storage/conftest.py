"""Media stores of every type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm.storage import MediaStore

if TYPE_CHECKING:
    from pathlib import Path

STORE_TYPES = ("folder", "memory", "links", "bytes")


def make_store(store_type: str, folder: Path) -> MediaStore:
    """An empty store of a type."""
    if store_type == "memory":
        return MediaStore.memory()
    if store_type == "bytes":
        return MediaStore(InMemoryByteStore())
    return MediaStore.links(folder / "links") if store_type == "links" else MediaStore(folder / "media")


@pytest.fixture(params=STORE_TYPES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    """An empty store; each test runs with every type."""
    return make_store(request.param, tmp_path)
