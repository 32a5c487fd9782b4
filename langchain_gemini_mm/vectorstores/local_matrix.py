"""The vectors of a collection in memory: a cache of the file that catches up instead of loading again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.types import Vector, Vectors
from langchain_gemini_mm.vectors import cosine_similarity, top_k
from langchain_gemini_mm.vectorstores.local_rows import FLOAT, Collection, require_length

if TYPE_CHECKING:
    import sqlite3

_ROWS_AT_ONCE = 1000
_GATHER_BELOW = 0.1
"""Share of rows up to which scoring only the allowed rows beats scoring all."""
_GROWTH = 1.25
_DEAD_SHARE = 0.25
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One state of the collection; it never changes, so threads score it without a lock."""

    numbers: NDArray[np.int64]
    """`(n,)` row numbers, ascending."""
    rows: Vectors
    alive: NDArray[np.bool_] | None
    """`(n,)`, or None while nothing is deleted."""

    def nearest(
        self, vector: Vector, k: int, threshold: float | None, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Positions and cosine similarities of the `k` best rows among those allowed, best first."""
        positions = None if allowed is None else self._positions(allowed)
        if positions is not None and len(positions) <= _GATHER_BELOW * len(self.numbers):
            scores = cosine_similarity(vector, self.rows[positions])
            best = top_k(scores, k)
            found, values = positions[best], scores[best]
        else:
            scores = self._scores(vector, positions)
            found = top_k(scores, k)
            values = scores[found]
        keep = values >= (-1.0 if threshold is None else threshold)
        return found[keep], values[keep]

    def _scores(self, vector: Vector, positions: NDArray[np.intp] | None) -> NDArray[np.float32]:
        scores = cosine_similarity(vector, self.rows)
        if positions is not None:
            masked = np.full(len(scores), -np.inf, dtype=np.float32)
            masked[positions] = scores[positions]
            return masked
        if self.alive is not None:
            scores[~self.alive] = -np.inf
        return scores

    def _positions(self, numbers: NDArray[np.int64]) -> NDArray[np.intp]:
        """Positions of those row numbers that are in this view and alive."""
        positions = np.searchsorted(self.numbers, numbers)
        inside = positions < len(self.numbers)
        positions = positions[inside]
        positions = positions[self.numbers[positions] == numbers[inside]]
        if self.alive is not None:
            positions = positions[self.alive[positions]]
        return np.asarray(positions, dtype=np.intp)


class Matrix:
    """Follows a collection from read to read; the caller holds a lock while it does."""

    _numbers: NDArray[np.int64]
    _rows: Vectors
    _alive: NDArray[np.bool_] | None
    _size: int
    _last_gone: int
    _revision: int
    _epoch: int

    def __init__(self) -> None:
        self._clear(0)

    def view(self, connection: sqlite3.Connection, collection: Collection) -> View:
        """The state of the collection that this transaction sees.

        Raises:
            StoreError: a stored vector is damaged.
        """
        if collection.epoch != self._epoch or collection.dimensions != self._rows.shape[1]:
            self._clear(collection.dimensions or 0)
        if collection.revision != self._revision:
            size = self._append(connection, collection)
            last_gone = self._bury(connection, collection, size)
            self._size, self._last_gone = size, last_gone
            self._revision, self._epoch = collection.revision, collection.epoch
            self._tidy()
        return View(self._numbers[: self._size], self._rows[: self._size], self._alive)

    def _clear(self, dimensions: int) -> None:
        self._numbers = np.empty(0, dtype=np.int64)
        self._rows = np.empty((0, dimensions), dtype=np.float32)
        self._alive = None
        self._size = self._last_gone = 0
        self._revision = self._epoch = -1

    def _append(self, connection: sqlite3.Connection, collection: Collection) -> int:
        """Read rows that came since, into space that no view shows yet; return the new size."""
        last = int(self._numbers[self._size - 1]) if self._size else 0
        where = "FROM doc WHERE c = ? AND n > ?"
        (new,) = connection.execute(f"SELECT count(*) {where}", (collection.c, last)).fetchone()
        self._reserve(self._size + new)
        size = self._size
        found = connection.execute(f"SELECT n, id, vector {where} ORDER BY n", (collection.c, last))
        while batch := found.fetchmany(_ROWS_AT_ONCE):
            numbers, ids, blobs = zip(*batch, strict=True)
            rows = _decode(ids, blobs, self._rows.shape[1])
            self._numbers[size : size + len(batch)] = numbers
            self._rows[size : size + len(batch)] = rows
            size += len(batch)
        return size

    def _bury(self, connection: sqlite3.Connection, collection: Collection, size: int) -> int:
        """Mark rows that went since; return the last entry read."""
        found = connection.execute(
            "SELECT g, n FROM gone WHERE c = ? AND g > ?", (collection.c, self._last_gone)
        ).fetchall()
        alive = np.ones(size, dtype=np.bool_)
        if self._alive is not None:
            alive[: len(self._alive)] = self._alive
        if found:
            numbers = np.array([n for _, n in found], dtype=np.int64)
            positions = np.searchsorted(self._numbers[:size], numbers)
            inside = positions < size
            positions = positions[inside]
            alive[positions[self._numbers[positions] == numbers[inside]]] = False
        self._alive = None if alive.all() else alive
        return max((g for g, _ in found), default=self._last_gone)

    def _reserve(self, size: int) -> None:
        if size <= len(self._numbers):
            return
        capacity = max(size, int(self._size * _GROWTH)) if self._size else size
        numbers = np.empty(capacity, dtype=np.int64)
        rows = np.empty((capacity, self._rows.shape[1]), dtype=np.float32)
        numbers[: self._size] = self._numbers[: self._size]
        rows[: self._size] = self._rows[: self._size]
        self._numbers, self._rows = numbers, rows

    def _tidy(self) -> None:
        """Drop deleted rows once they are many; views handed out keep the old arrays."""
        if self._alive is None or self._alive.mean() >= 1 - _DEAD_SHARE:
            return
        self._numbers = self._numbers[: self._size][self._alive]
        self._rows = self._rows[: self._size][self._alive]
        self._size, self._alive = len(self._numbers), None


def _decode(ids: tuple[str, ...], blobs: tuple[bytes, ...], dimensions: int) -> Vectors:
    joined = b"".join(require_length(id_, blob, dimensions) for id_, blob in zip(ids, blobs, strict=True))
    rows = np.frombuffer(joined, dtype=FLOAT).reshape(len(ids), dimensions)
    lengths = np.einsum("ij,ij->i", rows, rows)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < _LENGTH_TOLERANCE))
    if len(wrong):
        raise StoreError(
            f"the stored vector of {ids[wrong[0]]!r} is not of unit length: the file is damaged. "
            "Add the document again, or delete it"
        )
    return rows
