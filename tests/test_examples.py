"""Every example runs offline as somebody would run it, and on the service it is pointed to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.test_docs import ROOT, furnish

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator

FOREIGN = {"17_drop_in_chroma.py": "langchain_chroma", "19_clusters.py": "sklearn"}
"""Examples that need a package of the environment `stores`."""
EXAMPLES = [
    pytest.param(path, marks=[pytest.mark.stores] if path.name in FOREIGN else [], id=path.name)
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("live", [False, True], ids=["without a key", "as if live"])
@pytest.mark.parametrize("path", EXAMPLES)
def test_examples(path: Path, live: bool, samples: Path, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """An example runs with nothing but the package, on an emulator of its own or on the service it is pointed to."""
    needed = FOREIGN.get(path.name)
    if needed and find_spec(needed) is None:
        pytest.skip(f"{path.name} needs {needed}: make test-stores")
    hidden = () if live else ("GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    run = run_python([str(path)], furnish(tmp_path, samples), environment)
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    assert run.stdout
    assert "is left out: pip" not in run.stdout
    assert bool(emulator.requests) == live


@pytest.mark.parametrize("name", FOREIGN)
def test_example_without_its_package_says_so(name: str, tmp_path: Path) -> None:
    """An example whose package is not installed names it, and is no failure."""
    code = f"import runpy, sys; sys.modules[{FOREIGN[name]!r}] = None; runpy.run_path(sys.argv[1])"
    run = run_python(["-c", code, str(ROOT / "examples" / name)], tmp_path, os.environ)
    assert (run.returncode, run.stderr) == (0, "")
    assert "is left out: pip install " in run.stdout


def run_python(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it as somebody would, in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
