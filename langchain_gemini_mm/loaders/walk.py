"""Which files a folder holds, lazily and in the same order everywhere."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langchain_gemini_mm.loaders.beside import Beside, is_companion
from langchain_gemini_mm.loaders.captions import NAME
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
    root: Path | None = None
    """The folder that was loaded; nothing out of it is opened for this file's sake."""
    subtitles: tuple[Path, ...] = ()
    """What stands beside it as its subtitles."""
    captions: tuple[tuple[Path, str, str], ...] = ()
    """Each `captions.jsonl` that may speak of it: its path, its source, and what it would call this file."""


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    source: str
    captions: tuple[tuple[Path, str], ...] = ()
    """Each `captions.jsonl` here and above: its path, and its folder's source."""


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
    companions: bool = True
    """Whether subtitles and captions go with the files beside them, rather than being files of their own."""
    hidden: int = 0
    """How many hidden and system entries were left out so far."""
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def chosen(
        cls,
        glob: str | Iterable[str],
        exclude: str | Iterable[str],
        prefix: str,
        apart: Path | None,
        *,
        recursive: bool,
        include_hidden: bool,
        follow_symlinks: bool,
        companions: bool,
    ) -> Scan:
        """What a caller chose, for any folder."""
        return cls(
            root=Path(),
            prefix=prefix,
            include=Patterns(glob),
            exclude=Patterns(exclude),
            recursive=recursive,
            follow_symlinks=follow_symlinks,
            include_hidden=include_hidden,
            apart=apart,
            companions=companions,
        )

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
        beside = self._beside(folder, entries)
        for entry in entries:
            if not self.include_hidden and is_hidden(entry.name):
                self.hidden += 1
                continue
            name = printable(entry.name)
            if name != entry.name and name in names and entry.name.isprintable():
                # Two spellings of one name side by side: each keeps its own, so that neither replaces the other.
                name = entry.name
            source = f"{folder.source}/{name}" if folder.source else name
            if not self.exclude.match(source) and entry.name not in beside.taken:
                yield from self._entry(entry, source, beside)

    def _beside(self, folder: _Folder, entries: Sequence[os.DirEntry[str]]) -> Beside:
        if not self.companions:
            return Beside()
        usable = [entry for entry in entries if is_companion(entry.name) and self._is_usable(entry)]
        if not usable and not folder.captions:
            return Beside()
        sources = {entry.name: f"{folder.source}/{entry.name}" if folder.source else entry.name for entry in entries}
        left = {name for name, source in sources.items() if not self.exclude.match(source)}
        wanted = [name for name in left if self.include.match(sources[name])]
        companions = [Path(entry.path) for entry in usable if entry.name in left]
        return Beside.of(companions, wanted, folder.source, folder.captions)

    def single(self, path: Path, source: str) -> Found:
        """A file that was given by itself, with what stands beside it."""
        if not self.companions:
            return Found(path, source, path.parent)
        names = [path.with_name(NAME), *(other for other in _named_like(path) if is_companion(other.name))]
        usable = [other for other in names if other != path and other.is_file() and not other.is_symlink()]
        beside = Beside.of(usable, [path.name], "")
        captions = tuple(
            (place, source.removesuffix(path.name) + place.name, path.name) for place, _ in beside.captions
        )
        return Found(path, source, path.parent, beside.subtitles(path.name), captions)

    def _is_usable(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_file() and not self._refused(entry, is_folder=False)
        except OSError:
            return False

    def _entry(self, entry: os.DirEntry[str], source: str, beside: Beside) -> Iterator[Found | Skipped | _Folder]:
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
            yield _Folder(Path(entry.path), source, beside.captions)
        else:
            yield self.found(Path(entry.path), source, beside)

    def found(self, path: Path, source: str, beside: Beside) -> Found:
        """A file with what stands beside it."""
        captions = []
        for place, folder in beside.captions:
            above = f"{folder}/" if folder else ""
            captions.append((place, f"{self.prefix}{above}{place.name}", source.removeprefix(above)))
        return Found(path, self.prefix + source, self.root, beside.subtitles(path.name), tuple(captions))

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


def _named_like(path: Path) -> Iterator[Path]:
    """Files beside this one whose names begin like its own."""
    try:
        with os.scandir(path.parent) as listing:
            yield from (Path(entry.path) for entry in listing if entry.name.startswith(f"{path.stem}."))
    except OSError:
        return


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, or litter of an operating system or program."""
    return name.startswith((".", "~$")) or name.casefold() in _JUNK


def printable(name: str) -> str:
    """A file name as text: composed Unicode, so that it is the same on macOS; bytes that are no text as escapes."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
