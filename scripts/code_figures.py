"""Print the size and shape of the package: modules, lines of code, import cycles, small modules, repeated file names.

```
python -m scripts.code_figures
```
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "langchain_gemini_mm"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE
SMALL_LINES = 60
"""A module with at most this many lines and a single importer is merged into that importer."""
_NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Import:
    """The target of one import statement, as seen from the module that contains it."""

    importer: str
    imported: str
    line: int
    for_types: bool
    """Whether it is under `if TYPE_CHECKING`."""

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


def modules_below(root: Path = ROOT) -> dict[str, Path]:
    """Return the package's modules: dotted name and file."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(module: str, modules: dict[str, Path]) -> list[Import]:
    """Yield every import of a module, also inside functions and under `if TYPE_CHECKING`."""
    tree = ast.parse(modules[module].read_text(encoding="utf-8"))
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
            names = [name if name in modules else str(node.module) for name in full]
        else:
            continue
        found += [Import(module, name, node.lineno, id(node) in only_types) for name in names]
    return found


def all_imports(modules: dict[str, Path]) -> list[Import]:
    """Return the imports of all modules."""
    return [statement for module in modules for statement in imports_of(module, modules)]


def import_cycle(modules: dict[str, Path], imports: Iterable[Import]) -> list[str]:
    """Return one import cycle, type-only imports included; an empty list if there is none.

    The package's root is not counted, because it imports its public names on first use.
    """
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for i in imports:
        if i.imported in modules and i.imported not in (i.importer, PACKAGE):
            graph[i.importer].add(i.imported)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def code_lines(path: Path) -> int:
    """Count the lines of code of a module: without docstrings, comments and blank lines."""
    text = path.read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NOT_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - docstrings)


def small_modules(modules: dict[str, Path], imports: Iterable[Import]) -> list[str]:
    """List modules of at most `SMALL_LINES` lines that only one other module imports."""
    importers: dict[str, set[str]] = {module: set() for module in modules}
    for i in imports:
        if i.imported in importers and i.imported != i.importer:
            importers[i.imported].add(i.importer)
    return [
        module
        for module, path in modules.items()
        if path.name not in {"__init__.py", "__main__.py"}
        and len(importers[module]) == 1
        and len(path.read_text(encoding="utf-8").splitlines()) <= SMALL_LINES
    ]


def repeated_names(modules: dict[str, Path]) -> dict[str, int]:
    """Count file names that occur in two or more folders."""
    counted = Counter(path.name for path in modules.values())
    return {name: n for name, n in sorted(counted.items()) if n > 1 and not name.startswith("__")}


def figures() -> Iterator[tuple[str, object]]:
    """Return the figures in the order in which they are printed."""
    modules = modules_below()
    imports = all_imports(modules)
    own = [path for path in modules.values() if path.name != "__init__.py"]
    emulator = ROOT / "testing"
    yield "modules, __init__ files not counted", len(own)
    yield (
        "lines of code without the emulator",
        sum(code_lines(path) for path in modules.values() if not path.is_relative_to(emulator)),
    )
    yield "import cycle", " -> ".join(import_cycle(modules, imports)) or "none"
    yield f"modules of at most {SMALL_LINES} lines with one importer", ", ".join(small_modules(modules, imports)) or 0
    repeated = repeated_names(modules)
    yield "file names used in two or more folders", f"{len(repeated)}: {', '.join(repeated)}"


if __name__ == "__main__":
    for name, value in figures():
        print(f"{name}: {value}")
