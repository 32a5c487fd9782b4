"""Every example runs as a program: offline on an emulator, and with a key on the configured service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.test_docs import ROOT, copy_samples

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_gemini_mm.testing import GeminiEmulator

FOREIGN = {"17_drop_in_chroma.py": "langchain_chroma", "19_clusters.py": "sklearn"}
"""Examples that need a package of the environment `stores`."""
pytestmark = pytest.mark.examples

KEYS = ("GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL")
EXAMPLES = [
    pytest.param(path, marks=[pytest.mark.stores] if path.name in FOREIGN else [], id=path.name)
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples(path: Path, samples: Path, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """Without a key, an example starts an emulator of its own."""
    needed = FOREIGN.get(path.name)
    if needed and find_spec(needed) is None:
        pytest.skip(f"{path.name} needs {needed}: make test-stores")
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    run = run_python([str(path)], copy_samples(tmp_path, samples), environment)
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    assert run.stdout
    assert "is left out: pip" not in run.stdout
    assert not emulator.requests


@pytest.mark.parametrize("name", ["01_quickstart.py", "12_support_assistant.py", "20_agent.py", "demo.py"])
def test_examples_with_a_key(name: str, samples: Path, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """With a key in the environment, an example uses the configured service."""
    run = run_python([str(ROOT / "examples" / name)], copy_samples(tmp_path, samples), os.environ)
    assert run.returncode == 0, run.stderr
    assert emulator.requests


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_example_knows_a_key(path: Path) -> None:
    """An example starts an emulator only if there is no key."""
    code = path.read_text(encoding="utf-8")
    lookup = 'os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")'
    assert lookup in code or "runpy" in code or "subprocess" in code


@pytest.mark.parametrize("name", FOREIGN)
def test_example_without_its_package_says_so(name: str, tmp_path: Path) -> None:
    """An example whose package is not installed prints how to install it and exits with status 0."""
    code = f"import runpy, sys; sys.modules[{FOREIGN[name]!r}] = None; runpy.run_path(sys.argv[1])"
    run = run_python(["-c", code, str(ROOT / "examples" / name)], tmp_path, os.environ)
    assert (run.returncode, run.stderr) == (0, "")
    assert "is left out: pip install " in run.stdout


def run_python(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python in a separate process."""
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
