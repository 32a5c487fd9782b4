"""The stored form of metadata values: JSON, the same again when it is stored again, and in order for ranges."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.errors import ContentError, FilterError
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter
from langchain_gemini_mm.vectorstores.records import json_text, plain_json, plain_scalar


class Colour(Enum):
    """An enumeration that is no `str`."""

    RED = "red"
    BOTH = ("red", "blue")


class Level(str, Enum):  # noqa: UP042 - as older programs write it
    """An enumeration that is a `str`."""

    HIGH = "high"


BERLIN = timezone(timedelta(hours=2))
FORMS: list[tuple[str, Any, Any]] = [
    ("a time in another zone", datetime(2024, 5, 1, 14, 30, tzinfo=BERLIN), "2024-05-01T12:30:00.000000Z"),
    ("a time without zone", datetime(2024, 5, 1, 14, 30, 0, 5), "2024-05-01T14:30:00.000005"),  # noqa: DTZ001
    ("a date", date(2024, 5, 1), "2024-05-01"),
    ("a time of day", time(3, 4), "03:04:00.000000"),
    ("a UUID", UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ("a path", PurePosixPath("a/b"), "a/b"),
    ("a Windows path", PureWindowsPath("a\\b"), "a/b"),
    ("a whole decimal", Decimal("1E+3"), 1000),
    ("a decimal", Decimal("19.90"), 19.9),
    ("an enum", Colour.RED, "red"),
    ("an enum of a tuple", Colour.BOTH, ["red", "blue"]),
    ("an enum of texts", Level.HIGH, "high"),
    ("a tuple", ("a", 1), ["a", 1]),
    ("a set", {3, "b", 1, "a", None}, [1, 3, "a", "b", None]),
    ("a set of sets", {frozenset({2, 1})}, [[1, 2]]),
    ("a NumPy integer", np.int64(3), 3),
    ("a NumPy float", np.float32(0.5), 0.5),
    ("a long NumPy float", np.longdouble(0.5), 0.5),
    ("a NumPy bool", np.bool_(True), True),
    ("a NumPy text", np.str_("x"), "x"),
    ("a NumPy time", np.datetime64("2024-05-01T03:00:00.123456789"), "2024-05-01T03:00:00.123456"),
]


@pytest.mark.parametrize(("value", "expected"), [pytest.param(*case[1:], id=case[0]) for case in FORMS])
def test_each_type_has_one_stored_form(value: Any, expected: Any) -> None:
    """In metadata at any depth, and in filters."""
    assert repr(plain_json(value, "x")) == repr(expected)
    assert repr(plain_json({"a": [value]}, "x")) == repr({"a": [expected]})
    if not isinstance(expected, list):
        assert matches(parse_filter({"a": value}), {"a": expected})
        assert matches(parse_filter({"a": {"$in": [value, "other"]}}), {"a": [expected]})
        assert not matches(parse_filter({"a": {"$nin": [value]}}), {"a": expected})


NO_FORM: list[tuple[str, Any, str]] = [
    ("a decimal without a value", Decimal("NaN"), "is Decimal"),
    ("a decimal with many digits", Decimal("0.12345678901234567890"), "no JSON number equals"),
    ("an endless decimal", Decimal("1E+900000000"), "no JSON number equals"),
    ("no time of NumPy", np.datetime64("NaT", "s"), "is nan"),
    ("NaN of NumPy", np.float32("nan"), "is nan"),
    ("a time beyond the year 9999", datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5))), "as a time"),
    ("a duration", timedelta(1), "is a timedelta"),
    ("a complex number", 1j, "is a complex"),
    ("an array", np.zeros(2), "is a ndarray"),
]


@pytest.mark.parametrize(("value", "message"), [pytest.param(*case[1:], id=case[0]) for case in NO_FORM])
def test_a_value_without_stored_form_is_refused_by_key_and_type(value: Any, message: str) -> None:
    """Also within a filter."""
    with pytest.raises(ContentError, match=rf"metadata\['a'\] {message}|metadata\['a'\] .*{message}"):
        plain_json({"a": value}, "metadata")
    with pytest.raises(FilterError, match="'a'"):
        parse_filter({"a": value})
    with pytest.raises(FilterError, match="'a'"):
        parse_filter({"a": {"$gte": value}})


MOMENTS = st.datetimes() | st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, BERLIN]),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | MOMENTS
    | st.dates()
    | st.times()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9)
    | st.sampled_from([*Colour, *Level, PurePosixPath("a"), np.int8(3), np.float64(1.5), np.bool_(False)])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3)
        | st.frozensets(SCALARS, max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_the_stored_form_is_json_and_stays_the_same(value: Any) -> None:
    """What is read back and stored again does not change, so that it is not taken for changed."""
    stored = plain_json(value, "x")
    read = json.loads(json.dumps(stored, allow_nan=False))
    assert json_text(read) == json_text(stored)
    assert json_text(plain_json(read, "x")) == json_text(stored)


@given(st.lists(MOMENTS, min_size=2, max_size=2) | st.lists(st.dates(), min_size=2, max_size=2))
def test_stored_times_are_in_order_of_time(pair: list[Any]) -> None:
    """Ranges of times compare texts; those with and without a zone are not compared."""
    one, other = pair
    if isinstance(one, datetime) and (one.tzinfo is None) != (other.tzinfo is None):
        return
    metadata = {"at": plain_json(one, "x")}
    assert matches(parse_filter({"at": {"$lt": other}}), metadata) == (one < other)
    assert matches(parse_filter({"at": {"$gte": other}}), metadata) == (one >= other)
    assert matches(parse_filter({"at": other}), metadata) == (one == other)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_stored_exactly_or_refused(value: Decimal) -> None:
    """No digit is lost without an error."""
    try:
        stored = plain_scalar(value, "x")
    except ContentError:
        assert len(value.as_tuple().digits) > 15 or abs(value.adjusted()) > 300
        return
    assert math.isfinite(stored)
    assert Decimal(repr(stored)) == value


def test_numbers_and_bools_are_distinct() -> None:
    """In stored forms and in filters."""
    assert len({json_text(value) for value in (1, 1.0, True, "1")}) == 4
    for value in (1, True):
        for other in (1, True):
            assert matches(parse_filter({"a": value}), {"a": other}) == (type(value) is type(other))
