"""`Query` and `Hit`: validated values with short reprs."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.vectorstores import Hit, Query

REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("nothing", {}, ContentError, r"the query is empty: give content, like=\[ids\] or unlike=\[ids\]"),
    ("an id as a text", {"like": "cat"}, TypeError, r"like is a list of ids, got one str; write like=\[...\]"),
    ("an id that is no text", {"unlike": [5]}, TypeError, "unlike holds ids as str, got int"),
    ("a broken id", {"like": ["\ud800"]}, ContentError, "an id in like is not valid Unicode"),
    ("an id twice", {"like": ["a", "b"], "unlike": ["a"]}, ContentError, "names 'a' more than once"),
    ("few weights", {"like": ["a", "b"], "weights": [1]}, ContentError, "1 numbers for 2 terms: 0 content, 2 like"),
    ("a negative weight", {"like": ["a"], "weights": [-1]}, ContentError, "got -1; to subtract, name it in unlike"),
    ("NaN", {"like": ["a"], "weights": [float("nan")]}, ContentError, "a finite number >= 0, got nan"),
    ("a bool", {"like": ["a"], "weights": [True]}, ContentError, "a finite number >= 0, got True"),
]


@pytest.mark.parametrize(("given", "error", "message"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_an_invalid_query_is_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    """The error is raised when the query is created, not when it is run."""
    with pytest.raises(error, match=message):
        Query(**given)


def test_weights_are_one_for_each_term() -> None:
    """Content counts as one term, however many parts it has."""
    assert Query("a", "b", like=["x"], unlike=["y"]).weights == (1, 1, 1)
    assert Query("a", like=["x"], weights=[2, 0]).weights == (2, 0)
    assert Query(like=["x"]).weights == (1,)


def test_queries_are_frozen_values() -> None:
    """Queries with equal parts are equal, and cannot be changed."""
    query = Query("a", like=["x"])
    assert query == Query("a", like=("x",))
    assert query != Query("a", unlike=["x"])
    with pytest.raises(FrozenInstanceError):
        query.like = ()  # type: ignore[misc]


def test_reprs_have_no_payload() -> None:
    """Bytes are shown by their modality, long texts are truncated."""
    query = Query("word " * 100, b"secret", like=["x"], weights=[1, 0.5])
    assert repr(query) == f"Query({('word ' * 8)!r}…, <bytes>, like=['x'], weights=[1.0, 0.5])"
    hit = Hit(Document(id="x", page_content="word " * 100, metadata={"a": "secret"}), 0.5, "cosine", 2)
    assert repr(hit) == f"Hit(#2 cosine 0.5000 {('word ' * 8)!r}…)"
