"""Database files from elsewhere: hostile ones are refused, a bad row is left out; files on read-only disks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_gemini_mm.errors import GeminiMMError, StoreError
from langchain_gemini_mm.vectorstores import LocalVectorStore
from scripts.kill_local_store import embeddings, make_version_one
from tests.vectorstores.contract_base import ids_of
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 8
NUMBERS = range(5)


@contextmanager
def sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another program, which commits at the end."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def filled(path: Path) -> Path:
    """A store with five documents."""
    with LocalVectorStore(path, WordEmbeddings(SIZE)) as store:
        store.add_documents(
            Document(id=str(i), page_content=f"text {i}", metadata={"k": i, "tags": ["a", "b"]}) for i in NUMBERS
        )
    return path


def every_operation(path: Path) -> dict[str, object]:
    """The results of all operations on a file; errors of this package in the place of results, others are raised."""
    operations: dict[str, Callable[[LocalVectorStore], object]] = {
        "search": lambda store: sorted(ids_of(store.search("text 1", k=9))),
        "filtered": lambda store: sorted(ids_of(store.search("text", k=9, filter={"k": {"$gte": 0}}))),
        "function": lambda store: sorted(ids_of(store.search("text", k=9, filter=lambda document: True))),
        "keyword": lambda store: sorted(ids_of(store.search("text", k=9, search_type="keyword"))),
        "hybrid": lambda store: sorted(ids_of(store.search("text", k=9, search_type="hybrid"))),
        "mmr": lambda store: sorted(ids_of(store.search("text", k=9, search_type="mmr"))),
        "get": lambda store: ids_of(store.get_by_ids(["0", "1"])),
        "iterate": lambda store: ids_of(list(store.iterate())),
        "filtered iterate": lambda store: ids_of(list(store.iterate(filter={"k": {"$gte": 0}}))),
        "vectors": lambda store: [ids for ids, _ in store.vectors()],
        "count": lambda store: store.count(filter={"k": 1}),
        "check": lambda store: store.check().problems,
        "update": lambda store: store.update_metadata(["1"], {"k": 11}),
        "add": lambda store: store.add_texts(["new"], ids=["new"]),
        "delete": lambda store: store.delete(["0"]),
        "delete by filter": lambda store: store.delete(filter={"k": 3}),
        "info": lambda store: store.get_info("fingerprint"),
        "compact": lambda store: store.compact(),
        "export": lambda store: store.export_to(path.with_suffix(".export")),
    }
    results: dict[str, object] = {}
    with LocalVectorStore(path, WordEmbeddings(SIZE), timeout=2) as store:
        for name, operation in operations.items():
            try:
                results[name] = operation(store)
            except GeminiMMError as error:
                results[name] = StoreError(str(error))  # without frames that hold cursors
    return results


def deep(depth: int = 100_000) -> str:
    """JSON that nests so deep that parsers give up."""
    return '{"a":' + "[" * depth + "]" * depth + "}"


BAD_ROWS: list[tuple[str, str, Any]] = [
    ("a vector of one byte", "vector", b"\0"),
    ("a vector of zeros", "vector", np.zeros(SIZE, "<f4").tobytes()),
    ("a vector of NaN", "vector", np.full(SIZE, np.nan, "<f4").tobytes()),
    ("a vector of infinity", "vector", np.full(SIZE, np.inf, "<f4").tobytes()),
    ("a vector that is a text", "vector", "abc"),
    ("a vector that is a number", "vector", 5),
    ("a vector of 5 MB", "vector", bytes(5_000_000)),
    ("metadata that are not JSON", "metadata", "oops"),
    ("metadata that are a list", "metadata", "[1]"),
    ("metadata that are bytes", "metadata", b"\0\xff"),
    ("metadata that nest deep", "metadata", deep()),
    ("a text that is bytes", "text", b"\0\xff"),
    ("an id that is bytes", "id", b"\0\xff"),
]


@pytest.mark.parametrize(("column", "value"), [pytest.param(*case[1:], id=case[0]) for case in BAD_ROWS])
def test_one_bad_row_breaks_no_search(tmp_path: Path, column: str, value: object) -> None:
    """The other rows are found, the check reports the bad one, and it can be deleted; all errors are typed."""
    path = filled(tmp_path / "index.db")
    with sqlite(path) as connection:
        connection.execute(f"UPDATE doc SET {column} = ? WHERE id = '2'", (value,))
    results = every_operation(path)
    for name in ("search", "filtered", "mmr", "hybrid", "keyword"):
        assert set(results[name]) >= {"0", "1", "3", "4"}, name  # type: ignore[call-overload]
    for name in ("search", "filtered", "mmr"):
        assert "2" not in results[name], name  # type: ignore[operator]
    assert results["check"]
    assert results["add"] == ["new"]
    with LocalVectorStore(path, WordEmbeddings(SIZE)) as store:
        if column != "id":
            store.add_texts(["text 2"], ids=["2"])
            assert store.check().problems == ()
        assert "new" in ids_of(store.search("new", k=9))


def test_text_that_is_not_utf8_breaks_no_search(tmp_path: Path) -> None:
    """Python cannot decode it, whichever column it is in."""
    path = filled(tmp_path / "index.db")
    with sqlite(path) as connection:
        connection.execute("UPDATE doc SET text = CAST(x'ff' AS TEXT) WHERE id = '1'")
        connection.execute("UPDATE doc SET metadata = CAST(x'ff' AS TEXT) WHERE id = '2'")
    results = every_operation(path)
    assert results["search"] == results["mmr"] == ["0", "3", "4"]
    assert isinstance(results["iterate"], StoreError)
    assert results["check"]


def view_that_never_ends(connection: sqlite3.Connection) -> None:
    """Replace a table by a view of infinitely many rows."""
    connection.execute("ALTER TABLE doc RENAME TO doc2")
    connection.execute(
        "CREATE VIEW doc AS WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) "
        "SELECT i AS n, 1 AS c, 'x' AS id, 't' AS text, '{}' AS metadata, zeroblob(32) AS vector FROM r"
    )


def run_sql(*statements: str) -> Callable[[sqlite3.Connection], None]:
    """Run statements."""

    def change(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    return change


HOSTILE: list[tuple[str, Callable[[sqlite3.Connection], None], str]] = [
    (
        "a trigger that deletes",
        run_sql("CREATE TRIGGER evil AFTER INSERT ON doc BEGIN DELETE FROM doc WHERE id != 'n'; END"),
        "has the trigger 'evil'",
    ),
    ("a view", run_sql("CREATE VIEW evil AS SELECT 1"), "has the view 'evil'"),
    ("a table that is a view", view_that_never_ends, "has the view 'doc'"),
    ("no attributes", run_sql("DROP TABLE attribute"), "the table 'attribute' of .* is missing"),
    ("another column", run_sql("ALTER TABLE doc ADD COLUMN extra"), "the table 'doc' .* was changed"),
    (
        "a computed column",
        run_sql("ALTER TABLE doc ADD COLUMN v GENERATED ALWAYS AS (hex(vector))"),
        "the table 'doc' .* was changed",
    ),
    ("dimensions beyond memory", run_sql("UPDATE collection SET dimensions = 1000000000000"), "cannot be read"),
    ("negative dimensions", run_sql("UPDATE collection SET dimensions = -1"), "cannot be read"),
    ("dimensions in words", run_sql("UPDATE collection SET dimensions = 'x'"), "cannot be read"),
    ("a torn fingerprint", run_sql("UPDATE collection SET fingerprint = '[1'"), "cannot be read"),
    ("a fingerprint that is a list", run_sql("UPDATE collection SET fingerprint = '[1]'"), "cannot be read"),
    ("a revision in words", run_sql("UPDATE collection SET revision = 'x'"), "cannot be read"),
    ("the id of another program", run_sql("PRAGMA application_id = 0"), "of another program"),
]


@pytest.mark.parametrize(("change", "message"), [pytest.param(*case[1:], id=case[0]) for case in HOSTILE])
def test_a_hostile_file_is_refused(tmp_path: Path, change: Callable[[sqlite3.Connection], None], message: str) -> None:
    """The error names the file and what is wrong; nothing of it runs, and the file is unchanged."""
    path = filled(tmp_path / "index.db")
    with sqlite(path) as connection:
        change(connection)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message):
        LocalVectorStore(path, WordEmbeddings(SIZE))
    assert path.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """Opening a pipe would wait for a writer."""
    os.mkfifo(tmp_path / "index.db")
    with pytest.raises(StoreError, match="is a pipe, a socket or a device"):
        LocalVectorStore(tmp_path / "index.db", WordEmbeddings(SIZE))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that tests copy."""
    path: Path = tmp_path_factory.mktemp("healthy")
    return filled(path / "index.db")


@settings(max_examples=15)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.integers(1, 64)), min_size=1, max_size=12
    )
)
def test_any_damage_is_a_typed_error(
    healthy: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int, int]]
) -> None:
    """Whatever bytes of a file are overwritten, only errors of this package are raised."""
    path = tmp_path_factory.mktemp("damaged") / "index.db"
    content = bytearray(healthy.read_bytes())
    for place, byte, length in changes:
        start = int(place * len(content))
        content[start : start + length] = bytes([byte]) * len(content[start : start + length])
    path.write_bytes(content)
    try:
        every_operation(path)
    except GeminiMMError:
        return


VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=40)
)
COLUMNS = [
    ("doc", "id"), ("doc", "text"), ("doc", "metadata"), ("doc", "vector"), ("attribute", "value"),
    ("attribute", "kind"),
    ("attribute", "key"), ("attribute", "n"), ("collection", "dimensions"), ("collection", "fingerprint"),
    ("collection", "revision"), ("collection", "epoch"), ("collection", "keywords"), ("gone", "n"), ("info", "value"),
    ("words_1_docsize", "sz"), ("words_1_content", "c0"), ("words_1_data", "block"),
]  # fmt: skip


@settings(max_examples=15)
@given(changes=st.lists(st.tuples(st.sampled_from(COLUMNS), VALUES), min_size=1, max_size=3))
def test_any_value_in_any_column_is_a_typed_error(
    healthy: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[str, str], Any]]
) -> None:
    """Values of wrong types raise only errors of this package."""
    path = tmp_path_factory.mktemp("changed") / "index.db"
    shutil.copy(healthy, path)
    with sqlite(path) as connection:
        for (table, column), value in changes:
            row = f"rowid = (SELECT min(rowid) FROM {table})" if table != "attribute" else "n = 2"
            try:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {row}", (value,))
            except sqlite3.Error:  # the table does not accept it
                continue
    try:
        every_operation(path)
    except GeminiMMError:
        return


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A file system of 2 MB in the folder `disk`; calling it with options mounts it again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can make a file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be made here: {mounted.stderr!r}")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)

    yield remount
    subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def test_a_store_on_a_read_only_disk_can_be_read(tmp_path: Path, small_disk: Callable[[str], None]) -> None:
    """All reading works; writing raises an error that says why."""
    path = filled(tmp_path / "disk" / "index.db")
    small_disk("ro")
    results = every_operation(path)
    everything = [str(i) for i in NUMBERS]
    for name in ("search", "filtered", "function", "keyword", "hybrid", "mmr", "iterate", "filtered iterate"):
        assert results[name] == everything, name
    assert results["count"] == 1
    assert results["check"] == ()
    for name in ("add", "delete", "update", "compact"):
        assert "read-only. Give this user write access" in str(results[name]), name
    with LocalVectorStore(path, WordEmbeddings(SIZE)) as store:
        store.backup(tmp_path / "copy.db")
        assert store.export_to(tmp_path / "export") == len(NUMBERS)
    assert every_operation(tmp_path / "copy.db")["add"] == ["new"]
    with pytest.raises(StoreError, match="cannot be opened"):
        LocalVectorStore(tmp_path / "disk" / "new.db", WordEmbeddings(SIZE))


def test_a_read_only_copy_of_an_open_store_is_a_clear_error(tmp_path: Path, small_disk: Callable[[str], None]) -> None:
    """Changes that are only in the write-ahead log cannot be read there, so the file is not the whole store."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings(SIZE)) as store:
        store.add_texts(["text"])
        for name in ("index.db", "index.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "disk" / name)
        small_disk("ro")
        with pytest.raises(StoreError, match=r"was not closed: changes are still in its file .*-wal"):
            LocalVectorStore(tmp_path / "disk" / "index.db", WordEmbeddings(SIZE))


def test_an_old_file_on_a_read_only_disk_is_a_clear_error(tmp_path: Path, small_disk: Callable[[str], None]) -> None:
    """It must be upgraded once."""
    path = tmp_path / "disk" / "index.db"
    make_version_one(path, 3)
    small_disk("ro")
    with pytest.raises(StoreError, match="has format 1 and must be upgraded to 3 once, but the file or its folder is"):
        LocalVectorStore(path, embeddings())
    small_disk("rw")
    with LocalVectorStore(path, embeddings()) as store:
        assert store.count() == 3


@pytest.mark.parametrize("left", [0, 4096, 3 * 4096])
def test_a_disk_that_is_full_at_opening_is_a_clear_error(
    tmp_path: Path, small_disk: Callable[[str], None], left: int
) -> None:
    """The error says so; with space again the same path works."""
    path = tmp_path / "disk" / "index.db"
    small_disk("size=1m")
    fill(tmp_path / "disk" / "rest")
    os.truncate(tmp_path / "disk" / "rest", (tmp_path / "disk" / "rest").stat().st_size - left)
    with pytest.raises(StoreError, match=r"the disk is full|the disk reported an error"):
        LocalVectorStore(path, WordEmbeddings(SIZE))
    (tmp_path / "disk" / "rest").unlink()
    assert every_operation(filled(path))["check"] == ()


def test_threads_do_not_see_bad_rows_either(tmp_path: Path) -> None:
    """A row that becomes unreadable while threads search is left out, with no error in any of them."""
    path = filled(tmp_path / "index.db")
    errors: list[BaseException] = []
    with LocalVectorStore(path, WordEmbeddings(SIZE)) as store:
        store.search("text")

        def search() -> None:
            try:
                for _ in range(30):
                    assert len(store.search("text", k=9)) >= 4
            except BaseException as error:  # noqa: BLE001 - reported by the test
                errors.append(error)

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        with sqlite(path) as connection:
            connection.execute("UPDATE doc SET metadata = 'oops' WHERE id = '2'")
        for thread in threads:
            thread.join()
        assert errors == []
        assert "2" not in ids_of(store.search("text", k=9))
