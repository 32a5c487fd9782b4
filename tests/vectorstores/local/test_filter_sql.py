"""Filters as SQL give the same results as the predicate, for any metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    Native,
    attributes,
    leaves,
    matches,
    parse_filter,
)
from tests.vectorstores.fakes import WordEmbeddings
from tests.vectorstores.meanings import MEANINGS, Meaning

KEYS = st.sampled_from(["a", "b", "a.b", "us$", "q'\"", "ключ", ""])
SPECIAL = [0, 1, -1, True, False, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**70, 10**400]
NUMBERS = (
    st.integers(-3, 3) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(SPECIAL)
)
TEXTS = st.sampled_from(["", "x", "X", "xy", "1", "é", "画", "🐕", "x\0y", "%", "True"]) | st.text(max_size=5)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = SCALARS | st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)


@st.composite
def conditions(draw: st.DrawFn, metadata: list[dict[str, Any]]) -> dict[str, Any]:
    """One condition, mostly with values that occur."""
    present = [(key, item) for row in metadata for key, value in row.items() for item in _scalars(value)]
    somewhere = st.tuples(KEYS, SCALARS)
    key, value = draw(st.sampled_from(present) | somewhere if present else somewhere)
    operator = draw(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not", ""]))
    if operator == "":
        return {key: value}
    if operator in ("$in", "$nin"):
        return {key: {operator: [value, *draw(st.lists(SCALARS, max_size=2))]}}
    if operator == "$exists":
        return {key: {operator: draw(st.booleans())}}
    if operator == "$not":
        return {key: {operator: {"$eq": value}}}
    if operator.startswith(("$g", "$l")) and (value is None or isinstance(value, bool)):
        value = draw(NUMBERS.filter(lambda number: not isinstance(number, bool)))
    return {key: {operator: value}}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Metadata of some rows, and a filter on them."""
    rows = draw(st.lists(METADATA, min_size=1, max_size=6))
    filters = st.recursive(
        conditions(rows),
        lambda inner: (
            st.builds(
                lambda name, parts: {name: parts},
                st.sampled_from(["$and", "$or"]),
                st.lists(inner, min_size=1, max_size=3),
            )
            | st.builds(lambda part: {"$not": part}, inner)
        ),
        max_leaves=4,
    )
    return rows, draw(filters)


@pytest.fixture(scope="module")
def store() -> Iterator[LocalVectorStore]:
    """One store in memory, emptied by each use."""
    with LocalVectorStore(":memory:", WordEmbeddings(size=2)) as found:
        yield found


def fill(store: LocalVectorStore, rows: list[dict[str, Any]]) -> None:
    """Replace the content by `rows`, with their positions as ids."""
    store.delete_all()
    documents = [Document(page_content="x", metadata=row) for row in rows]
    store.add_vectors(documents, [[1.0, 0.0]] * len(rows), ids=map(str, range(len(rows))))


def found_by(store: LocalVectorStore, given_filter: dict[str, Any]) -> set[int]:
    """The rows that a search with the filter finds; counting and iterating agree."""
    hits = {int(hit.document.id or "") for hit in store.search_by_vector([1.0, 0.0], k=100, filter=given_filter)}
    assert store.count(filter=given_filter) == len(hits)
    assert {int(document.id or "") for document in store.iterate(filter=given_filter)} == hits
    return hits


def names_inner_value(rows: Iterable[dict[str, Any]], given_filter: dict[str, Any]) -> bool:
    """Whether a filter has a key such as `a.b` that no row has, while `a` holds a dict in one; it may be refused."""
    keys = {leaf.key for leaf in leaves(parse_filter(given_filter)) if not isinstance(leaf, Native)}
    present = {(key, kind) for row in rows for key, kind, _ in attributes(row)}
    (other,) = {kind for _, kind, _ in attributes({"": {}})}
    return any((key.partition(".")[0], other) in present and key not in dict(present) for key in keys if "." in key)


@pytest.mark.slow
@pytest.mark.soak
@settings(max_examples=200)
@given(cases())
def test_sql_agrees_with_the_predicate(
    store: LocalVectorStore, case: tuple[list[dict[str, Any]], dict[str, Any]]
) -> None:
    """Random filters on random metadata find exactly the rows that the predicate accepts."""
    rows, given_filter = case
    fill(store, rows)
    node = parse_filter(given_filter)
    if names_inner_value(rows, given_filter):
        return
    assert found_by(store, given_filter) == {i for i, row in enumerate(rows) if matches(node, row)}


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
def test_sql_agrees_with_the_table(store: LocalVectorStore, meaning: Meaning) -> None:
    """The table of meanings applies to SQL."""
    fill(store, [*meaning.matching, *meaning.others])
    assert found_by(store, meaning.filter) == set(range(len(meaning.matching)))


def test_the_largest_filters_are_within_the_limits_of_sqlite(store: LocalVectorStore) -> None:
    """Every filter that can be parsed can be run."""
    fill(store, [{"a": 1}, {"a": 2}])
    assert found_by(store, {"a": {"$in": list(range(MAX_VALUES))}}) == {0, 1}
    assert found_by(store, {"$or": [{"a": 3}] * (MAX_CONDITIONS - 1) + [{"a": 2}]}) == {1}
    assert found_by(store, {"$and": [{"a": {"$ne": 3}}] * MAX_CONDITIONS}) == {0, 1}
    store.count(filter={"$or": [{"$not": {"a": {"$in": [1, "x", True]}}}] * (MAX_CONDITIONS // 2)})


def test_the_deepest_filters_are_within_the_limits_of_sqlite(store: LocalVectorStore) -> None:
    """Nesting up to the limit neither overflows SQLite's parser nor changes the result."""
    fill(store, [{"a": 1}, {"a": 2}])
    deep: dict[str, Any] = {"a": 1}
    for level in range(MAX_DEPTH - 1):
        forms: list[dict[str, Any]] = [{"$not": deep}, {"$or": [{"b": 1}, deep]}, {"$and": [{"c": {"$ne": 1}}, deep]}]
        deep = forms[level % 3]
    node = parse_filter(deep)
    assert found_by(store, deep) == {i for i, row in enumerate([{"a": 1}, {"a": 2}]) if matches(node, row)}


def _scalars(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return []
    return [item for item in value if not isinstance(item, list | dict)] if isinstance(value, list) else [value]
