"""The file format of the local store: tables, versions, and the check that a file belongs to this package."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.vectorstores.local import keyword_index

APPLICATION_ID = 0x6C676D6D
"""The application id in the file header; the letters `lgmm`."""
SCHEMA_VERSION = 3
"""Version 2 added keyword search: the column `keywords` and a keyword table per collection. Version 3 changed the
tokens in these tables; a file of version 2 is read as it is and upgraded by the first write, see `keyword_index`."""

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
)


def is_new(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file is empty and can become a store; nothing is changed.

    Raises:
        StoreError: the file belongs to another program, or to a newer version of this one.
    """
    try:
        connection.execute("BEGIN")  # one transaction: another process may be creating the tables
        if _is_new(connection, path):
            return True
        _require_own_schema(connection, path)
        return False
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def upgrade(connection: sqlite3.Connection, path: str) -> None:
    """Create the tables of a new file, or upgrade those of an older version, in one transaction.

    Several processes may do so at once; a killed process leaves the file unchanged.

    Raises:
        StoreError: the file is of an older version and read-only.
    """
    if not is_new(connection, path) and _version(connection) in _USED_AS_THEY_ARE:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        _change(connection, path)
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        read_only = isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY
        if read_only:
            require_current(connection, path)
        raise


def require_current(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a file of an older version that cannot be upgraded.

    Raises:
        StoreError: the file is of an older version.
    """
    version = _version(connection)
    if version and version not in _USED_AS_THEY_ARE:
        raise StoreError(
            f"{path} has format {version} and must be upgraded to {SCHEMA_VERSION} once, but the file or its "
            "folder is read-only. Open it with write access, or open a copy"
        )


def _change(connection: sqlite3.Connection, path: str) -> None:
    if _is_new(connection, path):
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    else:
        while _version(connection) not in _USED_AS_THEY_ARE:
            _STEPS[_version(connection)](connection)
        return
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _add_keywords(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE collection ADD COLUMN keywords INTEGER NOT NULL DEFAULT 0")
    keyword_index.renew(connection)


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _add_keywords}
"""The upgrade from each version to a later one, which it sets."""
_USED_AS_THEY_ARE = (2, SCHEMA_VERSION)
"""The versions of files that need not be upgraded when they are opened."""


def _require_own_schema(connection: sqlite3.Connection, path: str) -> None:
    """Refuse triggers and views, which run when a table is used, and tables of other columns.

    Raises:
        StoreError: another program has changed the schema.
    """
    stored = dict(connection.execute("SELECT name, type FROM sqlite_master WHERE type != 'index'").fetchall())
    for name, kind in stored.items():
        if kind != "table":
            raise StoreError(
                f"{path} has the {kind} {str(name)[:60]!r}, which this package does not create. Use a copy from a "
                f"source you trust, or remove it with another program (DROP {str(kind).upper()})"
            )
    if _version(connection) not in _USED_AS_THEY_ARE:
        return
    for name, columns in _expected_columns().items():
        if _columns_of(connection, name) != columns:
            raise StoreError(
                f"the table {name!r} of {path} is missing or was changed by another program. Restore a copy, or index "
                "into a new file"
            )


@cache
def _expected_columns() -> dict[str, frozenset[tuple[object, ...]]]:
    """The columns of every table, by the name of the table."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in _TABLES:
            connection.execute(statement)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {name: _columns_of(connection, name) for (name,) in names.fetchall()}


def _columns_of(connection: sqlite3.Connection, table: str) -> frozenset[tuple[object, ...]]:
    """Name, type, whether it may be NULL, default, place in the key and visibility of each column."""
    columns = 'name, type, "notnull", dflt_value, pk, hidden'
    found = connection.execute(f"SELECT {columns} FROM pragma_table_xinfo(?)", (table,))  # noqa: S608
    return frozenset(found.fetchall())


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
