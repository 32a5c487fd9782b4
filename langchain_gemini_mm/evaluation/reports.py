"""Results of evaluations as numbers, tables, JSON and plots: `Report`, and `Comparison` of several reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import TypeAdapter

from langchain_gemini_mm.errors import ContentError, InvalidValueError, MissingExtraError
from langchain_gemini_mm.evaluation.metrics import Measure, bootstrap, checked_ks, measures, names_of_measures
from langchain_gemini_mm.ranking.modalities import OTHER
from langchain_gemini_mm.retrievers.search_options import traced

if TYPE_CHECKING:
    from matplotlib.figure import Figure


REPORT_FORMAT = "langchain-gemini-mm report 1"
"""The value of `format` in the JSON of a report."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query with the relevant documents and the documents found."""

    query: str
    """A short description of the query, without media."""
    modality: str
    """Modality of the query; several are joined, such as `image+text`."""
    relevant: Mapping[str, float]
    """Grades by id; empty for a query without relevant documents."""
    found: tuple[str, ...]
    """Ids, best first, without duplicates."""


@dataclass(frozen=True)
class Report:
    """The results of an evaluation; metrics are computed from them on first use."""

    name: str
    """Name of the target."""
    ks: tuple[int, ...]
    """Depths of the metrics, ascending."""
    results: tuple[QueryResult, ...]
    """One result for each query, in order."""
    modalities: Mapping[str, str] = field(default_factory=dict)
    """Modalities of the relevant documents by id, as far as known."""
    unknown: tuple[str, ...] = ()
    """Ids that are labelled as relevant and not stored."""
    confidence: float = 0.95
    """Level of the confidence intervals."""
    seed: int = 0
    """Seed of the bootstrap that makes the intervals."""

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """Means over all queries that have relevant documents, by name: `recall@5`, `mrr`, ..."""
        return self._means([(result, result.relevant) for result in self.results if result.relevant])

    @cached_property
    def pairs(self) -> dict[tuple[str, str], dict[str, Measure]]:
        """The means by modality of the query and modality of the document.

        Ranks are those in the whole answer, so that a modality that is ranked too low is visible. For each pair only
        relevant documents of the modality count, and only queries that have one.
        """
        found: dict[tuple[str, str], list[tuple[QueryResult, Mapping[str, float]]]] = {}
        for result in self.results if self.modalities else ():
            by_modality: dict[str, dict[str, float]] = {}
            for id_, grade in result.relevant.items():
                by_modality.setdefault(self.modalities.get(id_, OTHER), {})[id_] = grade
            for modality, relevant in by_modality.items():
                found.setdefault((result.modality, modality), []).append((result, relevant))
        return {pair: self._means(found[pair]) for pair in sorted(found)}

    @cached_property
    def nothing(self) -> Measure | None:
        """Share of the queries without relevant documents whose answer is empty; None without such queries."""
        empty = [[float(not result.found)] for result in self.results if not result.relevant]
        return self._bootstrap(np.array(empty))[0] if empty else None

    def __getitem__(self, measure: str) -> Measure:
        """Look up the mean of a metric over all queries, by its name.

        Raises:
            KeyError: the metric is unknown, or no query has relevant documents.
        """
        if measure not in self.measures:
            raise KeyError(f"no metric {measure!r}; there are: {', '.join(self.measures) or 'none'}")
        return self.measures[measure]

    def table(self, measures: Iterable[str] | None = None) -> str:
        """Format means and intervals as a Markdown table, for all queries and by pairs of modalities.

        Args:
            measures: names of the metrics to show; `success@1`, `mrr`, recall and the deepest `ndcg` by default.
        """
        columns = self._columns(measures)
        rows = [["", "queries", *columns]]
        if self.measures:
            rows.append(self._row("all", self.measures, columns))
        rows += [self._row(f"{one} → {two}", found, columns) for (one, two), found in self.pairs.items()]
        notes = [f"\nIntervals: {self.confidence:.0%}."] if self.measures or self.nothing else []
        if self.nothing is not None:
            notes.append(
                f"Queries without relevant documents: {self.nothing.count}, with an empty answer: {self.nothing}."
            )
        if self.unknown:
            some = ", ".join([*self.unknown[:_SHOWN], *["…"] * (len(self.unknown) > _SHOWN)])
            notes.append(f"Labelled but not stored: {len(self.unknown)} ({some}).")
        return "\n".join([f"**{_cell(self.name)}**\n", *markdown(rows), *notes, ""])

    def plot(self, measures: Iterable[str] | None = None) -> Figure:
        """Plot means and intervals as bars, for all queries and by pairs of modalities.

        ```python
        from langchain_gemini_mm.evaluation import Report
        from langchain_gemini_mm.evaluation.reports import QueryResult

        report = Report("a store", (1,), (QueryResult("a cat", "text", {"cat": 1.0}, ("cat", "dog")),))
        report.plot().savefig("report.png")
        ```

        Args:
            measures: names of the metrics to show; `success@1`, `mrr`, recall and the deepest `ndcg` by default.

        Raises:
            KeyError: a metric is unknown.
            MissingExtraError: matplotlib is not installed.
        """
        columns = self._columns(measures)
        groups = {"all": self.measures} | {f"{one} → {two}": found for (one, two), found in self.pairs.items()}
        series = {column: [found.get(column) for found in groups.values()] for column in columns}
        return _chart(self.name, list(groups), series)

    def to_json(self) -> str:
        """Format results and means as JSON; `from_json` reads it."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=1)

    def as_dict(self) -> dict[str, Any]:
        """The report as values for JSON."""
        pairs = [{"query": one, "document": two, "measures": _plain(found)} for (one, two), found in self.pairs.items()]
        return {
            "format": REPORT_FORMAT,
            **TypeAdapter(Report).dump_python(self, mode="json"),
            "measures": _plain(self.measures),
            "pairs": pairs,
            "nothing": None if self.nothing is None else _plain({"empty": self.nothing}),
        }

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a report from the JSON of `to_json`; means are computed from the results.

        Raises:
            ContentError: the text is not the JSON of a report.
        """
        return cls.from_dict(read_json(text))

    @classmethod
    def from_dict(cls, found: Any) -> Self:
        """Read a report from the values of `as_dict`."""
        if not isinstance(found, Mapping) or found.get("format") != REPORT_FORMAT:
            raise ContentError(f"not a report: expected an object with 'format': {REPORT_FORMAT!r}")
        try:
            return TypeAdapter(cls).validate_python({**found, "ks": checked_ks(found["ks"])})
        except (KeyError, TypeError, ValueError) as error:
            raise ContentError(f"the report is damaged: {error!r}") from error

    def __str__(self) -> str:
        """The table with the default metrics."""
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()

    def _columns(self, given: Iterable[str] | None) -> list[str]:
        names = names_of_measures(self.ks)
        if given is None:
            return default_measures(self.ks)
        columns = list(given)
        for column in columns:
            if column not in names:
                raise KeyError(f"no metric {column!r}; there are: {', '.join(names)}")
        return columns

    def _row(self, name: str, found: Mapping[str, Measure], columns: Sequence[str]) -> list[str]:
        return [name, str(next(iter(found.values())).count), *(str(found[column]) for column in columns)]

    def _means(self, asked: Sequence[tuple[QueryResult, Mapping[str, float]]]) -> dict[str, Measure]:
        if not asked:
            return {}
        rows = [list(measures(result.found, relevant, self.ks).values()) for result, relevant in asked]
        return dict(zip(names_of_measures(self.ks), self._bootstrap(np.array(rows)), strict=True))

    def _bootstrap(self, values: Any) -> list[Measure]:
        return bootstrap(values, confidence=self.confidence, seed=self.seed)


def default_measures(ks: Sequence[int]) -> list[str]:
    """Names of the metrics that tables and plots show by default."""
    return ["success@1", "mrr", *(f"recall@{k}" for k in ks if k > 1 or len(ks) == 1), f"ndcg@{ks[-1]}"]


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as lines of a Markdown table; the first row is the header."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return [lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]]


def read_json(text: str) -> Any:
    """Parse JSON text.

    Raises:
        ContentError: the text is not valid JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"not valid JSON: {error}") from error


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _plain(found: Mapping[str, Measure]) -> dict[str, Any]:
    return {
        name: {"value": one.value, "low": one.low, "high": one.high, "queries": one.count}
        for name, one in found.items()
    }


def _chart(
    title: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Measure | None]],
    over: Sequence[float] | None = None,
) -> Figure:
    """Draw values from 0 to 1 with their intervals.

    Args:
        title: above the chart.
        groups: labels of the positions on the axis.
        series: for each color a value for each group; None where there is none.
        over: the groups as numbers, for lines; None for bars.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a chart", package="matplotlib", extra="charts") from error
    figure = Figure(figsize=(max(6.4, 0.25 * len(groups) * (len(series) + 1)), 4.8), layout="constrained")
    axes = figure.subplots()
    positions = range(len(groups)) if over is None else over
    width = 0.8 / max(1, len(series))
    for number, (name, values) in enumerate(series.items()):
        points = [(position, value) for position, value in zip(positions, values, strict=True) if value is not None]
        x = [position for position, _ in points]
        y = [value.value for _, value in points]
        intervals = [
            [value.value - value.low for _, value in points],
            [value.high - value.value for _, value in points],
        ]
        if over is None:
            axes.bar([at + number * width for at in x], y, width, yerr=intervals, capsize=2, label=_literal(name))
        else:
            axes.errorbar(x, y, yerr=intervals, marker="o", capsize=3, label=_literal(name))
    shift = 0.4 - width / 2 if over is None else 0.0
    if over is not None:
        axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.set_xticks([at + shift for at in positions], [_literal(group).replace(" → ", "\n→ ") for group in groups])
    axes.set_title(_literal(title))
    axes.set_ylim(0, 1)
    axes.legend()
    return figure


def _literal(text: str) -> str:
    """Text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


_QUERY_CHARACTERS = 80


def summary(query: Any) -> str:
    """A short description of a query, without media."""
    text = " ".join(traced(query).split())
    return text if len(text) <= _QUERY_CHARACTERS else f"{text[:_QUERY_CHARACTERS]}…"


COMPARISON_FORMAT = "langchain-gemini-mm comparison 1"
"""The value of `format` in the JSON of a comparison."""


@dataclass(frozen=True, init=False)
class Comparison:
    """Reports of several targets for the same queries.

    Args:
        reports: at least one, with different names, of the same labelled queries.

    Raises:
        ValueError: the reports have different queries or depths, or equal names.
    """

    reports: tuple[Report, ...]

    def __init__(self, reports: Iterable[Report]) -> None:
        """Check that the reports can be compared."""
        found = tuple(reports)
        if not found:
            raise InvalidValueError("reports is empty; a comparison needs at least one report")
        if len({report.name for report in found}) < len(found):
            raise InvalidValueError(
                f"reports must have different names, got {', '.join(report.name for report in found)}"
            )
        if len({report.ks for report in found}) > 1:
            raise InvalidValueError(
                f"reports must have the same depths, got {', '.join(str(report.ks) for report in found)}"
            )
        asked = [[result.relevant for result in report.results] for report in found]
        if any(one != asked[0] for one in asked):
            raise InvalidValueError("reports must be of the same labelled queries in the same order")
        object.__setattr__(self, "reports", found)

    def __getitem__(self, name: str) -> Report:
        """Look up a report by its name.

        Raises:
            KeyError: there is no report of this name.
        """
        for report in self.reports:
            if report.name == name:
                return report
        raise KeyError(f"no report {name!r}; there are: {', '.join(report.name for report in self.reports)}")

    def difference(self, measure: str, name: str, base: str | None = None) -> Measure:
        """Compute the mean difference of a metric, report `name` minus report `base`, with its confidence interval.

        The interval is computed from the differences of single queries. It may exclude 0 although the intervals of both
        reports overlap. Values are from -1 to 1.

        Args:
            measure: name of a metric, such as `ndcg@10`.
            name: name of a report.
            base: name of the report to compare it with; the first one by default.

        Raises:
            KeyError: the report or the metric is unknown, or no query has relevant documents.
        """
        one, other = self[name], self.reports[0] if base is None else self[base]
        one[measure], other[measure]  # raises KeyError for an unknown metric
        values = np.array([_values(one, measure), _values(other, measure)])
        difference = (values[0] - values[1])[:, None]
        return bootstrap(difference, confidence=one.confidence, seed=one.seed, least=-1.0)[0]

    def table(self, columns: Iterable[str] | None = None) -> str:
        """Format the reports as a Markdown table; the last column is the difference to the first report.

        Args:
            columns: names of the metrics to show; `success@1`, `mrr`, recall and the deepest `ndcg` by default.
        """
        first = self.reports[0]
        names = default_measures(first.ks) if columns is None else list(columns)
        if not first.measures:
            return "No query has relevant documents.\n"
        rows = [["", *names, f"{names[-1]}, difference to {first.name}"]]
        for report in self.reports:
            difference = "" if report is first else _signed(self.difference(names[-1], report.name))
            rows.append([report.name, *(str(report[name]) for name in names), difference])
        empty = [f"{report.name} {report.nothing}" for report in self.reports if report.nothing is not None]
        notes = [f"\nQueries: {first[names[0]].count}. Intervals: {first.confidence:.0%}."]
        if empty:
            notes.append(f"Queries without relevant documents, with an empty answer: {'; '.join(empty)}.")
        return "\n".join([*markdown(rows), *notes, ""])

    def plot(self, measures: Iterable[str] | None = None) -> Figure:
        """Plot means and intervals of all reports: lines if all names are numbers, else bars.

        Args:
            measures: names of the metrics to show; `success@1`, `mrr`, recall and the deepest `ndcg` by default.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        columns = default_measures(self.reports[0].ks) if measures is None else list(measures)
        names = [report.name for report in self.reports]
        if len(names) > 1 and all(name.isdecimal() for name in names):
            series = {column: [report.measures.get(column) for report in self.reports] for column in columns}
            return _chart("by dimensions", names, series, over=[int(name) for name in names])
        return _chart(
            "compared", columns, {one.name: [one.measures.get(name) for name in columns] for one in self.reports}
        )

    def to_json(self) -> str:
        """Format all reports as JSON; `from_json` reads it."""
        reports = [report.as_dict() for report in self.reports]
        return json.dumps({"format": COMPARISON_FORMAT, "reports": reports}, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a comparison from the JSON of `to_json`.

        Raises:
            ContentError: the text is not the JSON of a comparison.
        """
        found: Any = read_json(text)
        if (
            not isinstance(found, dict)
            or found.get("format") != COMPARISON_FORMAT
            or not isinstance(found.get("reports"), list)
        ):
            raise ContentError(f"not a comparison: expected an object with 'format': {COMPARISON_FORMAT!r}")
        return cls(Report.from_dict(report) for report in found["reports"])

    def __str__(self) -> str:
        """The table with the default metrics."""
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()


def _values(report: Report, measure: str) -> Sequence[float]:
    return [measures(result.found, result.relevant, report.ks)[measure] for result in report.results if result.relevant]


def _signed(measure: Measure) -> str:
    return f"{measure.value:+.2f} [{measure.low:+.2f}, {measure.high:+.2f}]"
