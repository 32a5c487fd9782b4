"""Which files a folder holds, lazily and in the same order everywhere."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from langchain_gemini_mm.loaders.patterns import Patterns

_JUNK = frozenset(
    {
        "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "system volume information",
        "lost+found", "@eadir", "#recycle", "__pycache__", "node_modules",
    }
)  # fmt: skip
_LINK = "it is a symbolic link; follow_symlinks=True takes links that stay inside the folder"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was left out, and why."""

    source: str
    """POSIX path relative to the loaded root."""
    reason: str
    """What was wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file to load."""

    path: Path
    source: str
    """POSIX path relative to the loaded root, in Unicode's composed form."""


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    source: str


@dataclass
class Scan:
    """One walk through a folder; names in order of their code points, folders among files."""

    root: Path
    prefix: str
    """Stands before every source."""
    include: Patterns
    exclude: Patterns
    recursive: bool = True
    follow_symlinks: bool = False
    include_hidden: bool = False
    apart: Path | None = None
    """A folder that is not looked into: the media store's own."""
    hidden: int = 0
    """How many hidden and system entries were left out so far."""
    _seen: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[Found | Skipped]:
        """Yield files as they are met, and what cannot be used."""
        self._seen = {os.path.realpath(self.root)}
        stack = [self._entries(_Folder(self.root, ""))]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif isinstance(entry, _Folder):
                stack.append(self._entries(entry))
            else:
                yield entry

    def _entries(self, folder: _Folder) -> Iterator[Found | Skipped | _Folder]:
        try:
            with os.scandir(folder.path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield self._skipped(folder.source or ".", f"it cannot be listed: {error.strerror or error}")
            return
        names = {entry.name for entry in entries}
        for entry in entries:
            if not self.include_hidden and is_hidden(entry.name):
                self.hidden += 1
                continue
            name = printable(entry.name)
            if name != entry.name and name in names and entry.name.isprintable():
                # Two spellings of one name side by side: each keeps its own, so that neither replaces the other.
                name = entry.name
            source = f"{folder.source}/{name}" if folder.source else name
            if not self.exclude.match(source):
                yield from self._entry(entry, source)

    def _entry(self, entry: os.DirEntry[str], source: str) -> Iterator[Found | Skipped | _Folder]:
        try:
            is_folder = entry.is_dir()
            wanted = self.recursive if is_folder else self.include.match(source)
            if not wanted or (is_folder and self._is_apart(entry)):
                return
            refused = self._refused(entry, is_folder)
        except OSError as error:
            refused = f"it cannot be looked at: {error.strerror or error}"
            is_folder = False
        if refused:
            yield self._skipped(source, refused)
        elif is_folder:
            yield _Folder(Path(entry.path), source)
        else:
            yield Found(Path(entry.path), self.prefix + source)

    def _refused(self, entry: os.DirEntry[str], is_folder: bool) -> str:
        """Why an entry is not taken; empty when it is."""
        if entry.is_symlink():
            if not self.follow_symlinks:
                return _LINK
            target = os.path.realpath(entry.path)
            if not os.path.lexists(target):
                return "it is a symbolic link to nothing"
            if not Path(target).is_relative_to(os.path.realpath(self.root)):
                return "it is a symbolic link that leads out of the folder"
        if is_folder and self.follow_symlinks:
            place = os.path.realpath(entry.path)
            if place in self._seen:
                return "it leads to a folder that is loaded already"
            self._seen.add(place)
        if not is_folder and not entry.is_file():
            return "it is no regular file but a pipe, socket, device or broken link"
        return ""

    def _is_apart(self, entry: os.DirEntry[str]) -> bool:
        return self.apart is not None and self.apart.exists() and Path(entry.path).samefile(self.apart)

    def _skipped(self, source: str, reason: str) -> Skipped:
        return Skipped(self.prefix + source, reason)


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, or litter of an operating system or program."""
    return name.startswith((".", "~$")) or name.casefold() in _JUNK


def printable(name: str) -> str:
    """A file name as text: composed Unicode, so that it is the same on macOS; bytes that are no text as escapes."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
