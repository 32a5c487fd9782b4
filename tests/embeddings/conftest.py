"""Fixtures for the tests of temporary files, and a server that sends any bytes."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.embeddings.raw_server import Play, RawServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parent of temporary folders in these tests."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def raw_server() -> Iterator[Callable[[Play], RawServer]]:
    """Starts a `RawServer`."""
    servers: list[RawServer] = []

    def start(play: Play) -> RawServer:
        servers.append(RawServer(play))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
