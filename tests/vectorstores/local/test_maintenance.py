"""Maintenance of a local store: migration, check, compaction, copies, SQLite without FTS5."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.testing import png
from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.local.database import PAGE_BYTES
from langchain_gemini_mm.vectorstores.local.schema import SCHEMA_VERSION
from scripts.kill_local_store import embeddings, make_version_one
from tests.vectorstores.contract_base import ANIMALS, ids_of
from tests.vectorstores.fakes import WordEmbeddings


@contextmanager
def sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another program, which commits at the end."""
    with closing(sqlite3.connect(path)) as connection:
        yield connection
        connection.commit()


def filled(path: Path) -> None:
    """A store with `ANIMALS`."""
    with LocalVectorStore(path, WordEmbeddings()) as store:
        store.add_documents(ANIMALS)


def schema(path: Path) -> dict[str, str]:
    """The schema of a file, without white space."""
    with sqlite(path) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall()
    return {name: "".join(sql.split()) for name, sql in found}


def test_a_file_of_version_one_is_migrated(tmp_path: Path) -> None:
    """Every row is kept, and keyword search finds it."""
    path = tmp_path / "index.db"
    rows = make_version_one(path, 1200)
    with LocalVectorStore(path, embeddings()) as store:
        assert {str(doc.id): (doc.page_content, doc.metadata) for doc in store.iterate()} == rows
        assert store.count(filter={"batch": 0}) == 1200
        assert ids_of(store.search("text 217", k=1, search_type="keyword")) == ["old-217"]
        assert store.check().problems == ()
        store.add_texts(["new"], ids=["old-1"])
        assert ids_of(store.search("new", search_type="keyword")) == ["old-1"]
        assert store.check().problems == ()
    with sqlite(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_migrated_file_is_like_a_new_one(tmp_path: Path) -> None:
    """The schemas are equal, except for the position of the new column."""
    make_version_one(tmp_path / "old.db", 3)
    LocalVectorStore(tmp_path / "old.db", embeddings()).close()
    with LocalVectorStore(tmp_path / "new.db", embeddings()) as store:
        store.add_texts(["a"])
    old, new = schema(tmp_path / "old.db"), schema(tmp_path / "new.db")
    assert old.pop("collection").replace("keywordsINTEGERNOTNULLDEFAULT0", "") == new.pop("collection").replace(
        ",keywordsINTEGERNOTNULLDEFAULT0", ","
    ).replace(",)", ",)")
    assert old == new


def test_an_interrupted_migration_changes_nothing(tmp_path: Path) -> None:
    """Migration is one transaction: after an error the file has version 1, and the next opening completes it."""
    path = tmp_path / "index.db"
    rows = make_version_one(path, 10)
    with sqlite(path) as connection:  # a name that the migration needs
        connection.execute("CREATE TABLE words_1_data (x)")
    with pytest.raises(StoreError):
        LocalVectorStore(path, embeddings())
    with sqlite(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert "keywords" not in schema(path)["collection"]
        connection.execute("DROP TABLE words_1_data")
    with LocalVectorStore(path, embeddings()) as store:
        assert store.count() == len(rows)


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """The second process finds a migrated file."""
    path = tmp_path / "index.db"
    make_version_one(path, 10)
    with LocalVectorStore(path, embeddings()) as one, LocalVectorStore(path, embeddings()) as two:
        assert one.count() == two.count() == 10


def read_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open every connection to a file as read-only."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda name, **how: connect(f"{Path(name).as_uri()}?mode=ro", uri=True, **how)
    )


def test_an_old_read_only_file_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names both versions and the remedy."""
    path = tmp_path / "index.db"
    make_version_one(path, 3)
    read_only(path, monkeypatch)
    with pytest.raises(
        StoreError, match="has format 1 and must be upgraded to 3 once, but the file or its folder is read"
    ):
        LocalVectorStore(path, embeddings())
    monkeypatch.undo()
    with sqlite(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


DAMAGE: list[tuple[str, str, str]] = [
    ("a short vector", "UPDATE doc SET vector = x'00' WHERE id = 'cat'", "the vector of 'cat' is not one of 16 dim"),
    ("a zero vector", "UPDATE doc SET vector = zeroblob(64) WHERE id = 'cat'", "the vector of 'cat' is not of unit"),
    ("no vector", "UPDATE doc SET vector = 5 WHERE id = 'cat'", "the vector of 'cat' is not one of 16"),
    ("metadata", "UPDATE doc SET metadata = '{' WHERE id = 'cat'", "the metadata of 'cat' is not JSON"),
    ("metadata a list", "UPDATE doc SET metadata = '[1]' WHERE id = 'cat'", "the metadata of 'cat' is not JSON"),
    (
        "an attribute less",
        "DELETE FROM attribute WHERE value = 'night'",
        "filters do not find the value of 'tags' of 'cat'",
    ),
    (
        "an attribute more",
        "INSERT INTO attribute VALUES (1, 'x', 1, 5, 1)",
        "filters find 1 values that no document has",
    ),
    (
        "words changed",
        "UPDATE doc SET text = 'fox' WHERE id = 'cat'",
        "keyword search does not find the words of 'cat'",
    ),
    (
        "words too many",
        "INSERT INTO words_1 (rowid, words) VALUES (99, 'x')",
        "finds 1 documents that do not exist",
    ),
    ("words torn", "DELETE FROM words_1_docsize WHERE id = 1", "keyword search is damaged"),
    ("half a space", "UPDATE collection SET fingerprint = NULL", "has an incomplete embedding space"),
    ("rows of nobody", "INSERT INTO info VALUES (77, 'k', '1')", "1 rows of the table 'info' belong to no collection"),
]


@pytest.mark.parametrize(("statement", "message"), [pytest.param(*case[1:], id=case[0]) for case in DAMAGE])
def test_the_check_names_problems(tmp_path: Path, statement: str, message: str) -> None:
    """Every type of damage is reported in a sentence, and the check does not change the file."""
    path = tmp_path / "index.db"
    filled(path)
    with LocalVectorStore(path, WordEmbeddings()) as store:
        assert store.check().problems == ()
    with sqlite(path) as connection:
        connection.execute(statement)
    before = path.read_bytes()
    with LocalVectorStore(path, WordEmbeddings()) as store:
        report = store.check()
    assert not report.ok
    assert any(message in problem for problem in report.problems), report.problems
    assert path.read_bytes() == before


def test_the_check_reads_every_page(tmp_path: Path) -> None:
    """SQLite's own check finds bytes that were overwritten on disk."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as store:
        store.add_texts([f"text {i} " + "x" * 500 for i in range(200)])
    whole = bytearray(path.read_bytes())
    whole[-PAGE_BYTES * 3 : -PAGE_BYTES * 2] = b"\xff" * PAGE_BYTES
    path.write_bytes(whole)
    with LocalVectorStore(path, WordEmbeddings()) as store:
        report = store.check()
    assert not report.ok
    assert report.problems[0].startswith("SQLite")


async def test_the_check_reports_missing_media(tmp_path: Path) -> None:
    """References to missing media are listed once, truncated ones are named."""
    media = MediaStore.memory()
    there = media.put(png())
    gone = "![](mm://sha256-" + "ab" * 32 + "#page=1,2)"
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        store.add_texts([f"a {there.markdown}", f"b {gone}", f"c {gone}"], ids=["a", "b", "c"])
        assert store.check().problems == ()
        report = await store.acheck(media=media)
        assert report.documents == 3
        assert report.missing_media == ("mm://sha256-" + "ab" * 32,)
        assert len(report.problems) == 1
        assert "the media that 'b' names are missing" in report.problems[0]
        store.delete(["b", "c"])
        store.add_texts(["![](mm://sha256-12"], ids=["torn"])
        report = store.check(media=media)
        assert report.missing_media == ()
        assert "in the text of 'torn', " in report.problems[0]
    with pytest.raises(FrozenInstanceError):
        report.documents = 0  # type: ignore[misc]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    """The number of listed problems is limited, and the rest is counted."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        store.add_texts(["text"] * 1500)
    with sqlite(tmp_path / "index.db") as connection:
        connection.execute("UPDATE doc SET vector = zeroblob(64)")
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        problems = store.check().problems
    assert len(problems) == 1001
    assert problems[-1] == "and 500 more problems"


def size_on_disk(folder: Path) -> int:
    """Size of the file and of the additional files of SQLite."""
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.slow
async def test_compacting_frees_disk_space(tmp_path: Path) -> None:
    """The file gets smaller, nothing is lost, and other stores on it keep working."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as store, LocalVectorStore(path, WordEmbeddings()) as other:
        ids = store.add_texts([f"text {i} " + "x" * 300 for i in range(2000)])
        assert len(other.search("text 5", k=10)) == 10
        store.delete(ids[:1900])
        before = size_on_disk(tmp_path)
        assert store.compact() > 500_000
        assert size_on_disk(tmp_path) < before / 2
        assert len(other.search("text 5", k=200)) == store.count() == 100
        assert ids_of(other.search("1950", search_type="keyword")) == [ids[1950]]
        other.add_texts(["more"])
        assert await store.acompact() == 0
        assert store.check().problems == ()
    with LocalVectorStore(":memory:", WordEmbeddings()) as store:
        store.delete(store.add_texts(["text " * 200] * 500))
        assert store.compact() > 0


async def test_a_copy_is_made_while_the_store_is_in_use(tmp_path: Path) -> None:
    """The copy has the documents of the time when it started, replaces an older copy, and can be opened anywhere."""
    path, copy = tmp_path / "index.db", tmp_path / "folder" / "copy.db"
    with LocalVectorStore(path, WordEmbeddings()) as store:
        store.add_documents(ANIMALS)
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            await store.abackup(copy)
        store.add_texts(["later"])
        assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
        shutil.copy(copy, tmp_path / "elsewhere.db")
        with LocalVectorStore(tmp_path / "elsewhere.db", WordEmbeddings()) as found:
            assert found.count() == len(ANIMALS)
            assert ids_of(found.search("black dog", k=1, search_type="hybrid")) == ["dog"]
            assert found.check().problems == ()
        store.backup(copy)
        with LocalVectorStore(copy, WordEmbeddings()) as found:
            assert found.count() == len(ANIMALS) + 1
    with LocalVectorStore(":memory:", WordEmbeddings()) as store:
        store.add_texts(["a"])
        store.backup(tmp_path / "memory.db")
    with LocalVectorStore(tmp_path / "memory.db", WordEmbeddings()) as found:
        assert found.count() == 1


def test_a_copy_overwrites_nothing_else(tmp_path: Path) -> None:
    """The target cannot be the store itself, a file of another program, or a store that is open."""
    path = tmp_path / "index.db"
    (tmp_path / "notes.txt").write_text("mine")
    with sqlite(tmp_path / "theirs.db") as connection:
        connection.execute("CREATE TABLE t (x)")
    with (
        LocalVectorStore(path, WordEmbeddings()) as store,
        LocalVectorStore(tmp_path / "open.db", WordEmbeddings()) as two,
    ):
        store.add_texts(["a"])
        two.add_texts(["b"])
        for name, message in (
            ("index.db", "is the store itself"),
            ("notes.txt", "not an SQLite file"),
            ("theirs.db", "of another program"),
            ("open.db", "is open, or was not closed: open.db-wal"),
            ("notes.txt/copy.db", "cannot be a store"),
        ):
            with pytest.raises(StoreError, match=message):
                store.backup(tmp_path / name)
        assert two.count() == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


class WithoutFts5(sqlite3.Connection):
    """A connection of an SQLite without full-text search."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        """Refuse statements that need the module."""
        self._require_other(sql)
        return super().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        """Refuse statements that need the module."""
        self._require_other(sql)
        return super().executemany(sql, *args)

    @staticmethod
    def _require_other(sql: str) -> None:
        if "fts5" in sql or "keywords_" in sql or "words_" in sql:
            raise sqlite3.OperationalError("no such module: fts5")


@pytest.fixture
def without_fts5(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LocalVectorStore]:
    """Open a store with an SQLite without FTS5."""

    def open_one(path: Path) -> LocalVectorStore:
        connect = sqlite3.connect
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda name, **how: connect(name, factory=WithoutFts5, **how))
            return LocalVectorStore(path, WordEmbeddings())

    return open_one


def test_without_fts5_everything_else_works(tmp_path: Path, without_fts5: Callable[..., LocalVectorStore]) -> None:
    """Vector search works; the error of keyword search says what is missing."""
    with without_fts5(tmp_path / "index.db") as store:
        store.add_documents(ANIMALS)
        store.update_metadata(["cat"], {"x": 1})
        store.delete(["dog"])
        assert ids_of(store.search("a black dog", k=1)) == ["puppy"]
        for search_type in ("keyword", "hybrid"):
            with pytest.raises(StoreError, match="keyword search needs SQLite with FTS5"):
                store.search("dog", search_type=search_type)
        store.compact()
        assert store.check().problems == ()
        store.delete_all()


def test_keywords_are_indexed_after_a_writer_without_fts5(
    tmp_path: Path, without_fts5: Callable[..., LocalVectorStore]
) -> None:
    """Documents of such a writer are found after the next opening with FTS5."""
    path = tmp_path / "index.db"
    filled(path)
    with without_fts5(path) as poor, LocalVectorStore(path, WordEmbeddings()) as rich:
        assert set(ids_of(rich.search("black", search_type="keyword"))) == {"cat", "dog", "puppy"}
        poor.delete(["cat"])
        poor.add_texts(["a black fox"], ids=["fox"])
        assert set(ids_of(rich.search("black", search_type="keyword"))) == {"dog", "puppy", "fox"}
        poor.add_documents([Document(id="dog", page_content="white")])
        assert set(ids_of(rich.search("black", search_type="hybrid", filter={"modality": "video"}))) == {"puppy"}
        assert rich.check().problems == ()
        poor.delete_all()
        assert rich.search("black", search_type="keyword") == []


def test_a_filter_function_applies_to_keywords(tmp_path: Path) -> None:
    """It is called only for documents that match the keywords, and may use the store."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        store.add_documents(ANIMALS)
        seen = []

        def keeps(document: Document) -> bool:
            seen.append(document.id)
            return store.count() > 0 and "small" not in document.page_content

        assert set(ids_of(store.search("black", search_type="keyword", filter=keeps))) == {"cat", "dog"}
        assert set(seen) == {"cat", "dog", "puppy"}
        assert len(store.search("black", k=1, search_type="keyword", filter=keeps)) == 1
