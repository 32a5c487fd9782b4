"""Filters of `SelfQueryRetriever`: their translation, and the retriever itself on a local store."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.structured_query import (
    Comparator,
    Comparison,
    FilterDirective,
    Operation,
    Operator,
    StructuredQuery,
)

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.vectorstores import SelfQueryTranslator
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter
from tests.vectorstores.fakes import WordEmbeddings

DAY = {"type": "date", "date": "2024-05-01"}
BEFORE, MORNING, NIGHT, AFTER = (
    {"when": text}
    for text in (
        "2024-04-30T23:59:59.000000Z",
        "2024-05-01",
        "2024-05-01T23:59:59.500000Z",
        "2024-05-02T00:00:00.000000Z",
    )
)


def translated(comparator: Comparator, attribute: str, value: Any) -> dict[str, Any]:
    """The filter for one comparison."""
    asked = StructuredQuery(query="q", filter=Comparison(comparator=comparator, attribute=attribute, value=value))
    _, options = SelfQueryTranslator().visit_structured_query(asked)
    found: dict[str, Any] = options["filter"]
    return found


@pytest.mark.parametrize(
    ("comparator", "matching", "others"),
    [
        (Comparator.EQ, [MORNING, NIGHT], [BEFORE, AFTER, {}]),
        (Comparator.NE, [BEFORE, AFTER, {}], [MORNING, NIGHT]),
        (Comparator.GT, [AFTER], [BEFORE, MORNING, NIGHT]),
        (Comparator.GTE, [MORNING, NIGHT, AFTER], [BEFORE]),
        (Comparator.LT, [BEFORE], [MORNING, NIGHT, AFTER]),
        (Comparator.LTE, [BEFORE, MORNING, NIGHT], [AFTER]),
    ],
)
def test_a_date_is_a_whole_day(comparator: Comparator, matching: list[Any], others: list[Any]) -> None:
    """Comparisons with a date are about days, whether metadata hold days or times."""
    node = parse_filter(translated(comparator, "when", DAY))
    assert [matches(node, metadata) for metadata in matching] == [True] * len(matching)
    assert [matches(node, metadata) for metadata in others] == [False] * len(others)


def test_a_time_is_compared_in_utc() -> None:
    """A time with an offset is the same instant in UTC, which is how metadata hold it."""
    value = {"type": "datetime", "datetime": "2024-05-01T14:00:00+02:00"}
    assert translated(Comparator.GTE, "when", value) == {"when": {"$gte": "2024-05-01T12:00:00.000000Z"}}


def test_beginnings_and_elements() -> None:
    """`like` with a wildcard at the end is a prefix, `contain` an element of a list."""
    assert translated(Comparator.LIKE, "source", "photos/%") == {"source": {"$startswith": "photos/"}}
    assert translated(Comparator.CONTAIN, "tags", "x") == {"tags": {"$eq": "x"}}
    assert translated(Comparator.NIN, "year", [1, 2]) == {"year": {"$nin": [1, 2]}}


@pytest.mark.parametrize(
    ("comparator", "value", "message"),
    [
        (Comparator.LIKE, "%photos", r"like on 'k' takes the beginning of a text, such as 'photos/%', got '%photos'"),
        (Comparator.LIKE, "photos", "takes the beginning of a text"),
        (Comparator.LIKE, 5, "takes the beginning of a text"),
        (Comparator.EQ, {"type": "date", "date": "2024-13-01"}, "names the date '2024-13-01', which does not exist"),
    ],
)
def test_what_has_no_equivalent_is_refused(comparator: Comparator, value: Any, message: str) -> None:
    """A model may write anything; the error names the key and the value."""
    with pytest.raises(FilterError, match=message):
        translated(comparator, "k", value)


def test_negations_and_limits() -> None:
    """`not` takes several parts, and a limit is `k`."""
    parts: list[FilterDirective] = [Comparison(comparator=Comparator.EQ, attribute=key, value=1) for key in "ab"]
    asked = StructuredQuery(query="q", filter=Operation(operator=Operator.NOT, arguments=parts), limit=2)
    assert SelfQueryTranslator().visit_structured_query(asked) == (
        "q",
        {"filter": {"$not": {"$and": [{"a": {"$eq": 1}}, {"b": {"$eq": 1}}]}}, "k": 2},
    )
    assert SelfQueryTranslator().visit_structured_query(StructuredQuery(query="q", filter=None)) == ("q", {})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('gt("year", 2022)', {"b", "c"}),
        ('and(gt("year", 2022), eq("g", "y"))', {"b"}),
        ('not(eq("g", "y"))', {"a", "c"}),
        ('in("g", ["x", "y"])', {"a", "b"}),
        ('gt("when", "2024-05-01")', {"c"}),
        ('like("g", "y%")', {"b"}),
        ("NO_FILTER", {"a", "b", "c"}),
    ],
)
def test_the_retriever_of_langchain(written: str, expected: set[str]) -> None:
    """`SelfQueryRetriever` runs with the translator: numbers, texts, lists, dates."""
    pytest.importorskip("langchain_classic", reason="needs the dependency group `classic`")
    pytest.importorskip("lark", reason="LangChain parses the filters with lark")
    from langchain_classic.chains.query_constructor.schema import AttributeInfo
    from langchain_classic.retrievers.self_query.base import SelfQueryRetriever

    store = LocalVectorStore(":memory:", WordEmbeddings(size=8))
    metadatas: list[dict[str, Any]] = [
        {"year": 2020, "g": "x", "when": datetime(2024, 5, 1, 10, tzinfo=UTC)},
        {"year": 2024, "g": "y"},
    ]
    store.add_texts(["a", "b", "c"], [*metadatas, {"year": 2023, "when": date(2024, 5, 2)}])
    attributes = [("year", "integer"), ("g", "string"), ("when", "date")]
    answer = json.dumps({"query": "a", "filter": written})
    retriever = SelfQueryRetriever.from_llm(
        FakeListChatModel(responses=[f"```json\n{answer}\n```"]),
        store,
        "notes",
        [AttributeInfo(name=name, description="of the note", type=kind) for name, kind in attributes],
        structured_query_translator=SelfQueryTranslator(),
    )
    assert {document.page_content for document in retriever.invoke("newer than 2022")} == expected
