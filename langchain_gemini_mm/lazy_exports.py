"""Public names of a package that are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def lazy_exports(package: str, modules: Mapping[str, Iterable[str]]) -> Callable[[str], object]:
    """A module-level `__getattr__` (PEP 562) that imports names on first use.

    Importing a package then costs nothing for what a program does not use. Type checkers see the names through imports
    under `if TYPE_CHECKING`; this function is called where it is false, for a type checker would believe in any name.

    Not for a package that exports a function with the name of one of its modules: importing the module would put it in
    the function's place.

    ```python
    from langchain_gemini_mm.lazy_exports import lazy_exports

    get = lazy_exports("langchain_gemini_mm", {"vectorstores.query": ["Query"]})
    assert get("Query").__name__ == "Query"
    ```

    Args:
        package: name of the package, its `__name__`.
        modules: a module below the package, and the public names that it defines.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def get_name(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get_name
