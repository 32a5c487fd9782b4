"""Run the Python of the README, the pages under docs/ and docstrings on the emulator; check names, links and tables."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.readme_tables import with_tables
from tests.test_public import MODULES as PUBLIC_MODULES

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

SAMPLE_FOLDERS = ("samples", "photos-and-talks")
"""Folders with sample files in the folder in which code runs."""


@dataclass(frozen=True)
class Block:
    """A code block of a page or a docstring, with its location."""

    path: Path
    holder: str
    """Name of the class or function of a docstring; empty for a page."""
    number: int
    line: int
    code: str
    skip: str
    on_server: bool
    """Whether it needs a Weaviate server; `make integration` runs these."""

    @property
    def id(self) -> str:
        """File, owner and number of the block."""
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.holder}:{self.number}".replace("::", ":")

    def run(self, namespace: dict[str, Any]) -> None:
        """Execute it; a traceback shows the line of the file."""
        exec(compile("\n" * (self.line - 1) + self.code, str(self.path), "exec"), namespace)


def blocks_in(text: str, path: Path, first_line: int, holder: str) -> Iterator[Block]:
    """Yield the ```python blocks of a text that begins on `first_line` of `path`."""
    fences = [fence for fence in FENCE.finditer(text) if fence["label"].strip() == "python"]
    for number, fence in enumerate(fences, start=1):
        indent = len(fence["indent"])
        code = "".join(line[indent:] if line.strip() else line for line in fence["code"].splitlines(keepends=True))
        skip = NOT_RUN.search(text, 0, fence.start())
        on_server = ON_SERVER.search(text, 0, fence.start())
        line = first_line + text.count("\n", 0, fence.start()) + 1
        yield Block(path, holder, number, line, code, skip["reason"] if skip else "", bool(on_server))


def docstring_blocks(path: Path) -> Iterator[list[Block]]:
    """Yield the blocks of each docstring of a module."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, holders) and (text := ast.get_docstring(node, clean=False)):
            yield list(blocks_in(text, path, node.body[0].lineno, getattr(node, "name", "module")))


@dataclass
class Session:
    """The blocks of a page or a docstring, run from top to bottom in one folder and one namespace."""

    blocks: list[Block]
    folder: Path | None = None
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    done: int = 0

    def run_through(self, block: Block) -> None:
        """Run a block after the blocks above it that have not run yet."""
        upto = self.blocks.index(block) + 1
        for next_block in self.blocks[self.done : upto]:
            if not next_block.skip:
                next_block.run(self.namespace)
        self.done = max(self.done, upto)


SHOWN = [list(blocks_in(page.read_text(encoding="utf-8"), page, 1, "")) for page in PAGES]
SHOWN += [blocks for module in MODULES for blocks in docstring_blocks(module)]


def cases() -> Iterator[Any]:
    """Yield every block with its page; a block marked "not run" is skipped with its reason."""
    for shown in SHOWN:
        session = Session([block for block in shown if not block.on_server])
        for block in session.blocks:
            marks = [pytest.mark.skip(reason=f"{block.id}: {block.skip}")] if block.skip else []
            yield pytest.param(session, block, id=block.id, marks=marks)


def copy_samples(folder: Path, samples: Path) -> Path:
    """Copy the sample files into the folder in which code runs."""
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
    """The output shown below the first program of the README is what the program prints."""
    shown = re.search(r"^```python\n.*?^```\n\n^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(copy_samples(tmp_path, samples))
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
    """The table of limits in the README is generated from `models.py`."""
    assert "<!-- limits -->" in README
    assert with_tables(README) == README, "run: python -m scripts.readme_tables"


@pytest.mark.parametrize(("session", "block"), list(cases()))
def test_shown_code(
    session: Session,
    block: Block,
    samples: Path,
    emulator: GeminiEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each block of a page or a docstring runs after the blocks above it."""
    session.folder = session.folder or copy_samples(tmp_path, samples)
    monkeypatch.chdir(session.folder)
    session.run_through(block)


def test_every_dependency_has_its_licence_listed() -> None:
    """The licence table lists each package that the project or one of its extras requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    names = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0] for requirement in asked} - {project["name"]}
    table = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert {name for name in names if not re.search(rf"^\| {name}\b", table, re.MULTILINE)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_labelled_as_such(page: Path) -> None:
    """All Python blocks are labelled `python`, so that these tests run them."""
    labels = {fence["label"].strip().lower() for fence in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert not labels & {"py", "python3", "pycon", "ipython", "python-repl"}


def text_of(page: Path) -> str:
    """The text of a page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors_in(page: Path) -> set[str]:
    """The anchors that GitHub makes from the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_public_name_is_in_a_page() -> None:
    """Each public name occurs in the README or in a page under docs/."""
    words = set(re.findall(r"\w+", "\n".join(page.read_text(encoding="utf-8") for page in PAGES)))
    package = import_module("langchain_gemini_mm")
    modules = [package, *(import_module(f"{package.__name__}.{name}") for name in PUBLIC_MODULES)]
    names = {name for module in modules for name in getattr(module, "__all__", ())}
    missing = {name for name in names if name not in words and not name.endswith("_flow")}
    assert not missing, "add these names to docs/reference.md"


def test_the_index_lists_every_page() -> None:
    """docs/index.md links to every other page, and to the project pages in the root folder."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", text_of(index))}
    listed = [*PAGES, *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
    assert [page.name for page in listed if page != index and page.resolve() not in linked] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_have_targets(page: Path) -> None:
    """Each relative link leads to a file, and each anchor to a heading."""
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text_of(page)):
        if target.startswith(("http", "mm:")):
            continue
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors_in(file)):
            broken.append(f"{target}#{anchor}")
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short(page: Path) -> None:
    """Lines outside of tables and code have at most 125 characters."""
    long = [line for line in text_of(page).splitlines() if len(line) > 125 and not line.lstrip().startswith("|")]
    assert not long


def test_the_map_names_modules_that_exist() -> None:
    """Each module that docs/architecture.md names is in the package."""
    files = {path.relative_to(ROOT).as_posix() for path in [*MODULES, *(ROOT / "tests").glob("*.py")]}
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")))
    assert [
        name for name in sorted(named) if not any(file.endswith(f"/{name}") or file == name for file in files)
    ] == []
