"""One file used by threads, by processes, and by processes that are killed."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.local import rows as local_rows
from tests.vectorstores.fakes import WordEmbeddings

ROUNDS = 4

WRITER = """
    import itertools, sys
    from langchain_core.documents import Document
    from langchain_gemini_mm.vectorstores import LocalVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    path, name, kept = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with LocalVectorStore(path, WordEmbeddings()) as store:
        print("ready", flush=True)
        for batch in itertools.count():
            slot = batch % kept if kept else batch
            ids = [f"{name}-{slot}-{i}" for i in range(10)]
            store.add_documents(
                Document(id=id, page_content=f"{name} {batch} {i}", metadata={"batch": batch})
                for i, id in enumerate(ids)
            )
            print(batch, flush=True)
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script in a separate process, which is killed at the end."""
    processes = []

    def start_one(script: str, *args: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Read the first line of a script."""
    assert process.stdout
    assert process.stdout.readline() == "ready\n"


@pytest.mark.slow
def test_a_killed_writer_loses_no_acknowledged_batch(tmp_path: Path, start: Callable[..., Any]) -> None:
    """Killed with -9 at random times: every acknowledged batch is complete, and the file can be opened."""
    path = tmp_path / "index.db"
    chance = random.Random(0)
    acknowledged: dict[str, int] = {}
    for round_ in range(ROUNDS):
        writer = start(WRITER, path, f"r{round_}", 0)
        wait_until_ready(writer)
        first = [writer.stdout.readline() for _ in range(chance.randrange(3))]
        threading.Timer(chance.uniform(0.005, 0.15), writer.kill).start()
        lines = writer.stdout.read().split("\n")
        acknowledged[f"r{round_}"] = len(first) + len([line for line in lines[:-1] if line])
    assert sum(acknowledged.values()) > 0
    with LocalVectorStore(path, WordEmbeddings()) as store:
        batches: dict[tuple[str, int], int] = {}
        for document in store.iterate():
            name, batch, _ = (document.id or "").split("-")
            batches[name, int(batch)] = batches.get((name, int(batch)), 0) + 1
        assert set(batches.values()) == {10}
        for name, count in acknowledged.items():
            assert {batch for owner, batch in batches if owner == name} >= set(range(count))
        assert store.search("r0 0 5", k=1)[0].document.page_content.startswith("r0 0")
        assert sum(len(ids) for ids, _ in store.vectors()) == store.count()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_two_writing_processes_and_readers(tmp_path: Path, start: Callable[..., Any]) -> None:
    """While two processes replace the same rows, every search finds k complete hits, including the newest."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as store:
        writers = [start(WRITER, path, name, 3) for name in ("one", "two")]
        for writer in writers:
            wait_until_ready(writer)
            for _ in range(3):
                assert writer.stdout.readline()
        for _ in range(50):
            hits = store.search("one 5 5", k=20)
            assert len({hit.document.id for hit in hits}) == 20
            assert len(store.search("two", k=10, filter={"batch": {"$gte": 0}})) == 10
        for writer in writers:
            assert writer.poll() is None
            writer.kill()
            writer.wait()
        assert store.count() == 60
        last = max(document.metadata["batch"] for document in store.iterate())
        assert store.search("x", k=60, filter={"batch": last})


def test_changes_of_other_stores_are_seen_at_once(tmp_path: Path) -> None:
    """Changes by one of two stores on a file are in the next result of the other."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as one, LocalVectorStore(path, WordEmbeddings()) as two:
        assert two.search("cat") == []
        one.add_texts(["black cat", "white dog"], ids=["1", "2"])
        assert two.search("black cat", k=1)[0].document.id == "1"
        two.add_texts(["grey fox"], ids=["1"])
        assert one.search("grey fox", k=1)[0].document.page_content == "grey fox"
        assert len(one.search("x", k=9)) == 2
        two.delete(["1"])
        assert [hit.document.id for hit in one.search("x", k=9)] == ["2"]
        one.delete_all()
        assert two.search("x") == []
        one.add_texts(["again"], ids=["1"])
        assert two.search("x")[0].document.page_content == "again"


def test_readers_far_behind_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of deleted rows is limited, and no reader misses a deletion."""
    monkeypatch.setattr(local_rows, "GONE_KEPT", 20)
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as one, LocalVectorStore(path, WordEmbeddings()) as two:
        for round_ in range(30):
            one.add_texts([f"text {round_} {i}" for i in range(10)], ids=[str(i) for i in range(10)])
            if round_ % 7 == 0:
                hits = two.search(f"text {round_} 3", k=20)
                assert sorted(hit.document.page_content for hit in hits) == [f"text {round_} {i}" for i in range(10)]
        assert len(one.search("x", k=20)) == len(two.search("x", k=20)) == 10
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM gone").fetchone()[0] <= 40


class Workers:
    """Threads that record their exceptions."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[..., None], *args: Any) -> threading.Thread:
        """Run `work` in a thread."""

        def guarded() -> None:
            try:
                work(*args)
            except Exception as error:  # noqa: BLE001 - reported by the test
                self.errors.append(error)

        thread = threading.Thread(target=guarded)
        self.threads.append(thread)
        thread.start()
        return thread

    def join(self) -> list[Exception]:
        """Wait for all threads; return their exceptions."""
        for thread in self.threads:
            thread.join()
        return self.errors


@pytest.mark.parametrize("place", ["file", "memory"])
def test_threads_share_one_store(tmp_path: Path, place: str) -> None:
    """Searching threads always find k hits while others replace and delete; there is no error."""
    done = threading.Event()
    workers = Workers()
    kept = [f"kept {i}" for i in range(30)]
    with LocalVectorStore(":memory:" if place == "memory" else tmp_path / "index.db", WordEmbeddings()) as store:

        def keep() -> None:
            store.add_texts(kept, [{"kept": True}] * 30, ids=kept)

        def search() -> None:
            while not done.is_set():
                assert len({hit.document.id for hit in store.search("kept 3", k=20)}) == 20
                assert len(store.search("kept", k=30, filter={"kept": True})) == 30

        def write(name: str) -> None:
            ids = [f"{name} {i}" for i in range(10)]
            for round_ in range(40):
                store.add_texts([f"kept {round_} {i}" for i in range(10)], ids=ids)
                keep()
                if round_ % 3 == 0:
                    store.delete(ids[:5])

        keep()
        for _ in range(3):
            workers.start(search)
        for thread in [workers.start(write, name) for name in ("a", "b")]:
            thread.join()
        done.set()
        assert workers.join() == []
        assert store.count() == 30 + 2 * 5


async def test_async_methods_leave_the_event_loop_free(tmp_path: Path) -> None:
    """While another process holds the lock, an async write waits in a thread and other tasks run."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings(), timeout=20) as store, closing(sqlite3.connect(path)) as other:
        await store.aadd_texts(["a"])
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(store.aadd_texts(["b"]))
        for _ in range(20):
            assert len(await store.asearch("a")) == 1
        assert not writing.done()
        other.rollback()
        await writing
        assert len(await store.asearch("a")) == 2


async def test_many_async_calls_at_once() -> None:
    """Writes and searches on one event loop are independent."""
    with LocalVectorStore(":memory:", WordEmbeddings()) as store:
        await asyncio.gather(*(store.aadd_documents([Document(id=str(i), page_content=f"t {i}")]) for i in range(50)))
        found = await asyncio.gather(*(store.asearch(f"t {i}", k=1) for i in range(50)))
        assert [hits[0].document.id for hits in found] == [str(i) for i in range(50)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_must_open_the_store_again(tmp_path: Path, start: Callable[..., Any]) -> None:
    """SQLite connections cannot be used after a fork: the child gets an error, the parent continues."""
    script = """
        import os, sys
        from langchain_gemini_mm.errors import StoreError
        from langchain_gemini_mm.vectorstores import LocalVectorStore
        from tests.vectorstores.fakes import WordEmbeddings

        store = LocalVectorStore(sys.argv[1], WordEmbeddings())
        store.add_texts(["a"])
        child = os.fork()
        if not child:
            try:
                store.add_texts(["b"])
            except StoreError as error:
                print(error, flush=True)
            store.close()
            with LocalVectorStore(sys.argv[1], WordEmbeddings()) as own:
                own.add_texts(["c"])
            os._exit(0)
        os.waitpid(child, 0)
        store.add_texts(["d"])
        print(store.count())
    """
    lines = start(script, tmp_path / "index.db").stdout.read().splitlines()
    assert "cannot be used in its child" in lines[0]
    assert "Open the store in each process" in lines[0]
    assert lines[1:] == ["3"]


def test_opening_a_new_file_from_many_threads_at_once(tmp_path: Path) -> None:
    """The first thread creates the tables; all can write."""
    workers = Workers()

    def work(number: int) -> None:
        with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
            store.add_texts([f"text {number}"])

    for number in range(8):
        workers.start(work, number)
    assert workers.join() == []
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        assert store.count() == 8


def test_closing_while_threads_search(tmp_path: Path) -> None:
    """Closing waits for running statements; later calls raise an error."""
    store = LocalVectorStore(tmp_path / "index.db", WordEmbeddings())
    store.add_texts([f"text {i}" for i in range(20)])
    started = threading.Barrier(3)
    workers = Workers()

    def search() -> None:
        started.wait()
        while True:
            assert len(store.search("text")) == 4

    workers.start(search)
    workers.start(search)
    started.wait()
    store.close()
    assert [type(error) for error in workers.join()] == [StoreError, StoreError]
    assert all("is closed" in str(error) for error in workers.errors)
