"""The keyword index of the local store: one FTS5 table per collection, updated in every write transaction.

The column `keywords` of a collection is 1 while its table is up to date. A process whose SQLite lacks FTS5 can still
write: it sets the column to 0, and the next keyword search of a process with FTS5 rebuilds the index.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.interfaces import COMPANION_TEXT
from langchain_gemini_mm.vectorstores.tokenizer import indexed_text, searched_text

NEEDS_FTS5 = (
    "keyword search needs SQLite with FTS5, which this Python's sqlite3 lacks. Use search_type='similarity', or "
    "another Python"
)

_TOKENIZER = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
_ROWS_AT_ONCE = 1000


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite has FTS5."""
    try:
        return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
    except sqlite3.OperationalError:  # a build without this pragma
        return False


def is_current(connection: sqlite3.Connection, c: int) -> bool:
    """Whether the index of a collection is up to date."""
    row = connection.execute("SELECT keywords FROM collection WHERE c = ?", (c,)).fetchone()
    return row is not None and bool(row[0])


def build(connection: sqlite3.Connection, c: int) -> None:
    """Build the index of a collection from its texts; without FTS5 mark it as outdated."""
    able = has_fts5(connection)
    if able:
        connection.execute(f"DROP TABLE IF EXISTS keywords_{c}")
        connection.execute(f'CREATE VIRTUAL TABLE keywords_{c} USING fts5(words, tokenize="{_TOKENIZER}")')
        found = connection.execute("SELECT n, text, metadata FROM doc WHERE c = ?", (c,))
        while rows := found.fetchmany(_ROWS_AT_ONCE):
            _insert(connection, c, ((n, _searched(text, metadata)) for n, text, metadata in rows))
    connection.execute("UPDATE collection SET keywords = ? WHERE c = ?", (int(able), c))


def drop(connection: sqlite3.Connection, c: int) -> None:
    """Remove the index of a collection."""
    if has_fts5(connection):
        connection.execute(f"DROP TABLE IF EXISTS keywords_{c}")


def insert(connection: sqlite3.Connection, c: int, rows: Iterable[tuple[int, str]]) -> None:
    """Index texts under their row numbers.

    Args:
        connection: in a write transaction.
        c: the collection.
        rows: row numbers with their texts.
    """
    if _may_change(connection, c):
        _insert(connection, c, rows)


def delete(connection: sqlite3.Connection, c: int, numbers: Sequence[int]) -> None:
    """Remove rows from the index.

    Args:
        connection: in a write transaction.
        c: the collection.
        numbers: row numbers.
    """
    if _may_change(connection, c):
        connection.executemany(f"DELETE FROM keywords_{c} WHERE rowid = ?", ((n,) for n in numbers))  # noqa: S608


def search(
    connection: sqlite3.Connection,
    c: int,
    words: Sequence[str],
    k: int,
    *,
    threshold: float | None = None,
    allowed: NDArray[np.int64] | None = None,
) -> list[tuple[int, float]] | None:
    """Row numbers with one of the words and their BM25 scores (higher is better), best first; None if outdated.

    Args:
        connection: in a transaction.
        c: the collection.
        words: from `tokenizer.terms`.
        k: maximum number of rows; -1 for all.
        threshold: lowest score.
        allowed: `(n,)` row numbers to choose from, ascending; None for all.

    Raises:
        StoreError: this SQLite lacks FTS5.
    """
    if not has_fts5(connection):
        raise StoreError(NEEDS_FTS5)
    if not is_current(connection, c):
        return None
    question = " OR ".join(f'"{word}"' for word in words)
    sql = f"SELECT rowid, -rank FROM keywords_{c} WHERE keywords_{c} MATCH ? ORDER BY rank"  # noqa: S608
    if allowed is None:
        found = connection.execute(f"{sql} LIMIT ?", (question, k)).fetchall()
    else:
        found = _first_of(connection.execute(sql, (question,)), k, allowed)
    return [(n, score) for n, score in found if threshold is None or score >= threshold]


def problems(connection: sqlite3.Connection, c: int) -> Iterator[str]:
    """Errors of the index; must be called in a transaction that is rolled back.

    Raises:
        sqlite3.DatabaseError: the index is inconsistent.
    """
    connection.execute(f"INSERT INTO keywords_{c} (keywords_{c}) VALUES ('integrity-check')")  # noqa: S608
    sql = f"SELECT d.id, d.text, d.metadata, w.words FROM doc d LEFT JOIN keywords_{c} w ON w.rowid = d.n WHERE d.c = ?"  # noqa: S608
    for id_, text, metadata, words in connection.execute(sql, (c,)):
        expected = indexed_text(_searched(text, metadata))
        if expected.split() != (words or "").split():
            yield f"keyword search does not find the words of {id_!r}"
    sql = f"SELECT count(*) FROM keywords_{c} WHERE rowid NOT IN (SELECT n FROM doc WHERE c = ?)"  # noqa: S608
    (lost,) = connection.execute(sql, (c,)).fetchone()
    if lost:
        yield f"keyword search finds {lost} documents that do not exist"


def _searched(text: object, metadata: object) -> str:
    if not isinstance(text, str):  # damaged, which `check` reports, as below
        return ""
    if not isinstance(metadata, str) or f'"{COMPANION_TEXT}"' not in metadata:
        return text
    try:
        return searched_text(text, json.loads(metadata))
    except (ValueError, AttributeError, RecursionError):
        return text


def optimize(connection: sqlite3.Connection) -> None:
    """Merge the segments of the indexes."""
    if has_fts5(connection):
        for (c,) in connection.execute("SELECT c FROM collection WHERE keywords").fetchall():
            connection.execute(f"INSERT INTO keywords_{c} (keywords_{c}) VALUES ('optimize')")  # noqa: S608


def _may_change(connection: sqlite3.Connection, c: int) -> bool:
    if not is_current(connection, c):
        return False
    if has_fts5(connection):
        return True
    connection.execute("UPDATE collection SET keywords = 0 WHERE c = ?", (c,))
    return False


def _first_of(found: sqlite3.Cursor, k: int, allowed: NDArray[np.int64]) -> list[tuple[int, float]]:
    kept: list[tuple[int, float]] = []
    while len(kept) < k and len(allowed) and (rows := found.fetchmany(_ROWS_AT_ONCE)):
        numbers = np.array([n for n, _ in rows], dtype=np.int64)
        places = np.minimum(np.searchsorted(allowed, numbers), len(allowed) - 1)
        kept += [rows[i] for i in np.flatnonzero(allowed[places] == numbers)]
    found.close()
    return kept[:k]


def _insert(connection: sqlite3.Connection, c: int, rows: Iterable[tuple[int, str]]) -> None:
    connection.executemany(
        f"INSERT INTO keywords_{c} (rowid, words) VALUES (?, ?)",  # noqa: S608
        ((n, words) for n, text in rows if (words := indexed_text(text)).strip()),
    )
