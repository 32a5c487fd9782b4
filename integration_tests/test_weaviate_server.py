"""The servers that other tests start: they respond, keep their data, and end with the run."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration_tests.loopback_ports import PortBlock, is_free
from integration_tests.weaviate_server import PROGRAM, VERSION, Endpoint, WeaviateServer, find_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from weaviate import WeaviateAsyncClient, WeaviateClient

    from integration_tests.weaviate_cluster import WeaviateCluster

pytestmark = pytest.mark.weaviate
ROOT = Path(__file__).parent.parent
KEYS = {
    "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
    "AUTHENTICATION_APIKEY_ALLOWED_KEYS": "a-key",
    "AUTHENTICATION_APIKEY_ENABLED": "true",
    "AUTHENTICATION_APIKEY_USERS": "someone",
    "AUTHORIZATION_ADMINLIST_ENABLED": "true",
    "AUTHORIZATION_ADMINLIST_USERS": "someone",
}


def write(client: WeaviateClient, name: str, count: int, factor: int = 1) -> None:
    """Create a collection with some objects."""
    from weaviate.classes.config import Configure, DataType, Property
    from weaviate.classes.data import DataObject

    collection = client.collections.create(
        name,
        properties=[Property(name="number", data_type=DataType.INT)],
        vector_config=Configure.Vectors.self_provided(),
        replication_config=Configure.replication(factor=factor),
    )
    objects = [DataObject(properties={"number": i}, vector=[1.0, float(i)]) for i in range(count)]
    assert not collection.data.insert_many(objects).has_errors


def numbers(client: WeaviateClient, name: str) -> list[int]:
    """The objects of the collection, nearest to (1, 0) first."""
    found = client.collections.get(name).query.near_vector([1.0, 0.0], limit=100)
    return [int(str(one.properties["number"])) for one in found.objects]


def eventually(happens: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether a condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if happens():
            return True
        time.sleep(0.05)
    return False


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_shared_server_answers_on_both_interfaces(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """The schema is sent with REST, objects and searches with gRPC."""
    write(weaviate_client, weaviate_name, 10)
    assert numbers(weaviate_client, weaviate_name) == list(range(10))


async def test_the_async_client_is_connected(weaviate_async_client: WeaviateAsyncClient) -> None:
    """The asynchronous client uses the event loop of the test."""
    assert await weaviate_async_client.is_ready()


def test_the_server_has_the_expected_version(
    start_weaviate: Callable[..., WeaviateServer],
) -> None:
    """The version that `make integration` installs is the one that the documentation names."""
    with start_weaviate().client() as client:
        assert client.get_meta()["version"] == VERSION


def test_data_survives_a_restart(start_weaviate: Callable[..., WeaviateServer]) -> None:
    """After stop or kill a server restarts on the same ports with all acknowledged writes."""
    server = start_weaviate()
    with server.client() as client:
        write(client, "Numbers", 10)
    before, first = server.ports, server.pid
    server.restart()
    assert (server.ports, server.running) == (before, True)
    assert server.pid != first
    with server.client() as client:
        assert numbers(client, "Numbers") == list(range(10))
    server.kill()
    assert not server.running
    server.start()
    with server.client() as client:
        assert numbers(client, "Numbers") == list(range(10))


def test_a_server_with_keys_requires_one(start_weaviate: Callable[..., WeaviateServer]) -> None:
    """Clients send the first allowed key unless another is passed."""
    from weaviate.exceptions import WeaviateBaseError

    server = start_weaviate(environment=KEYS)
    with server.client() as client:
        assert client.collections.list_all() == {}
    with pytest.raises(WeaviateBaseError, match="401"):
        server.client(api_key="another")
    assert "a-key" not in repr(server)


def test_a_frozen_server_does_not_respond(start_weaviate: Callable[..., WeaviateServer]) -> None:
    """Connections stay open without a response, until a deadline passes."""
    from weaviate.classes.init import AdditionalConfig, Timeout
    from weaviate.exceptions import WeaviateQueryError

    server = start_weaviate()
    with server.client(additional_config=AdditionalConfig(timeout=Timeout(query=1))) as client:
        write(client, "Numbers", 1)
        server.freeze()
        with pytest.raises(WeaviateQueryError, match=r"(?i)deadline"):
            numbers(client, "Numbers")
        server.thaw()
        assert numbers(client, "Numbers") == [0]


def test_settings_may_change_between_two_starts(start_weaviate: Callable[..., WeaviateServer]) -> None:
    """The settings of a server override the common settings."""
    server = start_weaviate(environment={"QUERY_DEFAULTS_LIMIT": "3"})
    with server.client() as client:
        write(client, "Numbers", 10)
        assert len(client.collections.get("Numbers").query.fetch_objects().objects) == 3
    server.environment["QUERY_DEFAULTS_LIMIT"] = "7"
    server.restart()
    with server.client() as client:
        assert len(client.collections.get("Numbers").query.fetch_objects().objects) == 7


def test_a_collection_can_be_read_only(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A server makes collections read-only when its disk fills up, but not if it is full at the start."""
    from weaviate.exceptions import WeaviateBaseError

    write(weaviate_client, weaviate_name, 1)
    collection = weaviate_client.collections.get(weaviate_name)
    collection.config.update_shards("READONLY")
    with pytest.raises(WeaviateBaseError, match="read-only"):
        collection.data.insert({"number": 1}, vector=[1.0, 1.0])
    assert numbers(weaviate_client, weaviate_name) == [0]


def test_a_server_that_cannot_start_says_why(tmp_path: Path, weaviate_program: Path) -> None:
    """The error contains the end of the server's log."""
    server = WeaviateServer(tmp_path, environment={"GRPC_PORT": "no number"})
    try:
        with pytest.raises(RuntimeError, match=r"exit code 1(?s:.)*GRPC_PORT"):
            server.start()
    finally:
        server.close()


def test_a_forgotten_server_ends(tmp_path: Path, weaviate_program: Path) -> None:
    """A server that is garbage collected is stopped."""
    server = WeaviateServer(tmp_path).start(wait=False)
    pid = server.pid
    del server
    gc.collect()
    assert eventually(lambda: gone(pid))


STARTER = """
import os, signal, sys, time
from pathlib import Path
from integration_tests.weaviate_server import WeaviateServer

servers = [WeaviateServer(Path(sys.argv[1]) / str(i)).start(wait=False) for i in range(2)]
print(*(server.pid for server in servers), flush=True)
ENDING
"""


@pytest.mark.parametrize(
    "ending",
    ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(1)", "raise SystemExit", "raise RuntimeError"],
)
def test_no_server_outlives_the_process_that_started_it(tmp_path: Path, weaviate_program: Path, ending: str) -> None:
    """Servers end with their process, whether it is killed, exits early, exits normally, or raises."""
    code = STARTER.replace("ENDING", ending)
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=False, cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    pids = [int(word) for word in run.stdout.split()]
    assert len(pids) == 2, run.stderr
    assert eventually(lambda: all(gone(pid) for pid in pids))


def test_port_blocks_are_disjoint() -> None:
    """Blocks that several processes take at the same time share no port, and all ports are free."""
    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(lambda _: PortBlock(), range(20)))
    try:
        ports = [port for block in blocks for port in block.ports]
        assert len(set(ports)) == len(ports)
        assert all(is_free(port) for port in ports)
    finally:
        for block in blocks:
            block.release()


def test_a_port_in_use_is_not_free() -> None:
    """One listener on TCP or UDP is sufficient."""
    for socket_type in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, socket_type) as one:
            one.bind(("127.0.0.1", 0))
            assert not is_free(one.getsockname()[1])


@pytest.mark.parametrize(
    ("given", "rest", "grpc"),
    [
        pytest.param(("http://localhost:8080",), "http://localhost:8080", "http://localhost:50051", id="docker"),
        pytest.param(("localhost:8080",), "http://localhost:8080", "http://localhost:50051", id="no scheme"),
        pytest.param(
            ("http://db:80", "db:1234"), "http://db:80", "http://db:1234", id="grpc without scheme takes that of rest"
        ),
        pytest.param(
            ("https://x.weaviate.cloud",),
            "https://x.weaviate.cloud:443",
            "https://grpc-x.weaviate.cloud:443",
            id="cloud",
        ),
        pytest.param(
            ("https://a.example", "https://b.example"), "https://a.example:443", "https://b.example:443", id="two hosts"
        ),
    ],
)
def test_urls_of_a_server(given: tuple[str, ...], rest: str, grpc: str) -> None:
    """`WEAVIATE_URL` and `WEAVIATE_GRPC_URL` are accepted in all usual forms."""
    endpoint = Endpoint(*given)
    assert (endpoint.url, endpoint.grpc_url) == (rest, grpc)


def test_the_program_is_found_on_path_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then Go's folders are searched, those of environment variables before the default."""
    path, gobin, home = tmp_path / "path", tmp_path / "gobin", tmp_path / "home"
    programs = [folder / PROGRAM for folder in (path, gobin, home / "go" / "bin")]
    for program in programs:
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    for name, value in {"PATH": path, "GOBIN": gobin, "HOME": home, "USERPROFILE": home}.items():
        monkeypatch.setenv(name, str(value))
    for program in programs:
        assert find_program() == program
        program.unlink()
    assert find_program() is None


@pytest.mark.parametrize(("required", "word", "code"), [("", "1 skipped", 0), ("1", "1 error", 1)])
def test_a_missing_server_skips_or_fails(tmp_path: Path, required: str, word: str, code: int) -> None:
    """Without a server tests are skipped with instructions; if a server is required, they fail."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEAVIATE_", "GO"))}
    nowhere = {"PATH": "", "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "REQUIRE_WEAVIATE": required}
    test = f"{Path(__file__).name}::{test_the_shared_server_answers_on_both_interfaces.__name__}"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"integration_tests/{test}"],
        check=False,
        cwd=ROOT,
        env=kept | nowhere,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (run.returncode, word in run.stdout, "make integration" in run.stdout) == (code, True, True), run.stdout


@pytest.mark.chaos
def test_a_cluster_works_without_a_node(weaviate_cluster: WeaviateCluster) -> None:
    """Any one node of three is killed: the others have all data, and so has it after a restart."""
    name, everything = f"Test{uuid.uuid4().hex[:12]}", list(range(10))
    with weaviate_cluster.client() as client:
        write(client, name, 10, factor=3)
    for victim in range(3):
        for node in weaviate_cluster.nodes:
            with node.client() as client:
                assert eventually(lambda: numbers(client, name) == everything)
        weaviate_cluster.kill(victim)
        with weaviate_cluster.client((victim + 1) % 3) as client:
            assert numbers(client, name) == everything
        weaviate_cluster.start()
        with weaviate_cluster.client(victim) as client:
            assert numbers(client, name) == everything


@pytest.mark.chaos
def test_a_cluster_starts_again_after_all_were_killed(weaviate_cluster: WeaviateCluster) -> None:
    """Every node finds the others without help."""
    weaviate_cluster.kill(0, 1, 2)
    weaviate_cluster.start()
    assert all(len(node.healthy_nodes()) == 3 for node in weaviate_cluster.nodes)


@pytest.mark.chaos
def test_a_cluster_restarts_node_by_node(weaviate_cluster: WeaviateCluster) -> None:
    """Nodes are restarted one after the other, as in a rolling update."""
    for number in range(3):
        weaviate_cluster.restart(number)
        assert all(len(node.healthy_nodes()) == 3 for node in weaviate_cluster.nodes)
