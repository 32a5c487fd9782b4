"""A file of format 2, whose keyword index was made by SQLite's own tokenizer: read as it is, renewed by a write."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from langchain_gemini_mm import LocalVectorStore
from tests.vectorstores.contract_base import ids_of
from tests.vectorstores.fakes import WordEmbeddings

OLD_FILE = Path(__file__).resolve().parents[2] / "data" / "local-format-2.db"
"""Made by version 0.1.0: the `TEXTS` of the keyword contract and three more, and a second collection."""

FOUND = [
    ("heron", {"captioned"}),
    ("STRASSE koln", {"german"}),
    ("Łódź", {"polish"}),
    ("ёлка", {"cyrillic"}),
    ("мой", {"cyrillic"}),
    ("東京の天気", {"japanese"}),
    ("แมว", {"thai"}),
    ("हिन्दी", {"hindi"}),
    ("كِتَابٌ", {"arabic"}),
    ("foo_bar", {"code"}),
    ("3.14", {"code"}),
    ("whales", {"page"}),
]
"""What version 0.1.0 found in the file."""
FOUND_LATER = [("lodz", {"polish"}), ("елка", {"cyrillic"})]


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A copy of the file."""
    return Path(shutil.copy(OLD_FILE, tmp_path / "index.db"))


def version_of(path: Path) -> int:
    """The format of a file."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def open_store(path: Path, collection: str = "default") -> LocalVectorStore:
    """Open a collection of the file."""
    return LocalVectorStore(path, WordEmbeddings(size=8), collection=collection)


def found(store: LocalVectorStore, query: str) -> set[str]:
    """The ids that a keyword search finds."""
    return set(ids_of(store.search(query, k=20, search_type="keyword")))


def test_an_old_file_is_read_as_it_is(old_file: Path) -> None:
    """Reading changes no format, finds what was found before, and all checks pass."""
    with open_store(old_file) as store:
        for query, expected in FOUND:
            assert found(store, query) >= expected, query
        assert store.check().problems == ()
        store.set_info("calibration", {"x": 2})
        store.compact()
    assert version_of(old_file) == 2


@pytest.mark.parametrize("change", ["add", "delete", "update", "delete_all"])
def test_the_first_write_renews_all_indexes(old_file: Path, change: str) -> None:
    """It renews those of all collections, in its own transaction."""
    with open_store(old_file) as store, open_store(old_file, "second") as second:
        if change == "add":
            second.add_texts(["Смørre", "the first heron"], ids=["two", "one"])
        elif change == "delete":
            second.delete(["one"])
        elif change == "update":
            second.update_metadata(["one"], {"x": 1})
        else:
            second.delete_all()
        assert version_of(old_file) == 3
        for query, expected in FOUND + FOUND_LATER:
            assert found(store, query) == expected, query
        assert found(second, "second") == ({"one"} if change == "update" else set())
        assert found(second, "heron") == ({"one"} if change == "add" else set())
        assert store.check().problems == ()
    with closing(sqlite3.connect(old_file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    assert not [name for name in names if name.startswith("keywords_")]


def test_a_failed_write_leaves_the_old_format(old_file: Path) -> None:
    """Renewing is part of the transaction that is rolled back."""
    with closing(sqlite3.connect(old_file)) as connection:
        connection.execute("CREATE TABLE words_2_data (x)")
    with open_store(old_file) as store:
        with pytest.raises(Exception, match="words_2"):
            store.add_texts(["new"])
        assert version_of(old_file) == 2
        assert found(store, "heron") == {"captioned"}


def test_common_words_change_no_result() -> None:
    """In a large collection, documents with rare words are found alone if they suffice, and others follow if not."""
    with LocalVectorStore(":memory:", WordEmbeddings(size=8)) as store:
        texts = [f"the of {'whale' if i % 400 == 0 else 'fish'} number{i}" for i in range(1200)]
        store.add_texts(texts, ids=[str(i) for i in range(1200)])
        few = store.search("the whale of", k=3, search_type="keyword")
        more = store.search("the whale of", k=9, search_type="keyword")
        assert {hit.document.id for hit in few} == {hit.document.id for hit in more[:3]} == {"0", "400", "800"}
        assert [hit.score for hit in few] == pytest.approx([hit.score for hit in more[:3]], abs=1e-4)
        assert len(more) == 9
        assert len(store.search("the of", k=5, search_type="keyword")) == 5
