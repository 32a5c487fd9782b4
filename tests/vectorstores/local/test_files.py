"""Unusable files: each is a clear error, and nothing is lost or overwritten."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import PartialWriteError, StoreError
from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.local.database import PAGE_BYTES
from langchain_gemini_mm.vectorstores.local.schema import APPLICATION_ID, SCHEMA_VERSION
from tests.vectorstores.fakes import WordEmbeddings


@contextmanager
def sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another program, which commits at the end."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def filled(path: Path, count: int = 3) -> None:
    """A store with a few documents."""
    with LocalVectorStore(path, WordEmbeddings()) as store:
        store.add_texts([f"text {i}" for i in range(count)], ids=[str(i) for i in range(count)])


def foreign(path: Path) -> None:
    """A file with a table of another program."""
    with sqlite(path) as connection:
        connection.execute("CREATE TABLE doc (x)")


def marked_by_others(path: Path) -> None:
    """A file without tables that another program marked."""
    with sqlite(path) as connection:
        connection.execute("PRAGMA application_id = 12345")


def newer(path: Path) -> None:
    """A file of a newer version."""
    filled(path)
    with sqlite(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def torn(path: Path) -> None:
    """The first half of a file."""
    filled(path, 200)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribbled(path: Path) -> None:
    """A file with two pages overwritten."""
    filled(path, 200)
    whole = bytearray(path.read_bytes())
    whole[PAGE_BYTES : 3 * PAGE_BYTES] = b"\xff" * 2 * PAGE_BYTES
    path.write_bytes(whole)


UNUSABLE: list[tuple[str, Callable[[Path], object], str]] = [
    ("a folder", lambda path: path.mkdir(), "is a folder. Give the name of a file in it"),
    ("a text file", lambda path: path.write_text("hello " * 1000), "it is not an SQLite file. Choose another path"),
    ("a short text file", lambda path: path.write_text("hello"), "it is not an SQLite file"),
    ("an SQLite file of others", foreign, "of another program and is left alone"),
    ("an empty SQLite file of others", marked_by_others, "of another program and is left alone"),
    ("a newer format", newer, f"has format {SCHEMA_VERSION + 1}, .* reads up to {SCHEMA_VERSION}. Upgrade"),
    ("half a file", torn, "damaged"),
    ("a scribbled file", scribbled, "damaged"),
]


@pytest.mark.parametrize(("make", "message"), [pytest.param(*case[1:], id=case[0]) for case in UNUSABLE])
def test_an_unusable_file_is_a_clear_error(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    """The error names the path and the remedy; the file is unchanged."""
    path = tmp_path / "index.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=message) as caught, LocalVectorStore(path, WordEmbeddings()) as store:
        store.search("text")
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_folder_that_cannot_be_created_is_a_clear_error(tmp_path: Path) -> None:
    """A file has the name of the folder."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot be a store: .* Choose another path"):
        LocalVectorStore(tmp_path / "file" / "index.db", WordEmbeddings())


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """An empty file is an empty database, as a process leaves that is killed while creating one."""
    path = tmp_path / "index.db"
    path.touch()
    filled(path)
    with sqlite(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_locked_file_is_a_clear_error_after_the_timeout(tmp_path: Path) -> None:
    """Reading works while another process writes; writing waits, then raises an error."""
    path = tmp_path / "index.db"
    filled(path)
    with LocalVectorStore(path, WordEmbeddings(), timeout=0.05) as store, sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(store.search("text 1")) == 3
        with pytest.raises(StoreError, match=r"another process held its lock for too long.*timeout="):
            store.add_texts(["more"])
        other.rollback()
        store.add_texts(["more"])
        assert store.count() == 4


def test_a_file_locked_at_opening_is_a_clear_error(tmp_path: Path) -> None:
    """Another program locks the whole file."""
    path = tmp_path / "index.db"
    filled(path)
    with sqlite(path) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process held its lock"):
            LocalVectorStore(path, WordEmbeddings(), timeout=0.05)
        other.rollback()


@pytest.mark.skipif(sys.platform == "win32", reason="a file system of POSIX")
def test_a_store_works_without_a_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On file systems without shared memory, such as network folders, the rollback journal is used and logged."""
    connect = sqlite3.connect
    path = tmp_path / "index.db"
    monkeypatch.setattr(
        sqlite3, "connect", lambda name, **how: connect(f"file:{name}?vfs=unix-dotfile", uri=True, **how)
    )
    filled(path)
    assert "no write-ahead log here (delete)" in caplog.text
    with LocalVectorStore(path, WordEmbeddings()) as one, LocalVectorStore(path, WordEmbeddings()) as two:
        one.add_texts(["more"], ids=["0"])
        assert two.search("more", k=1)[0].document.page_content == "more"
        assert two.count() == 3
    monkeypatch.undo()
    with sqlite(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


AS_NOBODY = """
    import os, sys
    from langchain_gemini_mm.errors import StoreError
    from langchain_gemini_mm.vectorstores import LocalVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    # Modules are imported on first use, and the other user may not read their files.
    LocalVectorStore(":memory:", WordEmbeddings()).add_texts(["first"])
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        LocalVectorStore(sys.argv[1], WordEmbeddings()).add_texts(["more"])
    except StoreError as error:
        print(error)
"""


def add_as_nobody(path: Path) -> str:
    """Add to a store in a process without permissions, and return the error."""
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(AS_NOBODY), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    return found.stdout


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_read_only_file_is_a_clear_error(open_folder: Path) -> None:
    """The error names the file and the remedy; nothing is lost."""
    path = open_folder / "index.db"
    filled(path)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    assert re.search("read-only. Give this user write access|cannot be opened. Check", add_as_nobody(path))
    open_folder.chmod(0o755)
    path.chmod(0o644)
    with LocalVectorStore(path, WordEmbeddings()) as store:
        assert store.count() == 3


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_folder_without_permissions_is_a_clear_error(open_folder: Path) -> None:
    """A folder that cannot be entered, or in which no folder can be created."""
    (open_folder / "closed").mkdir()
    filled(open_folder / "closed" / "index.db")
    (open_folder / "closed").chmod(0o000)
    open_folder.chmod(0o555)
    assert "cannot be a store: [Errno 13]" in add_as_nobody(open_folder / "closed" / "index.db")
    assert "cannot be a store: [Errno 13]" in add_as_nobody(open_folder / "new" / "index.db")
    open_folder.chmod(0o755)
    (open_folder / "closed").chmod(0o755)


@pytest.mark.parametrize("name", ["a\0b.db", "~nobody-of-that-name/index.db"], ids=["a NUL", "no such home"])
def test_an_invalid_file_name_is_a_clear_error(name: str) -> None:
    """An error of the operating system about the name becomes a StoreError."""
    with pytest.raises(StoreError, match="cannot be a store"):
        LocalVectorStore(name, WordEmbeddings())


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    """The batch that does not fit is rolled back, earlier ones stay, and the store works when there is space again."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings(size=256)) as store:
        store.add_texts(["first"], ids=["first"])
        limit = store._database._writer.execute  # SQLite's own way to simulate a full disk
        (pages,) = limit("PRAGMA page_count").fetchone()
        limit(f"PRAGMA max_page_count = {pages + 5}")
        texts = [f"text {i}" for i in range(100)]
        with pytest.raises(PartialWriteError, match="the disk is full") as caught:
            store.add_texts(texts, ids=texts, batch_size=5)
        assert isinstance(caught.value.__cause__, StoreError)
        assert {doc.id for doc in store.iterate()} == {"first", *caught.value.stored}
        assert set(caught.value.stored) | set(caught.value.failed) == set(texts)
        with pytest.raises(StoreError, match="the disk is full"):
            store.add_texts(texts)
        limit("PRAGMA max_page_count = 1000000")
        assert store.add_texts(texts, ids=texts) == texts
        assert store.count() == 101
        assert store.search("text 99", k=1)[0].document.id == "text 99"


def test_the_file_is_checked_by_sqlite_itself(tmp_path: Path) -> None:
    """After adding, replacing and deleting, SQLite's check passes and no attribute rows are left over."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as store:
        documents = [
            Document(id=str(i), page_content=f"text {i}", metadata={"n": [i, i, None], "b": True}) for i in range(50)
        ]
        store.add_documents(documents)
        store.add_documents(documents[:20])
        store.delete([str(i) for i in range(10, 30)])
        store.delete(filter={"n": {"$gte": 40}})
        assert store.count() == 20
    with sqlite(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM attribute").fetchone() == (40,)
        assert connection.execute("SELECT count(*) FROM attribute WHERE n NOT IN (SELECT n FROM doc)").fetchone() == (
            0,
        )
