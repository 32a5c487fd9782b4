"""Time that importing the package adds to the imports of every LangChain program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.report import Row
from benchmarks.service import ROOT

AIM_MS = 50
HEAVY = ("google.genai", "PIL", "av", "pypdfium2")
"""Modules that must not be imported."""

_PROGRAM = """
import json, sys, time
{before}
started = time.perf_counter()
{ours}
taken = time.perf_counter() - started
print(json.dumps([taken, [name for name in {heavy!r} if name in sys.modules]]))
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of interpreters started per row."""

    interpreters: int


FULL = Size(interpreters=21)
QUICK = Size(interpreters=7)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure the bare package, then the four names that every example imports."""
    package, core = "langchain_gemini_mm", "langchain_core"
    names = "GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore"
    before = [
        f"from {core}.documents import Document",
        f"from {core}.embeddings import Embeddings",
        f"from {core}.vectorstores import VectorStore",
        "import numpy",
    ]
    with tempfile.TemporaryDirectory() as compiled:
        yield _row("the package", f"import {package}", core, [f"import {core}"], size, compiled)
        base = "Document, Embeddings, VectorStore, NumPy"
        yield _row(names, f"from {package} import {names}", base, before, size, compiled)


def _row(name: str, ours: str, base: str, before: Sequence[str], size: Size, compiled: str) -> Row:
    program = _PROGRAM.format(before="\n".join(before), ours=ours, heavy=HEAVY)
    _milliseconds(program, compiled)
    least = min(_milliseconds(program, compiled) for _ in range(size.interpreters))
    return Row(
        measured=f"import of {name}",
        against=f"{base}, imported before",
        ratio=f"+{least:.0f} ms",
        rounds=f"least of {size.interpreters}",
        aim=f"< {AIM_MS} ms",
        met=least < AIM_MS,
        note=f"a new interpreter each time, with bytecode; none of {', '.join(HEAVY)} was imported",
    )


def _milliseconds(program: str, compiled: str) -> float:
    """Time one import in a new interpreter that keeps its bytecode in the folder `compiled`."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    taken, heavy = json.loads(done.stdout)
    assert not heavy, f"importing the package imports {heavy}"
    return float(taken) * 1000
