"""Media stores of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm.storage import MediaStore

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("folder", "memory", "links", "bytes")


def make_store(kind: str, folder: Path) -> MediaStore:
    """An empty store of one kind."""
    if kind == "memory":
        return MediaStore.memory()
    if kind == "bytes":
        return MediaStore(InMemoryByteStore())
    return MediaStore.links(folder / "links") if kind == "links" else MediaStore(folder / "media")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    """An empty store; each test runs on every kind."""
    return make_store(request.param, tmp_path)
