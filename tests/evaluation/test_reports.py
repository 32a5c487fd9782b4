"""Reports and comparisons as tables, JSON and plots."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_gemini_mm import ContentError, MissingExtraError
from langchain_gemini_mm.evaluation import Comparison, QueryResult, Report

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.lists(TEXT, unique=True, max_size=4)
RESULTS = st.builds(
    QueryResult,
    TEXT,
    st.sampled_from(["text", "image", "image+text", "<&>"]),
    st.dictionaries(TEXT, st.floats(0.1, 9), max_size=3),
    NAMES.map(tuple),
)
REPORTS = st.builds(
    Report,
    TEXT,
    st.sampled_from([(1,), (1, 5), (2, 3, 4)]),
    st.lists(RESULTS, min_size=1, max_size=5).map(tuple),
    st.dictionaries(TEXT, st.sampled_from(["text", "image", "a|b"]), max_size=3),
    NAMES.map(tuple),
)


def report(name: str, *found: str, relevant: str = "a") -> Report:
    """A report on queries for `a`; each letter of an answer is an id."""
    grades = dict.fromkeys(relevant, 1.0)
    results = [QueryResult(f"query {number}", "text", grades, tuple(letters)) for number, letters in enumerate(found)]
    return Report(name, (1, 3), tuple(results), {"a": "image"})


@settings(deadline=None)  # the duration of thousands of resamples depends on the load of the machine
@given(one=REPORTS)
def test_json_round_trip(one: Report) -> None:
    """A report read from JSON is equal, with equal means."""
    again = Report.from_json(one.to_json())
    assert again == one
    assert (again.measures, again.pairs, again.nothing) == (one.measures, one.pairs, one.nothing)


@settings(deadline=None)  # the duration of thousands of resamples depends on the load of the machine
@given(one=REPORTS)
def test_tables_are_square(one: Report) -> None:
    """Names with bars, line ends or control characters do not break the table."""
    rows = [line for line in one.table().split("\n") if line.startswith("|")]
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_a_report_as_a_table() -> None:
    """The table has all queries, pairs of modalities, and notes."""
    one = report("a store", "abc", "bca", "xyz")
    nothing = QueryResult("?", "text", {}, ())
    table = Report(one.name, one.ks, (*one.results, nothing), one.modalities, ("ghost",)).table()
    lines = table.splitlines()
    assert lines[0] == "**a store**"
    assert lines[2] == "|  | queries | success@1 | mrr | recall@3 | ndcg@3 |"
    assert lines[4].startswith("| all | 3 | 0.33 [0.01, 0.9")
    assert lines[5].startswith("| text → image | 3 | 0.33 [")
    assert "Queries without relevant documents: 1, with an empty answer: 1.00 [0.0" in table
    assert "Labelled but not stored: 1 (ghost)." in table
    assert str(one) == one._repr_markdown_() == one.table()
    assert one.table(["precision@1"]).splitlines()[2] == "|  | queries | precision@1 |"


def test_json_contains_the_means() -> None:
    """The JSON has means with intervals, also by pairs."""
    found = json.loads(report("x", "abc", "bca").to_json())
    assert found["measures"]["mrr"] == {
        "value": pytest.approx(2 / 3),
        "low": pytest.approx(0.2, abs=0.2),
        "high": pytest.approx(0.95, abs=0.05),
        "queries": 2,
    }
    assert found["pairs"][0]["document"] == "image"


DAMAGED: list[Any] = [
    ("no json", "{", "not valid JSON"),
    ("too deep", "[" * 100_000, "not valid JSON"),
    ("another thing", "[]", "not a report"),
    ("another format", '{"format": "x"}', "not a report"),
    ("a part of it", '{"format": "langchain-gemini-mm report 1", "name": "x"}', "damaged: KeyError"),
    ("wrong types", report("x", "a").to_json().replace('"relevant": {', '"relevant": 7, "was": {'), "damaged"),
    ("wrong depths", report("x", "a").to_json().replace('"ks": [', '"ks": ["x", '), "damaged"),
]


@pytest.mark.parametrize(("text", "words"), [pytest.param(*case[1:], id=case[0]) for case in DAMAGED])
def test_damaged_json_is_refused(text: str, words: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(ContentError, match=words):
        Report.from_json(text)


def test_unknown_metrics_are_named() -> None:
    """The error lists the metrics that exist."""
    one = report("x", "abc")
    for ask in (lambda: one["recall@2"], lambda: one.table(["recall@2"]), lambda: one.plot(["recall@2"])):
        with pytest.raises(KeyError, match=r"recall@2.*there are: success@1, mrr, recall@1, recall@3"):
            ask()


def test_plots_have_a_bar_for_each_measure_and_group(tmp_path: Path) -> None:
    """Bars have intervals, and names are not read as formulas."""
    one = report("costs $1 or $2", "abc", "bac")
    figure: Any = one.plot(["success@1", "mrr"])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["all", "text\n→ image"]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.5, 0.5, 0.75, 0.75])
    assert axes.get_title() == r"costs \$1 or \$2"
    figure.savefig(tmp_path / "report.png")
    figure.savefig(tmp_path / "report.svg")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_plotting_needs_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib the error names the extra."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"a chart needs matplotlib.*langchain-gemini-mm\[charts\]"):
        report("x", "abc").plot()


def test_a_comparison() -> None:
    """A comparison has reports by name, differences per query, a table and JSON."""
    answers = ["abc", "bac", "bca"] * 20
    worse = ["bac", "bca", "bcd"] * 20
    found = Comparison([report("one", *answers), report("two", *worse)])
    difference = found.difference("mrr", "two")
    assert difference.value == pytest.approx(found["two"]["mrr"].value - found["one"]["mrr"].value)
    assert difference.low < difference.value < difference.high < 0
    assert found.difference("mrr", "one", "two").value == pytest.approx(-difference.value)
    table = found.table().splitlines()
    assert table[0].endswith("| ndcg@3 | ndcg@3, difference to one |")
    assert table[2].endswith("|  |")
    assert "| -0." in table[3]
    assert Comparison.from_json(found.to_json()) == found
    plotted: Any = found.plot(["mrr", "recall@3"])
    (axes,) = plotted.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    with pytest.raises(KeyError, match="no report 'three'; there are: one, two"):
        found["three"]


def test_few_queries_give_wide_differences() -> None:
    """The difference of equal answers is 0; its interval depends on their number."""
    few, many = (Comparison([report(name, *["abc"] * n) for name in "xy"]).difference("mrr", "y") for n in (2, 200))
    assert (few.value, many.value) == (0, 0)
    assert few.low < -0.5 < 0.5 < few.high
    assert -0.03 < many.low < many.high < 0.03


def test_names_that_are_numbers_are_plotted_as_lines(tmp_path: Path) -> None:
    """A sweep is plotted over dimensions."""
    plotted: Any = Comparison([report("768", "abc"), report("256", "bac")]).plot(["mrr"])
    (axes,) = plotted.axes
    assert [line.get_xdata().tolist() for line in axes.lines[:1]] == [[768, 256]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["768", "256"]
    nothing = Comparison([report("768", "abc", relevant=""), report("256", "bac", relevant="")])
    nothing.plot().savefig(tmp_path / "nothing.svg")
    assert nothing.table() == "No query has relevant documents.\n"


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        pytest.param([], "reports is empty", id="none"),
        pytest.param([report("x", "a"), report("x", "b")], "different names, got x, x", id="one name"),
        pytest.param([report("x", "a"), report("y", "a", "b")], "same labelled queries", id="other queries"),
        pytest.param([report("x", "a"), report("y", "a", relevant="b")], "same labelled queries", id="other labels"),
        pytest.param([report("x", "a"), Report("y", (1,), ())], "the same depths", id="other depths"),
    ],
)
def test_reports_of_different_queries_are_refused(reports: list[Report], words: str) -> None:
    """Only reports of the same queries can be compared."""
    with pytest.raises(ValueError, match=words):
        Comparison(reports)


def test_damaged_json_of_a_comparison_is_refused() -> None:
    """JSON of something else is refused."""
    with pytest.raises(ContentError, match="not a comparison"):
        Comparison.from_json('{"format": "langchain-gemini-mm report 1"}')
