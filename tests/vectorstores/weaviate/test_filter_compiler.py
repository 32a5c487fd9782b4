"""Compiled filters match what the filter language says, on an index that stores texts as Weaviate does."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weaviate.classes.query import Filter

from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter
from langchain_gemini_mm.vectorstores.weaviate.fields import Field, declared_fields, stored_fields
from langchain_gemini_mm.vectorstores.weaviate.filter_compiler import compile_filter, divide
from langchain_gemini_mm.weaviate_client.versions import FLOOR, NOT_FILTERS

FIELDS = declared_fields({"name": str, "tags": list[str]})
ENDS = [
    "",
    "\x00",
    "\x01",
    "\x02",
    "\x08",
    "\x1f",
    " ",
    "\t",
    "\x85",
    "\xa0",
    "\u1680",
    "\u2000",
    "\u3000",
    "\u3001",
    "a",
    "b",
    "\U0010ffff",
]
TEXTS = st.lists(st.sampled_from(ENDS), max_size=3).map("".join)
ORDERS = {
    "GreaterThan": operator.gt,
    "GreaterThanEqual": operator.ge,
    "LessThan": operator.lt,
    "LessThanEqual": operator.le,
}
RANGES = st.builds(
    lambda key, name, text: {key: {name: text}},
    st.sampled_from(["name", "tags"]),
    st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
    TEXTS,
) | st.builds(lambda key, text: {key: {"$startswith": text}}, st.sampled_from(["name", "tags"]), TEXTS.filter(bool))
FILTERS = (
    RANGES
    | RANGES.map(lambda one: {"$not": one})
    | st.lists(RANGES, min_size=2, max_size=2).map(lambda pair: {"$or": pair})
    | TEXTS.map(lambda text: {"name": text})
    | st.lists(TEXTS, max_size=2).map(lambda texts: {"tags": {"$nin": texts}})
)


def evaluated(given_filter: Any, stored: dict[str, Any]) -> bool:
    """Evaluate a filter of the client as a server does: without white space at the ends of texts, on any element."""
    if given_filter is None:
        return True
    name = given_filter.operator.value
    if name in ("And", "Or"):
        return (all if name == "And" else any)(evaluated(part, stored) for part in given_filter.filters)
    if name == "Not":
        return not evaluated(given_filter.filters[0], stored)
    value = stored.get(given_filter.target)
    found = [] if value is None else value if isinstance(value, list) else [value]
    if name == "IsNull":
        return (not found) == given_filter.value
    values = given_filter.value if isinstance(given_filter.value, list) else [given_filter.value]
    asked = [one.strip() if isinstance(one, str) else one for one in values]
    if name in ("Equal", "ContainsAny"):
        return any(one in asked for one in found)
    if name in ("NotEqual", "ContainsNone"):
        return not any(one in asked for one in found)
    return any(ORDERS[name](one, asked[0]) for one in found)


@settings(max_examples=500, deadline=None)
@given(FILTERS, st.none() | TEXTS, st.none() | st.lists(TEXTS, max_size=3), st.sampled_from([FLOOR, NOT_FILTERS]))
def test_texts_compare_by_code_points(asked: Any, name: str | None, tags: list[str] | None, version: Any) -> None:
    """White space, control characters and empty texts sort as in Python, whatever the filter index does with them."""
    metadata = {key: value for key, value in (("name", name), ("tags", tags)) if value is not None}
    stored = stored_fields(FIELDS, metadata, "metadata")
    node = parse_filter(asked)
    server, rest = divide(node, FIELDS)
    found = evaluated(compile_filter(server, FIELDS, version), stored)
    expected = matches(node, metadata)
    assert found or not expected
    assert (found and (rest is None or matches(rest, metadata))) == expected
    assert rest is None or "tags" in repr(asked)


def test_filters_of_the_client_pass_through() -> None:
    """A `Filter` of weaviate-client stands alone, or beside dicts."""
    own = Filter.by_property("anything").like("a*")
    assert compile_filter(parse_filter(own), FIELDS, NOT_FILTERS) is own
    both = compile_filter(parse_filter({"$and": [own, {"name": "x"}]}), FIELDS, NOT_FILTERS)
    assert own in both.filters
    assert compile_filter(parse_filter({"$not": own}), FIELDS, NOT_FILTERS).filters == [own]
    with pytest.raises(FilterError, match=r"\$not of a Filter needs Weaviate 1.33.0, and the server is 1.32.0"):
        compile_filter(parse_filter({"$not": own}), FIELDS, FLOOR)


def test_what_is_checked_here_cannot_be_mixed_with_filters_of_the_client() -> None:
    """Only the server evaluates them: `$and` is divided, `$or` is refused with the way out."""
    own, tags = Filter.by_property("anything").like("a*"), {"tags": {"$gt": "m"}}
    server, rest = divide(parse_filter({"$and": [own, tags]}), FIELDS)
    assert compile_filter(server, FIELDS, NOT_FILTERS) is not None
    assert rest is not None
    assert matches(rest, {"tags": ["z"]})
    with pytest.raises(FilterError, match=r"cannot be combined by \$or .* Combine them by \$and"):
        divide(parse_filter({"$or": [own, tags]}), FIELDS)


def test_an_undeclared_key_says_how_to_declare_it() -> None:
    """The error names the most similar field, `fields=` and `add_field`."""
    with pytest.raises(
        FilterError, match=r"'nam' is not a declared field.*Did you mean 'name'.*add_field\('nam', str\)"
    ):
        compile_filter(parse_filter({"nam": "x"}), {"name": Field("name", "str")}, NOT_FILTERS)
