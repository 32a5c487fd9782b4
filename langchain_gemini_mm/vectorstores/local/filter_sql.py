"""Parsed filters on the table of attributes: as SQL conditions, and as cached masks of matrix rows."""

from __future__ import annotations

import logging
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.validation import did_you_mean
from langchain_gemini_mm.vectorstores.filters import (
    And,
    Compare,
    Condition,
    Exists,
    In,
    Native,
    Node,
    Not,
    Or,
    StartsWith,
    attributes,
    leaves,
    native_filter_error,
)

if TYPE_CHECKING:
    import sqlite3

Mask: TypeAlias = NDArray[np.bool_]

KEPT_BYTES = 16_000_000
"""Maximum memory of cached masks, one byte per row; the least recently used is dropped first."""
KEPT_VALUES = 100
"""Conditions with more values are not cached."""

logger = logging.getLogger("langchain_gemini_mm")

_MOST_KEYS = 1000
"""Metadata keys that are compared to find the most similar one."""
_OTHER = next(kind for _, kind, _ in attributes({"": {}}))
"""The kind of values that filters do not compare, such as dicts."""
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_SIGNS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of the attributes of one key and kind."""

    condition: str
    """SQL on `attribute`; `...` is replaced by the placeholders of the values."""
    key: str
    values: tuple[Any, ...]


def scans(node: Condition | Native) -> Iterator[Scan]:
    """The scans that find all rows of one condition; equal conditions give equal scans.

    Raises:
        FilterError: a filter object of another database.
    """
    match node:
        case In(key, values):
            groups: dict[int, list[Any]] = {}
            for _, kind, value in attributes({key: values}):
                groups.setdefault(kind, []).append(value)
            for kind, group in groups.items():
                yield Scan(f"key = ? AND kind = {kind} AND value IN (...)", key, tuple(group))
        case Compare(key, order, value):
            ((_, kind, bound),) = attributes({key: value})
            yield Scan(f"key = ? AND kind = {kind} AND value {_SIGNS[order]} ...", key, (bound,))
        case StartsWith(key, prefix):
            ((_, kind, bound),) = attributes({key: prefix})
            end = node.end
            condition = f"key = ? AND kind = {kind} AND value >= ?"
            yield Scan(condition if end is None else f"{condition} AND value < ?", key, (bound, end)[: 1 + bool(end)])
        case Exists(key):
            yield Scan("key = ?", key, ())
        case Native():
            raise native_filter_error("LocalVectorStore")


def to_sql(node: Node, collection: int) -> tuple[str, list[Any]]:
    """A condition on `doc.n` and the values to bind to it, in order."""
    match node:
        case And(parts):
            return _joined(" AND ", [to_sql(part, collection) for part in parts]) if parts else ("1", [])
        case Or(parts):
            return _joined(" OR ", [to_sql(part, collection) for part in parts])
        case Not(part):
            condition, bound_values = to_sql(part, collection)
            return f"NOT {condition}", bound_values
        case _:
            pieces: list[tuple[str, list[Any]]] = []
            for scan in scans(node):
                condition = scan.condition.replace("...", ", ".join("?" * len(scan.values)))
                sql = f"n IN (SELECT n FROM attribute WHERE c = ? AND {condition})"  # noqa: S608 - values are bound
                pieces.append((sql, [collection, scan.key, *scan.values]))
            return _joined(" OR ", pieces) if pieces else ("0", [])


def require_known_keys(connection: sqlite3.Connection, c: int, node: Node, seen: set[str]) -> None:
    """Refuse a key that means a value inside a dict, and warn once of a key that no document has, but a similar one.

    Args:
        connection: in a transaction.
        c: the collection.
        node: the filter.
        seen: keys that exist, or that a warning has named; extended.

    Raises:
        FilterError: a key such as `details.page`, where `details` holds dicts.
    """
    for key in {leaf.key for leaf in leaves(node) if not isinstance(leaf, Native)} - seen:
        if _has(connection, c, key):
            seen.add(key)
            continue
        outer = key.partition(".")[0]
        if outer != key and _has(connection, c, outer, _OTHER):
            raise FilterError(
                f"{key[:60]!r} names a value inside the dicts of {outer[:60]!r}, and filters compare top-level keys. "
                f"Store the value under a key of its own, such as {key[:60].replace('.', '_')!r}, or filter with a "
                "function of a document"
            )
        if hint := did_you_mean(key, _keys(connection, c)):
            seen.add(key)
            logger.warning("no document has the metadata key %r that a filter names%s", key[:60], hint)


def _has(connection: sqlite3.Connection, c: int, key: str, kind: int | None = None) -> bool:
    kinds, bound = ("", ()) if kind is None else ("AND kind = ?", (kind,))
    sql = f"SELECT 1 FROM attribute WHERE c = ? AND key = ? {kinds} LIMIT 1"  # noqa: S608 - values are bound
    return connection.execute(sql, (c, key, *bound)).fetchone() is not None


def _keys(connection: sqlite3.Connection, c: int) -> list[str]:
    """The metadata keys of a collection, by one look-up for each instead of a scan."""
    found = list[str]()
    sql = "SELECT min(key) FROM attribute WHERE c = ? AND key > ?"
    while len(found) < _MOST_KEYS and (key := connection.execute(sql, (c, found[-1] if found else "")).fetchone()[0]):
        found.append(key)
    return found


def _joined(word: str, pieces: list[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    if len(pieces) == 1:
        return pieces[0]
    return f"({word.join(sql for sql, _ in pieces)})", [value for _, values in pieces for value in values]


class Masks:
    """Cached masks that follow a matrix: for a cached condition only new rows are read.

    The caller holds a lock. This is correct because a row never changes its attributes while it keeps its number.

    Args:
        limit: maximum bytes of cached masks.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self._kept: OrderedDict[tuple[Scan, ...], Mask] = OrderedDict()
        self._columns: dict[str, _Column | None] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the cached masks."""
        return sum(mask.nbytes for mask in self._kept.values())

    def clear(self) -> None:
        """Drop all masks and values."""
        self._kept.clear()
        self._columns.clear()

    def keep_rows(self, alive: Mask) -> None:
        """Drop the deleted rows of all masks, as the matrix did.

        Args:
            alive: `(n,)`, False for the rows that the matrix dropped.
        """
        for condition, mask in self._kept.items():
            self._kept[condition] = mask[alive[: len(mask)]]
        for key, column in self._columns.items():
            self._columns[key] = column.kept(alive) if column else None

    def of(self, connection: sqlite3.Connection, c: int, node: Node, numbers: NDArray[np.int64]) -> Mask:
        """The mask of a filter over the rows with these numbers; it must not be modified.

        Args:
            connection: in the transaction in which the matrix was read.
            c: the collection.
            node: the filter.
            numbers: `(n,)`, ascending.
        """
        found: Mask
        match node:
            case In() | Compare() | StartsWith() | Exists() | Native():
                found = self._condition(connection, c, node, numbers)
            case Not(part):
                found = ~self.of(connection, c, part, numbers)
            case And(parts):
                found = np.ones(len(numbers), dtype=np.bool_)
                for part in parts:
                    found &= self.of(connection, c, part, numbers)
            case Or(parts):
                found = np.zeros(len(numbers), dtype=np.bool_)
                for part in parts:
                    found |= self.of(connection, c, part, numbers)
        return found

    def _condition(
        self, connection: sqlite3.Connection, c: int, node: Condition | Native, numbers: NDArray[np.int64]
    ) -> Mask:
        condition = tuple(scans(node))
        known = self._kept.pop(condition, None)
        mask = known
        if mask is None and isinstance(node, Compare):
            mask = self._compared(connection, c, node, numbers)
        if mask is None or len(mask) < len(numbers):
            mask = np.zeros(len(numbers), dtype=np.bool_)
            size = 0 if known is None else len(known)
            mask[:size] = known if known is not None else False
            last = int(numbers[size - 1]) if size else 0
            for scan in condition:
                mask[positions_of(_rows_after(connection, c, scan, last), numbers)] = True
        if sum(len(scan.values) for scan in condition) <= KEPT_VALUES:
            self._kept[condition] = mask
            while self._kept and self.nbytes > self.limit:
                self._kept.popitem(last=False)
        return mask

    def _compared(
        self, connection: sqlite3.Connection, c: int, node: Compare, numbers: NDArray[np.int64]
    ) -> Mask | None:
        """The mask of a range of numbers, from the values of its key; None for a key that is asked for the first time.

        The values are read once, for the second range of a key, and compared in memory from then on.
        """
        if not isinstance(node.value, int | float) or not _is_exact(node.value):
            return None
        if node.key not in self._columns:
            self._columns[node.key] = None
            return None
        column = self._columns[node.key] or _Column.empty()
        if column.size < len(numbers):
            column = column.extended(connection, c, node.key, numbers)
            self._columns[node.key] = column
            if 16 * sum(len(one.values) for one in self._columns.values() if one) > self.limit:
                self._columns = {node.key: column}
        if not column.exact:
            return None
        mask = np.zeros(len(numbers), dtype=np.bool_)
        mask[column.positions[_ORDERS[node.order](column.values, node.value)]] = True
        return mask


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """The numbers that the rows of a matrix have under one key; a row may have several."""

    positions: NDArray[np.int64]
    values: NDArray[np.float64]
    size: int
    """How many rows of the matrix were looked up."""
    exact: bool
    """Whether all numbers are exact as float64."""

    @classmethod
    def empty(cls) -> _Column:
        """A column of no rows."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64), 0, exact=True)

    def extended(self, connection: sqlite3.Connection, c: int, key: str, numbers: NDArray[np.int64]) -> _Column:
        """The column with the values of rows that were added to the matrix.

        Args:
            connection: in the transaction in which the matrix was read.
            c: the collection.
            key: of the metadata.
            numbers: `(n,)`, of all rows of the matrix, ascending.
        """
        last = int(numbers[self.size - 1]) if self.size else 0
        sql = "SELECT n, value FROM attribute WHERE c = ? AND key = ? AND kind = 1 AND n > ?"
        found = connection.execute(sql, (c, key, last)).fetchall()
        exact = all(map(_is_exact, (value for _, value in found)))
        values = np.array([value for _, value in found] if exact else [], dtype=np.float64)
        rows = np.array([n for n, _ in found] if exact else [], dtype=np.int64)
        places = np.minimum(np.searchsorted(numbers, rows), len(numbers) - 1)
        inside = numbers[places] == rows
        return _Column(
            np.concatenate([self.positions, places[inside]]),
            np.concatenate([self.values, values[inside]]),
            len(numbers),
            exact=self.exact and exact,
        )

    def kept(self, alive: Mask) -> _Column:
        """The column without the deleted rows of a matrix.

        Args:
            alive: `(n,)`, False for the rows that the matrix dropped.
        """
        inside = alive[self.positions]
        moved = np.cumsum(alive[: self.size]) - 1
        positions = moved[self.positions[inside]]
        return _Column(positions, self.values[inside], int(np.count_nonzero(alive[: self.size])), exact=self.exact)


def _is_exact(value: object) -> bool:
    """Whether a number is the same as a float64."""
    return isinstance(value, float) or (isinstance(value, int) and -(2**53) <= value <= 2**53)


def positions_of(rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.intp]:
    """Positions of row numbers among the ascending numbers of a matrix; missing numbers are left out."""
    if not len(numbers):
        return np.empty(0, dtype=np.intp)
    if numbers[-1] - numbers[0] + 1 == len(numbers):  # without gaps, as long as nothing was replaced
        positions = rows - numbers[0]
        return np.asarray(positions[(positions >= 0) & (positions < len(numbers))], dtype=np.intp)
    positions = np.searchsorted(numbers, rows)
    inside = positions < len(numbers)
    positions = positions[inside]
    return np.asarray(positions[numbers[positions] == rows[inside]], dtype=np.intp)


def _rows_after(connection: sqlite3.Connection, c: int, scan: Scan, last: int) -> NDArray[np.int64]:
    """Row numbers above `last` that match a scan, in any order."""
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, max(1, len(scan.values)), KEPT_VALUES):
        values = scan.values[start : start + KEPT_VALUES]
        condition = scan.condition.replace("...", ", ".join("?" * len(values)))
        # One text of numbers is twice as fast to return as a Python tuple for each row.
        sql = f"SELECT group_concat(n) FROM attribute WHERE c = ? AND n > ? AND {condition}"  # noqa: S608 - values are bound
        (text,) = connection.execute(sql, (c, last, scan.key, *values)).fetchone()
        found.append(np.fromstring(text or "", dtype=np.int64, sep=","))
    return np.concatenate(found)
