"""The SQL statements of the local store; connections are in a transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.interfaces import Vector, Vectors
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint
from langchain_gemini_mm.vectorstores.filters import Node, attributes
from langchain_gemini_mm.vectorstores.local import keyword_index
from langchain_gemini_mm.vectorstores.local.filter_sql import to_sql
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import searched_text

if TYPE_CHECKING:
    import sqlite3


CHUNK = 500
"""Maximum number of values in one statement; old SQLite builds accept 999."""
GONE_KEPT = 100_000
"""Maximum number of deleted rows that are recorded for readers; beyond it they load everything again."""
FLOAT = np.dtype("<f4")
"""Vectors in the file are little-endian float32 on every machine."""


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A row of the table `collection`."""

    c: int
    dimensions: int | None
    fingerprint: Fingerprint | None
    revision: int
    epoch: int


def find_collection(connection: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Read a collection; None before the first write."""
    row = connection.execute(
        "SELECT c, dimensions, fingerprint, revision, epoch FROM collection WHERE name = ?", (name,)
    ).fetchone()
    if row is None:
        return None
    c, dimensions, fingerprint, revision, epoch = row
    return CollectionRow(c, dimensions, None if fingerprint is None else json.loads(fingerprint), revision, epoch)


def make_collection(connection: sqlite3.Connection, name: str) -> CollectionRow:
    """Read a collection, and insert it if it is new."""
    found = find_collection(connection, name)
    if found is None:
        connection.execute("INSERT INTO collection (name) VALUES (?)", (name,))
        found = find_collection(connection, name)
        if found is None:
            raise AssertionError("the row was just inserted")
        keyword_index.build(connection, found.c)
    return found


def set_space(connection: sqlite3.Connection, c: int, dimensions: int | None, fingerprint: Fingerprint | None) -> None:
    """Store the embedding space of a collection; None removes it.

    Args:
        connection: in a write transaction.
        c: the collection.
        dimensions: length of the vectors.
        fingerprint: the embedding space; None removes it.
    """
    text = None if fingerprint is None else to_json(fingerprint)
    connection.execute("UPDATE collection SET dimensions = ?, fingerprint = ? WHERE c = ?", (dimensions, text, c))


def insert(connection: sqlite3.Connection, c: int, records: Sequence[Record]) -> None:
    """Insert records with new ids, with their attributes and keywords.

    Args:
        connection: in a write transaction.
        c: the collection.
        records: with their vectors.
    """
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'doc'").fetchone()
    numbered = list(enumerate(records, start=last + 1))
    connection.executemany(
        "INSERT INTO doc (n, c, id, text, metadata, vector) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (n, c, record.id, record.text, to_json(record.metadata), np.asarray(record.vector, dtype=FLOAT).tobytes())
            for n, record in numbered
        ),
    )
    connection.executemany(  # equal elements of a list give equal rows
        "INSERT OR IGNORE INTO attribute (c, key, kind, value, n) VALUES (?, ?, ?, ?, ?)",
        ((c, *attribute, n) for n, record in numbered for attribute in attributes(record.metadata)),
    )
    keyword_index.insert(connection, c, ((n, searched_text(record.text, record.metadata)) for n, record in numbered))
    mark_changed(connection, c)


def delete_ids(connection: sqlite3.Connection, c: int, ids: Iterable[str]) -> None:
    """Delete rows by id, in chunks.

    Args:
        connection: in a write transaction.
        c: the collection.
        ids: unknown ids are no error.
    """
    for chunk, marks in _chunks(list(ids)):
        _delete(connection, c, f"id IN ({marks})", chunk)


def update_metadata_rows(
    connection: sqlite3.Connection,
    collection: CollectionRow,
    changes: Mapping[str, Mapping[str, Any]],
    *,
    replace: bool,
) -> list[str]:
    """Change the metadata of rows; if some ids are not stored, return these and change nothing.

    Args:
        connection: in a write transaction.
        collection: the collection.
        changes: metadata by id.
        replace: replace all metadata of a row instead of setting only the given keys.
    """
    ids = list(changes)
    known: set[str] = set()
    for chunk, marks in _chunks(ids):
        sql = f"SELECT id FROM doc WHERE c = ? AND id IN ({marks})"  # noqa: S608
        known |= {id_ for (id_,) in connection.execute(sql, (collection.c, *chunk))}
    if len(known) < len(ids):
        return [id_ for id_ in ids if id_ not in known]
    for chunk, _ in _chunks(ids):
        found = by_ids(connection, collection.c, chunk, collection.dimensions)
        records = [
            Record(id_, old.text, {**({} if replace else old.metadata), **changes[id_]}, old.vector)
            for id_, old in found.items()
        ]
        delete_ids(connection, collection.c, chunk)
        insert(connection, collection.c, records)
    return []


def delete_where(connection: sqlite3.Connection, c: int, node: Node) -> None:
    """Delete the rows that a filter matches.

    Args:
        connection: in a write transaction.
        c: the collection.
        node: the filter.
    """
    for chunk, marks in _chunks(numbers_where(connection, c, node).tolist()):
        _delete(connection, c, f"n IN ({marks})", chunk)


def delete_all(connection: sqlite3.Connection, c: int) -> None:
    """Delete all rows of a collection; readers load it again."""
    for table in ("doc", "attribute", "gone", "ledger"):
        connection.execute(f"DELETE FROM {table} WHERE c = ?", (c,))  # noqa: S608
    keyword_index.build(connection, c)
    connection.execute("UPDATE collection SET revision = revision + 1, epoch = epoch + 1 WHERE c = ?", (c,))


def mark_changed(connection: sqlite3.Connection, c: int) -> None:
    """Increase the revision, so that readers read the changes."""
    (gone,) = connection.execute("SELECT coalesce(max(g) - min(g), 0) FROM gone").fetchone()
    if gone > GONE_KEPT:
        connection.execute("DELETE FROM gone")
        connection.execute("UPDATE collection SET revision = revision + 1, epoch = epoch + 1")
    connection.execute("UPDATE collection SET revision = revision + 1 WHERE c = ?", (c,))


def numbers_where(connection: sqlite3.Connection, c: int, node: Node) -> NDArray[np.int64]:
    """Row numbers that a filter matches, `(n,)`, ascending.

    Args:
        connection: in a read transaction.
        c: the collection.
        node: the filter.
    """
    condition, values = to_sql(node, c)
    found = connection.execute(f"SELECT n FROM doc WHERE c = ? AND {condition}", (c, *values))  # noqa: S608
    numbers = np.fromiter((n for (n,) in found), dtype=np.int64)
    numbers.sort()
    return numbers


def count(connection: sqlite3.Connection, c: int, node: Node | None) -> int:
    """Count rows.

    Args:
        connection: in a read transaction.
        c: the collection.
        node: the filter; None counts all rows.
    """
    condition, values = ("1", []) if node is None else to_sql(node, c)
    (number,) = connection.execute(f"SELECT count(*) FROM doc WHERE c = ? AND {condition}", (c, *values)).fetchone()  # noqa: S608
    return int(number)


def by_numbers(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, Record]:
    """Read records by row number; deleted rows are left out."""
    found: dict[int, Record] = {}
    for chunk, marks in _chunks(numbers):
        rows = connection.execute(f"SELECT n, id, text, metadata FROM doc WHERE n IN ({marks})", chunk)  # noqa: S608
        found |= {n: Record(id_, text, json.loads(metadata)) for n, id_, text, metadata in rows}
    return found


def after_number(connection: sqlite3.Connection, c: int, n: int, limit: int) -> dict[int, Record]:
    """Read the next records in the order in which they were written, by row number.

    Args:
        connection: in a read transaction.
        c: the collection.
        n: the last row number of the previous page.
        limit: maximum number of records.
    """
    found = connection.execute("SELECT n FROM doc WHERE c = ? AND n > ? ORDER BY n LIMIT ?", (c, n, limit))
    return by_numbers(connection, [number for (number,) in found])


def by_ids(connection: sqlite3.Connection, c: int, ids: Sequence[str], dimensions: int | None) -> dict[str, Record]:
    """Read records by id, with vectors if `dimensions` is given.

    Args:
        connection: in a read transaction.
        c: the collection.
        ids: unknown ids are left out.
        dimensions: length of the vectors; None leaves the vectors out.
    """
    columns = _columns(vectors=dimensions is not None)
    found: dict[str, Record] = {}
    for chunk, marks in _chunks(ids):
        sql = f"SELECT {columns} FROM doc WHERE c = ? AND id IN ({marks})"  # noqa: S608
        found |= {row[0]: _record(row, dimensions) for row in connection.execute(sql, (c, *chunk))}
    return found


def page(
    connection: sqlite3.Connection,
    c: int,
    after: str | None,
    limit: int,
    node: Node | None,
    *,
    dimensions: int | None = None,
    documents: bool = True,
) -> list[Record]:
    """Read the next records in the order of their ids.

    Args:
        connection: in a transaction.
        c: the collection.
        after: the last id of the previous page; None for the first page.
        limit: maximum number of records.
        node: only records that match this filter.
        dimensions: length of the vectors; None leaves the vectors out.
        documents: whether to read texts and metadata.
    """
    condition, values = ("1", []) if node is None else to_sql(node, c)
    columns = _columns(vectors=dimensions is not None, documents=documents)
    sql = f"SELECT {columns} FROM doc WHERE c = ? AND id > ? AND {condition} ORDER BY id LIMIT ?"  # noqa: S608
    rows = connection.execute(sql, (c, after or "", *values, limit))
    return [_record(row, dimensions) for row in rows]


def read_info(connection: sqlite3.Connection, c: int, key: str) -> Any:
    """Read a JSON value; None when there is none.

    Args:
        connection: in a read transaction.
        c: the collection.
        key: any key but `fingerprint` and `dimensions`.
    """
    row = connection.execute("SELECT value FROM info WHERE c = ? AND key = ?", (c, key)).fetchone()
    return None if row is None else json.loads(row[0])


def write_info(connection: sqlite3.Connection, c: int, key: str, value: Any) -> None:
    """Write a JSON value; None removes it.

    Args:
        connection: in a write transaction.
        c: the collection.
        key: any key but `fingerprint` and `dimensions`.
        value: a JSON value; None removes it.
    """
    if value is None:
        connection.execute("DELETE FROM info WHERE c = ? AND key = ?", (c, key))
    else:
        connection.execute("INSERT OR REPLACE INTO info (c, key, value) VALUES (?, ?, ?)", (c, key, to_json(value)))


def to_json(value: Any) -> str:
    """Write JSON compactly."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def require_length(id_: str, blob: bytes, dimensions: int) -> bytes:
    """Refuse a stored vector of the wrong length.

    Args:
        id_: of the document, for the message.
        blob: the stored vector.
        dimensions: the length that it must have.

    Raises:
        StoreError: the file is damaged.
    """
    if len(blob) != dimensions * FLOAT.itemsize:
        raise StoreError(
            f"the stored vector of {id_!r} has {len(blob)} bytes instead of {dimensions * FLOAT.itemsize}: the file is "
            "damaged. Add the document again, or delete it"
        )
    return blob


def read_ledger(connection: sqlite3.Connection, c: int, prefix: str) -> dict[str, str]:
    """Read the entries of the ledger whose keys begin with `prefix`.

    Args:
        connection: in a read transaction.
        c: the collection.
        prefix: not empty.
    """
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
    for chunk, marks in _chunks(keys):
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
    removed = [(c, key) for key, value in entries.items() if value is None]
    written = [(c, key, value) for key, value in entries.items() if value is not None]
    connection.executemany("DELETE FROM ledger WHERE c = ? AND key = ?", removed)
    connection.executemany("INSERT OR REPLACE INTO ledger (c, key, value) VALUES (?, ?, ?)", written)


def _delete(connection: sqlite3.Connection, c: int, condition: str, values: Sequence[Any]) -> None:
    sql = f"SELECT n, metadata FROM doc WHERE c = ? AND {condition}"  # noqa: S608
    rows = connection.execute(sql, (c, *values)).fetchall()
    if not rows:
        return
    connection.executemany(
        "DELETE FROM attribute WHERE c = ? AND key = ? AND kind = ? AND value = ? AND n = ?",
        ((c, *attribute, n) for n, metadata in rows for attribute in attributes(json.loads(metadata))),
    )
    keyword_index.delete(connection, c, [n for n, _ in rows])
    connection.executemany("DELETE FROM doc WHERE n = ?", ((n,) for n, _ in rows))
    connection.executemany("INSERT INTO gone (c, n) VALUES (?, ?)", ((c, n) for n, _ in rows))
    mark_changed(connection, c)


def _columns(*, vectors: bool, documents: bool = True) -> str:
    return f"id, {'text, metadata' if documents else '''NULL, NULL'''}, {'vector' if vectors else 'NULL'}"


def _record(row: tuple[Any, ...], dimensions: int | None) -> Record:
    id_, text, metadata, blob = row
    vector: Vector | None = None
    if dimensions is not None:
        vector = np.frombuffer(require_length(id_, blob, dimensions), dtype=FLOAT).astype(np.float32, copy=False)
    return Record(id_, text or "", {} if metadata is None else json.loads(metadata), vector)


def _chunks(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """Values in chunks for `IN (...)`, each with its question marks."""
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        yield chunk, ", ".join("?" * len(chunk))


_BATCH_BYTES = 1_000_000
"""Bytes of vectors that are decoded at once; they stay in the processor's cache while they are checked."""
_LENGTH_TOLERANCE = 1e-3


def vector_batches(
    connection: sqlite3.Connection, c: int, last: int, dimensions: int, limit: int = -1
) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Read the vectors of a collection above a row number, as row numbers and `(n, d)` float32 unit rows.

    The arrays are reused for the next batch.

    Args:
        connection: in a transaction.
        c: the collection.
        last: the row number.
        dimensions: length of the vectors.
        limit: maximum number of rows; -1 reads all.

    Raises:
        StoreError: a vector is damaged.
    """
    count = max(1, _BATCH_BYTES // (FLOAT.itemsize * dimensions))
    rows = np.empty((count, dimensions), dtype=FLOAT)
    sql = "SELECT n, vector FROM doc WHERE c = ? AND n > ? ORDER BY n LIMIT ?"
    found = connection.execute(sql, (c, last, limit))
    while batch := found.fetchmany(count):
        numbers = np.array([n for n, _ in batch], dtype=np.int64)
        yield numbers, _filled(connection, rows[: len(batch)], batch)


def vectors_of(connection: sqlite3.Connection, numbers: Sequence[int], dimensions: int) -> Vectors | None:
    """Read the vectors of rows in the given order: `(n, d)` float32 unit rows; None if a row was deleted.

    Args:
        connection: in a read transaction.
        numbers: row numbers.
        dimensions: length of the vectors.

    Raises:
        StoreError: a vector is damaged.
    """
    rows = np.empty((len(numbers), dimensions), dtype=FLOAT)
    start = 0
    for chunk, marks in _chunks(numbers):
        found = dict(connection.execute(f"SELECT n, vector FROM doc WHERE n IN ({marks})", chunk).fetchall())  # noqa: S608
        if len(found) < len(chunk):
            return None
        _filled(connection, rows[start : start + len(chunk)], [(n, found[n]) for n in chunk])
        start += len(chunk)
    return rows


def _filled(connection: sqlite3.Connection, rows: Vectors, batch: Sequence[tuple[int, bytes]]) -> Vectors:
    """Decode vectors into `rows` and check their length."""
    row_bytes = rows.itemsize * rows.shape[1]
    space = rows.reshape(-1).view(np.uint8).data
    try:
        for number, (_, blob) in enumerate(batch):
            space[number * row_bytes : (number + 1) * row_bytes] = blob
    except ValueError:
        for n, blob in batch:
            require_length(_id(connection, n), blob, rows.shape[1])
        raise
    lengths = np.einsum("ij,ij->i", rows, rows)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < _LENGTH_TOLERANCE))
    if len(wrong):
        raise StoreError(
            f"the stored vector of {_id(connection, batch[wrong[0]][0])!r} is not of unit length: the file is damaged. "
            "Add the document again, or delete it"
        )
    return rows


def _id(connection: sqlite3.Connection, n: int) -> str:
    (id_,) = connection.execute("SELECT id FROM doc WHERE n = ?", (n,)).fetchone()
    return str(id_)
