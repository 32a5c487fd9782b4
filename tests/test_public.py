"""The public API: its names, their documentation, and the cost of importing them."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import langchain_gemini_mm
from langchain_gemini_mm.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

OPTIONAL = ["MediaMiddleware", "WeaviateVectorStore"]
"""Names that need an extra, and so are not among those of `import *`."""
NAMES = [name for name in langchain_gemini_mm.__all__ if name != "__version__"]

MODULES = [
    "analysis", "embeddings", "errors", "evaluation", "interfaces", "loaders", "models", "progress", "ranking",
    "references",
    "rendering", "retrievers", "storage", "sync", "testing", "tools", "tools.middleware", "vectorstores",
    "vectorstores.weaviate",
]  # fmt: skip
"""Modules whose names are documented; everything else may move."""

# Imported only when they are needed to embed, open or serve.
LATE = ("google.genai", "PIL", "av", "obstore", "pypdfium2", "uvicorn", "watchfiles", "weaviate")

LOOK = """
import json, logging, os, sys, threading
before, threads = dict(os.environ), threading.active_count()
{statement}
print(json.dumps({{
    "late": [name for name in {late!r} if name in sys.modules],
    "environment": dict(os.environ) == before,
    "threads": threading.active_count() - threads,
    "handlers": [type(handler).__name__ for handler in logging.getLogger("langchain_gemini_mm").handlers],
    "root_handlers": len(logging.getLogger().handlers),
    "level": logging.getLogger("langchain_gemini_mm").level,
}}))
"""


def test_exported_names_are_sorted() -> None:
    """`__all__` is sorted without duplicates; `dir()` also has the names that need an extra."""
    assert sorted(set(langchain_gemini_mm.__all__)) == langchain_gemini_mm.__all__
    assert dir(langchain_gemini_mm) == sorted([*langchain_gemini_mm.__all__, *OPTIONAL])


def test_type_checkers_see_the_same_names() -> None:
    """Names that are imported late are also imported, for type checkers, at the top of the package."""
    tree = ast.parse(Path(langchain_gemini_mm.__file__).read_text(encoding="utf-8"))
    block, _ = [node for node in tree.body if isinstance(node, ast.If)]
    imported = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(imported) == sorted([*NAMES, *OPTIONAL])


@pytest.mark.parametrize("name", NAMES)
def test_exported_names_are_documented(name: str) -> None:
    """Each name can be imported, and it and its public methods have docstrings."""
    thing = getattr(langchain_gemini_mm, name)
    own = thing.__doc__ if inspect.isfunction(thing) else vars(thing).get("__doc__")
    assert own, f"{name} has no docstring of its own"
    silent = [
        attribute
        for attribute, value in vars(thing).items()
        if not attribute.startswith(("_", "model_"))
        and (inspect.isroutine(value) or isinstance(value, property))
        and not inspect.getdoc(getattr(thing, attribute))
    ]
    assert not silent


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Late importing does not hide a misspelt name."""
    with pytest.raises(AttributeError, match="GeminiEmbedding'"):
        _ = langchain_gemini_mm.GeminiEmbedding  # type: ignore[attr-defined]


@pytest.mark.parametrize("statement", ["import langchain_gemini_mm", "from langchain_gemini_mm import *"])
def test_importing_has_no_side_effects(statement: str) -> None:
    """Importing has no side effects, and imports no heavy or optional library."""
    code = LOOK.format(statement=statement, late=LATE)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert run.stderr == ""
    assert run.returncode == 0
    assert json.loads(run.stdout) == {
        "late": [],
        "environment": True,
        "threads": 0,
        "handlers": ["NullHandler"],
        "root_handlers": 0,
        "level": 0,
    }


def test_the_package_is_typed() -> None:
    """The package has the marker file for type checkers."""
    assert Path(langchain_gemini_mm.__file__).with_name("py.typed").is_file()


def public_names() -> dict[str, object]:
    """The public names of all public modules; names whose extra is not installed are omitted."""
    found = {name: getattr(langchain_gemini_mm, name) for name in NAMES}
    for name in OPTIONAL:
        with suppress(MissingExtraError):
            found[name] = getattr(langchain_gemini_mm, name)
    for word in MODULES:
        try:
            module = import_module(f"{langchain_gemini_mm.__name__}.{word}")
        except MissingExtraError:
            continue
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        found |= {name: getattr(module, name) for name in getattr(module, "__all__", own) if not name.startswith("_")}
    return found


def public_classes() -> list[type]:
    """The public classes, each once."""
    return sorted(
        {thing for thing in public_names().values() if inspect.isclass(thing)}, key=lambda class_: class_.__name__
    )


@cache
def imported_for_types(module: ModuleType) -> dict[str, str]:
    """Names that a module imports for type checking only, with their modules."""
    tree = ast.parse(inspect.getsource(module))
    return {
        alias.asname or alias.name: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def annotations_of(class_: type) -> Iterator[tuple[str, ModuleType, str]]:
    """Return types of public methods, and types of properties and fields of a class: name, module and annotation."""
    for owner in class_.__mro__:
        if not owner.__module__.startswith(langchain_gemini_mm.__name__):
            continue
        module = sys.modules[owner.__module__]
        for name, value in vars(owner).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if not name.startswith("_") and inspect.isfunction(function):
                yield f"{class_.__name__}.{name}", module, str(function.__annotations__.get("return", ""))
        for name, annotation in vars(owner).get("__annotations__", {}).items():
            if not name.startswith("_"):
                yield f"{class_.__name__}.{name}", module, str(annotation)


def classes_in(annotation: str, module: ModuleType) -> Iterator[type]:
    """Classes of this package that an annotation names."""
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if not isinstance(node, ast.Name):
            continue
        home = imported_for_types(module).get(node.id)
        found = getattr(module, node.id, None) or (home and getattr(import_module(home), node.id, None))
        if inspect.isclass(found) and found.__module__.startswith(langchain_gemini_mm.__name__):
            yield found


INTERNAL = {"backend", "files", "space", "wanted"}
"""Attributes for other modules of this package."""


@pytest.mark.parametrize("class_", public_classes(), ids=lambda class_: class_.__name__)
def test_returned_types_are_public(class_: type) -> None:
    """A user can name every type that a public method, property or field of a public class has."""
    public = set(public_classes())
    hidden = {
        f"{name}: {found.__module__}.{found.__name__}"
        for name, module, annotation in annotations_of(class_)
        if annotation and name.rpartition(".")[2] not in INTERNAL
        for found in classes_in(annotation, module)
        if found not in public
    }
    assert not hidden


@pytest.mark.parametrize("package", ["embeddings", "loaders", "retrievers", "storage", "tools"])
def test_names_imported_on_first_use_are_not_modules(package: str) -> None:
    """Public names of these packages do not change when modules of the same name are imported."""
    module = import_module(f"langchain_gemini_mm.{package}")
    modules = {path.stem for path in Path(str(module.__file__)).parent.glob("*.py")}
    assert not modules & set(module.__all__)


DELEGATES = ("arguments as in", "see `Backend`")
"""Words of a docstring that names the one with the arguments."""


@pytest.mark.parametrize("path", sorted(Path(langchain_gemini_mm.__file__).parent.rglob("*.py")), ids=str)
def test_arguments_are_documented(path: Path) -> None:
    """A public function with three or more parameters has a section `Args:`."""
    missing = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        docstring = ast.get_docstring(node)
        is_stub = any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)
        if docstring is None or is_stub or len([name for name in names if name not in {"self", "cls"}]) < 3:
            continue
        if "Args:" not in docstring and not any(words in docstring.lower() for words in map(str.lower, DELEGATES)):
            missing.append(node.name)
    assert not missing
