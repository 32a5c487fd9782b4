"""The SQL statements of the ledger: what is known of the files of which a collection is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_AT_ONCE = 500
"""Values in one statement; old SQLite builds accept 999."""
_LEDGER = """CREATE TABLE IF NOT EXISTS ledger (
    c INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (c, key)
) WITHOUT ROWID"""
"""What is known of the files of which a collection is made. The first entry creates it; older programs ignore it."""


def has_ledger(connection: sqlite3.Connection) -> bool:
    """Whether the table exists."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'ledger'")
    return found.fetchone() is not None


def read_ledger(connection: sqlite3.Connection, c: int, prefix: str) -> dict[str, str]:
    """Read the entries of the ledger whose keys begin with `prefix`.

    Args:
        connection: in a read transaction.
        c: the collection.
        prefix: not empty.
    """
    if not has_ledger(connection):
        return {}
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    found = connection.execute("SELECT key, value FROM ledger WHERE c = ? AND key >= ? AND key < ?", (c, prefix, end))
    return dict(found.fetchall())


def find_ledger(connection: sqlite3.Connection, c: int, keys: Sequence[str]) -> dict[str, str]:
    """Read single entries of the ledger.

    Args:
        connection: in a read transaction.
        c: the collection.
        keys: absent ones are left out.
    """
    found: dict[str, str] = {}
    if not has_ledger(connection):
        return found
    for start in range(0, len(keys), _AT_ONCE):
        chunk = keys[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(chunk))
        sql = f"SELECT key, value FROM ledger WHERE c = ? AND key IN ({marks})"  # noqa: S608
        found |= dict(connection.execute(sql, (c, *chunk)).fetchall())
    return found


def write_ledger(connection: sqlite3.Connection, c: int, entries: Mapping[str, str | None]) -> None:
    """Write entries of the ledger; None removes one.

    Args:
        connection: in a write transaction.
        c: the collection.
        entries: values by key.
    """
    if not entries:
        return
    connection.execute(_LEDGER)
    removed = [(c, key) for key, value in entries.items() if value is None]
    written = [(c, key, value) for key, value in entries.items() if value is not None]
    connection.executemany("DELETE FROM ledger WHERE c = ? AND key = ?", removed)
    connection.executemany("INSERT OR REPLACE INTO ledger (c, key, value) VALUES (?, ?, ?)", written)


def delete_all(connection: sqlite3.Connection, c: int) -> None:
    """Delete the entries of a collection."""
    if has_ledger(connection):
        connection.execute("DELETE FROM ledger WHERE c = ?", (c,))
