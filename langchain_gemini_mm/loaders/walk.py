"""Walking folders: files in a stable order, each with its companion files."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path, PurePath
from typing import Any

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.loaders.captions import NAME
from langchain_gemini_mm.media.source import OpenedSource, open_source, printable

_MAGIC = re.compile(r"[*?\[]")
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.")
_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


class Patterns:
    """Matches a relative path against glob patterns.

    A pattern without `/` is matched with the name, in any folder; one with `/` with the whole path (`./*.jpg` matches
    only in the loaded folder itself).
    """

    def __init__(self, patterns: str | Iterable[str]) -> None:
        listed: list[object] = [patterns] if isinstance(patterns, str) else list(patterns)
        if not all(isinstance(pattern, str) and pattern for pattern in listed):
            raise InvalidTypeError(f"patterns are non-empty strings such as '**/*.jpg', got {listed!r}")
        self._expression = (
            None
            if listed == ["**"]
            else re.compile("|".join(map(_expression, map(str, listed))) or "(?!)", re.IGNORECASE | re.DOTALL)
        )

    def match(self, path: str) -> bool:
        """Whether `path`, relative and with forward slashes, matches."""
        return self._expression is None or self._expression.fullmatch(path) is not None


def split_glob(path: Path) -> tuple[Path, str] | None:
    """The folder before the first name with a wildcard, and the pattern from there; None without wildcards."""
    parts = path.parts
    for number, part in enumerate(parts):
        if _MAGIC.search(part):
            return Path(*parts[:number]), "./" + "/".join(parts[number:])
    return None


def _expression(pattern: str) -> str:
    pattern = pattern.replace("\\", "/").rstrip("/")
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    return anywhere + _TOKEN.sub(_translated, pattern.removeprefix("./").lstrip("/"))


def _translated(match: re.Match[str]) -> str:
    token = match[0]
    if token in _WILDCARDS:
        return _WILDCARDS[token]
    if token.startswith("[") and len(token) > 2:
        return _one_of(token[2:-1], "[^/{}]") if token[1] == "!" else _one_of(token[1:-1], "(?!/)[{}]")
    return re.escape(token)


def _one_of(signs: str, template: str) -> str:
    """A class of characters and ranges; a reversed range matches nothing."""
    found = ""
    while signs:
        low, high, rest = (
            (signs[0], signs[2], signs[3:]) if signs[1:2] == "-" and signs[2:] else (signs[0], "", signs[1:])
        )
        if low <= (high or low):
            found += f"{re.escape(low)}-{re.escape(high)}" if high else re.escape(low)
        signs = rest
    return template.format(found) if found or "^" in template else "(?!)"


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
    """As that of a file that is loaded."""
    reason: str
    """What is wrong, and what to do."""
    temporary: bool = field(default=False, compare=False)
    """Whether the file may be loaded later although it is unchanged: it cannot be opened, or a library is missing."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to load, on disk or in memory."""

    source: str
    """Library and POSIX path below its folder, in Unicode's composed form; of a Blob its own source or its hash."""
    path: Path | None = None
    """None for a Blob in memory."""
    data: bytes = field(default=b"", repr=False)
    """The content of a Blob in memory."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of a Blob, for its Documents."""
    root: Path | None = None
    """The folder that was loaded; files outside of it are never opened for this file."""
    subtitles: tuple[Path, ...] = ()
    """Its subtitle files."""
    captions: tuple[tuple[Path, str, str], ...] = ()
    """Each `captions.jsonl` that may describe it: its path, its source, and the name of this file in it."""
    depth: int = 0
    """Number of files that it is inside of, as an attachment."""

    def inside(self, name: str, data: bytes) -> InputFile:
        """A file attached to this one.

        Args:
            name: of the attachment, which is no path.
            data: its content.
        """
        return InputFile(f"{self.source}/{name}", data=data, metadata=self.metadata, depth=self.depth + 1)

    @contextmanager
    def opened(self) -> Iterator[OpenedSource]:
        """Open it for reading.

        Raises:
            ContentError: it cannot be read, or is no regular file.
        """
        if self.path is None:
            yield OpenedSource(io.BytesIO(self.data))
            return
        file, stamp = open_source(self.path)
        with closing(file):
            yield OpenedSource(file, self.path, stamp)


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    source: str
    captions: tuple[tuple[Path, str], ...] = ()
    """Each `captions.jsonl` here and above: its path, and its folder's source."""


@dataclass
class FolderWalk:
    """One walk through a folder, in the order of names by code point; folders and files are not separated."""

    include: Patterns
    exclude: Patterns
    prefix: str = ""
    """Prepended to every source."""
    recursive: bool = True
    follow_symlinks: bool = False
    include_hidden: bool = False
    companions: bool = True
    """Whether subtitles and captions belong to the files next to them, and are not loaded as files."""
    root: Path = field(default_factory=Path)
    omit: Path | None = None
    """A folder that is not walked: the media store's own."""
    above: tuple[tuple[Path, str], ...] = ()
    """Each `captions.jsonl` above the root, nearest first: its path, and the path of the root below its folder."""
    is_known: Callable[[str, os.DirEntry[str]], bool] | None = None
    """Called with the source of each file without companions; it is left out if this returns True."""
    hidden: int = 0
    """How many hidden and system entries were left out so far."""
    _seen: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[InputFile | Skipped]:
        """Yield files, and entries that are left out, in order."""
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

    def _entries(self, folder: _Folder) -> Iterator[InputFile | Skipped | _Folder]:
        try:
            with os.scandir(folder.path) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError as error:
            reason = f"it cannot be listed: {error.strerror or error}"
            yield Skipped(self.prefix + (folder.source or "."), reason, temporary=True)
            return
        names = set(map(attrgetter("name"), entries))
        companions = self._companions(folder, entries)
        ask = self.is_known is not None and not (companions.captions or companions.subtitles or self.above)
        for entry in entries:
            if not self.include_hidden and is_hidden(entry.name):
                self.hidden += 1
                continue
            name = printable(entry.name)
            if name != entry.name and name in names and entry.name.isprintable():
                # Two Unicode spellings of one name: each keeps its own, so that neither replaces the other.
                name = entry.name
            source = f"{folder.source}/{name}" if folder.source else name
            if self.exclude.match(source) or entry.name in companions.taken:
                continue
            if (
                ask
                and entry.is_file(follow_symlinks=False)
                and self.include.match(source)
                and self._knows(entry, source)
            ):
                continue
            yield from self._entry(entry, source, companions)

    def hides(self, path: Path, root: Path) -> bool:
        """Whether a path, or a folder that it is in, is hidden or excluded.

        Args:
            path: in the folder; it need not exist.
            root: the folder, with the same spelling.
        """
        parts = path.relative_to(root).parts
        if not self.include_hidden and any(map(is_hidden, parts)):
            return True
        return any(self.exclude.match("/".join(parts[: count + 1])) for count in range(len(parts)))

    def _knows(self, entry: os.DirEntry[str], source: str) -> bool:
        try:
            return self.is_known is not None and self.is_known(self.prefix + source, entry)
        except OSError:
            return False

    def _companions(self, folder: _Folder, entries: Sequence[os.DirEntry[str]]) -> CompanionFiles:
        if not self.companions:
            return CompanionFiles()
        usable = [Path(entry.path) for entry in entries if is_companion(entry.name) and self._is_usable(entry)]
        if not usable and not folder.captions:
            return CompanionFiles()
        sources = {entry.name: f"{folder.source}/{entry.name}" if folder.source else entry.name for entry in entries}
        companions = [path for path in usable if not self.exclude.match(sources[path.name])]
        names = [
            name for name, source in sources.items() if self.include.match(source) and not self.exclude.match(source)
        ]
        return CompanionFiles.sorted(companions, names, folder.source, folder.captions)

    def single(self, path: Path, source: str, root: Path) -> InputFile:
        """A file that was given directly, with its companion files.

        Args:
            path: of the file.
            source: of the file.
            root: the folder of its library.
        """
        if not self.companions:
            return InputFile(source, path, root=root)
        names = [path.with_name(NAME), *(other for other in _named_like(path) if is_companion(other.name))]
        usable = [other for other in names if other != path and other.is_file() and not other.is_symlink()]
        found = CompanionFiles.sorted(usable, [path.name], "")
        folder = source.removesuffix(printable(path.name))
        captions = [(place, folder + place.name, path.name) for place, _ in found.captions]
        for place, below in captions_above(path.parent, root):
            captions.append((place, _above(folder, below) + place.name, f"{below}/{path.name}"))
        return InputFile(source, path, root=root, subtitles=found.subtitles_of(path.name), captions=tuple(captions))

    def _is_usable(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_file() and not self._refused(entry, is_folder=False)
        except OSError:
            return False

    def _entry(
        self, entry: os.DirEntry[str], source: str, companions: CompanionFiles
    ) -> Iterator[InputFile | Skipped | _Folder]:
        path = Path(entry.path)
        try:
            is_folder = entry.is_dir()
            if not (self.recursive if is_folder else self.include.match(source)):
                return
            if is_folder and self.omit is not None and self.omit.exists() and path.samefile(self.omit):
                return
            refused = self._refused(entry, is_folder)
        except OSError as error:
            refused = f"it cannot be looked at: {error.strerror or error}"
            is_folder = False
        if refused:
            yield Skipped(self.prefix + source, refused)
        elif is_folder:
            yield _Folder(path, source, companions.captions)
        else:
            captions = []
            for place, folder in companions.captions:
                above = f"{folder}/" if folder else ""
                captions.append((place, f"{self.prefix}{above}{place.name}", source.removeprefix(above)))
            for place, below in self.above:
                captions.append((place, _above(self.prefix, below) + place.name, f"{below}/{source}"))
            yield InputFile(
                self.prefix + source,
                path,
                root=self.root,
                subtitles=companions.subtitles_of(path.name),
                captions=tuple(captions),
            )

    def _refused(self, entry: os.DirEntry[str], is_folder: bool) -> str:
        """The reason why an entry is left out; empty if it is loaded."""
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


def companion_stamp(path: Path) -> str:
    """Size and time of a file on which Documents of another one depend, to notice that it was changed or removed."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return "gone"
    return f"{status.st_size}-{status.st_mtime_ns}"


def captions_above(folder: Path, root: Path) -> tuple[tuple[Path, str], ...]:
    """Each `captions.jsonl` in the folders of a library above one of its folders, nearest first.

    Args:
        folder: in the library.
        root: the folder of the library.

    Returns:
        The path of each, and the path of `folder` below the folder that it is in.
    """
    found = []
    parts = Path(os.path.abspath(folder)).relative_to(root).parts  # noqa: PTH100  as libraries are compared
    for count in range(len(parts) - 1, -1, -1):
        path = root.joinpath(*parts[:count], NAME)
        if path.is_file() and not path.is_symlink():
            found.append((path, "/".join(map(printable, parts[count:]))))
    return tuple(found)


def _above(prefix: str, below: str) -> str:
    """The prefix of sources of a folder, from that of the folder `below` it."""
    return prefix.removesuffix(f"{below}/")


def _named_like(path: Path) -> Iterator[Path]:
    """Files in the same folder whose names begin with the same stem."""
    try:
        with os.scandir(path.parent) as listing:
            yield from (Path(entry.path) for entry in listing if entry.name.startswith(f"{path.stem}."))
    except OSError:
        return


def is_hidden(name: str) -> bool:
    """Whether a file is hidden, or is one that operating systems and programs create, by its name."""
    return name.startswith((".", "~$")) or name.casefold() in _JUNK


_SUBTITLES = (".srt", ".vtt", ".ass", ".ssa", ".sbv", ".smi", ".sami", ".ttml", ".dfxp")
_LANGUAGE_LETTERS = 12
_WITH_SUBTITLES = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".flv",
        ".wmv", ".ogv", ".asf", ".mp3", ".wav", ".m4a", ".m4b", ".aac", ".ogg", ".oga", ".opus", ".flac", ".aiff",
        ".aif", ".amr",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompanionFiles:
    """The companion files in one folder: subtitles, and captions of the folder and those above."""

    captions: tuple[tuple[Path, str], ...] = ()
    """Each `captions.jsonl` here and above: its path, and its folder's source."""
    taken: frozenset[str] = frozenset()
    """Names of companions that are not loaded as files of their own."""
    subtitles: dict[str, list[Path]] = field(default_factory=dict)
    """By the stem of the file that they belong to."""

    @classmethod
    def sorted(
        cls, companions: Iterable[Path], names: Iterable[str], folder: str, above: tuple[tuple[Path, str], ...] = ()
    ) -> CompanionFiles:
        """Assign the companions in a folder to its files.

        Args:
            companions: files whose names look like those of companions.
            names: of all files that are to be loaded; only those have companions.
            folder: its source.
            above: the captions of the folders above.
        """
        stems = {PurePath(name).stem for name in names if PurePath(name).suffix.lower() in _WITH_SUBTITLES}
        captions, taken = above, set()
        subtitles: dict[str, list[Path]] = {}
        for path in companions:
            if path.name == NAME:
                captions = ((path, folder), *above)
                taken.add(path.name)
            elif stem := next((stem for stem in _stems(path.name) if stem in stems), None):
                subtitles.setdefault(stem, []).append(path)
                taken.add(path.name)
        return cls(captions, frozenset(taken), subtitles)

    def subtitles_of(self, name: str) -> tuple[Path, ...]:
        """The subtitles of a file: those without a language in their name, or else the first by name."""
        path = PurePath(name)
        found = self.subtitles.get(path.stem)
        if not found or path.suffix.lower() not in _WITH_SUBTITLES:
            return ()
        plain = [one for one in found if one.stem == path.stem]
        return tuple((plain or found)[:1])


def is_companion(name: str) -> bool:
    """Whether a file may be a companion of another one, by its name."""
    return name == NAME or name.lower().endswith(_SUBTITLES)


def _stems(name: str) -> Iterable[str]:
    """Possible stems of the file that subtitles belong to, such as `talk` for `talk.en.srt`."""
    stem = PurePath(name).stem
    yield stem
    head, dot, language = stem.rpartition(".")
    if dot and 0 < len(language) <= _LANGUAGE_LETTERS:
        yield head
