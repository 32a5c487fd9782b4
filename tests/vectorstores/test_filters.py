"""The filter language: what filters match, and errors by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from langchain_gemini_mm.errors import FilterError, GeminiMMError
from langchain_gemini_mm.vectorstores.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    And,
    In,
    Not,
    matches,
    parse_filter,
)
from tests.vectorstores.meanings import MEANINGS, Meaning

REFUSED: list[tuple[str, Any, str]] = [
    ("no dict", [("a", 1)], "a filter is a dict"),
    ("a string", "modality", "a filter is a dict.*'modality'"),
    ("a function", lambda _: True, "a filter is a dict.*a function"),
    ("a key that is no string", {1: 2}, "a filter key is a str, got 1"),
    ("a forgotten dollar", {"a": {"gte": 5}}, r"unknown operator 'gte' on 'a'. Did you mean '\$gte'\? Allowed: \$eq"),
    ("a trailing space", {"a": {"$gte ": 5}}, r"'\$gte ' on 'a'. Did you mean '\$gte'"),
    ("capitals", {"a": {"$GT": 5}}, r"Did you mean '\$gt'"),
    ("an operator of others", {"a": {"$regex": "x"}}, r"unknown operator '\$regex' on 'a'"),
    ("a nested dict", {"a": {"b": 1}}, "unknown operator 'b' on 'a'"),
    ("an empty condition", {"a": {}}, "the condition on 'a' is empty; dicts cannot be compared"),
    ("an operator above keys", {"$gte": 5}, r"'\$gte' belongs inside the dict of a key"),
    ("an unknown word above keys", {"$ad": []}, r"'\$ad' does not exist. Did you mean '\$and'"),
    ("and of nothing", {"$and": []}, r"\$and takes a list of at least one filter"),
    ("or of a dict", {"$or": {"a": 1}}, r"\$or takes a list of at least one filter, got a dict"),
    ("or of strings", {"$or": ["a"]}, "a filter is a dict"),
    ("not of a list", {"$not": [{"a": 1}]}, "a filter is a dict"),
    ("not of a value", {"a": {"$not": 5}}, r"\$not on 'a' takes a dict"),
    ("in of a string", {"a": {"$in": "abc"}}, r"\$in on 'a' takes a list of values, got 'abc'"),
    ("nin of a number", {"a": {"$nin": 5}}, r"\$nin on 'a' takes a list"),
    ("in of lists", {"a": {"$in": [[1]]}}, r"\$in on 'a' compares with .* got a list"),
    ("equal to a list", {"a": [1, 2]}, r"for one of several values use \$in"),
    ("equal to bytes", {"a": b"x" * 1000}, "got a bytes"),
    ("NaN", {"a": math.nan}, r"\$eq on 'a' takes finite numbers, got nan"),
    ("infinity", {"a": {"$lt": math.inf}}, "takes finite numbers, got inf"),
    ("greater than True", {"a": {"$gt": True}}, r"\$gt on 'a' takes a number or a string, got True"),
    ("less than None", {"a": {"$lt": None}}, r"\$lt on 'a' takes a number or a string, got None"),
    ("exists of a number", {"a": {"$exists": 1}}, r"\$exists on 'a' takes True or False, got 1"),
    ("a prefix that is no string", {"a": {"$startswith": 5}}, r"\$startswith on 'a' takes a str .*, got 5"),
    (
        "an empty prefix",
        {"a": {"$startswith": ""}},
        r"\$startswith on 'a' takes a str of at least one character, got ''",
    ),
    ("an operator that is no string", {"a": {5: 5}}, "unknown operator 5 on 'a'"),
    ("half a surrogate pair in a value", {"a": "\ud800"}, "not valid Unicode"),
    ("half a surrogate pair in a key", {"\ud800": 1}, "not valid Unicode"),
    (
        "too many values",
        {"a": {"$in": list(range(MAX_VALUES + 1))}},
        f"the limits are {MAX_CONDITIONS} and {MAX_VALUES}",
    ),
    ("too many conditions", {"$or": [{"a": 1}] * (MAX_CONDITIONS + 1)}, f"holds {MAX_CONDITIONS + 1} conditions"),
]


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
def test_the_predicate_agrees_with_the_table(meaning: Meaning) -> None:
    """`matches` agrees with the table of meanings."""
    node = parse_filter(meaning.filter)
    assert [matches(node, metadata) for metadata in meaning.matching] == [True] * len(meaning.matching)
    assert [matches(node, metadata) for metadata in meaning.others] == [False] * len(meaning.others)


@pytest.mark.parametrize(("given", "message"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_a_malformed_filter_is_refused_by_name(given: Any, message: str) -> None:
    """The error names the operator, the key and the allowed values."""
    with pytest.raises(FilterError, match=message) as caught:
        parse_filter(given)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, GeminiMMError)
    assert len(str(caught.value)) < 400


def nested(depth: int, *, inside_key: bool) -> dict[str, Any]:
    """`$not` nested `depth` times."""
    found: dict[str, Any] = {"$gt": 1} if inside_key else {"a": 1}
    for _ in range(depth - 1):
        found = {"$not": found}
    return {"a": found} if inside_key else found


@pytest.mark.parametrize("inside_key", [False, True], ids=["above keys", "inside a key"])
def test_nesting_has_a_limit(inside_key: bool) -> None:
    """A filter of a user cannot overflow the stack."""
    parse_filter(nested(MAX_DEPTH, inside_key=inside_key))
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(FilterError, match=f"deeper than {MAX_DEPTH} levels"):
            parse_filter(nested(depth, inside_key=inside_key))


def test_filters_are_normalised() -> None:
    """Equality is `In` with one value, and negative operators are `Not`."""
    assert parse_filter({"a": 1, "b": {"$ne": 2}}) == And((In("a", (1,)), Not(In("b", (2,)))))
    assert hash(parse_filter({"a": 1})) == hash(parse_filter({"a": {"$eq": 1}}))
