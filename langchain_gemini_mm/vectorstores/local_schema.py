"""The file format of the local store: its tables, its marks, and the check that a file is one of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x6C676D6D
"""Marks the file as ours; the letters `lgmm`."""
SCHEMA_VERSION = 1

_TABLES = (
    # `revision` rises with every change, `epoch` when readers must load everything again.
    """CREATE TABLE collection (
        c INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        dimensions INTEGER,
        fingerprint TEXT,
        revision INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0
    )""",
    # A replaced row is deleted and inserted anew, so `n` only rises and is never used twice.
    """CREATE TABLE doc (
        n INTEGER PRIMARY KEY AUTOINCREMENT,
        c INTEGER NOT NULL,
        id TEXT NOT NULL,
        text TEXT NOT NULL,
        metadata TEXT NOT NULL,
        vector BLOB NOT NULL,
        UNIQUE (c, id)
    )""",
    "CREATE INDEX doc_of_collection ON doc (c)",
    # Rows that readers may have loaded and must drop.
    "CREATE TABLE gone (g INTEGER PRIMARY KEY AUTOINCREMENT, c INTEGER NOT NULL, n INTEGER NOT NULL)",
    # What filters look at. `value` has no type on purpose: it keeps the storage class it was bound with.
    """CREATE TABLE attribute (
        c INTEGER NOT NULL,
        key TEXT NOT NULL,
        kind INTEGER NOT NULL,
        value NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY (c, key, kind, value, n)
    ) WITHOUT ROWID""",
    "CREATE TABLE info (c INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (c, key))",
)


def is_new(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file is empty and may become a store; nothing is changed.

    Raises:
        StoreError: the file belongs to another program, or to a newer version of this one.
    """
    connection.execute("BEGIN")  # one look: another process may be making the tables
    try:
        return _is_new(connection, path)
    finally:
        connection.execute("ROLLBACK")


def create(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables; several processes may do so at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_new(connection, path):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_new(connection: sqlite3.Connection, path: str) -> bool:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == APPLICATION_ID and tables:
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{path} has format {version}, this version of langchain-gemini-mm reads up to {SCHEMA_VERSION}. "
                "Upgrade langchain-gemini-mm"
            )
        return False
    if tables or application_id or version:
        raise StoreError(f"{path} is an SQLite file of another program and is left alone. Choose another path")
    return True
