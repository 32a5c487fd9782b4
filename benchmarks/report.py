"""Contenders take turns in one run; the results are ratios."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

HEAD = ("measured", "against", "ratio", "rounds", "aim", "met")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table."""

    measured: str
    against: str
    ratio: str
    rounds: str = ""
    """The smallest and the largest ratio of the rounds."""
    aim: str = ""
    met: bool | None = None
    """None without an aim, or if nothing was measured."""
    note: str = ""
    """Printed below the table."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one contender, in seconds."""

    wall: float
    cpu: float
    """Processor time of this process, all threads together, and of programs that it has run."""


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Turn]]:
    """Run all contenders in every round, in alternating order, so that noise affects all equally.

    Args:
        contenders: functions by name; each has been called once before, so that a turn contains no set-up.
        rounds: how often each is called.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(rounds):
        for name in order:
            gc.collect()
            wall, cpu = time.perf_counter(), _processor_seconds()
            contenders[name]()
            turns[name].append(Turn(time.perf_counter() - wall, _processor_seconds() - cpu))
        order.reverse()
    return turns


def _processor_seconds() -> float:
    if sys.platform == "win32":
        return time.process_time()
    import resource

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def speed(
    measured: str, against: str, ours: Sequence[float], theirs: Sequence[float], *, aim: float | None, note: str = ""
) -> Row:
    """Return the ratio of throughputs, from the seconds of each round."""
    return _row(measured, against, [b / a for a, b in zip(ours, theirs, strict=True)], aim, at_least=True, note=note)


def cost(
    measured: str, against: str, ours: Sequence[float], theirs: Sequence[float], *, aim: float | None, note: str = ""
) -> Row:
    """Return the ratio of costs (time or memory) for the same work."""
    return _row(measured, against, [a / b for a, b in zip(ours, theirs, strict=True)], aim, at_least=False, note=note)


def skipped(measured: str, against: str, reason: str) -> Row:
    """Return a row for what cannot be measured on this machine."""
    return Row(measured=measured, against=against, ratio="skipped", note=reason)


def _row(
    measured: str, against: str, ratios: Sequence[float], aim: float | None, *, at_least: bool, note: str = ""
) -> Row:
    middle = round(statistics.median(ratios), 2)
    return Row(
        measured=measured,
        against=against,
        ratio=f"{middle:.2f}",
        rounds=f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else "one",
        aim="" if aim is None else f"{'≥' if at_least else '≤'} {aim:.2f}",
        met=None if aim is None else (middle >= aim if at_least else middle <= aim),
        note=note,
    )


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table, with their notes below."""
    rows = list(rows)
    cells = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, _line(["-" * width for width in widths], widths))
    notes = [f"- {row.measured}: {row.note}." for row in rows if row.note]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _cells(row: Row) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "**no**"}[row.met]
    return row.measured, row.against, row.ratio, row.rounds, row.aim, met


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def machine() -> str:
    """Describe date, machine and versions in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ["google-genai", "langchain-google-genai", "langchain-core", "numpy"]
    versions = [f"{name} {found}" for name in packages if (found := installed(name))]
    today = datetime.now(tz=UTC).date().isoformat()
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join([today, f"{platform.system()} {platform.machine()}, {cores} cores", python, *versions])


def installed(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def tell(message: str) -> None:
    """Print a progress message to stderr."""
    print(message, file=sys.stderr, flush=True)
