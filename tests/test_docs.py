"""Everything shown is run: the README, the pages under docs/, docstrings and examples, offline on the emulator."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_gemini_mm.testing import GeminiEmulator

ROOT = Path(__file__).parent.parent
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
MODULES = sorted((ROOT / "langchain_gemini_mm").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

FENCE = re.compile(r"^(?P<indent> *)```(?P<label>[^\n`]*)\n(?P<code>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S[^\n]*?) -->\s*\Z")

# Folders with sample files that shown code finds where it runs.
SAMPLE_FOLDERS = ("samples", "photos-and-talks")


@dataclass(frozen=True)
class Block:
    """One piece of shown Python, with the place to report when it fails."""

    path: Path
    line: int
    code: str
    name: str
    skip: str = ""

    @property
    def id(self) -> str:
        """Where it stands, for people."""
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.name}"

    def run(self, namespace: dict[str, Any]) -> None:
        """Execute it so that a traceback shows the line in the file it is from."""
        exec(compile("\n" * (self.line - 1) + self.code, str(self.path), "exec"), namespace)


def blocks_in(text: str, path: Path, first_line: int, name: str) -> Iterator[Block]:
    """The ```python blocks of a text that begins on `first_line` of `path`."""
    number = 0
    for fence in FENCE.finditer(text):
        if fence["label"].strip() != "python":
            continue
        number += 1
        indent = len(fence["indent"])
        code = "".join(line[indent:] if line.strip() else line for line in fence["code"].splitlines(keepends=True))
        skip = NOT_RUN.search(text, 0, fence.start())
        line = first_line + text.count("\n", 0, fence.start()) + 1
        yield Block(path, line, code, f"{name}{number}", skip["reason"] if skip else "")


def docstring_blocks(path: Path) -> Iterator[Block]:
    """The blocks in the docstrings of one module."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, holders) and (text := ast.get_docstring(node, clean=False)):
            yield from blocks_in(text, path, node.body[0].lineno, f"{getattr(node, 'name', 'module')}:")


PAGE_BLOCKS = {path: list(blocks_in(path.read_text(encoding="utf-8"), path, 1, "block ")) for path in PAGES}
DOCSTRING_BLOCKS = [block for path in MODULES for block in docstring_blocks(path)]


def cases(blocks: list[Block]) -> list[Any]:
    """Test parameters; what opted out is skipped by name and shows in the summary."""
    skips = [[pytest.mark.skip(reason=f"{block.id}: {block.skip}")] if block.skip else [] for block in blocks]
    return [pytest.param(block, id=block.id, marks=marks) for block, marks in zip(blocks, skips, strict=True)]


@dataclass
class Reader:
    """Somebody who types in one page from top to bottom: one folder, one namespace."""

    folder: Path
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    done: int = 0


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> dict[Path, Reader]:
    """One reader for each page."""
    return {page: Reader(furnish(tmp_path_factory.mktemp(page.stem), samples)) for page in PAGES}


def furnish(folder: Path, samples: Path) -> Path:
    """Put sample files into a folder that shown code will run in."""
    for name in SAMPLE_FOLDERS:
        shutil.copytree(samples, folder / name)
    return folder


@pytest.mark.parametrize("block", cases([block for blocks in PAGE_BLOCKS.values() for block in blocks]))
def test_pages(
    block: Block, readers: dict[Path, Reader], emulator: GeminiEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block of a page runs after those above it."""
    reader = readers[block.path]
    monkeypatch.chdir(reader.folder)
    blocks = PAGE_BLOCKS[block.path]
    upto = blocks.index(block) + 1
    for above in blocks[reader.done : upto]:
        if not above.skip:
            above.run(reader.namespace)
    reader.done = max(reader.done, upto)


@pytest.mark.parametrize("block", cases(DOCSTRING_BLOCKS))
def test_docstrings(
    block: Block, samples: Path, emulator: GeminiEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example in a docstring runs by itself."""
    monkeypatch.chdir(furnish(tmp_path, samples))
    block.run({"__name__": "__main__"})


@pytest.mark.parametrize("live", [False, True], ids=["without a key", "as if live"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples(path: Path, live: bool, samples: Path, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """An example runs with nothing but the package, on an emulator of its own or on the service it is pointed to."""
    hidden = () if live else ("GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    run = subprocess.run(
        [sys.executable, str(path)],
        cwd=furnish(tmp_path, samples),
        env=environment | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    assert run.stdout
    assert bool(emulator.requests) == live


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_labelled_as_such(page: Path) -> None:
    """No Python hides from these tests under another label."""
    labels = {fence["label"].strip().lower() for fence in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert not labels & {"py", "python3", "pycon", "ipython", "python-repl"}
