"""The SQL statements of the local store; connections are in a transaction."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.interfaces import Vector, Vectors
from langchain_gemini_mm.storage.garbage import digests_in
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint
from langchain_gemini_mm.vectorstores.filters import And, Node, Not, Or, attributes, matches
from langchain_gemini_mm.vectorstores.local import keyword_index, ledger_rows
from langchain_gemini_mm.vectorstores.local.filter_sql import scans, to_sql
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import searched_text

CHUNK = 500
"""Maximum number of values in one statement; old SQLite builds accept 999."""
GONE_KEPT = 100_000
"""Maximum number of deleted rows that are recorded for readers; beyond it they load everything again."""
MAX_DIMENSIONS = 1_000_000
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
    c, dimensions, text, revision, epoch = row
    fingerprint = None if text is None else _object(text)
    if (
        (text is not None and fingerprint is None)
        or not (dimensions is None or (isinstance(dimensions, int) and 0 < dimensions <= MAX_DIMENSIONS))
        or not (isinstance(revision, int) and isinstance(epoch, int))
    ):
        raise StoreError(
            f"the embedding space of the collection {name!r} cannot be read: the file is damaged. Restore a copy, or "
            "index into a new file"
        )
    return CollectionRow(c, dimensions, fingerprint, revision, epoch)


def length_of_vectors(connection: sqlite3.Connection, collection: CollectionRow) -> int | None:
    """The length of the stored vectors; None if there are none.

    Raises:
        StoreError: there are rows, but their length is not stored.
    """
    if collection.dimensions is None:
        if connection.execute("SELECT 1 FROM doc WHERE c = ?", (collection.c,)).fetchone():
            raise StoreError("the length of the stored vectors is missing: the file is damaged. Restore a copy")
        return None
    return collection.dimensions


def _object(text: object) -> dict[str, Any] | None:
    """A stored JSON object; None if it is damaged."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def make_collection(connection: sqlite3.Connection, name: str) -> CollectionRow:
    """Read a collection, and insert it if it is new."""
    found = find_collection(connection, name)
    if found is None:
        # The number of a removed collection is used again, so readers must not take this one for it.
        epoch = secrets.randbits(48)
        connection.execute("INSERT INTO collection (name, epoch) VALUES (?, ?)", (name, epoch))
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
    ledger_rows.delete_all(connection, c)
    for table in ("doc", "attribute", "gone"):
        connection.execute(f"DELETE FROM {table} WHERE c = ?", (c,))  # noqa: S608
    keyword_index.build(connection, c)
    connection.execute("UPDATE collection SET revision = revision + 1, epoch = epoch + 1 WHERE c = ?", (c,))


def remove_collection(connection: sqlite3.Connection, c: int) -> None:
    """Delete a collection with its rows, its keyword index, its information and its ledger."""
    ledger_rows.delete_all(connection, c)
    for table in ("doc", "attribute", "gone", "info", "collection"):
        connection.execute(f"DELETE FROM {table} WHERE c = ?", (c,))  # noqa: S608
    keyword_index.drop(connection, c)


def media_of(connection: sqlite3.Connection, c: int, *, others: bool = False) -> set[str]:
    """The hashes of all media that texts and metadata of a collection refer to.

    Args:
        connection: in a transaction.
        c: the collection.
        others: whether to read the other collections of the file instead.
    """
    found: set[str] = set()
    sign = "!=" if others else "="
    for text, metadata in connection.execute(f"SELECT text, metadata FROM doc WHERE c {sign} ?", (c,)):  # noqa: S608
        found |= {digest.hex() for digest in digests_in([text, metadata])}
    return found


def mark_changed(connection: sqlite3.Connection, c: int) -> None:
    """Increase the revision, so that readers read the changes."""
    # In two queries SQLite reads the first and the last entry; in one it reads the whole table.
    (gone,) = connection.execute("SELECT (SELECT max(g) FROM gone) - (SELECT min(g) FROM gone)").fetchone()
    if gone is not None and gone > GONE_KEPT:
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
    """Read records by row number; deleted and damaged rows are left out."""
    found: dict[int, Record] = {}
    for chunk, marks in _chunks(numbers):
        sql = f"SELECT n, id, text, metadata FROM doc WHERE n IN ({marks})"  # noqa: S608
        try:
            stored = connection.execute(sql, chunk).fetchall()
        except sqlite3.OperationalError as error:
            if hasattr(error, "sqlite_errorcode"):  # otherwise Python could not decode a text
                raise
            stored = [row for n in chunk for row in _readable(connection, n)]
        for n, id_, text, metadata in stored:
            known = _object(metadata)
            if known is not None and isinstance(id_, str) and isinstance(text, str):
                found[n] = Record(id_, text, known)
    return found


def _readable(connection: sqlite3.Connection, n: int) -> list[tuple[Any, ...]]:
    """The row with a number, as a list of one; an empty list if its texts cannot be decoded."""
    try:
        return connection.execute("SELECT n, id, text, metadata FROM doc WHERE n = ?", (n,)).fetchall()
    except sqlite3.OperationalError:
        return []


def damaged_numbers(connection: sqlite3.Connection, c: int, missing: Sequence[int]) -> list[int]:
    """Numbers of all rows whose id, text or metadata cannot be read; an empty list if the missing rows were deleted.

    Args:
        connection: in a read transaction.
        c: the collection.
        missing: numbers of rows that `by_numbers` left out.
    """
    damaged: list[int] = []
    if not any(connection.execute("SELECT 1 FROM doc WHERE n = ?", (n,)).fetchone() for n in missing):
        return damaged
    last = -1
    while numbers := numbers_after(connection, c, last, CHUNK):
        found = by_numbers(connection, numbers)
        damaged += [n for n in numbers if n not in found]
        last = numbers[-1]
    return damaged


def numbers_after(connection: sqlite3.Connection, c: int, n: int, limit: int) -> list[int]:
    """The next row numbers in the order in which the rows were written.

    Args:
        connection: in a read transaction.
        c: the collection.
        n: the last row number of the previous page.
        limit: maximum number of rows.
    """
    found = connection.execute("SELECT n FROM doc WHERE c = ? AND n > ? ORDER BY n LIMIT ?", (c, n, limit))
    return [number for (number,) in found]


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
    columns = _columns(vectors=dimensions is not None, documents=documents)
    if node is not None and _count_up_to(connection, c, node, _PAGES_OF_LIST * limit) == _PAGES_OF_LIST * limit:
        numbers = _matching_after(connection, c, after or "", limit, node)
        found: dict[int, Record] = {}
        for chunk, marks in _chunks(numbers):
            rows = connection.execute(f"SELECT n, {columns} FROM doc WHERE n IN ({marks})", chunk)  # noqa: S608
            found |= {n: _record(row, dimensions) for n, *row in rows}
        return [found[n] for n in numbers]
    condition, values = ("1", []) if node is None else to_sql(node, c)
    sql = f"SELECT {columns} FROM doc WHERE c = ? AND id > ? AND {condition} ORDER BY id LIMIT ?"  # noqa: S608
    rows = connection.execute(sql, (c, after or "", *values, limit))
    return [_record(row, dimensions) for row in rows]


_PAGES_OF_LIST = 20
"""SQLite makes a list of all rows that match a filter, again for every page. This is done for so many pages at most;
where more rows match, all rows are read in order, which is faster and takes linear time."""


def _count_up_to(connection: sqlite3.Connection, c: int, node: Node, most: int) -> int:
    """An upper bound of the number of rows that match a filter, `most` for that many or more."""
    match node:
        case And(parts):
            return min((_count_up_to(connection, c, part, most) for part in parts), default=most)
        case Or(parts):
            return min(most, sum(_count_up_to(connection, c, part, most) for part in parts))
        case Not():
            return most
        case _:
            total = 0
            for scan in scans(node):
                condition = scan.condition.replace("...", ", ".join("?" * len(scan.values)))
                sql = f"SELECT count(*) FROM (SELECT 1 FROM attribute WHERE c = ? AND {condition} LIMIT ?)"  # noqa: S608
                total += int(connection.execute(sql, (c, scan.key, *scan.values, most)).fetchone()[0])
            return min(most, total)


def _matching_after(connection: sqlite3.Connection, c: int, after: str, limit: int, node: Node) -> list[int]:
    """Numbers of the next rows in the order of their ids that match a filter."""
    found: list[int] = []
    sql = "SELECT n, id, metadata FROM doc WHERE c = ? AND id > ? ORDER BY id LIMIT ?"
    while len(found) < limit and (rows := connection.execute(sql, (c, after, limit)).fetchall()):
        found += [n for n, _, metadata in rows if matches(node, _object(metadata) or {})]
        after = rows[-1][1]
    return found[:limit]


def read_info(connection: sqlite3.Connection, c: int, key: str) -> Any:
    """Read a JSON value; None when there is none.

    Args:
        connection: in a read transaction.
        c: the collection.
        key: any key but `fingerprint` and `dimensions`.
    """
    row = connection.execute("SELECT value FROM info WHERE c = ? AND key = ?", (c, key)).fetchone()
    try:
        return None if row is None else json.loads(row[0])
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"the value of info {key[:60]!r} is not JSON: the file is damaged. Set it again") from error


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


def require_length(id_: str, blob: object, dimensions: int) -> bytes:
    """Refuse a stored vector of the wrong length.

    Args:
        id_: of the document, for the message.
        blob: the stored vector.
        dimensions: the length that it must have.

    Raises:
        StoreError: the file is damaged.
    """
    if not isinstance(blob, bytes) or len(blob) != dimensions * FLOAT.itemsize:
        size = len(blob) if isinstance(blob, bytes | str) else 0
        raise StoreError(
            f"the stored vector of {id_!r} has {size} bytes instead of {dimensions * FLOAT.itemsize}: the file is "
            "damaged. Add the document again, or delete it"
        )
    return blob


def _delete(connection: sqlite3.Connection, c: int, condition: str, values: Sequence[Any]) -> None:
    # As bytes, because damaged texts cannot be decoded.
    sql = f"SELECT n, CAST(metadata AS BLOB) FROM doc WHERE c = ? AND {condition}"  # noqa: S608
    rows = connection.execute(sql, (c, *values)).fetchall()
    if not rows:
        return
    known = {n: _object(metadata.decode(errors="replace")) for n, metadata in rows}
    connection.executemany(
        "DELETE FROM attribute WHERE c = ? AND key = ? AND kind = ? AND value = ? AND n = ?",
        ((c, *attribute, n) for n, metadata in known.items() for attribute in attributes(metadata or {})),
    )
    damaged = [n for n, metadata in known.items() if metadata is None]
    connection.executemany("DELETE FROM attribute WHERE c = ? AND n = ?", ((c, n) for n in damaged))
    connection.executemany("DELETE FROM doc WHERE n = ?", ((n,) for n, _ in rows))
    keyword_index.delete(connection, c, [n for n, _ in rows])
    connection.executemany("INSERT INTO gone (c, n) VALUES (?, ?)", ((c, n) for n, _ in rows))
    mark_changed(connection, c)


def _columns(*, vectors: bool, documents: bool = True) -> str:
    return f"id, {'text, metadata' if documents else '''NULL, NULL'''}, {'vector' if vectors else 'NULL'}"


def _record(row: Sequence[Any], dimensions: int | None) -> Record:
    """The record of a row that a caller asked for.

    Raises:
        StoreError: the row is damaged.
    """
    id_, text, metadata, blob = row
    known: dict[str, Any] | None = {} if metadata is None else _object(metadata)
    if known is None or not (isinstance(id_, str) and isinstance(text, str | None)):
        raise StoreError(f"the document {id_!r} cannot be read: the file is damaged. Add it again, or delete it")
    vector: Vector | None = None
    if dimensions is not None:
        vector = np.frombuffer(require_length(id_, blob, dimensions), dtype=FLOAT).astype(np.float32, copy=False)
        if not abs(float(vector @ vector) - 1) < _LENGTH_TOLERANCE:
            raise StoreError(
                f"the stored vector of {id_!r} is not of unit length: the file is damaged. Add the document again, or "
                "delete it"
            )
    return Record(id_, text or "", known, vector)


def _chunks(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """Values in chunks for `IN (...)`, each with its question marks."""
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        yield chunk, ", ".join("?" * len(chunk))


_BATCH_BYTES = 1_000_000
"""Bytes of vectors that are decoded at once; they stay in the processor's cache while they are checked."""
_LENGTH_TOLERANCE = 1e-3
_NAMED = 5
_LOGGER = logging.getLogger("langchain_gemini_mm")


def vector_batches(
    connection: sqlite3.Connection, c: int, last: int, dimensions: int, limit: int = -1
) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Read the vectors of a collection above a row number, as row numbers and `(n, d)` float32 unit rows.

    Damaged vectors are left out, with a warning in the log. The arrays are reused for the next batch.

    Args:
        connection: in a transaction.
        c: the collection.
        last: the row number.
        dimensions: length of the vectors.
        limit: maximum number of rows; -1 reads all.
    """
    count = max(1, _BATCH_BYTES // (FLOAT.itemsize * dimensions))
    rows = np.empty((count, dimensions), dtype=FLOAT)
    sql = f"SELECT n, {_WHOLE} FROM doc WHERE c = ? AND n > ? ORDER BY n LIMIT ?"  # noqa: S608
    found = connection.execute(sql, (dimensions * FLOAT.itemsize, c, last, limit))
    while batch := found.fetchmany(count):
        numbers = np.array([n for n, _ in batch], dtype=np.int64)
        valid = _fill(rows[: len(batch)], [blob for _, blob in batch])
        if valid is None:
            yield numbers, rows[: len(batch)]
        else:
            _warn(connection, numbers[~valid].tolist())
            yield numbers[valid], rows[: len(batch)][valid]


def vectors_of(connection: sqlite3.Connection, numbers: Sequence[int], dimensions: int) -> Vectors | None:
    """Read the vectors of rows in the given order: `(n, d)` float32 unit rows; None if a row was deleted.

    A damaged vector is a row of zeros.

    Args:
        connection: in a read transaction.
        numbers: row numbers.
        dimensions: length of the vectors.
    """
    rows = np.empty((len(numbers), dimensions), dtype=FLOAT)
    start = 0
    for chunk, marks in _chunks(numbers):
        sql = f"SELECT n, {_WHOLE} FROM doc WHERE n IN ({marks})"  # noqa: S608
        found = dict(connection.execute(sql, (dimensions * FLOAT.itemsize, *chunk)).fetchall())
        if len(found) < len(chunk):
            return None
        part = rows[start : start + len(chunk)]
        valid = _fill(part, [found[n] for n in chunk])
        if valid is not None:
            part[~valid] = 0
        start += len(chunk)
    return rows


_WHOLE = "CASE WHEN typeof(vector) = 'blob' AND length(vector) = ? THEN vector END"
"""A vector of the right length, otherwise NULL; the length is compared before the vector is read."""


def _fill(rows: Vectors, blobs: Sequence[bytes | None]) -> NDArray[np.bool_] | None:
    """Decode vectors into `rows`; which of them are unit vectors, or None if all are."""
    row_bytes = rows.itemsize * rows.shape[1]
    space = rows.reshape(-1).view(np.uint8).data
    nothing = bytes(row_bytes) if None in blobs else b""
    for number, blob in enumerate(blobs):
        space[number * row_bytes : (number + 1) * row_bytes] = nothing if blob is None else blob
    lengths = np.einsum("ij,ij->i", rows, rows)
    valid: NDArray[np.bool_] = np.abs(lengths - 1) < _LENGTH_TOLERANCE  # False for NaN
    return None if valid.all() else valid


def _warn(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    known = by_numbers(connection, numbers[:_NAMED])
    _LOGGER.warning(
        "%d stored vectors are damaged and cannot be found, for example those of %s. Add the documents again, or "
        "delete them; check() lists all",
        len(numbers),
        ", ".join(repr(record.id[:60]) for record in known.values()) or "documents that cannot be read",
    )
