"""Ctrl-C and forks at bad moments, and the length of the write-ahead log."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.local import rows
from langchain_gemini_mm.vectorstores.local.database import LOG_BYTES
from tests.vectorstores.fakes import WordEmbeddings

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of POSIX")


def started(script: str, *args: object) -> subprocess.Popen[str]:
    """Start a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OPENBLAS_NUM_THREADS": "1"},
    )


INTERRUPTED = """
    import signal, sys
    from langchain_gemini_mm.vectorstores import LocalVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
    store = LocalVectorStore(sys.argv[1], WordEmbeddings())
    store.add_texts(["a"], ids=["a"])
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        print("begins", flush=True)
        {operation}
    except KeyboardInterrupt as error:
        last = error  # as a notebook keeps it
        print("interrupted", flush=True)
    store.add_texts(["c"], ids=["c"])
    print("added", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("operation", ['store.add_texts(["b"], ids=["b"])', "store.check()", "store.compact()"])
@pytest.mark.parametrize("delay", [0.1, 0.5])
def test_ctrl_c_while_waiting_for_the_lock_releases_it(tmp_path: Path, operation: str, delay: float) -> None:
    """After KeyboardInterrupt this store and others can write, while the process goes on."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings(), timeout=5) as other:
        process = started(INTERRUPTED.replace("{operation}", operation), path)
        try:
            assert process.stdout
            assert process.stdin
            assert process.stdout.readline() == "ready\n"
            with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "begins\n"
                time.sleep(delay)
                process.send_signal(signal.SIGINT)
                time.sleep(0.2)
                lock.execute("COMMIT")
            assert process.stdout.readline() == "interrupted\n"
            assert process.stdout.readline() == "added\n"
            other.add_texts(["d"], ids=["d"])
            assert other.count() >= 3
        finally:
            process.kill()
            process.communicate()


def test_a_transaction_that_was_left_open_is_rolled_back_by_the_next(tmp_path: Path) -> None:
    """A second Ctrl-C can interrupt the roll-back itself."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        store.add_texts(["a"], ids=["a"])
        for connection in (store._database._writer, store._database._reader):
            connection.execute("BEGIN")
        store._database._writer.execute("DELETE FROM doc")
        store.add_texts(["b"], ids=["b"])
        assert [document.id for document in store.iterate()] == ["a", "b"]


FORKING = """
    import os, sys, threading
    from langchain_gemini_mm.errors import StoreError
    from langchain_gemini_mm.vectorstores import LocalVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    store = LocalVectorStore(sys.argv[1], WordEmbeddings())
    store.add_texts([f"text {i}" for i in range(500)])
    database = store._database
    held, done = threading.Event(), threading.Event()

    def hold(name):
        with getattr(database, name)():
            held.set()
            done.wait()

    operations = [lambda: store.search("text 1"), lambda: store.add_texts(["x"]), store.check, store.compact,
                  lambda: list(store.iterate()), lambda: store.backup(sys.argv[1] + ".copy"), store.count]
    for name in ("reading", "writing"):
        held.clear(), done.clear()
        thread = threading.Thread(target=hold, args=(name,))
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            for operation in operations:
                try:
                    operation()
                except StoreError as error:
                    assert "cannot be used in its child" in str(error), error
                    continue
                os._exit(1)
            store.close()
            os._exit(0)
        done.set()
        _, status = os.waitpid(child, 0)
        print(name, os.waitstatus_to_exitcode(status), flush=True)
        thread.join()
    store.add_texts(["more"])
    print(store.count())
"""


def test_a_child_that_was_forked_while_a_thread_reads_or_writes_gets_an_error(tmp_path: Path) -> None:
    """The locks are held in the child for ever, so it must not wait for them."""
    process = started(FORKING, tmp_path / "index.db")
    try:
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out.splitlines() == ["reading 0", "writing 0", "501"]


def log_bytes(path: Path) -> int:
    """Length of the write-ahead log."""
    return path.with_name(f"{path.name}-wal").stat().st_size


@pytest.mark.slow
def test_the_log_is_short_after_a_large_transaction(tmp_path: Path) -> None:
    """Also if a reader delays it, and also for transactions longer than the limit."""
    path, count = tmp_path / "index.db", 9000
    vectors = np.random.default_rng(0).standard_normal((count, 768), dtype=np.float32)
    with LocalVectorStore(path, WordEmbeddings(768), timeout=5) as store, closing(sqlite3.connect(path)) as reader:
        ids = store.add_vectors([Document("x") for _ in range(count)], vectors, batch_size=count)
        assert path.stat().st_size > 1.5 * LOG_BYTES
        assert log_bytes(path) <= LOG_BYTES
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM doc").fetchone()
        store.update_metadata(ids, {"seen": True})
        assert log_bytes(path) > LOG_BYTES
        reader.rollback()
        store.add_texts(["y"])
        assert log_bytes(path) <= LOG_BYTES
        assert store.count(filter={"seen": True}) == count


def test_the_first_document_after_loading_copies_no_vectors(tmp_path: Path) -> None:
    """There is room behind the loaded rows."""
    vectors = np.random.default_rng(0).standard_normal((500, 16))
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        store.add_vectors([Document("x") for _ in range(500)], vectors)
        store.search("x")
        loaded = store.backend._matrix._rows
        store.add_texts(["y"])
        assert store.search("y", k=1)[0].document.page_content == "y"
        assert store.backend._matrix._rows is loaded


def test_counting_deletions_reads_two_entries(tmp_path: Path) -> None:
    """SQLite looks up the first and the last deletion instead of reading all."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        ids = store.add_texts([f"text {i}" for i in range(300)])
        store.delete(ids[:299])
        statements: list[str] = []
        with store._database.writing() as connection:
            connection.set_trace_callback(statements.append)
            rows.mark_changed(connection, 1)
            connection.set_trace_callback(None)
            (counting,) = [sql for sql in statements if "gone" in sql and sql.startswith("SELECT")]
            steps = 0

            def count() -> None:
                nonlocal steps
                steps += 1

            connection.set_progress_handler(count, 1)
            connection.execute(counting).fetchone()
            connection.set_progress_handler(None, 1)
        assert steps < 100
