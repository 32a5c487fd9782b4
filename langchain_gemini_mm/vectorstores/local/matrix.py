"""The vectors of a collection in memory: a cache that reads only changes of the file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.interfaces import Vector, Vectors
from langchain_gemini_mm.vectorstores.filters import In
from langchain_gemini_mm.vectorstores.local.filter_sql import Mask, Masks, positions_of
from langchain_gemini_mm.vectorstores.local.prefix import LEAST_RECALL, PrefixPlan, prefix_rows, shares, with_more_rows
from langchain_gemini_mm.vectorstores.local.rows import CollectionRow, vector_batches, vectors_of
from langchain_gemini_mm.vectorstores.local.scoring import RowQuery, View

if TYPE_CHECKING:
    import sqlite3

_LOGGER = logging.getLogger("langchain_gemini_mm")
_GROWTH = 1.25
_LEAST_CAPACITY = 64
_DEAD_SHARE = 0.25
_SAMPLE = 32
"""Stored vectors, and queries, with which the recall of prefixes is measured."""
_SAMPLE_K = 10
_MODALITIES = 8
_LEAST_BEST = 0.95
"""For how many of the queries the nearest row must be found."""


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """Queries with which the recall of prefixes is measured."""

    queries: Vectors
    """`(q, d)` float32, unit rows."""
    mask: Mask | None
    """`(n,)`, the rows that are searched; None for all."""
    is_stored: bool = False
    """Whether the queries are among the rows that are searched."""


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

    _is_on_trial: bool
    """Whether prefixes are held that have not been measured on enough queries."""
    _view: View | None

    def __init__(self, plan: PrefixPlan) -> None:
        self._plan = plan
        self._asked: list[Vector] = []
        self.masks = Masks()
        self._clear(0)

    def view(self, connection: sqlite3.Connection, collection: CollectionRow, queries: Sequence[Vector] = ()) -> View:
        """The state of the collection in this transaction; the same object as long as nothing changes.

        Args:
            connection: in a read transaction.
            collection: the collection.
            queries: the vectors of this search; the first ones test whether prefixes suffice.
        """
        if self._plan.prefix is None and len(self._asked) < _SAMPLE:
            self._asked += [np.array(query) for query in queries[: _SAMPLE - len(self._asked)]]
        if collection.epoch != self._epoch or collection.dimensions != self._dimensions:
            self._clear(collection.dimensions or 0)
        if collection.revision != self._revision:
            self._view = None
            self._catch_up(connection, collection)
            self._revision, self._epoch = collection.revision, collection.epoch
        if self._is_on_trial and len(self._asked) == _SAMPLE:
            self._is_on_trial = False
            asked = np.stack(self._asked)
            if self._alive is not None:
                self._drop_gone(self._alive)
            if asked.shape[1] == self._dimensions:
                self._require_recall(connection, collection.c, [_Trial(asked, None)])
        if self._view is None:
            self._view = View(self._numbers[: self.size], self._rows[: self.size], self._alive, self._dimensions)
        return self._view

    def leave_out(self, numbers: list[int]) -> None:
        """Treat rows that cannot be read as deleted, until they are written again."""
        self._mark_gone(np.array(numbers, dtype=np.int64), self.size)
        self._view = None

    @property
    def prefix(self) -> int | None:
        """How many numbers of each vector are held; None for all."""
        width = self._rows.shape[1]
        return width if width < self._dimensions else None

    def _width(self, rows: int) -> int:
        """How many numbers of each vector to hold, before the recall of prefixes is measured."""
        plan, whole = self._plan, self._dimensions
        if plan.prefix is None:
            return min(plan.default_prefix, whole) if plan.dtype.itemsize * rows * whole > plan.above else whole
        return min(plan.prefix, whole) if plan.prefix else whole

    def _clear(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._last_gone = self._refused_at = 0
        self._revision = self._epoch = -1
        self._alive = None
        self._is_on_trial = False
        self._empty(dimensions)

    def _empty(self, width: int) -> None:
        self._numbers = np.empty(0, dtype=np.int64)
        self._rows = np.empty((0, width), dtype=self._plan.dtype)
        self._view = None
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
        if self._plan.prefix is None:
            self._is_on_trial = True
            self._require_recall(connection, collection.c, self._trials(connection, collection.c))

    def _require_recall(self, connection: sqlite3.Connection, c: int, trials: Sequence[_Trial]) -> None:
        """Load whole vectors if prefixes miss too much in one of the trials."""
        for trial, recall in zip(trials, self._recalls(connection, c, trials), strict=True):
            missed = (1 - recall) * len(trial.queries) * _SAMPLE_K
            if missed > max(1.0, (1 - LEAST_RECALL) * len(trial.queries) * _SAMPLE_K) + 1e-6:
                _LOGGER.info(
                    "collection %d: prefixes of %d find %.3f of the nearest; whole vectors are held instead",
                    c,
                    self._rows.shape[1],
                    recall,
                )
                (rows,) = connection.execute("SELECT count(*) FROM doc WHERE c = ?", (c,)).fetchone()
                self._is_on_trial, self._alive = False, None
                self._empty(self._dimensions)
                self.size = self._append(connection, c, 0, rows)
                self._refused_at = max(1, self.size)
                return

    def _trials(self, connection: sqlite3.Connection, c: int) -> list[_Trial]:
        """Queries: stored vectors, those of other modalities than the rows searched, and the first queries asked."""
        spread = np.linspace(0, self.size - 1, min(_SAMPLE, self.size)).astype(np.intp)
        stored = self._whole(connection, spread)
        trials = [_Trial(stored, None, is_stored=True)]
        if self._asked and len(self._asked[0]) == self._dimensions:
            trials.append(_Trial(np.stack(self._asked), None))
        sql = "SELECT DISTINCT value FROM attribute WHERE c = ? AND key = 'modality' AND typeof(value) = 'text' LIMIT ?"
        for (modality,) in connection.execute(sql, (c, _MODALITIES)).fetchall():
            mask = self.masks.of(connection, c, In("modality", (modality,)), self._numbers[: self.size])
            others = ~mask[spread]
            if others.any():
                trials.append(_Trial(stored[others], mask))
        return trials

    def _recalls(self, connection: sqlite3.Connection, c: int, trials: Sequence[_Trial]) -> list[float]:
        """The recall of the loaded prefixes in each trial; the file is read once."""
        k = min(_SAMPLE_K + 1, self.size)
        exact = [np.full((len(trial.queries), k), -np.inf, dtype=np.float32) for trial in trials]
        start = 0
        for _, rows in vector_batches(connection, c, 0, self._dimensions):
            for number, trial in enumerate(trials):
                compared = rows if trial.mask is None else rows[trial.mask[start : start + len(rows)]]
                exact[number] = with_more_rows(exact[number], trial.queries, compared)
            start += len(rows)
        view = View(self._numbers[: self.size], self._rows[: self.size], None, self._dimensions)
        recalls = []
        for trial, scores in zip(trials, exact, strict=True):
            queries = [RowQuery(number, 0, self._plan.count(k)) for number in range(len(trial.queries))]
            found = [
                sorted((self._whole(connection, best.positions) @ query).tolist())[-k:]
                for query, best in zip(trial.queries, view.nearest(trial.queries, [trial.mask], queries), strict=True)
            ]
            scores.sort(axis=1)
            if trial.is_stored:  # without the vector itself
                recalls.append(float(np.mean(shares(scores[:, :-1], [each[:-1] for each in found]))))
            else:
                recall = float(np.mean(shares(scores[:, 1:], [each[-_SAMPLE_K:] for each in found])))
                best = float(np.mean(shares(scores[:, -1:], [each[-1:] for each in found])))
                recalls.append(recall if best >= _LEAST_BEST else min(recall, best))
        return recalls

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
            numbers, rows = np.empty(capacity, dtype=np.int64), np.empty((capacity, width), dtype=self._plan.dtype)
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
