"""Measure against what people would use instead, and print one Markdown table of ratios.

Run: python benchmarks/run.py [--quick] [--only embedding]
Nothing leaves this machine: the emulator answers. Needs 5 GB below TMPDIR for a while; with --quick, 2 GB.
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
    "pictures",
    "clips",
    "loading",
    "long_video",
)
ASKED_FOR = ("rivals", "million", "weaviate_store")
"""Only with `--only`: they need other packages or a server, or much time and disk."""


def main() -> None:
    """Measure what was asked for, one subject after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and rough, to see that it works")
    parser.add_argument(
        "--only", choices=(*SUBJECTS, *ASKED_FOR), action="append", help="one subject; may be given several times"
    )
    given = parser.parse_args()
    isolate()
    print(report(given.only or SUBJECTS, quick=given.quick))


def isolate() -> None:
    """Keep what this machine is set up for out of it: proxies, another backend, tracing."""
    for name in list(os.environ):
        if name.upper().startswith(("GOOGLE_", "GEMINI_", "LANGCHAIN_", "LANGSMITH_")) or name.lower().endswith(
            "_proxy"
        ):
            del os.environ[name]


def report(subjects: Iterable[str], *, quick: bool) -> str:
    """Measure and write it down."""
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
        "Throughput, the more the better: ≥. Time and memory, the less the better: ≤."
    )
    return f"{machine()}{', --quick' if quick else ''}\n\n{how}\n\n{table(rows)}"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
