"""Media as links: only the hashes and paths of files are stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.errors import ContentError, MissingMediaError, StoreError
from langchain_gemini_mm.media.source import Stamp, hash_of, open_source, shown
from langchain_gemini_mm.storage.backend import MediaWriter, Stored, missing
from langchain_gemini_mm.storage.folder import FolderBackend
from langchain_gemini_mm.storage.hash_cache import FileTable, KnownFile

if TYPE_CHECKING:
    from pathlib import Path


class LinksBackend:
    """A folder with an index of files elsewhere; bytes that are no file are stored in the folder itself."""

    kind = "links"
    in_place = True

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise StoreError(f"the media index {str(root)!r} is a file; give a folder (it is made when needed)")
        self.path: Path | None = root
        self._links = FileTable(root / "links.db", truth=True)
        self.files: FileTable | None = self._links
        self._own = FolderBackend(root)

    def writer(self) -> MediaWriter:
        """Begin an upload of bytes into the folder."""
        return self._own.writer()

    def size(self, sha256: str) -> int:
        """The size in bytes, after a check that a linked file is unchanged."""
        with self.open(sha256) as file:
            return file.seek(0, 2)

    def open(self, sha256: str) -> BinaryIO:
        """Open the first linked file that is unchanged."""
        links = self._links.with_hash(sha256)
        reasons = []
        for link in links:
            opened = self._opened(link)
            if not isinstance(opened, str):
                return opened
            reasons.append(opened)
        try:
            return self._own.open(sha256)
        except MissingMediaError as error:
            if not reasons:
                raise
            remedy = "Put it back, or load the files again so that the index learns their new places"
            raise missing(sha256, f"was linked to {'; and to '.join(reasons)}. {remedy}") from error

    def touch(self, sha256: str, *, within: float = 0.0) -> bool:
        """Set the time of these bytes to now, both of the link and of the copy."""
        linked = self._links.touch(sha256, within=within, sweep_began=self._own.sweep_began())
        return self._own.touch(sha256) or linked

    def begin_sweep(self) -> float:
        """The time of the file system."""
        return self._own.begin_sweep()

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the link and the copy, if any; linked files are never removed."""
        linked = self._links.forget(sha256, before=before)
        return self._own.delete(sha256, before=before) or linked

    def stored(self) -> Iterator[Stored]:
        """List everything that is linked or stored; a file that is both is listed twice."""
        yield from (Stored(*row) for row in self._links.hashes())
        yield from self._own.stored()

    def tidy(self, before: float, *, dry_run: bool) -> int:
        """Remove unfinished uploads."""
        return self._own.tidy(before, dry_run=dry_run)

    def _opened(self, link: KnownFile) -> BinaryIO | str:
        """The open file, or the reason why it is not the linked one."""
        try:
            file, stamp = open_source(link.path)
        except ContentError as error:
            return f"{shown(link.path)} ({error})"
        try:
            same = link.is_still(stamp) or self._has_hash(file, stamp, link)
        except BaseException:
            file.close()
            raise
        if same:
            file.seek(0)
            return file
        file.close()
        return f"{shown(link.path)}, which has changed since"

    def _has_hash(self, file: BinaryIO, stamp: Stamp, link: KnownFile) -> bool:
        """Hash a file whose times differ, and store its new times if the hash is the same."""
        started = time.time_ns()
        if stamp.size != link.size or hash_of(file, shown(link.path)) != link.sha256:
            return False
        self._links.remember(link.path, stamp, link.sha256, started)
        return True
