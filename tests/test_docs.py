"""Everything shown is run: the README, the pages under docs/, docstrings and examples, offline on the emulator."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.readme_tables import with_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_gemini_mm.testing import GeminiEmulator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
MODULES = sorted((ROOT / "langchain_gemini_mm").rglob("*.py"))

FENCE = re.compile(r"^(?P<indent> *)```(?P<label>[^\n`]*)\n(?P<code>.*?)^(?P=indent)``` *$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S[^\n]*?) -->\s*\Z")
ON_SERVER = re.compile(r"<!-- needs a Weaviate server -->\s*\Z")

# Folders with sample files that shown code finds where it runs.
SAMPLE_FOLDERS = ("samples", "photos-and-talks")


@dataclass(frozen=True)
class Block:
    """One piece of shown Python, with the place to report when it fails."""

    path: Path
    holder: str
    """What in the file it belongs to: a docstring's owner, or nothing for a page."""
    number: int
    line: int
    code: str
    skip: str
    on_server: bool
    """Left to `make integration`."""

    @property
    def id(self) -> str:
        """Where it stands, for people."""
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.holder}:{self.number}".replace("::", ":")

    def run(self, namespace: dict[str, Any]) -> None:
        """Execute it so that a traceback shows the line in the file it is from."""
        exec(compile("\n" * (self.line - 1) + self.code, str(self.path), "exec"), namespace)


def blocks_in(text: str, path: Path, first_line: int, holder: str) -> Iterator[Block]:
    """The ```python blocks of a text that begins on `first_line` of `path`."""
    fences = [fence for fence in FENCE.finditer(text) if fence["label"].strip() == "python"]
    for number, fence in enumerate(fences, start=1):
        indent = len(fence["indent"])
        code = "".join(line[indent:] if line.strip() else line for line in fence["code"].splitlines(keepends=True))
        skip = NOT_RUN.search(text, 0, fence.start())
        on_server = ON_SERVER.search(text, 0, fence.start())
        line = first_line + text.count("\n", 0, fence.start()) + 1
        yield Block(path, holder, number, line, code, skip["reason"] if skip else "", bool(on_server))


def docstring_blocks(path: Path) -> Iterator[list[Block]]:
    """The blocks of each docstring of a module."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, holders) and (text := ast.get_docstring(node, clean=False)):
            yield list(blocks_in(text, path, node.body[0].lineno, getattr(node, "name", "module")))


@dataclass
class Reading:
    """Somebody types in a page, or a docstring, from top to bottom: one folder, one namespace."""

    blocks: list[Block]
    folder: Path | None = None
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    done: int = 0

    def run_through(self, block: Block) -> None:
        """Run a block, after those above it that have not run yet."""
        upto = self.blocks.index(block) + 1
        for next_block in self.blocks[self.done : upto]:
            if not next_block.skip:
                next_block.run(self.namespace)
        self.done = max(self.done, upto)


SHOWN = [list(blocks_in(page.read_text(encoding="utf-8"), page, 1, "")) for page in PAGES]
SHOWN += [blocks for module in MODULES for blocks in docstring_blocks(module)]


def cases() -> Iterator[Any]:
    """Every block with its reading; what opted out is skipped by name and shows in the summary."""
    for shown in SHOWN:
        reading = Reading([block for block in shown if not block.on_server])
        for block in reading.blocks:
            marks = [pytest.mark.skip(reason=f"{block.id}: {block.skip}")] if block.skip else []
            yield pytest.param(reading, block, id=block.id, marks=marks)


def furnish(folder: Path, samples: Path) -> Path:
    """Put sample files into a folder that shown code will run in."""
    for name in SAMPLE_FOLDERS:
        shutil.copytree(samples, folder / name)
    return folder


def test_the_first_screen_prints_what_it_shows(
    samples: Path,
    emulator: GeminiEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The result below the first code of the README is the one it prints."""
    shown = re.search(r"^```python\n.*?^```\n\n^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(furnish(tmp_path, samples))
    first = next(blocks_in(README, ROOT / "README.md", 1, ""))
    first.run({"__name__": "__main__"})
    assert shown
    assert capsys.readouterr().out == shown[1]


def test_the_first_screen_runs_on_the_emulator_as_a_program(tmp_path: Path) -> None:
    """The commands that the README shows serve the emulator, write the samples and point the first program to it."""
    serve = re.search(r"^python -m (langchain_gemini_mm[.]testing) --port 8899$", README, re.MULTILINE)
    address = r"(GOOGLE_GEMINI_BASE_URL)=http://127.0.0.1:8899"
    point = re.search(rf"^export (GOOGLE_API_KEY)=(\S+) {address}$", README, re.MULTILINE)
    write = re.search(r'^python -c "(.* write_samples.*)"$', README, re.MULTILINE)
    shown = re.search(r"^```python\n(.*?)^```\n\n^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert serve
    assert point
    assert write
    assert shown
    command = [sys.executable, "-m", serve[1], "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        environment = os.environ | {point[1]: point[2], point[3]: server.stdout.readline().strip()}
        try:
            printed = [
                subprocess.check_output([sys.executable, "-c", program], cwd=tmp_path, env=environment, text=True)
                for program in (write[1], shown[1])
            ]
        finally:
            server.terminate()
    assert printed == ["", shown[2]]


def test_tables_are_those_of_the_program() -> None:
    """What the README says of limits is what is checked before anything is sent."""
    assert "<!-- limits -->" in README
    assert with_tables(README) == README, "run: python -m scripts.readme_tables"


@pytest.mark.parametrize(("reading", "block"), list(cases()))
def test_shown_code(
    reading: Reading,
    block: Block,
    samples: Path,
    emulator: GeminiEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A block of a page or a docstring runs, after those above it."""
    reading.folder = reading.folder or furnish(tmp_path, samples)
    monkeypatch.chdir(reading.folder)
    reading.run_through(block)


def test_every_dependency_has_its_licence_listed() -> None:
    """The licence table names each package that an installation, with or without extras, asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    names = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0] for requirement in asked} - {project["name"]}
    table = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert {name for name in names if not re.search(rf"^\| {name}\b", table, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_labelled_as_such(page: Path) -> None:
    """No Python hides from these tests under another label."""
    labels = {fence["label"].strip().lower() for fence in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert not labels & {"py", "python3", "pycon", "ipython", "python-repl"}
