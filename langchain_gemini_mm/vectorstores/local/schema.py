"""The file format of the local store: tables, versions, and the check that a file belongs to this package."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.vectorstores.local import keyword_index

APPLICATION_ID = 0x6C676D6D
"""The application id in the file header; the letters `lgmm`."""
SCHEMA_VERSION = 3
"""Version 2 added keyword search: the column `keywords` and a keyword table per collection. Version 3 added
the table `ledger`."""

_LEDGER = """CREATE TABLE ledger (
    c INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (c, key)
) WITHOUT ROWID"""
"""What is known of the files of which a collection is made."""

_TABLES = (
    # `revision` increases with every change, `epoch` when readers must load everything again. `keywords` is 1 while the
    # keyword table is up to date.
    """CREATE TABLE collection (
        c INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        dimensions INTEGER,
        fingerprint TEXT,
        revision INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0,
        keywords INTEGER NOT NULL DEFAULT 0
    )""",
    # A replaced row is deleted and inserted again, so `n` only increases and is never reused.
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
    # Deleted rows, which readers may have loaded and must drop.
    "CREATE TABLE gone (g INTEGER PRIMARY KEY AUTOINCREMENT, c INTEGER NOT NULL, n INTEGER NOT NULL)",
    # The values that filters compare. `value` has no type on purpose: it keeps the storage class of the bound value.
    """CREATE TABLE attribute (
        c INTEGER NOT NULL,
        key TEXT NOT NULL,
        kind INTEGER NOT NULL,
        value NOT NULL,
        n INTEGER NOT NULL,
        PRIMARY KEY (c, key, kind, value, n)
    ) WITHOUT ROWID""",
    "CREATE TABLE info (c INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (c, key))",
    _LEDGER,
)


def is_new(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file is empty and can become a store; nothing is changed.

    Raises:
        StoreError: the file belongs to another program, or to a newer version of this one.
    """
    connection.execute("BEGIN")  # one transaction: another process may be creating the tables
    try:
        return _is_new(connection, path)
    finally:
        connection.execute("ROLLBACK")


def upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Create the tables of a new file, or upgrade those of an older version, in one transaction.

    Several processes may do so at once; a killed process leaves the file unchanged.

    Raises:
        StoreError: the file is of an older version and read-only.
    """
    if not is_new(connection, path) and _version(connection) == SCHEMA_VERSION:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        _change(connection, path)
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        read_only = isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY
        version = _version(connection) if read_only else 0
        if version:
            raise StoreError(
                f"{path} has format {version} and must be upgraded to {SCHEMA_VERSION} once, but the file or its "
                "folder is read-only. Open it with write access, or open a copy"
            ) from error
        raise


def _change(connection: sqlite3.Connection, path: str) -> None:
    if _is_new(connection, path):
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    else:
        for version in range(_version(connection), SCHEMA_VERSION):
            _STEPS[version](connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _add_keywords(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE collection ADD COLUMN keywords INTEGER NOT NULL DEFAULT 0")
    for (c,) in connection.execute("SELECT c FROM collection").fetchall():
        keyword_index.build(connection, c)


def _add_ledger(connection: sqlite3.Connection) -> None:
    connection.execute(_LEDGER)


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _add_keywords, 2: _add_ledger}
"""The upgrade from each version to the next."""


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_new(connection: sqlite3.Connection, path: str) -> bool:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    version = _version(connection)
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
