"""What a run has to do: files found in a folder are compared with the ledger. No file is opened here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple, TypeAlias

from langchain_gemini_mm.errors import MirrorError
from langchain_gemini_mm.loaders.document_ids import Library, library_name, library_of
from langchain_gemini_mm.loaders.walk import InputFile, Skipped, companion_stamp
from langchain_gemini_mm.media.source import shown
from langchain_gemini_mm.sync.ledger import Place, SourceEntry

FAILED = " failed"
"""The end of a stamp of a file that cannot be used as it is."""


IsKnown: TypeAlias = Callable[[str, os.DirEntry[str]], bool]
"""Whether a file, given by its source, is unchanged."""


class FoundFile(NamedTuple):
    """A file that was found, with the stamp of its content and of its companions."""

    item: InputFile
    stamp: str
    """Size and times; empty for a file in memory."""
    beside: str
    """Those of its companion files."""
    size: int
    links: str = ""
    """Stamps of the images that its text links, each with its path: one a line."""

    @property
    def companions(self) -> str:
        """The stamps of everything else that its Documents depend on."""
        return f"{self.beside}\n{self.links}" if self.links else self.beside

    def seen(self, recipe: str) -> str:
        """The text by which it is recognized as unchanged."""
        return f"{self.stamp} {self.beside} {recipe}"


@dataclass(slots=True)
class Known:
    """What the ledger knows of one folder."""

    recipe: str
    seen: Mapping[str, str]
    """Source to stamp, of files below the folder."""
    former: Mapping[str, str] = field(default_factory=dict)
    """Source that a file has now to the source that it has in the ledger, of folders that became part of this one."""


@dataclass(slots=True)
class FolderComparison:
    """Files of a folder by what is to be done."""

    unchanged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Unchanged files that could not be used before."""
    open: list[FoundFile] = field(default_factory=list)
    """New or changed."""
    kept: list[Skipped] = field(default_factory=list)
    """Files that the index has and that cannot be looked at now."""
    refused: list[Skipped] = field(default_factory=list)
    """Others that are left out."""
    vanished: list[str] = field(default_factory=list)
    """Sources of the ledger that were not found."""
    found: int = 0
    """Number of files."""


def compare(
    found: Callable[[IsKnown], Iterable[FoundFile | Skipped]], known: Known, *, retry_failed: bool
) -> FolderComparison:
    """Compare the files of a folder with those of the ledger.

    Args:
        found: yields files, and entries that are left out; files without companions for which the function that it is
            called with returns True need not be yielded.
        known: from the ledger.
        retry_failed: whether to open unchanged files again that could not be used.
    """
    result = FolderComparison()
    missing = dict.fromkeys([*known.seen, *known.former.values()])
    recipe, seen = known.recipe, known.seen
    closed: list[str] = []
    unchanged = result.unchanged

    def is_known(source: str, entry: os.DirEntry[str]) -> bool:
        status, before = entry.stat(), seen.get(source)
        now = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}  {recipe}"
        if before != now and not (before and before.startswith(f"{now}\n") and _links_are_same(before, entry.path)):
            return False
        del missing[source]
        unchanged.append(source)
        return True

    for one in found(is_known):
        if isinstance(one, Skipped):
            _skipped(one, result, missing, closed)
            continue
        source, path = one.item.source, one.item.path
        before, _, links = seen.get(source, "").partition("\n")
        missing.pop(source, None)
        now = one.seen(recipe)
        file = one._replace(links=links_now(links, path.parent)) if links and path is not None else one
        if before == now and file.stamp and links == file.links:
            result.unchanged.append(source)
        elif before == now + FAILED and not retry_failed and links == file.links:
            result.failed.append(source)
        else:
            result.open.append(file)
    result.found = len(unchanged) + len(result.failed) + len(result.open)
    for source in missing:
        if any(source.startswith(folder) for folder in closed):
            result.kept.append(Skipped(source, "its folder cannot be listed"))
        else:
            result.vanished.append(source)
    return result


def links_of(linked: Mapping[Path, str], folder: Path) -> str:
    """The stamps of linked images and their paths from a folder, one a line.

    Args:
        linked: stamps by path.
        folder: of the text.
    """
    lines = (f"{stamp} {PurePath(os.path.relpath(path, folder)).as_posix()}" for path, stamp in linked.items())
    return "\n".join(sorted(line for line in lines if line.isprintable()))


def links_now(links: str, folder: Path) -> str:
    """The same lines with the stamps that the images have now."""
    paths = (line.partition(" ")[2] for line in links.split("\n"))
    return "\n".join(sorted(f"{companion_stamp(folder / path)} {path}" for path in paths))


def _links_are_same(before: str, path: str) -> bool:
    links = before.partition("\n")[2]
    return links == links_now(links, Path(path).parent)


def _skipped(entry: Skipped, result: FolderComparison, missing: dict[str, None], closed: list[str]) -> None:
    """Keep what the index has of an entry that cannot be looked at: a file, or a folder with everything in it."""
    if entry.source in missing:
        missing.pop(entry.source)
        result.kept.append(entry)
        return
    result.refused.append(entry)
    folder = entry.source.removesuffix("/.") + "/"
    if entry.temporary:
        closed.append(folder)


def require_deletions(comparison: FolderComparison, deleted: int, known: int, root: Path, max_delete: float) -> None:
    """Refuse to delete so much that the folder is probably not what it was.

    Args:
        comparison: of the folder with the ledger.
        deleted: number of files whose documents would be deleted.
        known: number of files that the index has of the folder.
        root: the folder.
        max_delete: largest share of `known`.

    Raises:
        MirrorError: nothing is deleted; the message says what was found, and how to proceed.
    """
    if not deleted:
        return
    if not comparison.found:
        raise MirrorError(
            f"{shown(root)} contains no files, and the index has {known:,} files of it. Nothing was deleted. If the "
            "folder is on a disk or share that is not connected, connect it. If it is meant to be empty, call "
            "retriever.forget() with the name of the library"
        )
    if deleted > max_delete * known:
        raise MirrorError(
            f"{deleted:,} of {known:,} files that the index has of {shown(root)} are not there any more ("
            f"{comparison.found:,} files were found), which is more than max_delete={max_delete:g}. Nothing was "
            "deleted. If the files are meant to be deleted, call mirror with max_delete=1.0; to keep their documents, "
            "with delete=False"
        )


def choose_library(root: Path, *, is_folder: bool, name: str | None, places: Iterable[Place]) -> Library:
    """The library that a folder or file belongs to.

    Args:
        root: absolute.
        is_folder: whether it is a folder.
        name: given by the caller.
        places: all folders that the ledger knows.

    Raises:
        MirrorError: another folder has this name.
    """
    places = list(places)
    here = [Library(place.library, place.path) for place in places if place.is_here]
    if name is not None:
        name = library_name(name)
        here = [library for library in here if library.name == name]
    library = library_of(root, is_folder=is_folder, known=here, name=name)
    if library in here or name is not None:
        return library
    others = [place for place in places if place.library == library.name]
    if others:
        raise MirrorError(
            f"{shown(library.root)} would be the library {library.name!r}, and so is {others[0].shown}. If both are "
            f"copies of the same files, pass name={library.name!r}; if they are different, pass another name="
        )
    return library


def former_sources(library: Library, places: Iterable[Place], seen: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Sources of folders that are part of a library now, by the source that their files have in it.

    Args:
        library: the folder that is mirrored.
        places: folders of the ledger on this machine that are in it, under another name.
        seen: for each of them, the stamps by source.
    """
    found = {}
    for place in places:
        above = library.source_of(place.path)
        for source in seen[place.id]:
            found[above + source.removeprefix(place.library)] = source
    return found


def same_files(entries: Mapping[str, SourceEntry]) -> dict[str, list[str]]:
    """Sources by the hash of the file that their documents are of."""
    found: dict[str, list[str]] = {}
    for source, entry in entries.items():
        if entry.sha256 is not None and entry.ids:
            found.setdefault(entry.sha256, []).append(source)
    return found
