"""Fixtures that start Weaviate servers, and the summary of the live checks."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from integration_tests.weaviate_cluster import CATCHING_UP, WeaviateCluster
from integration_tests.weaviate_server import Endpoint, WeaviateServer, find_program

if TYPE_CHECKING:
    from pathlib import Path

    from weaviate import WeaviateAsyncClient, WeaviateClient

_SEEN = pytest.StashKey[list[Any]]()


def _external() -> Endpoint | None:
    """The server that the environment variables name."""
    url = os.environ.get("WEAVIATE_URL")
    if not url:
        return None
    return Endpoint(url, os.environ.get("WEAVIATE_GRPC_URL"), os.environ.get("WEAVIATE_API_KEY"))


def pytest_configure() -> None:
    """Exclude this machine from the configured proxy; gRPC uses it for local calls too."""
    passed = [os.environ.get("no_proxy"), "127.0.0.1", "localhost"]
    os.environ["no_proxy"] = ",".join(filter(None, passed))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests that need a server connect to the one that the environment names, and to no other."""
    for item in items:
        if item.get_closest_marker("chaos"):
            item.add_marker("weaviate")
    server = _external()
    if server is not None:
        hosts = ["127.0.0.1", "::1", server.host, server.grpc_host]
        for item in items:
            if item.get_closest_marker("weaviate"):
                item.add_marker(pytest.mark.allow_hosts(hosts))


@pytest.fixture(scope="session")
def weaviate_program() -> Path:
    """The server program; without it the test is skipped, or fails if a server is required."""
    program = find_program()
    if program is None:
        reason = "no weaviate-server here and no WEAVIATE_URL: `make integration` installs one or says how to name one"
        if _external() is not None:
            pytest.skip("WEAVIATE_URL names a server, and this test needs to start one of its own")
        if os.environ.get("REQUIRE_WEAVIATE"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@pytest.fixture(scope="session")
def weaviate_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The server of `WEAVIATE_URL`, or one started for the whole run. It is shared: use `weaviate_name`."""
    external = _external()
    if external is not None:
        yield external
        return
    program = request.getfixturevalue("weaviate_program")
    with WeaviateServer(tmp_path_factory.mktemp("weaviate"), program=program) as server:
        yield server


@pytest.fixture(scope="session")
def weaviate_client(weaviate_server: Endpoint) -> Iterator[WeaviateClient]:
    """A client of `weaviate_server` for the whole run."""
    with weaviate_server.client() as client:
        yield client


@pytest.fixture
async def weaviate_async_client(weaviate_server: Endpoint) -> AsyncIterator[WeaviateAsyncClient]:
    """A connected asynchronous client of `weaviate_server` on the event loop of this test."""
    async with weaviate_server.async_client() as client:
        yield client


@pytest.fixture
def weaviate_name(weaviate_client: WeaviateClient) -> Iterator[str]:
    """A unique collection name; collections and aliases that start with it are deleted after the test."""
    name = f"Test{uuid.uuid4().hex[:12]}"
    yield name
    for alias in weaviate_client.alias.list_all():
        if alias.startswith(name):
            weaviate_client.alias.delete(alias_name=alias)
    for collection in weaviate_client.collections.list_all():
        if collection.startswith(name):
            weaviate_client.collections.delete(collection)


@pytest.fixture
def start_weaviate(tmp_path: Path, weaviate_program: Path) -> Iterator[Callable[..., WeaviateServer]]:
    """Starts servers for one test, which may stop, kill or configure them; takes arguments of `WeaviateServer`."""
    with ExitStack() as stack:
        number = 0

        def start(**arguments: Any) -> WeaviateServer:
            nonlocal number
            number += 1
            return stack.enter_context(
                WeaviateServer(tmp_path / f"weaviate-{number}", program=weaviate_program, **arguments)
            )

        yield start


@pytest.fixture(scope="session")
def _session_cluster(tmp_path_factory: pytest.TempPathFactory, weaviate_program: Path) -> Iterator[WeaviateCluster]:
    # Without the persistent queue, a killed node restarts with objects that are missing in its vector index: the
    # index log entries of a batch are written only with the next batch.
    environment = {"ASYNC_INDEXING": "true", **CATCHING_UP}
    with WeaviateCluster(tmp_path_factory.mktemp("cluster"), environment=environment) as cluster:
        yield cluster


@pytest.fixture
def weaviate_cluster(_session_cluster: WeaviateCluster) -> WeaviateCluster:
    """Three servers that replicate to each other; all of them run when the test starts."""
    return _session_cluster.start()


@pytest.fixture(scope="session")
def observations(request: pytest.FixtureRequest) -> list[Any]:
    """One row per check: number, title, results of the service and of the emulator, expectation."""
    return request.config.stash.setdefault(_SEEN, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print where service and emulator differ, and the results of the open questions."""
    rows = config.stash.get(_SEEN, [])
    if not rows:
        return
    different = [row for row in rows if row[2] != row[3]]
    terminalreporter.section("service and emulator")
    terminalreporter.line(
        f"{len(rows)} assumptions checked, the emulator differs from the service in {len(different)}."
    )
    for number, title, seen, here, _ in different:
        terminalreporter.line(f"{number} {title}\n    service:  {seen}\n    emulator: {here}")
    terminalreporter.line("Open questions:")
    for number, title, seen, _, expected in rows:
        if expected is None:
            terminalreporter.line(f"{number} {title} {seen}")
