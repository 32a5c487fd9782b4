"""Identity of loaded files and Documents: libraries, sources, ids and titles."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, InvalidValueError
from langchain_gemini_mm.media.source import printable, shown

_IDS = uuid.UUID("5b1ff1ce-1d06-5c0f-9a3d-0a6f3c9b2e51")


def document_of(content: str, source: str, metadata: Mapping[str, Any], title: str | None = None) -> Document:
    """Make a Document, without an id: see `DocumentIds`.

    Args:
        content: text of the Document.
        source: of its file.
        metadata: further entries.
        title: by default, the file name without its suffix.
    """
    named = {"source": source, "title": title or PurePosixPath(source).stem}
    return Document(page_content=content, metadata={**metadata, **named})


@dataclass(slots=True)
class DocumentIds:
    """Makes the ids of the Documents of one file.

    An id depends on the source, on the content, and on how many Documents of the source before it have equal content:
    a Document keeps its id when others are inserted before it.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm.loaders.document_ids import DocumentIds

    def page(text):
        return Document(page_content=text, metadata={"source": "notes/a.txt"})

    first, second = DocumentIds(), DocumentIds()
    before = [first.of(page(text)) for text in ("one", "two")]
    after = [second.of(page(text)) for text in ("new", "one", "two", "two")]
    assert before == after[1:3] and len(set(after)) == 4
    ```
    """

    _counts: Counter[tuple[str, bytes]] = field(default_factory=Counter)

    def of(self, document: Document) -> str:
        """The id of the next Document."""
        source = str(document.metadata.get("source", ""))
        digest = hashlib.sha256(document.page_content.encode("utf-8", "surrogatepass")).digest()
        number = self._counts[source, digest]
        self._counts[source, digest] += 1
        return str(uuid.uuid5(_IDS, f"{source}\n{digest.hex()}\n{number}"))


def is_id_of(document: Document, count: int) -> bool:
    """Whether the id of a Document is one that `DocumentIds` makes.

    Args:
        document: of a source.
        count: of the Documents of the source.
    """
    ids = DocumentIds()
    return any(ids.of(document) == document.id for _ in range(count))


@dataclass(frozen=True, slots=True)
class Library:
    """A named folder: the source of a file in it is the name and the path below the folder."""

    name: str
    root: Path
    """Absolute."""

    @classmethod
    def at(cls, root: Path, name: str | None = None) -> Library:
        """The library of a folder, by default with the name of the folder.

        Raises:
            ValueError: the folder has no name, or the name given is no name.
        """
        place = absolute(root)
        return cls(library_name(printable(place.name) if name is None else name, place), place)

    def source_of(self, path: Path) -> str:
        """The source of a file or folder in the library; that of its root is the name."""
        return "/".join([self.name, *(printable(part) for part in absolute(path).relative_to(self.root).parts)])


def absolute(path: Path) -> Path:
    """The absolute path without `.` and `..`; symbolic links are kept."""
    return Path(os.path.abspath(path))  # noqa: PTH100  Path.absolute keeps `..`


def library_name(name: object, root: Path | None = None) -> str:
    """Check the name of a library.

    Raises:
        ValueError: it is empty, or no name but a path.
    """
    if not name and root is not None:
        raise InvalidValueError(f"the folder {shown(root)} has no name; give one with name=")
    if not isinstance(name, str) or not name.strip() or name in {".", ".."} or any(sign in name for sign in "/\\\0"):
        raise InvalidValueError(f"name is the name of a library without slashes, such as 'photos', got {name!r}")
    return printable(name)


def library_of(path: Path, *, is_folder: bool, known: Sequence[Library] = (), name: str | None = None) -> Library:
    """The library of a path: the nearest known one that contains it, else that of the folder itself.

    Args:
        path: a file or folder.
        is_folder: which of both it is.
        known: libraries that exist already.
        name: of a library that is not known; by default that of its folder.
    """
    place = absolute(path)
    containing = [library for library in known if place.is_relative_to(library.root)]
    if containing:
        return max(containing, key=lambda library: len(library.root.parts))
    return Library.at(place if is_folder else place.parent, name)


def require_one_place(libraries: Iterable[Library]) -> None:
    """Refuse libraries of the same name in different folders.

    Raises:
        ContentError: the message names both folders.
    """
    places: dict[str, Path] = {}
    for library in libraries:
        other = places.setdefault(library.name, library.root)
        if other != library.root:
            raise ContentError(
                f"{shown(other)} and {shown(library.root)} would both be the library {library.name!r}, so that files "
                "of one could replace those of the other. Load them one by one with different name=, or give the "
                "folder that contains both as root="
            )
