"""The Weaviate store with a server that is slow, down, or stops during calls: errors in time, and recovery."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.errors import PartialWriteError, StoreError
from langchain_gemini_mm.weaviate_client import deadlines
from langchain_gemini_mm.weaviate_client.deadlines import DeadlineError, within
from tests.vectorstores.contract_base import Call, ids_of
from tests.vectorstores.fakes import WordEmbeddings
from tests.vectorstores.weaviate.fake_server import CUT, FakeWeaviate, closed, refuse, some_fail

PATIENCE = 30.0
"""Seconds within which every error has come, on a busy machine too: far from the minute that the client alone takes."""
LONG = 90.0
RPCS = ("Search", "BatchObjects", "BatchDelete", "Aggregate", "REST")


@pytest.fixture
def server() -> Iterator[FakeWeaviate]:
    """The fake server with its defaults."""
    with FakeWeaviate() as server:
        yield server


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
async def store(server: FakeWeaviate, call: Call) -> AsyncIterator[WeaviateVectorStore]:
    """A store with short deadlines and one document."""
    with server.client() as client:
        async with server.async_client() as async_client:
            made = WeaviateVectorStore(client, "Docs", WordEmbeddings(), async_client=async_client)
            await call(made, "add_texts", ["a cat"], ids=["cat"])
            set_deadlines(made, 0.3)
            yield made


def set_deadlines(store: WeaviateVectorStore, seconds: float) -> None:
    """Set short deadlines after the setup, which may take longer on a busy machine."""
    store.backend.collection.connection.timeout = store.backend.collection.connection.write_timeout = seconds


async def read_all(call: Call, store: WeaviateVectorStore) -> None:
    """Read everything."""
    await call.list(store, "iterate")


OPERATIONS: dict[str, Callable[[Call, WeaviateVectorStore], Any]] = {
    "search": lambda call, store: call(store, "search", "a cat"),
    "search_many": lambda call, store: call(store, "search_many", ["a cat", "a dog", "a bird"]),
    "keyword": lambda call, store: call(store, "search", "a cat", search_type="keyword"),
    "add": lambda call, store: call(store, "add_texts", ["a dog"], ids=["dog"]),
    "update": lambda call, store: call(store, "update_metadata", ["cat"], {"track": "x"}),
    "count": lambda call, store: call(store, "count"),
    "delete": lambda call, store: call(store, "delete", ["cat"]),
    "delete_all": lambda call, store: call(store, "delete_all"),
    "get_by_ids": lambda call, store: call(store, "get_by_ids", ["cat"]),
    "iterate": read_all,
    "get_info": lambda call, store: call(store, "get_info", "fingerprint"),
    "set_info": lambda call, store: call(store, "set_info", "calibration", 1),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_slow_server_is_an_error_in_time(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call, name: str
) -> None:
    """Each operation raises at its deadline, with a remedy; the event loop is not blocked."""
    for rpc in RPCS:
        server.answers[rpc] = lambda *_: server.sleep(LONG)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    clock = asyncio.create_task(tick())
    start = time.monotonic()
    with pytest.raises(StoreError, match=r"no answer within .* raise the timeout|did not answer"):
        await OPERATIONS[name](call, store)
    assert 0.2 < time.monotonic() - start < PATIENCE
    assert not call.asynchronous or ticks > 2
    clock.cancel()


@pytest.mark.parametrize("name", ["search", "add"])
async def test_an_await_on_a_sync_client_is_cancelled_at_once(
    server: FakeWeaviate, store: WeaviateVectorStore, name: str
) -> None:
    """The thread of the call is free long before the deadline."""
    store.backend.collection.connection.async_client = None
    set_deadlines(store, LONG)
    for rpc in RPCS:
        server.answers[rpc] = lambda *_: server.sleep(LONG)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await OPERATIONS[name](Call(asynchronous=True), store)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert time.monotonic() - start < PATIENCE


async def test_a_server_that_restarts(server: FakeWeaviate, store: WeaviateVectorStore, call: Call) -> None:
    """While both ports are closed every operation is an error in time; then the same store works."""
    with closed(server):
        for name, operation in OPERATIONS.items():
            start = time.monotonic()
            with pytest.raises(StoreError, match="Is the server up and its address right"):
                await operation(call, store)
            assert time.monotonic() - start < PATIENCE, name
    set_deadlines(store, 20)
    deadline = time.monotonic() + 60  # the client waits longer each time before it connects again
    found: list[Any] = []
    while not found and time.monotonic() < deadline:
        with suppress(StoreError):
            found = await call(store, "search", "a cat")
    assert ids_of(found) == ["cat"]
    for operation in OPERATIONS.values():
        await operation(call, store)


async def test_a_server_that_restarts_during_a_call(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call
) -> None:
    """A connection is lost during a search or a write, and the server is back soon: the call succeeds."""

    def die(_: Any, __: Any, usual: Any) -> Any:
        server.answers.clear()

        def again() -> None:
            server.stop()
            time.sleep(0.3)
            server.start()
            back.set()

        threading.Thread(target=again).start()
        server.sleep(LONG)
        return usual()

    set_deadlines(store, 20)
    for rpc, name in (("Search", "search"), ("BatchObjects", "add")):
        back = threading.Event()
        server.answers[rpc] = die
        await OPERATIONS[name](call, store)
        assert back.wait(PATIENCE)
    assert await call(store, "count") == 2


@pytest.mark.parametrize("name", ["add", "get_info", "delete_all"])
async def test_a_connection_lost_over_rest(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call, name: str
) -> None:
    """An error of the HTTP library becomes our error."""
    set_deadlines(store, 3.0)
    server.answers["REST"] = lambda *_: CUT
    with pytest.raises(StoreError, match="could not be reached"):
        await OPERATIONS[name](call, store)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_proxy_without_a_server(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call, status: int
) -> None:
    """A gateway error means an outage, which a write waits for."""
    left = [2]

    def away(_: Any, __: Any, usual: Any) -> Any:
        left[0] -= 1
        return (status, {"message": "nobody there"}) if left[0] >= 0 else usual()

    server.answers["REST"] = away
    set_deadlines(store, 10)
    await OPERATIONS["add"](call, store)
    left[0] = 9
    with pytest.raises(StoreError, match="could not be reached"):
        await OPERATIONS["get_info"](call, store)


async def test_reading_continues_without_rest(server: FakeWeaviate, store: WeaviateVectorStore, call: Call) -> None:
    """If only the schema cannot be read, the cached schema is used."""
    server.answers["REST"] = lambda *_: CUT
    store.backend.collection._resolved.at -= 60  # as if the schema had been read a minute ago
    assert ids_of(await call(store, "search", "a cat")) == ["cat"]


async def test_a_load_that_loses_its_server(server: FakeWeaviate, store: WeaviateVectorStore, call: Call) -> None:
    """The server stops after the first of several batches: both lists of the error are exact."""
    stored: list[int] = []

    def gone(_: int) -> None:
        server.stop()
        stored.append(1)

    set_deadlines(store, 3.0)  # the first batch must be stored on a busy machine, too
    names = [f"n{i}" for i in range(30)]
    try:
        with pytest.raises(PartialWriteError) as caught:
            await call(store, "add_texts", names, ids=names, batch_size=10, progress=gone)
    finally:
        server.start()
    assert caught.value.stored == names[:10]
    assert list(caught.value.failed) == names[10:]


def idle_again(count: int) -> None:
    """Wait until this number of workers is idle."""
    ends = time.monotonic() + PATIENCE
    while len(deadlines._IDLE) < count and time.monotonic() < ends:
        time.sleep(0.01)


def test_workers_are_used_again_after_a_deadline() -> None:
    """A call that exceeded its deadline does not block other calls, and its thread is used again when it ends."""
    gate = threading.Event()
    for _ in range(5):
        with pytest.raises(DeadlineError):
            within(0.02, gate.wait)
    assert within(5, lambda: "still works") == "still works"
    gate.set()
    idle_again(5)
    before = threading.active_count()
    again = threading.Event()
    for _ in range(5):
        with pytest.raises(DeadlineError):
            within(0.02, again.wait)
    again.set()
    assert threading.active_count() == before
    idle_again(5)


def test_waiting_can_be_cancelled() -> None:
    """Waiting stops long before the deadline."""
    stop = CancelToken()
    threading.Timer(0.2, stop.set).start()
    gate = threading.Event()
    start = time.monotonic()
    with pytest.raises(DeadlineError):
        within(LONG, gate.wait, stop)
    assert time.monotonic() - start < PATIENCE
    gate.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_workers_of_its_own() -> None:
    """Threads of the parent do not exist in the child."""
    script = """
        import os, sys
        from langchain_gemini_mm.weaviate_client.deadlines import within
        assert within(5, lambda: 1) == 1
        if os.fork() == 0:
            os._exit(within(5, lambda: 42))
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    done = subprocess.run(command(script), check=True, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout == "42\n"


SCRIPT = """
    import asyncio, signal, sys, time, weaviate
    from langchain_gemini_mm import WeaviateVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
    rest, grpc, what, seconds = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    client = weaviate.connect_to_custom("127.0.0.1", rest, False, "127.0.0.1", grpc, False, skip_init_checks=True)
    store = WeaviateVectorStore(client, "Docs", WordEmbeddings(), timeout=seconds, write_timeout=seconds)
    texts = [f"text {i}" for i in range(1000)]
    print("ready", flush=True)
    if sys.argv[5:] == ["wait"]:
        sys.stdin.readline()
    try:
        match what:
            case "search":
                store.search_many(texts[:20])
            case "add":
                store.add_texts(texts)
            case "aadd":
                asyncio.run(store.aadd_texts(texts))
    finally:
        print("over", flush=True)
"""


def command(script: str, *args: object) -> list[str]:
    """A Python process that runs a script."""
    return [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]


def environment() -> dict[str, str]:
    """Environment variables of such a process."""
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), "no_proxy": "127.0.0.1"}


@pytest.fixture
def start(server: FakeWeaviate) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the script, which is killed at the end."""
    with server.client() as client:
        WeaviateVectorStore(client, "Docs", WordEmbeddings()).add_texts(["a cat"], ids=["cat"])
    processes: list[subprocess.Popen[str]] = []

    def start_one(*args: object) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(command(SCRIPT, *server.ports, *args), env=environment(), text=True, **pipes)
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n", process.communicate()
        return process

    yield start_one
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to another process there")
@pytest.mark.parametrize("what", ["search", "add", "aadd"])
def test_ctrl_c_stops_a_waiting_program(server: FakeWeaviate, start: Callable[..., Any], what: str) -> None:
    """While the server does not respond, with a minute to the deadline, the program ends within seconds."""
    waiting = threading.Event()

    def wait(*_: Any) -> None:
        waiting.set()
        server.sleep(LONG)

    server.answers["Search"] = server.answers["BatchObjects"] = wait
    process = start(what, LONG)
    assert waiting.wait(PATIENCE)
    time.sleep(0.3)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert time.monotonic() - begun < PATIENCE
    assert "KeyboardInterrupt" in said


@pytest.mark.slow
@pytest.mark.parametrize("what", ["search", "aadd"])
def test_a_program_ends_after_its_error(server: FakeWeaviate, start: Callable[..., Any], what: str) -> None:
    """The server does not respond: background threads do not keep the interpreter from ending."""
    process = start(what, 1, "wait")
    with closed(server):
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "over\n"
        begun = time.monotonic()
        said = process.communicate(timeout=60)[1]
        assert time.monotonic() - begun < PATIENCE
    assert process.returncode == 1
    assert "OutageError: " in said


async def test_a_collection_being_created_is_waited_for(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call
) -> None:
    """If the schema has a collection that the database does not have yet, the request is repeated for a while."""
    set_deadlines(store, 4)
    said = "explorer: list class: search: tried to browse non-existing index for Docs_v1"
    server.answers["Search"] = refuse(StatusCode.UNKNOWN, said, times=3)
    assert len(await call(store, "search", "a cat", k=4)) == 1
    server.answers["BatchObjects"] = some_fail({0: "import into non-existing index for Docs_v1"}, times=2)
    assert await OPERATIONS["add"](call, store) == ["dog"]
    server.answers["Search"] = refuse(StatusCode.UNKNOWN, said)
    set_deadlines(store, 0.6)
    with pytest.raises(StoreError, match=r"searching failed: the collection is being made or dropped .* Try again"):
        await call(store, "search", "a cat")
