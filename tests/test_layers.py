"""Imports inside the package only point down, and each external library is imported in few places."""

from __future__ import annotations

import pytest

from scripts.code_figures import PACKAGE, all_imports, import_cycle, modules_below

# From the top down. A module imports from layers below its own, or from its own layer; never from above.
LAYERS = (
    {"tools", "evaluation"},
    {"retrievers", "analysis"},
    {"sync"},
    {"loaders", "ranking"},
    {"embeddings", "vectorstores"},
    {"rendering", "storage", "weaviate_client"},
    {"media"},
    {"content"},
    {
        "batching",
        "errors",
        "flows",
        "interfaces",
        "labelled_query",
        "lazy_exports",
        "models",
        "progress",
        "references",
        "validation",
        "vectors",
    },
)
# Shipped for tests and demos: independent of the layers, uses the lower ones, and nothing in the package imports it.
TESTING = "testing"
TESTING_USES = {"media"} | LAYERS[7] | LAYERS[8]
# These packages have the same level but do not import each other: stores use LangChain's interface, not our class.
INDEPENDENT = ({"vectorstores"}, LAYERS[4] - {"vectorstores"})

IMPORTED_BY = {
    "google": {"embeddings", TESTING},
    "PIL": {"media", TESTING},
    "av": {"media", TESTING},
    "pypdfium2": {"media", TESTING},
    "obstore": {"storage"},
    "uvicorn": {TESTING},
    "httptools": {TESTING},
    "watchfiles": {"sync"},
    "weaviate": {"weaviate_client", "storage", "vectorstores"},
    "langchain_community": set(),
    "langchain_google_genai": set(),
}


MODULES = modules_below()
IMPORTS = all_imports(MODULES)
INNER = [i for i in IMPORTS if i.imported.split(".")[0] == PACKAGE]


def part_of(module: str) -> str:
    """The part of the package that a module belongs to: the first name below the package, or nothing for the root."""
    return [*module.split("."), ""][1]


def level(part: str) -> int:
    """The level of a part, counted from the top."""
    return next((number for number, layer in enumerate(LAYERS) if part in layer), len(LAYERS))


def test_every_module_has_a_layer() -> None:
    """A module of a part without a layer fails here, so that the layers above stay complete."""
    placed = set().union(*LAYERS) | {"", TESTING}
    assert {part_of(module) for module in MODULES} <= placed


def test_imports_point_down() -> None:
    """No module of the package imports from a layer above its own."""
    upward = [
        str(i)
        for i in INNER
        if part_of(i.importer) not in {"", TESTING}
        and (part_of(i.imported) in {"", TESTING} or level(part_of(i.imported)) < level(part_of(i.importer)))
    ]
    assert not upward


def test_the_testing_part_is_independent() -> None:
    """The emulator uses facts and errors, but not the code that it tests."""
    wrong = [
        str(i)
        for i in INNER
        if part_of(i.importer) == TESTING and part_of(i.imported) not in TESTING_USES | {TESTING, ""}
    ]
    assert not wrong


def test_stores_and_embeddings_are_independent() -> None:
    """A vector store accepts any embeddings of LangChain's interface, and embeddings do not use stores."""
    met = [
        str(i)
        for i in INNER
        for here, there in (INDEPENDENT, INDEPENDENT[::-1])
        if part_of(i.importer) in here and part_of(i.imported) in there
    ]
    assert not met


def test_no_import_cycles() -> None:
    """Every module can be imported after those it imports, including imports for type checking."""
    assert import_cycle(MODULES, IMPORTS) == []


@pytest.mark.parametrize("library", IMPORTED_BY)
def test_external_libraries_are_imported_in_few_places(library: str) -> None:
    """Heavy and optional libraries are imported only in the parts that wrap them, except for type checking."""
    wrong = [
        str(i)
        for i in IMPORTS
        if i.imported.split(".")[0] == library and not i.for_types and part_of(i.importer) not in IMPORTED_BY[library]
    ]
    assert not wrong
