"""Compile parsed filters to Weaviate filters that match the same documents as `vectorstores.filters.matches`."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from weaviate.classes.query import Filter

from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.validation import did_you_mean
from langchain_gemini_mm.vectorstores.filters import (
    And,
    Compare,
    Exists,
    In,
    Node,
    Not,
    Or,
    comparable,
    kind_of,
    leaves,
)
from langchain_gemini_mm.vectorstores.weaviate.fields import Field, encoded
from langchain_gemini_mm.weaviate_client.versions import NOT_FILTERS, Version

_Compiled: TypeAlias = "Any | bool"
"""A Weaviate filter, or True for all objects and False for none."""

_OPERATORS: dict[str, Literal["greater_than", "greater_or_equal", "less_than", "less_or_equal"]] = {
    "$gt": "greater_than",
    "$gte": "greater_or_equal",
    "$lt": "less_than",
    "$lte": "less_or_equal",
}
_OPPOSITES = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}
_KINDS = {"str": "string", "bool": "bool", "int": "number", "float": "number"}
_INT64 = 2**63


def compile_filter(node: Node | None, fields: Mapping[str, Field], version: Version) -> Any:
    """Compile a filter; None for no filter.

    Args:
        node: the parsed filter.
        fields: the declared fields, by metadata key.
        version: of the server.

    Raises:
        FilterError: a key is not declared, or the server is too old for the filter.
    """
    if node is None:
        return None
    require_declared(node, fields)
    found = _Compiler(fields, version).compile(node)
    if found is True:
        return None
    return Filter.by_id().equal(uuid.UUID(int=0)) if found is False else found


def require_declared(node: Node, fields: Mapping[str, Field]) -> None:
    """Refuse a filter on keys that are not declared as fields.

    Raises:
        FilterError: a key is not declared.
    """
    for leaf in leaves(node):
        if leaf.key not in fields:
            hint = did_you_mean(leaf.key, fields)
            raise FilterError(
                f"{leaf.key[:60]!r} is not a declared field, so Weaviate cannot filter on it{hint or '.'} Declare it "
                f"with fields={{{leaf.key[:60]!r}: ...}} when the collection is made, or call add_field()"
            )


class _Compiler:
    def __init__(self, fields: Mapping[str, Field], version: Version) -> None:
        self._fields = fields
        self._version = version

    def compile(self, node: Node, matches: bool = True) -> _Compiled:
        """Compile a filter, or its negation if `matches` is False; negations are pushed down to the conditions."""
        match node:
            case In(key, values):
                return self._in(self._fields[key], values, matches)
            case Compare(key, order, value):
                return self._compare(self._fields[key], order, value, matches)
            case Exists(key):
                return Filter.by_property(self._fields[key].property_name).is_none(not matches)
            case And(parts):
                return (_all if matches else _any)([self.compile(part, matches) for part in parts])
            case Or(parts):
                return (_any if matches else _all)([self.compile(part, matches) for part in parts])
            case Not(part):
                return self.compile(part, not matches)

    def _in(self, field: Field, values: Sequence[Any], matches: bool) -> _Compiled:
        found = [item for value in values if (item := _operand(field, value)) is not None]
        by = Filter.by_property(field.property_name)
        if not found:
            return not matches
        if len(found) == 1:
            return by.equal(found[0]) if matches else by.not_equal(found[0])
        if matches:
            return by.contains_any(found)
        if self._version >= NOT_FILTERS:
            return by.contains_none(found)
        return Filter.all_of([by.not_equal(item) for item in found])

    def _compare(self, field: Field, order: str, value: Any, matches: bool) -> _Compiled:
        if kind_of(value) != _KINDS[field.item]:
            return not matches
        if matches:
            return _side(field, order, value)
        if field.many:
            return self._not(field, _side(field, order, value))
        missing = Filter.by_property(field.property_name).is_none(True)
        return _any([missing, _side(field, _OPPOSITES[order], value)])

    def _not(self, field: Field, part: _Compiled) -> _Compiled:
        if isinstance(part, bool):
            return not part
        if self._version < NOT_FILTERS:
            raise FilterError(
                f"$not of a range of the list {field.key!r} needs Weaviate {NOT_FILTERS}, and the server is "
                f"{self._version}. Upgrade it, or ask the other way round"
            )
        return Filter.not_(part)


def _side(field: Field, order: str, value: Any) -> _Compiled:
    """The filter for one comparison."""
    operand: Any = encoded(value) if isinstance(value, str) else comparable(value)
    if field.item == "int" and -_INT64 <= operand < _INT64:
        operand = math.floor(operand) if order in ("$gt", "$lte") else math.ceil(operand)
    elif field.item == "float" and math.isfinite(operand):
        operand = float(operand)
    elif field.item != "str":  # beyond all stored numbers: all of them are on one side
        everything = order.startswith("$l") == (operand > 0)
        return Filter.by_property(field.property_name).is_none(False) if everything else False
    return getattr(Filter.by_property(field.property_name), _OPERATORS[order])(operand)


def _operand(field: Field, value: Any) -> Any:
    """A value as the field stores it; None if no object can have it."""
    if kind_of(value) != _KINDS[field.item]:
        return None
    if field.item == "str":
        return encoded(value)
    if field.item == "bool":
        return value
    number = comparable(value)
    if field.item == "float":
        return float(number) if math.isfinite(number) and float(number) == number else None
    return int(number) if -_INT64 <= number < _INT64 and number == int(number) else None


def _all(parts: list[_Compiled]) -> _Compiled:
    if any(part is False for part in parts):
        return False
    rest: list[Any] = [part for part in parts if part is not True]
    return (Filter.all_of(rest) if len(rest) > 1 else rest[0]) if rest else True


def _any(parts: list[_Compiled]) -> _Compiled:
    if any(part is True for part in parts):
        return True
    rest: list[Any] = [part for part in parts if part is not False]
    return (Filter.any_of(rest) if len(rest) > 1 else rest[0]) if rest else False
