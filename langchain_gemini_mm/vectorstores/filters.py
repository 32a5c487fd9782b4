"""Metadata filters: a dict, parsed into frozen nodes, with the same meaning in every store.

```
{"modality": "image"}                                      equals
{"start_s": {"$gte": 60, "$lt": 120}}                      both
{"modality": {"$in": ["image", "video"]}, "title": {"$exists": True}}
{"$or": [{"source": "a.pdf"}, {"$not": {"first_page": 1}}]}
{"source": {"$startswith": "photos/2024/"}}                a folder
```

Meaning:

- A key is a top-level key of the metadata, taken literally: a dot in it has no meaning. It cannot begin with `$`.
  A key such as `details.page`, where `details` holds dicts, is a `FilterError` instead of a filter that finds nothing.
- Dates, paths, decimals and other values have the form in which metadata are stored (`vectorstores.records`). Numbers
  compare with numbers (`1` equals `1.0`; integers beyond 64 bits compare as doubles), strings with strings (in code
  point order), `True` only with `True`. A value of another type does not match.
- `$startswith` compares the beginnings of strings, upper and lower case and all characters taken literally.
- A list matches if one of its elements does. Dicts, and lists in lists, match `$exists` only.
- `None` is no value: a key with `None` or an empty list is missing. `{"key": None}` finds documents without a value.
- `$ne`, `$nin` and `$not` are the exact negation of `$eq`, `$in` and their operand, so they also match missing keys.
- In Weaviate a `weaviate.classes.query.Filter` may stand for a dict, alone or in the list of `$and` and `$or`.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, FilterError
from langchain_gemini_mm.interfaces import Filter
from langchain_gemini_mm.validation import did_you_mean
from langchain_gemini_mm.vectorstores.records import plain_scalar

OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$startswith", "$exists", "$not")
"""The operators in the dict of a key."""
CONNECTIVES = ("$and", "$or", "$not")
"""The operators in the place of a key."""

MAX_DEPTH = 20
"""Maximum nesting of `$and`, `$or` and `$not`."""
MAX_CONDITIONS = 500
"""Maximum number of conditions of a filter."""
MAX_VALUES = 10_000
"""Maximum number of values in all `$in` and `$nin` of a filter."""

Predicate: TypeAlias = Callable[[Document], bool]
"""A filter as a function, for stores that can call one."""
Scalar: TypeAlias = str | int | float | bool
Order: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte"]
_KINDS = {"number": 1, "string": 2, "bool": 3, "other": 4}
_ORDERS: dict[Order, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


@dataclass(frozen=True, slots=True)
class In:
    """The key has one of the values; one value is plain equality."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """The key has a value of the same type as `value`, and `order` holds between the two."""

    key: str
    order: Order
    value: str | int | float


@dataclass(frozen=True, slots=True)
class StartsWith:
    """The key has a string that begins with a prefix."""

    key: str
    prefix: str
    """At least one character."""

    @property
    def end(self) -> str | None:
        """The first string, in code point order, after all that begin with the prefix; None if there is none."""
        for index in range(len(self.prefix) - 1, -1, -1):
            if (code := ord(self.prefix[index]) + 1) <= sys.maxunicode:
                return self.prefix[:index] + chr(0xE000 if code == 0xD800 else code)  # no halves of pairs
        return None


@dataclass(frozen=True, slots=True)
class Exists:
    """The key has a value."""

    key: str


@dataclass(frozen=True, slots=True, eq=False)
class Native:
    """A filter object of a database's client, which only that database can evaluate."""

    filter: Any


@dataclass(frozen=True, slots=True)
class And:
    """All parts match; with no part, everything does."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not match."""

    part: Node


Condition: TypeAlias = In | Compare | StartsWith | Exists
"""What a filter requires of one key."""
Node: TypeAlias = Condition | Native | And | Or | Not
"""A parsed filter."""


def parse_filter(given: Filter) -> Node:
    """Parse a filter.

    ```python
    from langchain_gemini_mm.vectorstores.filters import matches, parse_filter

    assert matches(parse_filter({"start_s": {"$gte": 60}}), {"start_s": 61.5})
    ```

    Raises:
        FilterError: an unknown operator, an operand of the wrong type, or a filter that is too large.
    """
    node = _filter(given, 1)
    found = list(leaves(node))
    values = sum(len(leaf.values) for leaf in found if isinstance(leaf, In))
    if len(found) > MAX_CONDITIONS or values > MAX_VALUES:
        raise FilterError(
            f"the filter holds {len(found)} conditions and {values} values; the limits are {MAX_CONDITIONS} and "
            f"{MAX_VALUES}. Search in several steps, or store a field that says what the filter means"
        )
    return node


def matches(node: Node, metadata: Mapping[str, Any]) -> bool:
    """Whether metadata match a parsed filter; the reference for the filters of all stores."""
    match node:
        case In(key, values):
            expected = {(kind_of(value), comparable(value)) for value in values}
            return any((kind_of(value), comparable(value)) in expected for value in elements(metadata.get(key)))
        case Compare(key, order, value):
            kind = kind_of(value)
            return any(
                _ORDERS[order](comparable(found), comparable(value))
                for found in elements(metadata.get(key))
                if kind_of(found) == kind
            )
        case StartsWith(key, prefix):
            return any(isinstance(found, str) and found.startswith(prefix) for found in elements(metadata.get(key)))
        case Exists(key):
            return any(True for _ in elements(metadata.get(key)))
        case Native():
            raise native_filter_error("a filter that is evaluated here")
        case And(parts):
            return all(matches(part, metadata) for part in parts)
        case Or(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)


def allows(given: Node | Predicate | None, document: Document) -> bool:
    """Whether a document matches a parsed filter or a function; None allows all.

    Raises:
        FilterError: a filter that only a database evaluates.
    """
    if given is None:
        return True
    return bool(given(document)) if callable(given) else matches(given, document.metadata)


def both(given: Node | Predicate | None, node: Node) -> Node | Predicate:
    """The filter for what matches `node` and, where there is one, the given filter or function."""
    if given is None:
        return node
    if callable(given):
        return lambda document: matches(node, document.metadata) and given(document)
    return And((given, node))


def all_of(given: Any, more: Sequence[Filter]) -> Any:
    """An unparsed filter, or a function of a document, together with more dicts; None where nothing is required."""
    if callable(given) and more:
        return both(given, parse_filter({"$and": more}))
    parts = [*([] if given is None else [given]), *more]
    return {"$and": parts} if len(parts) > 1 else parts[0] if parts else None


def native_filter_error(where: str) -> FilterError:
    """The error for a filter object of Weaviate's client that reaches something else than Weaviate.

    Args:
        where: what cannot evaluate it.
    """
    return FilterError(
        f"{where} cannot hold a Filter of weaviate-client, which only a Weaviate server evaluates. Write it as a dict, "
        "such as {'modality': 'image'}"
    )


def elements(value: Any) -> Iterator[Any]:
    """The values of a key that a filter compares: the elements of a list, and none for `None`."""
    for element in value if isinstance(value, list | tuple) else (value,):
        if element is not None:
            yield element


def kind_of(value: Any) -> str:
    """`number`, `string` or `bool`, within which values are compared, or `other` for values that are not."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "number" if isinstance(value, int | float) else "other"


def comparable(value: Any) -> Any:
    """A value as it is compared: integers beyond 64 bits as floats, dicts and lists as None."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return value if isinstance(value, str | int | float) else None


def attributes(metadata: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """The values of metadata that filters compare, as rows `(key, kind, value)` of numbers and texts.

    SQLite stores them instead of JSON, because it does not always parse decimals exactly.
    """
    for key, value in metadata.items():
        for element in elements(value):
            kind = kind_of(element)
            found = comparable(element)
            yield key, _KINDS[kind], int(found) if kind == "bool" else 0 if found is None else found


def _filter(given: Any, depth: int) -> Node:
    if type(given).__module__.partition(".")[0] == "weaviate" and not isinstance(given, type):
        return Native(given)
    if not isinstance(given, Mapping):
        raise FilterError(f"a filter is a dict such as {{'modality': 'image'}}, got {_shown(given)}")
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter nests deeper than {MAX_DEPTH} levels")
    return _all([_entry(key, operand, depth) for key, operand in given.items()])


def _entry(key: Any, operand: Any, depth: int) -> Node:
    if not isinstance(key, str):
        raise FilterError(f"a filter key is a str, got {_shown(key)}")
    if key == "$not":
        return Not(_filter(operand, depth + 1))
    if key in CONNECTIVES:
        return _connective(key, operand, depth)
    if key.startswith("$"):
        place = "belongs inside the dict of a key." if key in OPERATORS else f"does not exist{_hint(key)}"
        raise FilterError(f"{key!r} {place} Where a key stands, {', '.join(CONNECTIVES)} are allowed")
    _valid_text(key)
    if isinstance(operand, Mapping):
        return _operators(key, operand, depth)
    return _in(key, (operand,), "$eq")


def _connective(name: str, operand: Any, depth: int) -> Node:
    if not isinstance(operand, list | tuple) or not operand:
        raise FilterError(f"{name} takes a list of at least one filter, got {_shown(operand)}")
    parts = tuple(_filter(part, depth + 1) for part in operand)
    return And(parts) if name == "$and" else Or(parts)


def _operators(key: str, operand: Any, depth: int) -> Node:
    if not isinstance(operand, Mapping):
        raise FilterError(f"$not on {key!r} takes a dict such as {{'$gt': 5}}, got {_shown(operand)}")
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter nests deeper than {MAX_DEPTH} levels")
    if not operand:
        raise FilterError(
            f"the condition on {key!r} is empty; dicts cannot be compared. Use one of {', '.join(OPERATORS)}"
        )
    return _all([_operator(key, name, value, depth) for name, value in operand.items()])


def _operator(key: str, name: Any, value: Any, depth: int) -> Node:
    if name in ("$eq", "$ne"):
        return _negated(name == "$ne", _in(key, (value,), name))
    if name in ("$in", "$nin"):
        if not isinstance(value, list | tuple | set | frozenset):
            raise FilterError(f"{name} on {key!r} takes a list of values, got {_shown(value)}")
        return _negated(name == "$nin", _in(key, tuple(value), name))
    if name in _ORDERS:
        limit = _scalar(key, value, name) if value is not None else None
        if limit is None or isinstance(limit, bool):
            raise FilterError(f"{name} on {key!r} takes a number or a string, got {value!r}")
        return Compare(key, name, limit)
    if name == "$startswith":
        return _starts_with(key, value)
    if name == "$exists":
        return _exists(key, value)
    if name == "$not":
        return Not(_operators(key, value, depth + 1))
    raise FilterError(f"unknown operator {_shown(name)} on {key!r}{_hint(name)} Allowed: {', '.join(OPERATORS)}")


def _starts_with(key: str, value: Any) -> Node:
    if not isinstance(value, str) or not value:
        raise FilterError(f"$startswith on {key!r} takes a str of at least one character, got {_shown(value)}")
    return StartsWith(key, _valid_text(value))


def _exists(key: str, value: Any) -> Node:
    if not isinstance(value, bool):
        raise FilterError(f"$exists on {key!r} takes True or False, got {_shown(value)}")
    return _negated(not value, Exists(key))


def _negated(negative: bool, node: Node) -> Node:
    return Not(node) if negative else node


def _in(key: str, values: tuple[Any, ...], name: str) -> Node:
    given = In(key, tuple(_scalar(key, value, name) for value in values if value is not None))
    if None not in values:
        return given
    missing = Not(Exists(key))
    return Or((missing, given)) if given.values else missing


def _scalar(key: str, value: Any, name: str) -> Any:
    try:
        value = plain_scalar(value, f"{name} on {key!r}")
    except ContentError as error:
        raise FilterError(error.message) from None
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _valid_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        raise FilterError(f"{name} on {key!r} takes finite numbers, got {value!r}")
    raise FilterError(
        f"{name} on {key!r} compares with a str, int, float, bool or None, got {_shown(value)}. "
        "Convert it first; for one of several values use $in"
    )


def _valid_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FilterError(f"{_shown(text)} in the filter is not valid Unicode: {error.reason}") from None
    return str(text)


def _all(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def leaves(node: Node) -> Iterator[Condition | Native]:
    """The conditions of a filter."""
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case _:
            yield node


def _hint(name: Any) -> str:
    return did_you_mean("$" + str(name).strip().lstrip("$").lower(), CONNECTIVES + OPERATORS) or "."


def _shown(value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        text = ascii(value) if isinstance(value, str) else repr(value)
        return text if len(text) <= 60 else f"{text[:60]}…"
    return f"a {type(value).__name__}"
