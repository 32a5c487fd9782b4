"""Threads and processes that use one file at once: a serial order of their calls explains all that they see."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm.vectorstores import LocalVectorStore
from tests.vectorstores.fakes import WordEmbeddings
from tests.vectorstores.histories import Operation, RandomClient, contents, violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

IDS = [f"id {number}" for number in range(12)]
WEIGHTS = {
    "add": 30,
    "delete": 15,
    "update_metadata": 20,
    "get_by_ids": 20,
    "search": 20,
    "delete_all": 1,
    "compact": 0.3,
    "check": 0.5,
}
EXTRA: Mapping[str, Callable[[Any], object]] = {"compact": LocalVectorStore.compact, "check": LocalVectorStore.check}
THREADS, PROCESSES, SECONDS = 4, 2, 2.0


def use_in_threads(path: str, numbers: range, seed: int, seconds: float) -> tuple[list[Operation], list[str]]:
    """Random calls by threads that share one store; what they did and saw."""
    with LocalVectorStore(path, WordEmbeddings()) as store:
        clients = [RandomClient(store, number, IDS, WEIGHTS, EXTRA, seed) for number in numbers]
        with ThreadPoolExecutor(len(clients)) as pool:
            list(pool.map(lambda client: client.run(seconds), clients))
    return [one for client in clients for one in client.operations], [
        one for client in clients for one in client.errors
    ]


@pytest.mark.slow
@pytest.mark.soak
def test_a_serial_order_explains_what_threads_and_processes_see(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Two processes of four threads each add, replace, update, delete, empty, search, check and compact one file."""
    path, seed = str(tmp_path / "index.db"), request.config.getoption("--soak-seed")
    seconds = max(SECONDS, request.config.getoption("--soak-seconds"))
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawned) as pool:
        ranges = [range(start, start + THREADS) for start in range(0, PROCESSES * THREADS, THREADS)]
        jobs = [pool.submit(use_in_threads, path, numbers, seed, seconds) for numbers in ranges]
        results = [job.result() for job in jobs]
    operations = [one for done, _ in results for one in done]
    assert [error for _, errors in results for error in errors] == []
    with LocalVectorStore(path, WordEmbeddings()) as store:
        final = {**dict.fromkeys(IDS), **contents(store)}
        assert store.check().problems == ()
    assert violations(operations, final) == []
    assert len(operations) > 10 * PROCESSES * THREADS
    assert len({one.client for one in operations}) == PROCESSES * THREADS


def test_a_store_in_memory_is_used_by_threads(request: pytest.FixtureRequest) -> None:
    """The same with one connection for all threads."""
    store = LocalVectorStore(":memory:", WordEmbeddings())
    seed = request.config.getoption("--soak-seed")
    clients = [RandomClient(store, number, IDS, WEIGHTS, EXTRA, seed) for number in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda client: client.run(SECONDS / 2), clients))
    operations = [one for client in clients for one in client.operations]
    assert [error for client in clients for error in client.errors] == []
    assert violations(operations, {**dict.fromkeys(IDS), **contents(store)}) == []


def test_a_read_of_an_old_state_would_be_noticed(tmp_path: Path) -> None:
    """The history of a store, with one read replaced by an older one, is not explained by any order."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        client = RandomClient(store, 0, IDS[:3], {"add": 3, "get_by_ids": 1}, seed=1).run(0.3)
        final = {**dict.fromkeys(IDS[:3]), **contents(store)}
    assert violations(client.operations, final) == []
    writes = [one for one in client.operations if one.id == IDS[0] and type(one.effect).__name__ == "Put"]
    dropped = random.Random(0).choice(writes[-1:])
    assert violations([one for one in client.operations if one is not dropped], final)
