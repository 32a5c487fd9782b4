"""Parsed filters as SQL conditions on the table of attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_gemini_mm.vectorstores.filters import (
    And,
    Compare,
    Exists,
    In,
    Node,
    Not,
    Or,
    comparable,
    elements,
    kind_of,
)

_KINDS = {"number": 1, "string": 2, "bool": 3, "other": 4}
_SIGNS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def attributes(metadata: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """The attribute rows `(key, kind, value)` of metadata.

    Values are SQLite numbers and texts instead of JSON, because SQLite does not always parse decimals exactly.
    """
    for key, value in metadata.items():
        for element in elements(value):
            kind = kind_of(element)
            found = comparable(element)
            yield key, _KINDS[kind], int(found) if kind == "bool" else 0 if found is None else found


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
