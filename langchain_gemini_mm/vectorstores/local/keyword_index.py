"""The keyword index of the local store: one FTS5 table per collection, updated in every write transaction.

The table contains the tokens of `tokenizer.indexed_text`, which SQLite only splits at spaces. In files of format 2 the
tables are called `keywords_<c>` and were made by SQLite's own tokenizer; they are read, and the first write of a
document makes those of all collections again.

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
from langchain_gemini_mm.vectorstores.tokenizer import PUNCTUATION, indexed_text, older_terms, searched_text, terms

FORMAT = 3
"""The first format of files whose indexes contain the tokens of `tokenizer.indexed_text`."""

NEEDS_FTS5 = (
    "keyword search needs SQLite with FTS5, which this Python's sqlite3 lacks. Use search_type='similarity', or "
    "another Python"
)

# To this tokenizer, all characters that are not ASCII are parts of tokens.
_TOKENIZER = "ascii tokenchars '{}'".format(PUNCTUATION.replace("'", "''"))
_ROWS_AT_ONCE = 1000
_FEW = 500
"""Number of documents that are scored without counting how many contain each word."""


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


def is_older(connection: sqlite3.Connection) -> bool:
    """Whether the indexes of the file were made by SQLite's own tokenizer."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0]) < FORMAT


def build(connection: sqlite3.Connection, c: int) -> None:
    """Build the index of a collection from its texts; without FTS5 mark it as outdated."""
    if not renew(connection):
        _build(connection, c)


def renew(connection: sqlite3.Connection) -> bool:
    """Build the indexes of all collections of an older file; returns whether that was necessary."""
    if not is_older(connection):
        return False
    for (c,) in connection.execute("SELECT c FROM collection").fetchall():
        _build(connection, c)
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    return True


def _build(connection: sqlite3.Connection, c: int) -> None:
    able = has_fts5(connection)
    if able:
        drop(connection, c)
        connection.execute(f'CREATE VIRTUAL TABLE words_{c} USING fts5(words, tokenize="{_TOKENIZER}")')
        found = connection.execute("SELECT n, text, metadata FROM doc WHERE c = ?", (c,))
        while rows := found.fetchmany(_ROWS_AT_ONCE):
            _insert(connection, c, ((n, _searched(text, metadata)) for n, text, metadata in rows))
    connection.execute("UPDATE collection SET keywords = ? WHERE c = ?", (int(able), c))


def drop(connection: sqlite3.Connection, c: int) -> None:
    """Remove the index of a collection, also one of an older format."""
    if has_fts5(connection):
        for table in (f"keywords_{c}", f"words_{c}"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")


def insert(connection: sqlite3.Connection, c: int, rows: Iterable[tuple[int, str]]) -> None:
    """Index texts under their row numbers, after the rows were inserted.

    Args:
        connection: in a write transaction.
        c: the collection.
        rows: row numbers with their texts.
    """
    if not renew(connection) and _may_change(connection, c):
        _insert(connection, c, rows)


def delete(connection: sqlite3.Connection, c: int, numbers: Sequence[int]) -> None:
    """Remove rows from the index, after the rows were deleted.

    Args:
        connection: in a write transaction.
        c: the collection.
        numbers: row numbers.
    """
    if not renew(connection) and _may_change(connection, c):
        connection.executemany(f"DELETE FROM words_{c} WHERE rowid = ?", ((n,) for n in numbers))  # noqa: S608


def search(
    connection: sqlite3.Connection,
    c: int,
    text: str,
    k: int,
    *,
    threshold: float | None = None,
    allowed: NDArray[np.int64] | None = None,
) -> list[tuple[int, float]] | None:
    """Row numbers with words of a text and their BM25 scores (higher is better), best first; None if outdated.

    Args:
        connection: in a transaction.
        c: the collection.
        text: the query.
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
    words = terms(text)
    table = f"words_{c}"
    if is_older(connection):
        words, table = words + older_terms(text), f"keywords_{c}"
    found: list[tuple[int, float]] = []
    if k > 0 and len(rare := _rarer(connection, table, words)) < len(words):
        found = _matching(connection, table, rare, k, allowed)
    if len(found) < k or k < 0:
        found = _matching(connection, table, words, k, allowed)
    return [(n, score) for n, score in found if threshold is None or score >= threshold]


def _rarer(connection: sqlite3.Connection, table: str, words: Sequence[str]) -> list[str]:
    """The words that at most half of the documents contain; those of all other words have practically no weight.

    Scoring every document that contains `the` takes most of the time of a question.
    """
    if len(words) < 2:
        return list(words)
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}_docsize").fetchone()  # noqa: S608
    half = rows // 2
    if half < _FEW:
        return list(words)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT ?)"  # noqa: S608
    counts = [connection.execute(sql, (f'"{word}"', half + 1)).fetchone()[0] for word in words]
    return [word for word, count in zip(words, counts, strict=True) if count <= half]


def _matching(
    connection: sqlite3.Connection, table: str, words: Sequence[str], k: int, allowed: NDArray[np.int64] | None
) -> list[tuple[int, float]]:
    if not words:
        return []
    question = " OR ".join(f'"{word}"' for word in words)
    sql = f"SELECT rowid, -rank FROM {table} WHERE {table} MATCH ? ORDER BY rank"  # noqa: S608
    if allowed is None:
        return connection.execute(f"{sql} LIMIT ?", (question, k)).fetchall()
    return _first_of(connection.execute(sql, (question,)), k, allowed)


def problems(connection: sqlite3.Connection, c: int) -> Iterator[str]:
    """Errors of the index; must be called in a transaction that is rolled back.

    Raises:
        sqlite3.DatabaseError: the index is inconsistent.
    """
    table = f"keywords_{c}" if is_older(connection) else f"words_{c}"
    connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")  # noqa: S608
    sql = f"SELECT d.id, d.text, d.metadata, w.words FROM doc d LEFT JOIN {table} w ON w.rowid = d.n WHERE d.c = ?"  # noqa: S608
    for id_, text, metadata, words in () if is_older(connection) else connection.execute(sql, (c,)):
        if indexed_text(_searched(text, metadata)) != (words or ""):
            yield f"keyword search does not find the words of {id_!r}"
    sql = f"SELECT count(*) FROM {table} WHERE rowid NOT IN (SELECT n FROM doc WHERE c = ?)"  # noqa: S608
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
        prefix = "keywords" if is_older(connection) else "words"
        for (c,) in connection.execute("SELECT c FROM collection WHERE keywords").fetchall():
            connection.execute(f"INSERT INTO {prefix}_{c} ({prefix}_{c}) VALUES ('optimize')")  # noqa: S608


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
        f"INSERT INTO words_{c} (rowid, words) VALUES (?, ?)",  # noqa: S608
        ((n, words) for n, text in rows if (words := indexed_text(text))),
    )
