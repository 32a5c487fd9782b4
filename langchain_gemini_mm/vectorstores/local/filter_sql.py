"""Parsed filters on the table of attributes: as SQL conditions, and as cached masks of matrix rows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.vectorstores.filters import And, Compare, Exists, In, Node, Not, Or, attributes

if TYPE_CHECKING:
    import sqlite3

Mask: TypeAlias = NDArray[np.bool_]

KEPT_BYTES = 16_000_000
"""Maximum memory of cached masks, one byte per row; the least recently used is dropped first."""
KEPT_VALUES = 100
"""Conditions with more values are not cached."""

_SIGNS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan of the attributes of one key and kind."""

    condition: str
    """SQL on `attribute`; `...` is replaced by the placeholders of the values."""
    key: str
    values: tuple[Any, ...]


def scans(node: In | Compare | Exists) -> Iterator[Scan]:
    """The scans that find all rows of one condition; equal conditions give equal scans."""
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
        case Exists(key):
            yield Scan("key = ?", key, ())


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

    @property
    def nbytes(self) -> int:
        """Bytes of the cached masks."""
        return sum(mask.nbytes for mask in self._kept.values())

    def clear(self) -> None:
        """Drop all masks."""
        self._kept.clear()

    def keep_rows(self, alive: Mask) -> None:
        """Drop the deleted rows of all masks, as the matrix did.

        Args:
            alive: `(n,)`, False for the rows that the matrix dropped.
        """
        for condition, mask in self._kept.items():
            self._kept[condition] = mask[alive[: len(mask)]]

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
            case In() | Compare() | Exists():
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
        self, connection: sqlite3.Connection, c: int, node: In | Compare | Exists, numbers: NDArray[np.int64]
    ) -> Mask:
        condition = tuple(scans(node))
        known = self._kept.pop(condition, None)
        mask = known
        if mask is None or len(mask) < len(numbers):
            mask = np.zeros(len(numbers), dtype=np.bool_)
            size = 0 if known is None else len(known)
            mask[:size] = known if known is not None else False
            last = int(numbers[size - 1]) if size else 0
            for scan in condition:
                mask[positions_of(_rows_after(connection, c, scan, last), numbers)] = True
        if sum(len(scan.values) for scan in condition) <= KEPT_VALUES:
            self._kept[condition] = mask
            while len(self._kept) * len(numbers) > self.limit:
                self._kept.popitem(last=False)
        return mask


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
