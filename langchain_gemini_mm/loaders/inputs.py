"""The source argument of a loader as a lazy stream of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain_core.documents.base import Blob

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.walk import FolderWalk, InputFile, Patterns, Skipped, printable, split_glob
from langchain_gemini_mm.media.source import shown


@dataclass
class Inputs:
    """All files to load; each iteration walks the folders again."""

    given: Any
    """A folder, file, glob, Blob, blob loader, or a list of paths and Blobs."""
    walk: FolderWalk
    """How folders are walked; its root is set for each."""
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
                    raise TypeError(f"MediaLoader takes paths and Blobs in a list, got {type(item).__name__}")
                if not isinstance(item, Blob):
                    _path(item)
        elif not isinstance(self.given, Blob) and not callable(getattr(self.given, "yield_blobs", None)):
            raise TypeError(
                "MediaLoader takes a folder, a file, a glob, a Blob, a BlobLoader, or a list of paths and Blobs, got "
                f"{type(self.given).__name__}"
            )

    def __iter__(self) -> Iterator[InputFile | Skipped]:
        """Yield files, and entries that are left out, in order."""
        self.hidden = 0
        if isinstance(self.given, str | os.PathLike):
            path = _path(self.given)
            if path.is_dir() or not path.exists():
                yield from self._tree(path, self.walk.prefix)
            else:
                yield self.walk.single(path, self.walk.prefix + printable(path.name))
        elif isinstance(self.given, list | tuple):
            yield from self._listed(self.given)
        else:
            yield from self._blobs([self.given] if isinstance(self.given, Blob) else self.given.yield_blobs())

    def _listed(self, items: list[Any] | tuple[Any, ...]) -> Iterator[InputFile | Skipped]:
        paths = {number: _path(item) for number, item in enumerate(items) if not isinstance(item, Blob)}
        far = [path.parent for path in paths.values() if path.is_absolute()]
        root = _common(far)
        seen: set[str] = set()
        for number, item in enumerate(items):
            if isinstance(item, Blob):
                yield from self._blobs([item])
                continue
            path = paths[number]
            near = path.relative_to(root) if root and path.is_absolute() else path
            source = self.walk.prefix + printable(Path(os.path.normpath(near)).as_posix())
            if source in seen:
                yield Skipped(source, "it is in the list twice")
            elif path.is_dir() or (not path.exists() and split_glob(path)):
                yield from self._tree(path, f"{source}/" if path.is_dir() else self.walk.prefix)
            else:
                yield self.walk.single(path, source)
            seen.add(source)

    def _tree(self, path: Path, prefix: str) -> Iterator[InputFile | Skipped]:
        walk = replace(self.walk, root=path, prefix=prefix, hidden=0)
        split = None if path.exists() else split_glob(path)
        if split:
            walk = replace(walk, root=split[0], include=Patterns(split[1]))
        yield from walk
        self.hidden += walk.hidden

    def _blobs(self, blobs: Iterable[Blob]) -> Iterator[InputFile | Skipped]:
        for blob in blobs:
            named = printable(Path(blob.source).as_posix()) if blob.source else ""
            if blob.data is None:
                yield self.walk.single(Path(blob.path or ""), self.walk.prefix + named)
                continue
            data = blob.data.encode("utf-8", "replace") if isinstance(blob.data, str) else blob.data
            source = named or f"sha256-{hashlib.sha256(data).hexdigest()}"
            yield InputFile(self.walk.prefix + source, data=data, metadata=blob.metadata)


def _path(given: str | os.PathLike[str]) -> Path:
    text = os.fspath(given)
    if not isinstance(text, str):
        raise TypeError(f"paths are str or Path, got {type(text).__name__}")
    if "://" in text:
        raise ValueError(f"{text.partition('://')[0]}:// addresses are not loaded yet; give files or folders")
    if not text:
        raise ValueError("the path to load must not be empty")
    return Path(text).expanduser()


def _common(folders: list[Path]) -> Path | None:
    """The folder that contains all of these, if any: on Windows they may be on several drives."""
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:
        return None
