"""`Report`: what an evaluation found, as numbers, a table, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from langchain_gemini_mm.errors import ContentError, MissingExtraError
from langchain_gemini_mm.evaluation.metrics import Measure, bootstrap, checked_ks, measures, names_of_measures
from langchain_gemini_mm.retrievers.search_options import traced

if TYPE_CHECKING:
    from matplotlib.figure import Figure


REPORT_FORMAT = "langchain-gemini-mm report 1"
"""What stands in the JSON of a report."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query, what it should find and what it found."""

    query: str
    """In a few words."""
    modality: str
    relevant: Mapping[str, float]
    found: tuple[str, ...]
    """Best first, each once."""


@dataclass(frozen=True)
class Report:
    """What was found; everything else is computed from it."""

    name: str
    """What was measured."""
    ks: tuple[int, ...]
    results: tuple[QueryResult, ...]
    """One for each query, in order."""
    modalities: Mapping[str, str] = field(default_factory=dict)
    """Of the relevant documents, as far as known, by id."""
    unknown: tuple[str, ...] = ()
    """Ids that are labelled as relevant and not stored: they cannot be found."""
    confidence: float = 0.95
    seed: int = 0

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """The means over all queries with something to find, by name: `recall@5`, `mrr`, ..."""
        return self._means([(result, result.relevant) for result in self.results if result.relevant])

    @cached_property
    def pairs(self) -> dict[tuple[str, str], dict[str, Measure]]:
        """The same by kind of query and kind of document.

        Places are those in the whole answer, so what one kind loses to another shows. Of the labels only those of the
        kind count, and only queries that have one.
        """
        found: dict[tuple[str, str], list[tuple[QueryResult, Mapping[str, float]]]] = {}
        for result in self.results if self.modalities else ():
            for kind in {self.modalities.get(id_, OTHER) for id_ in result.relevant}:
                of_kind = {
                    id_: grade for id_, grade in result.relevant.items() if self.modalities.get(id_, OTHER) == kind
                }
                found.setdefault((result.modality, kind), []).append((result, of_kind))
        return {pair: self._means(found[pair]) for pair in sorted(found)}

    @cached_property
    def nothing(self) -> Measure | None:
        """Of the queries with nothing to find, the part that was answered with nothing; None without such queries."""
        empty = [[float(not result.found)] for result in self.results if not result.relevant]
        return self._bootstrap(np.array(empty))[0] if empty else None

    def __getitem__(self, measure: str) -> Measure:
        """A measure over all queries by its name.

        Raises:
            KeyError: there is no such measure, or no query with something to find.
        """
        if measure not in self.measures:
            raise KeyError(f"no measure {measure!r}; there are: {', '.join(self.measures) or 'none'}")
        return self.measures[measure]

    def table(self, measures: Iterable[str] | None = None) -> str:
        """A table in Markdown: means with their intervals, for all queries and by pairs of kinds.

        Args:
            measures: the columns; some of them when nothing is said.
        """
        columns = self._columns(measures)
        rows = [["", "queries", *columns]]
        if self.measures:
            rows.append(self._row("all", self.measures, columns))
        rows += [self._row(f"{one} → {two}", found, columns) for (one, two), found in self.pairs.items()]
        notes = [f"\nIntervals: {self.confidence:.0%}."] if self.measures or self.nothing else []
        if self.nothing is not None:
            notes.append(f"Nothing to find: {self.nothing.count} queries, answered with nothing: {self.nothing}.")
        if self.unknown:
            some = ", ".join([*self.unknown[:_SHOWN], *["…"] * (len(self.unknown) > _SHOWN)])
            notes.append(f"Labelled but not stored: {len(self.unknown)} ({some}).")
        return "\n".join([f"**{_cell(self.name)}**\n", *markdown(rows), *notes, ""])

    def plot(self, measures: Iterable[str] | None = None) -> Figure:
        """Draw the measures with their intervals as bars, for all queries and by pairs of modalities.

        ```python
        from langchain_gemini_mm.evaluation import Report
        from langchain_gemini_mm.evaluation.reports import QueryResult

        report = Report("a store", (1,), (QueryResult("a cat", "text", {"cat": 1.0}, ("cat", "dog")),))
        report.plot().savefig("report.png")
        ```

        Args:
            measures: names of the measures to show; `success@1`, `mrr`, recall and the deepest `ndcg` by default.

        Raises:
            KeyError: there is no such measure.
            MissingExtraError: matplotlib is not installed.
        """
        columns = self._columns(measures)
        groups = {"all": self.measures} | {f"{one} → {two}": found for (one, two), found in self.pairs.items()}
        series = {column: [found.get(column) for found in groups.values()] for column in columns}
        return _chart(self.name, list(groups), series)

    def to_json(self) -> str:
        """Everything as JSON text: the results, from which `from_json` makes an equal report, and the means."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=1)

    def as_dict(self) -> dict[str, Any]:
        """What `to_json` writes."""
        return {
            "format": REPORT_FORMAT,
            "name": self.name,
            "ks": list(self.ks),
            "confidence": self.confidence,
            "seed": self.seed,
            "measures": _plain(self.measures),
            "pairs": [
                {"query": one, "document": two, "measures": _plain(found)} for (one, two), found in self.pairs.items()
            ],
            "nothing": None if self.nothing is None else _plain({"empty": self.nothing}),
            "unknown": list(self.unknown),
            "modalities": dict(self.modalities),
            "results": [
                {
                    "query": result.query,
                    "modality": result.modality,
                    "relevant": dict(result.relevant),
                    "found": list(result.found),
                }
                for result in self.results
            ],
        }

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; means are computed again.

        Raises:
            ContentError: it is something else.
        """
        return cls.from_dict(read_json(text))

    @classmethod
    def from_dict(cls, found: Any) -> Self:
        """Read what `as_dict` made."""
        if not isinstance(found, Mapping) or found.get("format") != REPORT_FORMAT:
            raise ContentError(f"this is no report: expected an object with 'format': {REPORT_FORMAT!r}")
        try:
            results = tuple(
                QueryResult(
                    str(one["query"]),
                    str(one["modality"]),
                    {str(id_): float(grade) for id_, grade in one["relevant"].items()},
                    tuple(map(str, one["found"])),
                )
                for one in found["results"]
            )
            return cls(
                name=str(found["name"]),
                ks=checked_ks(found["ks"]),
                results=results,
                modalities={str(id_): str(kind) for id_, kind in found["modalities"].items()},
                unknown=tuple(map(str, found["unknown"])),
                confidence=float(found["confidence"]),
                seed=int(found["seed"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ContentError(f"this report is damaged: {error!r}") from error

    def __str__(self) -> str:
        """The table."""
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()

    def _columns(self, wanted: Iterable[str] | None) -> list[str]:
        names = names_of_measures(self.ks)
        if wanted is None:
            return shown_measures(self.ks)
        columns = list(wanted)
        for column in columns:
            if column not in names:
                raise KeyError(f"no measure {column!r}; there are: {', '.join(names)}")
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


def shown_measures(ks: Sequence[int]) -> list[str]:
    """The measures to show when nothing is said: a few, the deepest."""
    return ["success@1", "mrr", *(f"recall@{k}" for k in ks if k > 1 or len(ks) == 1), f"ndcg@{ks[-1]}"]


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, the first with the names of the columns."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    return [lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]]


def read_json(text: str) -> Any:
    """Parse JSON text.

    Raises:
        ContentError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"this is no JSON: {error}") from error


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


OTHER = "other"
"""A kind that nobody could tell."""
STORED = "stored"
"""The kind of a query that names stored documents alone."""

_QUERY_CHARACTERS = 80


def shown(query: Any) -> str:
    """A query in a few words, without its bytes."""
    text = " ".join(traced(query).split())
    return text if len(text) <= _QUERY_CHARACTERS else f"{text[:_QUERY_CHARACTERS]}…"


COMPARISON_FORMAT = "langchain-gemini-mm comparison 1"
"""What stands in the JSON of a comparison."""


@dataclass(frozen=True, init=False)
class Comparison:
    """Reports on the same queries.

    Args:
        reports: at least one, with different names, from the same labelled queries.

    Raises:
        ValueError: they are of different queries, or depths, or have one name twice.
    """

    reports: tuple[Report, ...]

    def __init__(self, reports: Iterable[Report]) -> None:
        """Check that the reports can be compared."""
        found = tuple(reports)
        if not found:
            raise ValueError("there is no report to compare")
        if len({report.name for report in found}) < len(found):
            raise ValueError(f"reports need different names, got {', '.join(report.name for report in found)}")
        if len({report.ks for report in found}) > 1:
            raise ValueError(f"reports need the same depths, got {', '.join(str(report.ks) for report in found)}")
        asked = [[result.relevant for result in report.results] for report in found]
        if any(one != asked[0] for one in asked):
            raise ValueError("reports can be compared when they are of the same labelled queries in the same order")
        object.__setattr__(self, "reports", found)

    def __getitem__(self, name: str) -> Report:
        """A report by its name.

        Raises:
            KeyError: there is none.
        """
        for report in self.reports:
            if report.name == name:
                return report
        raise KeyError(f"no report {name!r}; there are: {', '.join(report.name for report in self.reports)}")

    def difference(self, measure: str, name: str, base: str | None = None) -> Measure:
        """By how much one report is better than another, query by query, -1 to 1.

        The interval is that of the differences: it can be far from 0 where the intervals of both overlap.

        Args:
            measure: such as `ndcg@10`.
            name: of the one report.
            base: of the other; the first when nothing is said.

        Raises:
            KeyError: there is no such report or measure, or no query with something to find.
        """
        one, other = self[name], self.reports[0] if base is None else self[base]
        one[measure], other[measure]  # fail by name
        values = np.array([_values(one, measure), _values(other, measure)])
        difference = (values[0] - values[1])[:, None]
        return bootstrap(difference, confidence=one.confidence, seed=one.seed, least=-1.0)[0]

    def table(self, columns: Iterable[str] | None = None) -> str:
        """A table in Markdown, a row for each report; the last column compares with the first one."""
        first = self.reports[0]
        names = shown_measures(first.ks) if columns is None else list(columns)
        if not first.measures:
            return "No query has anything to find.\n"
        rows = [["", *names, f"{names[-1]}, difference to {first.name}"]]
        for report in self.reports:
            difference = "" if report is first else _signed(self.difference(names[-1], report.name))
            rows.append([report.name, *(str(report[name]) for name in names), difference])
        empty = [f"{report.name} {report.nothing}" for report in self.reports if report.nothing is not None]
        notes = [f"\nQueries: {first[names[0]].count}. Intervals: {first.confidence:.0%}."]
        if empty:
            notes.append(f"Nothing to find, answered with nothing: {'; '.join(empty)}.")
        return "\n".join([*markdown(rows), *notes, ""])

    def plot(self, measures: Iterable[str] | None = None) -> Figure:
        """Draw the measures of all reports with their intervals: lines over dimensions, else bars.

        Args:
            measures: names of the measures to show; `success@1`, `mrr`, recall and the deepest `ndcg` by default.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        columns = shown_measures(self.reports[0].ks) if measures is None else list(measures)
        names = [report.name for report in self.reports]
        if len(names) > 1 and all(name.isdecimal() for name in names):
            series = {column: [report.measures.get(column) for report in self.reports] for column in columns}
            return _chart("by dimensions", names, series, over=[int(name) for name in names])
        return _chart(
            "compared", columns, {one.name: [one.measures.get(name) for name in columns] for one in self.reports}
        )

    def to_json(self) -> str:
        """All reports as JSON text; `from_json` reads it."""
        reports = [report.as_dict() for report in self.reports]
        return json.dumps({"format": COMPARISON_FORMAT, "reports": reports}, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ContentError: it is something else.
        """
        found: Any = read_json(text)
        if (
            not isinstance(found, dict)
            or found.get("format") != COMPARISON_FORMAT
            or not isinstance(found.get("reports"), list)
        ):
            raise ContentError(f"this is no comparison: expected an object with 'format': {COMPARISON_FORMAT!r}")
        return cls(Report.from_dict(report) for report in found["reports"])

    def __str__(self) -> str:
        """The table."""
        return self.table()

    def _repr_markdown_(self) -> str:
        return self.table()


def _values(report: Report, measure: str) -> Sequence[float]:
    return [measures(result.found, result.relevant, report.ks)[measure] for result in report.results if result.relevant]


def _signed(measure: Measure) -> str:
    return f"{measure.value:+.2f} [{measure.low:+.2f}, {measure.high:+.2f}]"
