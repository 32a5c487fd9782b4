"""`Comparison`: several reports on the same queries, side by side, with the differences that count."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.evaluation.intervals import Measure, bootstrap
from langchain_gemini_mm.evaluation.metrics import measures
from langchain_gemini_mm.evaluation.pictures import Series, bars, lines, save
from langchain_gemini_mm.evaluation.reports import Report, markdown, read_json, shown_measures

if TYPE_CHECKING:
    import os
    from pathlib import Path

FORMAT = "langchain-gemini-mm comparison 1"
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

    def picture(self, columns: Iterable[str] | None = None) -> str:
        """A chart as SVG text: lines over dimensions, else bars."""
        names = shown_measures(self.reports[0].ks) if columns is None else list(columns)
        titles = [report.name for report in self.reports]
        if len(titles) > 1 and all(title.isdecimal() for title in titles):
            over = [Series(name, [report.measures.get(name) for report in self.reports]) for name in names]
            return lines("by dimensions", [float(title) for title in titles], over)
        beside = [Series(report.name, [report.measures.get(name) for name in names]) for report in self.reports]
        return bars("compared", names, beside)

    def save_picture(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture into a file that ends in `.svg`."""
        return save(path, self.picture())

    def to_json(self) -> str:
        """All reports as JSON text; `from_json` reads it."""
        reports = [report.as_dict() for report in self.reports]
        return json.dumps({"format": FORMAT, "reports": reports}, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ContentError: it is something else.
        """
        found: Any = read_json(text)
        if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("reports"), list):
            raise ContentError(f"this is no comparison: expected an object with 'format': {FORMAT!r}")
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
