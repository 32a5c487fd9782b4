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
    Condition,
    Exists,
    In,
    Native,
    Node,
    Not,
    Or,
    StartsWith,
    comparable,
    kind_of,
    leaves,
)
from langchain_gemini_mm.vectorstores.weaviate.fields import Field, encoded, is_marked
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
_KINDS = {"str": "string", "bool": "bool", "int": "number", "float": "number", "date": "string", "uuid": "string"}
_INT64 = 2**63
_MARK, _AFTER_MARK, _NUL = "\x01", "\x02", "\x00"
_LAST_SPACE = "\u3000"
"""The white space with the highest code point."""

Divided: TypeAlias = tuple[Node | None, Node | None]
"""A filter for the server, and one that its results have to match in addition; None matches everything."""


def compile_filter(node: Node | None, fields: Mapping[str, Field], version: Version) -> Any:
    """Compile a filter; None for no filter.

    Conditions that the server cannot answer exactly match too many documents; see `divide`.

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
        if not isinstance(leaf, Native) and leaf.key not in fields:
            hint = did_you_mean(leaf.key, fields)
            raise FilterError(
                f"{leaf.key[:60]!r} is not a declared field, so Weaviate cannot filter on it{hint or '.'} Declare it "
                f"with fields={{{leaf.key[:60]!r}: ...}} when the collection is made, or call "
                f"add_field({leaf.key[:60]!r}, str), with the type of its values"
            )


def divide(node: Node | None, fields: Mapping[str, Field]) -> Divided:
    """Divide a filter into what the server answers, and what has to be checked in the documents that it returns.

    A server filter may match too many documents, never too few; those it returns must also match the second filter.

    Args:
        node: the parsed filter; its keys are declared.
        fields: the declared fields, by metadata key.

    Raises:
        FilterError: a filter object of the client stands in `$or` or `$not` with a condition that is checked here.
    """
    if node is None or all(isinstance(leaf, Native) or _is_exact(leaf, fields) for leaf in leaves(node)):
        return node, None
    return _divided(node, fields, matches=True)


def _is_exact(leaf: Condition, fields: Mapping[str, Field]) -> bool:
    return all(fields[leaf.key].answered(leaf, matches) == "exactly" for matches in (True, False))


def _divided(node: Node, fields: Mapping[str, Field], *, matches: bool) -> Divided:
    match node:
        case Not(part):
            return _divided(part, fields, matches=not matches)
        case Native():
            return (node if matches else Not(node)), None
        case And(parts) | Or(parts):
            divided = [_divided(part, fields, matches=matches) for part in parts]
            server = [one for one, _ in divided if one is not None]
            rest = [one for _, one in divided if one is not None]
            if isinstance(node, And) == matches:
                return (And(tuple(server)) if server else None), (And(tuple(rest)) if rest else None)
            whole: Node = node if matches else Not(node)
            if not rest:
                return whole, None
            if any(isinstance(leaf, Native) for leaf in leaves(node)):
                raise FilterError(
                    "a Filter of weaviate-client cannot be combined by $or with a condition that Weaviate does not "
                    "answer exactly. Combine them by $and, or write all of it as one Filter of the client"
                )
            return (Or(tuple(server)) if len(server) == len(parts) else None), whole
        case _:
            condition: Node = node if matches else Not(node)
            answered = fields[node.key].answered(node, matches)
            return (None if answered == "not" else condition), (None if answered == "exactly" else condition)


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
            case StartsWith(key):
                return self._starts(self._fields[key], node, matches)
            case Native(given):
                return given if matches else self._negation(given, "$not of a Filter")
            case Exists(key) if self._fields[key].type == "absent":
                return not matches
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
        if matches and field.is_tokenized:
            return _any([by.equal(item) for item in found])
        if len(found) == 1:
            return by.equal(found[0]) if matches else by.not_equal(found[0])
        if matches:
            return by.contains_any(found)
        if self._version >= NOT_FILTERS:
            return by.contains_none(found)
        return Filter.all_of([by.not_equal(item) for item in found])

    def _compare(self, field: Field, order: str, value: Any, matches: bool) -> _Compiled:
        if kind_of(value) != _KINDS.get(field.item):
            return not matches
        if matches:
            return self._side(field, order, value)
        if field.many:
            return self._not(field, self._side(field, order, value))
        missing = Filter.by_property(field.property_name).is_none(True)
        return _any([missing, self._side(field, _OPPOSITES[order], value)])

    def _starts(self, field: Field, node: StartsWith, matches: bool) -> _Compiled:
        if field.item != "str":
            return not matches
        prefix = node.prefix
        if field.marks_white_space and is_marked(prefix[0]):
            prefix = _MARK + prefix
        by, end = Filter.by_property(field.property_name), StartsWith(node.key, prefix).end
        if end is not None:
            end = _padded(end) if end[0] == _MARK else _unmarked(end)
        if matches:
            above = by.greater_or_equal(_padded(prefix))
            return above if end is None else _all([above, by.less_than(end)])
        outside = [by.is_none(True), by.less_than(_padded(prefix))]
        return _any([*outside, *([] if end is None else [by.greater_or_equal(end)])])

    def _side(self, field: Field, order: str, value: Any) -> _Compiled:
        """The filter for one comparison."""
        if field.item == "str" and field.marks_white_space:
            # In the order of code points, the texts after `value` are those from `value` with a NUL on.
            bound = value if order in ("$gte", "$lt") else value + _NUL
            return self._from(field, bound) if order.startswith("$g") else _before(field, bound)
        return _plain_side(field, order, value)

    def _from(self, field: Field, bound: str) -> _Compiled:
        """The filter for the texts from `bound` on, in the order of code points."""
        by = Filter.by_property(field.property_name)
        if not bound:
            return by.is_none(False)
        least = _padded(_MARK + bound)
        if bound[0] == _NUL:
            parts = [_all([by.greater_or_equal(_padded(bound)), by.less_than(_MARK)]), by.greater_or_equal(least)]
        else:
            parts = [by.greater_or_equal(_unmarked(bound))]
            if bound[0] <= _LAST_SPACE:
                # The negation reads only the few texts with a mark; a range would read all that follow them.
                marked = by.greater_or_equal(least)
                if self._version >= NOT_FILTERS and not field.many:
                    marked = Filter.not_(by.less_than(least))
                parts.append(_all([by.less_than(_AFTER_MARK), marked]))
        misplaced = [] if field.many else _misplaced(bound)  # another element of the list may be in the range
        return _all([_any(parts), *(by.not_equal(encoded(text)) for text in misplaced)])

    def _not(self, field: Field, part: _Compiled) -> _Compiled:
        if isinstance(part, bool):
            return not part
        return self._negation(part, f"$not of a range of the list {field.key!r}")

    def _negation(self, part: Any, what: str) -> Any:
        if self._version < NOT_FILTERS:
            raise FilterError(
                f"{what} needs Weaviate {NOT_FILTERS}, and the server is {self._version}. Upgrade it, or ask the other "
                "way round"
            )
        return Filter.not_(part)


def _before(field: Field, bound: str) -> _Compiled:
    """The filter for the texts before `bound`, in the order of code points."""
    by = Filter.by_property(field.property_name)
    if not bound:
        return False
    least = _padded(_MARK + bound)
    if bound[0] == _NUL:
        parts = [by.less_than(_padded(bound)), _all([by.greater_or_equal(_MARK), by.less_than(least)])]
    elif bound[0] > _LAST_SPACE:
        parts = [by.less_than(_unmarked(bound))]
    else:
        parts = [by.less_than(least), _all([by.greater_or_equal(_AFTER_MARK), by.less_than(_unmarked(bound))])]
    return _any([*parts, *(by.equal(encoded(text)) for text in _misplaced(bound))])


def _misplaced(bound: str) -> list[str]:
    """The texts before `bound` whose mark at the end puts them behind it: `bound` goes on with a NUL where they end."""
    return [
        bound[:end]
        for end in range(1, len(bound))
        if bound[end] <= _MARK and is_marked(bound[end - 1]) and bound[:end] + _MARK >= bound
    ]


def _unmarked(bound: str) -> str:
    """The least stored text without a mark at its beginning that is not before `bound`."""
    if not is_marked(bound[0]):
        return _padded(bound)
    code = ord(bound[0])
    while is_marked(chr(code)):
        code += 1
    return chr(code)


def _padded(text: str) -> str:
    """The same bound without white space at its end, which the server would remove; no stored text lies between."""
    return f"{text}{_NUL}" if text[-1].isspace() else text


def _plain_side(field: Field, order: str, value: Any) -> _Compiled:
    """The filter for one comparison of numbers, dates, or texts as the server compares them."""
    operand: Any = field.operand(value) if isinstance(value, str) else comparable(value)
    if isinstance(value, str):
        return (
            False if operand is None else getattr(Filter.by_property(field.property_name), _OPERATORS[order])(operand)
        )
    if field.item == "int" and -_INT64 <= operand < _INT64:
        operand = math.floor(operand) if order in ("$gt", "$lte") else math.ceil(operand)
    elif field.item == "float" and math.isfinite(operand):
        operand = float(operand)
    else:  # beyond all stored numbers: all of them are on one side
        everything = order.startswith("$l") == (operand > 0)
        return Filter.by_property(field.property_name).is_none(False) if everything else False
    return getattr(Filter.by_property(field.property_name), _OPERATORS[order])(operand)


def _operand(field: Field, value: Any) -> Any:
    """A value as the field stores it; None if no object can have it."""
    if kind_of(value) != _KINDS.get(field.item):
        return None
    if field.item in ("str", "date", "uuid"):
        return field.operand(value)
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
