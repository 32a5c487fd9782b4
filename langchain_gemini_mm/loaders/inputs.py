"""The source argument of a loader as a lazy stream of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain_core.documents.base import Blob

from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError
from langchain_gemini_mm.loaders.document_ids import Library, absolute, library_name, library_of, require_one_place
from langchain_gemini_mm.loaders.walk import (
    FolderWalk,
    InputFile,
    Patterns,
    Skipped,
    captions_above,
    split_glob,
)
from langchain_gemini_mm.media.source import printable, shown


@dataclass
class Inputs:
    """All files to load; each iteration walks the folders again."""

    given: Any
    """A folder, file, glob, Blob, blob loader, or a list of paths and Blobs."""
    walk: FolderWalk
    """How folders are walked; its root is set for each."""
    name: str | None = None
    """Name of the library; by default that of each folder."""
    libraries: Sequence[Library] = ()
    """Known libraries: what is in one of them belongs to it."""
    is_known: Callable[[str, os.DirEntry[str]], bool] | None = None
    """Files of folders for which this returns True are left out; see `FolderWalk`."""
    hidden: int = 0
    """Number of hidden entries that the last walk left out."""

    def __post_init__(self) -> None:
        """Check the source before anything is loaded."""
        if isinstance(self.given, str | os.PathLike):
            path = _path(self.given)
            if not path.exists() and split_glob(path) is None:
                raise ContentError(f"there is no file or folder {shown(path)}")
        elif isinstance(self.given, list | tuple):
            for item in self.given:
                if not isinstance(item, str | os.PathLike | Blob):
                    raise InvalidTypeError(f"MediaLoader takes paths and Blobs in a list, got {type(item).__name__}")
                if not isinstance(item, Blob):
                    _path(item)
        elif not isinstance(self.given, Blob) and not callable(getattr(self.given, "yield_blobs", None)):
            raise InvalidTypeError(
                "MediaLoader takes a folder, a file, a glob, a Blob, a BlobLoader, or a list of paths and Blobs, got "
                f"{type(self.given).__name__}"
            )
        if self.name is not None:
            self.name = library_name(self.name)
        require_one_place(library for _, library in self.places())

    def places(self) -> list[tuple[Path, Library]]:
        """The given paths, each with its library."""
        given = self.given if isinstance(self.given, list | tuple) else [self.given]
        paths = [_path(item) for item in given if isinstance(item, str | os.PathLike)]
        known = self.libraries
        if self.name is not None and len(paths) > 1 and not known:
            common = _common([folder_of(path) for path in paths])
            known = () if common is None else (Library.at(common, self.name),)
        return [(path, self._library(path, known)) for path in paths]

    def _library(self, path: Path, known: Sequence[Library]) -> Library:
        return library_of(folder_of(path), is_folder=True, known=known, name=self.name)

    def __iter__(self) -> Iterator[InputFile | Skipped]:
        """Yield files, and entries that are left out, in order."""
        self.hidden = 0
        seen: set[str] = set()
        places = iter(self.places())
        items = self.given if isinstance(self.given, list | tuple) else [self.given]
        for item in items:
            if isinstance(item, str | os.PathLike):
                found = self._at(*next(places))
            else:
                found = self._blobs([item] if isinstance(item, Blob) else item.yield_blobs())
            if len(items) == 1:
                yield from found
                return
            for file in found:
                if isinstance(file, InputFile) and file.source in seen:
                    yield Skipped(file.source, "it is in the list twice")
                    continue
                seen.add(file.source)
                yield file

    def _at(self, path: Path, library: Library) -> Iterator[InputFile | Skipped]:
        split = None if path.exists() else split_glob(path)
        if split or path.is_dir():
            folder = split[0] if split else path
            source = library.source_of(folder)
            above = captions_above(folder, library.root) if self.walk.companions else ()
            walk = replace(self.walk, root=folder, prefix=f"{source}/", above=above, is_known=self.is_known, hidden=0)
            yield from replace(walk, include=Patterns(split[1])) if split else walk
            self.hidden += walk.hidden
        else:
            yield self.walk.single(path, library.source_of(path), library.root)

    def _blobs(self, blobs: Iterable[Blob]) -> Iterator[InputFile | Skipped]:
        prefix = "" if self.name is None else f"{self.name}/"
        for blob in blobs:
            if blob.data is None:
                path = Path(blob.path or "")
                if "source" in blob.metadata:
                    named = printable(Path(str(blob.metadata["source"])).as_posix())
                    yield self.walk.single(path, prefix + named, path.parent)
                    continue
                library = self._library(path, self.libraries)
                yield replace(self.walk.single(path, library.source_of(path), library.root), metadata=blob.metadata)
                continue
            named = printable(Path(blob.source).as_posix()) if blob.source else ""
            data = blob.data.encode("utf-8", "replace") if isinstance(blob.data, str) else blob.data
            source = named or f"sha256-{hashlib.sha256(data).hexdigest()}"
            yield InputFile(prefix + source, data=data, metadata=blob.metadata)


def _path(given: str | os.PathLike[str]) -> Path:
    text = os.fspath(given)
    if not isinstance(text, str):
        raise InvalidTypeError(f"paths are str or Path, got {type(text).__name__}")
    if "://" in text:
        raise InvalidValueError(f"{text.partition('://')[0]}:// addresses are not loaded yet; give files or folders")
    if not text:
        raise InvalidValueError("the path to load must not be empty")
    return Path(text).expanduser()


def libraries_of(root: str | os.PathLike[str] | None, name: str | None) -> tuple[Library, ...]:
    """The library of the argument `root`, if it is given."""
    return () if root is None else (Library.at(_path(root), name),)


def folder_of(path: Path) -> Path:
    """The folder whose library a path belongs to: itself, the folder before a wildcard, or that of a file."""
    if path.is_dir():
        return path
    split = None if path.exists() else split_glob(path)
    return split[0] if split else path.parent


def _common(folders: list[Path]) -> Path | None:
    """The folder that contains all of these, if any: on Windows they may be on several drives."""
    try:
        return Path(os.path.commonpath([absolute(folder) for folder in folders])) if folders else None
    except ValueError:
        return None
