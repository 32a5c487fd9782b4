"""What importing the package adds to what every LangChain program has imported anyway."""

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
"""What must not have been imported."""

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
    """How many interpreters are started for each line."""

    interpreters: int


FULL = Size(interpreters=21)
QUICK = Size(interpreters=7)


def measure(size: Size = FULL) -> Iterator[Row]:
    """The bare package, then the four names that every example begins with."""
    yield _row("import langchain_gemini_mm", "import langchain_core", ["import langchain_core"], size)
    yield _row(
        "from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore",
        "Document, Embeddings, VectorStore, NumPy",
        [
            "from langchain_core.documents import Document",
            "from langchain_core.embeddings import Embeddings",
            "from langchain_core.vectorstores import VectorStore",
            "import numpy",
        ],
        size,
    )


def _row(ours: str, against: str, before: Sequence[str], size: Size) -> Row:
    program = _PROGRAM.format(before="\n".join(before), ours=ours, heavy=HEAVY)
    with tempfile.TemporaryDirectory() as compiled:
        _milliseconds(program, compiled)
        times = [_milliseconds(program, compiled) for _ in range(size.interpreters)]
    return Row(
        measured=f"`{ours}`",
        against=f"after {against}",
        ratio=f"+{min(times):.0f} ms",
        rounds=f"least of {len(times)}",
        aim=f"< {AIM_MS} ms",
        met=min(times) < AIM_MS,
        note=f"fresh interpreters, compiled before; none of {', '.join(HEAVY)} was imported",
    )


def _milliseconds(program: str, compiled: str) -> float:
    """One import in a fresh interpreter that keeps its bytecode in the folder `compiled`."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    taken, heavy = json.loads(done.stdout)
    assert not heavy, f"importing the package imports {heavy}"
    return float(taken) * 1000
