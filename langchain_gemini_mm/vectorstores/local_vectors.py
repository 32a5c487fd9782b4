"""Reading whole vectors from the file of a local store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectorstores.local.rows import CHUNK, FLOAT, require_length

if TYPE_CHECKING:
    import sqlite3

_BATCH_BYTES = 1_000_000
"""Vectors decoded together; small enough to still be in the processor's cache when they are checked."""
_LENGTH_TOLERANCE = 1e-3


def batches_after(
    connection: sqlite3.Connection, c: int, last: int, dimensions: int, limit: int = -1
) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Read the vectors of a collection beyond a row number, as row numbers and `(n, d)` float32 unit rows.

    The arrays are used again for the next batch.

    Args:
        connection: in a transaction.
        c: the collection.
        last: the row number.
        dimensions: how long each vector must be.
        limit: most rows; -1 reads all.

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
    """Read the vectors of rows, in their order: `(n, d)` float32 unit rows; None when one of the rows is gone.

    Raises:
        StoreError: a vector is damaged.
    """
    rows = np.empty((len(numbers), dimensions), dtype=FLOAT)
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        sql = f"SELECT n, vector FROM doc WHERE n IN ({', '.join('?' * len(chunk))})"  # noqa: S608
        found = dict(connection.execute(sql, chunk).fetchall())
        if len(found) < len(chunk):
            return None
        _filled(connection, rows[start : start + len(chunk)], [(n, found[n]) for n in chunk])
    return rows


def _filled(connection: sqlite3.Connection, rows: Vectors, batch: Sequence[tuple[int, bytes]]) -> Vectors:
    """Decode vectors into `rows` and check them."""
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
