"""Imports inside the package only point down, and each foreign library has its few doors."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "langchain_gemini_mm"
ROOT = Path(__file__).parent.parent / PACKAGE

# From the top down. A module imports from lines below its own, or beside it on its own line; never from above.
LAYERS = (
    {"tools", "evaluation"},
    {"retrievers", "analysis"},
    {"loaders", "planning", "ranking"},
    {"embeddings", "vectorstores", "_arguments", "_items", "_job", "_making", "_pipeline", "_settings"},
    {"rendering"},
    {"_gemini", "_failures", "_files", "_weaviate", "weaviate_client", "storage"},
    {"media"},
    {
        "content",
        "batching",
        "blocks",
        "labelled_query",
        "labels",
        "quotas",
        "tasks",
        "usage",
        "_cache",
        "_options",
        "_spool",
    },
    {"flows", "models", "progress", "references", "sniffing", "vectors"},
    {"errors", "interfaces", "types"},
)
# Shipped for tests and demos: stands aside, uses the lower lines, and nothing in the package imports it.
TESTING = "testing"
TESTING_USES = {"media"} | LAYERS[7] | LAYERS[8] | LAYERS[9]
# On one line, and still strangers: stores know LangChain's interface, not our class.
STRANGERS = ({"vectorstores"}, LAYERS[3] - {"vectorstores"})

DOORS = {
    "google": {"_gemini", "embeddings", TESTING},
    "PIL": {"media", TESTING},
    "av": {"media", TESTING},
    "pypdfium2": {"media", TESTING},
    "obstore": {"storage"},
    "uvicorn": {TESTING},
    "httptools": {TESTING},
    "weaviate": {"_weaviate", "weaviate_client", "storage", "vectorstores"},
    "langchain_community": set(),
    "langchain_google_genai": set(),
}


@dataclass(frozen=True)
class Import:
    """One import statement's target, as seen from the module that has it."""

    importer: str
    imported: str
    line: int
    for_types: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


def modules() -> dict[str, Path]:
    """Dotted names of the package's modules, each with its file."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def part_of(module: str) -> str:
    """The part of the package that a module belongs to: its first name below the package, or nothing for the root."""
    return [*module.split("."), ""][1]


def imports_of(module: str) -> list[Import]:
    """Every import statement of a module, those inside functions too."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in full]
        else:
            continue
        found += [Import(module, name, node.lineno, id(node) in only_types) for name in names]
    return found


IMPORTS = [statement for module in MODULES for statement in imports_of(module)]
INNER = [i for i in IMPORTS if i.imported.split(".")[0] == PACKAGE and not i.for_types]


def level(part: str) -> int:
    """How far down a part stands."""
    return next((number for number, layer in enumerate(LAYERS) if part in layer), len(LAYERS))


def test_every_module_has_its_place() -> None:
    """A module that is on no line fails here, so that the picture above stays true."""
    placed = set().union(*LAYERS) | {"", TESTING}
    assert {part_of(module) for module in MODULES} <= placed


def test_imports_point_down() -> None:
    """No module of the package imports from a line above its own."""
    upward = [
        str(i)
        for i in INNER
        if part_of(i.importer) not in {"", TESTING}
        and (part_of(i.imported) in {"", TESTING} or level(part_of(i.imported)) < level(part_of(i.importer)))
    ]
    assert not upward


def test_the_testing_part_stands_aside() -> None:
    """The emulator uses facts and errors, not the code it is there to test."""
    wrong = [
        str(i)
        for i in INNER
        if part_of(i.importer) == TESTING and part_of(i.imported) not in TESTING_USES | {TESTING, ""}
    ]
    assert not wrong


def test_stores_do_not_know_our_embeddings() -> None:
    """A vector store takes any embeddings of LangChain's interface, and embeddings know no store."""
    met = [
        str(i)
        for i in INNER
        for here, there in (STRANGERS, STRANGERS[::-1])
        if part_of(i.importer) in here and part_of(i.imported) in there
    ]
    assert not met


def test_no_import_cycles() -> None:
    """Every module can be read after those it imports."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for i in INNER:
        if i.imported in MODULES and i.imported != i.importer and part_of(i.imported):
            graph[i.importer].add(i.imported)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("library", DOORS)
def test_foreign_libraries_have_their_doors(library: str) -> None:
    """Heavy and optional libraries are imported in the parts made for them, type checking aside."""
    wrong = [
        str(i)
        for i in IMPORTS
        if i.imported.split(".")[0] == library and not i.for_types and part_of(i.importer) not in DOORS[library]
    ]
    assert not wrong
