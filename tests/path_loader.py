"""A loader for tests of what is in files, which do not depend on the name of a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from langchain_gemini_mm.loaders import MediaLoader


class PathLoader(MediaLoader):
    """Loads files as `MediaLoader` does; sources are without the name of the library."""

    def lazy_load(self) -> Iterator[Document]:
        """Yield Documents, and fill `skipped`."""
        names = {library.name for _, library in self.inputs.places()}
        names |= {self.inputs.name or ""}
        given = self.inputs.given if isinstance(self.inputs.given, list) else [self.inputs.given]
        names |= {Path(item.path).parent.name for item in given if isinstance(item, Blob) and item.path}
        try:
            for document in super().lazy_load():
                document.metadata["source"] = below(document.metadata["source"], names)
                yield document
        finally:
            self.skipped = [replace(skipped, source=below(skipped.source, names)) for skipped in self.skipped]


def below(source: str, names: set[str]) -> str:
    """A source without the name of its library."""
    name, _, path = source.partition("/")
    return path if name in names else source
