"""Measure the package against the alternatives, and print one Markdown table of ratios.

Run: python benchmarks/run.py [--quick] [--only embedding]
Everything runs on this machine, with the emulator. Needs up to 5 GB below TMPDIR; with --quick, 2 GB.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.report import Row

SUBJECTS = (
    "importing",
    "call_paths",
    "local_store",
    "ranking",
    "inserting",
    "retrieving",
    "memory",
    "embedding",
    "images",
    "clips",
    "loading",
    "syncing",
    "long_video",
)
ASKED_FOR = ("quota", "rivals", "million", "weaviate_store")
"""Subjects that run only with `--only`: they need other packages or a server, or much time and disk space."""


def main() -> None:
    """Measure the selected subjects, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and inaccurate, to test the benchmark")
    parser.add_argument(
        "--only", choices=(*SUBJECTS, *ASKED_FOR), action="append", help="measure only this subject; may be repeated"
    )
    given = parser.parse_args()
    isolate()
    print(report(given.only or SUBJECTS, quick=given.quick))


def isolate() -> None:
    """Remove settings of this machine that affect the results: proxies, another backend, tracing."""
    for name in list(os.environ):
        if name.upper().startswith(("GOOGLE_", "GEMINI_", "LANGCHAIN_", "LANGSMITH_")) or name.lower().endswith(
            "_proxy"
        ):
            del os.environ[name]


def report(subjects: Iterable[str], *, quick: bool) -> str:
    """Measure and print."""
    from benchmarks.report import machine, table, tell

    rows: list[Row] = []
    for name in subjects:
        tell(f"{name} ...")
        started = time.perf_counter()
        module = import_module(f"benchmarks.{name}")
        rows += module.measure(module.QUICK if quick else module.FULL)
        tell(f"{name}: {time.perf_counter() - started:.0f} s")
    how = (
        "Ratios of one run, ours to the other: the median of rounds in which both took turns. "
        "Higher is better where the aim is ≥ (throughput), lower where it is ≤ (time, memory)."
    )
    return f"{machine()}{', --quick' if quick else ''}\n\n{how}\n\n{table(rows)}"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
