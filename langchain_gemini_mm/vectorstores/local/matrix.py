"""The vectors of a collection in memory: a cache that reads only changes of the file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectorstores.local.filter_sql import Mask, Masks, positions_of
from langchain_gemini_mm.vectorstores.local.prefix import LEAST_RECALL, PrefixPlan, exact_scores, prefix_rows, shares
from langchain_gemini_mm.vectorstores.local.rows import FLOAT, CollectionRow, vector_batches, vectors_of
from langchain_gemini_mm.vectorstores.local.scoring import RowQuery, View

if TYPE_CHECKING:
    import sqlite3

_LOGGER = logging.getLogger("langchain_gemini_mm")
_GROWTH = 1.25
_LEAST_CAPACITY = 64
_DEAD_SHARE = 0.25
_SAMPLE = 32
"""Stored vectors with which the recall of prefixes is measured."""
_SAMPLE_K = 10


class Matrix:
    """The cached vectors of a collection; the caller holds a lock."""

    _numbers: NDArray[np.int64]
    _rows: Vectors
    _alive: Mask | None
    size: int
    """How many rows are loaded."""
    _dimensions: int
    _last_gone: int
    _revision: int
    _epoch: int
    _refused_at: int
    """Number of rows at which prefixes had too little recall; 0 if they were not tried."""

    def __init__(self, plan: PrefixPlan) -> None:
        self._plan = plan
        self.masks = Masks()
        self._clear(0)

    def view(self, connection: sqlite3.Connection, collection: CollectionRow) -> View:
        """The state of the collection in this transaction."""
        if collection.epoch != self._epoch or collection.dimensions != self._dimensions:
            self._clear(collection.dimensions or 0)
        if collection.revision != self._revision:
            self._catch_up(connection, collection)
            self._revision, self._epoch = collection.revision, collection.epoch
        return View(self._numbers[: self.size], self._rows[: self.size], self._alive, self._dimensions)

    def leave_out(self, numbers: list[int]) -> None:
        """Treat rows that cannot be read as deleted, until they are written again."""
        self._mark_gone(np.array(numbers, dtype=np.int64), self.size)

    @property
    def prefix(self) -> int | None:
        """How many numbers of each vector are held; None for all."""
        width = self._rows.shape[1]
        return width if width < self._dimensions else None

    def _width(self, rows: int) -> int:
        """How many numbers of each vector to hold, before the recall of prefixes is measured."""
        plan, whole = self._plan, self._dimensions
        if plan.prefix is None:
            return min(plan.default_prefix, whole) if 4 * rows * whole > plan.above else whole
        return min(plan.prefix, whole) if plan.prefix else whole

    def _clear(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._last_gone = self._refused_at = 0
        self._revision = self._epoch = -1
        self._alive = None
        self._empty(dimensions)

    def _empty(self, width: int) -> None:
        self._numbers = np.empty(0, dtype=np.int64)
        self._rows = np.empty((0, width), dtype=FLOAT)
        self.size = 0
        self.masks.clear()

    def _catch_up(self, connection: sqlite3.Connection, collection: CollectionRow) -> None:
        last = int(self._numbers[self.size - 1]) if self.size else 0
        sql = "SELECT count(*) FROM doc WHERE c = ? AND n > ?"
        (new,) = connection.execute(sql, (collection.c, last)).fetchone()
        total = self.size + new
        width = self._width(total)
        if width < self._rows.shape[1] and total > 2 * self._refused_at:
            self._turn_to_prefixes(connection, collection)
            size = self.size
        else:
            size = self._append(connection, collection.c, last, total)
        sql = "SELECT g, CAST(n AS INTEGER) FROM gone WHERE c = ? AND g > ? ORDER BY g"
        gone = connection.execute(sql, (collection.c, self._last_gone)).fetchall()
        if gone or self._alive is not None:
            self._mark_gone(np.array([n for _, n in gone], dtype=np.int64), size)
        if gone:
            self._last_gone = gone[-1][0]
        self.size = size
        if self._alive is not None and self._alive.mean() < 1 - _DEAD_SHARE:
            self._drop_gone(self._alive)

    def _turn_to_prefixes(self, connection: sqlite3.Connection, collection: CollectionRow) -> None:
        """Load prefixes; if they were not requested, keep them only if their recall is sufficient."""
        (rows,) = connection.execute("SELECT count(*) FROM doc WHERE c = ?", (collection.c,)).fetchone()
        self._alive = None
        self._empty(self._width(rows))
        self.size = self._append(connection, collection.c, 0, rows)
        if self._plan.prefix is not None:
            return
        recall = self._measured_recall(connection, collection.c)
        if recall < LEAST_RECALL:
            _LOGGER.info(
                "collection %d: prefixes of %d find %.3f of the nearest; whole vectors are held instead",
                collection.c,
                self._rows.shape[1],
                recall,
            )
            self._empty(self._dimensions)
            self.size = self._append(connection, collection.c, 0, rows)
            self._refused_at = rows

    def _measured_recall(self, connection: sqlite3.Connection, c: int) -> float:
        """The recall of the loaded prefixes, measured on some stored vectors."""
        spread = np.linspace(0, self.size - 1, min(_SAMPLE, self.size)).astype(np.intp)
        queries = self._whole(connection, spread)
        k = min(_SAMPLE_K + 1, self.size)
        exact = exact_scores((rows for _, rows in vector_batches(connection, c, 0, self._dimensions)), queries, k)
        view = View(self._numbers[: self.size], self._rows[: self.size], None, self._dimensions)
        found = []
        row_queries = [RowQuery(number, 0, self._plan.count(k)) for number in range(len(queries))]
        for query, best in zip(queries, view.nearest(queries, [None], row_queries), strict=True):
            found.append(sorted((self._whole(connection, best.positions) @ query).tolist())[-k:-1])
        return float(np.mean(shares(exact[:, :-1], found)))

    def _whole(self, connection: sqlite3.Connection, positions: NDArray[np.intp]) -> Vectors:
        rows = vectors_of(connection, self._numbers[positions].tolist(), self._dimensions)
        if rows is None:
            raise AssertionError("rows go only in another transaction")
        return rows

    def _append(self, connection: sqlite3.Connection, c: int, last: int, size: int) -> int:
        """Read new rows into memory that no view shows yet; return the new size."""
        width, end = self._rows.shape[1], self.size
        if size > len(self._numbers):
            # The system provides memory when it is written to, so room for later rows costs nothing until then.
            capacity = max(int(size * _GROWTH), _LEAST_CAPACITY)
            numbers, rows = np.empty(capacity, dtype=np.int64), np.empty((capacity, width), dtype=FLOAT)
            numbers[:end], rows[:end] = self._numbers[:end], self._rows[:end]
            self._numbers, self._rows = numbers, rows
        for numbers, rows in vector_batches(connection, c, last, self._dimensions):
            self._numbers[end : end + len(numbers)] = numbers
            self._rows[end : end + len(numbers)] = rows if width == self._dimensions else prefix_rows(rows, width)
            end += len(numbers)
        return end

    def _mark_gone(self, numbers: NDArray[np.int64], size: int) -> None:
        """Mark rows that were deleted since.

        Args:
            numbers: their row numbers.
            size: how many rows are loaded.
        """
        alive = np.ones(size, dtype=np.bool_)
        if self._alive is not None:
            alive[: len(self._alive)] = self._alive
        alive[positions_of(numbers, self._numbers[:size])] = False
        self._alive = None if alive.all() else alive

    def _drop_gone(self, alive: Mask) -> None:
        """Drop the deleted rows; existing views keep the old arrays."""
        self._numbers = self._numbers[: self.size][alive]
        self._rows = self._rows[: self.size][alive]
        self.masks.keep_rows(alive)
        self.size, self._alive = len(self._numbers), None
