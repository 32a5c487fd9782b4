"""Run the pages and docstrings that need a Weaviate server, from top to bottom."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment, emulator, emulator_server, samples
from tests.test_docs import ROOT, SHOWN, Block, Session, copy_samples
from tests.test_examples import run_python

if TYPE_CHECKING:
    from pathlib import Path

    from weaviate import WeaviateClient

    from integration_tests.weaviate_server import Endpoint
    from langchain_gemini_mm.testing import GeminiEmulator

__all__ = ["clean_environment", "emulator", "emulator_server", "samples"]

pytestmark = pytest.mark.weaviate

ON_SERVER = [blocks for blocks in SHOWN if any(block.on_server for block in blocks)]


@pytest.fixture
def empty_server(weaviate_client: WeaviateClient) -> WeaviateClient:
    """The server without the collections of the shown code."""
    shown = ("Library", "Teams", "Mugs", "Example")
    for alias in weaviate_client.alias.list_all():
        if alias.startswith(shown):
            weaviate_client.alias.delete(alias_name=alias)
    for name in weaviate_client.collections.list_all():
        if name.startswith(shown):
            weaviate_client.collections.delete(name)
    return weaviate_client


@pytest.mark.parametrize("blocks", ON_SERVER, ids=lambda blocks: blocks[0].id)
def test_shown_code_runs_on_a_server(
    blocks: list[Block],
    weaviate_server: Endpoint,
    empty_server: WeaviateClient,
    samples: Path,
    emulator: GeminiEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The shown code runs unchanged, except for the address of the server."""
    here = f"port={weaviate_server.rest_port}, grpc_port={weaviate_server.grpc_port}, skip_init_checks=True"
    moved = [dataclasses.replace(block, code=block.code.replace("_local()", f"_local({here})")) for block in blocks]
    monkeypatch.chdir(copy_samples(tmp_path, samples))
    session = Session(moved)
    try:
        session.run_through(moved[-1])
    finally:
        client = session.namespace.get("client")
        if client is not None:
            client.close()


@pytest.mark.parametrize("name", ["04_weaviate.py", "22_team_weaviate.py", "23_existing_weaviate.py"])
def test_example_runs_on_a_server(
    name: str, weaviate_server: Endpoint, empty_server: WeaviateClient, emulator: GeminiEmulator, tmp_path: Path
) -> None:
    """An example uses the ports of the server, and does not fall back to a file."""
    if weaviate_server.host not in {"127.0.0.1", "localhost"}:
        pytest.skip("examples look for a server on this machine")
    ports = {"WEAVIATE_PORT": str(weaviate_server.rest_port), "WEAVIATE_GRPC_PORT": str(weaviate_server.grpc_port)}
    run = run_python([str(ROOT / "examples" / name)], tmp_path, os.environ | ports)
    assert run.returncode == 0, run.stderr
    assert "stands in" not in run.stdout
    assert "stand in" not in run.stdout
    assert "no Weaviate server" not in run.stdout
