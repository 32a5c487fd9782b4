"""Looking at files: one `stat` each to find out which may have changed, and reading those that have."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.examine import is_temporary
from langchain_gemini_mm.loaders.walk import InputFile, Skipped, companion_stamp
from langchain_gemini_mm.media.source import hash_of, open_source
from langchain_gemini_mm.sync.plan import FoundFile, links_of

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document

    from langchain_gemini_mm.loaders import MediaLoader

_DOCUMENTS = 256
"""Documents that are embedded and stored together."""
_ATTEMPTS = 3
"""How often a file is read that changes while it is read."""


def stamped(items: Iterable[InputFile | Skipped]) -> Iterator[FoundFile | Skipped]:
    """Yield files with their stamps; those that cannot be looked at are left out, with the reason."""
    companions: dict[Path, str] = {}
    for item in items:
        if isinstance(item, Skipped):
            yield item
        elif item.path is None:
            yield FoundFile(item, "", "", len(item.data))
        else:
            try:
                status = os.stat(item.path)  # noqa: PTH116  called for every file
            except OSError as error:
                yield Skipped(item.source, f"it cannot be looked at: {error.strerror or error}", temporary=True)
                continue
            if not stat.S_ISREG(status.st_mode):
                yield Skipped(item.source, "it is no regular file")
                continue
            beside = _beside(item, companions) if item.subtitles or item.captions else ""
            yield FoundFile(item, _stamp(status), beside, status.st_size)


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _beside(item: InputFile, known: dict[Path, str]) -> str:
    """The stamps of the companions of a file."""
    found = []
    for path in (*item.subtitles, *(place for place, _, _ in item.captions)):
        if path not in known:
            known[path] = companion_stamp(path)
        found.append(known[path])
    return "+".join(found)


def file_hash(item: InputFile) -> str:
    """The SHA-256 of a file.

    Raises:
        ContentError: it cannot be read.
    """
    if item.path is None:
        return hashlib.sha256(item.data).hexdigest()
    with closing(open_source(item.path)[0]) as file:
        return hash_of(file, "it")


@dataclass(slots=True)
class LoadedPart:
    """Documents of a file, all of them or the next ones."""

    file: FoundFile
    documents: list[Document] = field(default_factory=list)
    done: bool = False
    """Whether they are the last of the file; the fields that follow are set then."""
    refused: Skipped | None = None
    """Why the file cannot be used."""
    sha256: str | None = None
    left_out: tuple[Skipped, ...] = ()
    """Parts of the file that are left out."""


class FileReading:
    """Reads files with a loader; a file that changes meanwhile is read again.

    Args:
        loader: makes the Documents.
        files: the files to read.
        hashes: those that are known.
        prepare: called for each Document.
    """

    def __init__(
        self,
        loader: MediaLoader,
        files: Iterable[FoundFile],
        hashes: dict[str, str],
        prepare: Callable[[Document], Document],
    ) -> None:
        self._loader = loader
        self._queue = deque((file, 1) for file in files)
        self._started: dict[str, tuple[FoundFile, int]] = {}
        self._hashes = hashes
        self._prepare = prepare
        self._parts = self._read()

    def draw(self) -> list[LoadedPart]:
        """Read on until there are enough Documents to embed together; an empty list is the end."""
        drawn: list[LoadedPart] = []
        count = 0
        while count < _DOCUMENTS and (part := next(self._parts, None)) is not None:
            drawn.append(part)
            count += len(part.documents) or 1
        return drawn

    def close(self) -> None:
        """End the worker processes of the loader."""
        self._parts.close()

    def _items(self) -> Iterator[InputFile]:
        while self._queue:
            file, attempt = self._queue.popleft()
            if attempt > 1:
                file = next((now for now in stamped([file.item]) if isinstance(now, FoundFile)), file)
            self._started[file.item.source] = file, attempt
            yield file.item

    def _read(self) -> Generator[LoadedPart, None, None]:
        while self._queue:
            for item, documents in self._loader.files(self._items()):
                assert isinstance(item, InputFile)  # noqa: S101 - nothing else is given
                file, attempt = self._started.pop(item.source)
                yield from self._file(file, documents, attempt)

    def _file(self, file: FoundFile, documents: Iterator[Document], attempt: int) -> Iterator[LoadedPart]:
        skipped = self._loader.skipped
        before = len(skipped)
        part = LoadedPart(file)
        for document in documents:
            part.documents.append(self._prepare(document))
            if len(part.documents) >= _DOCUMENTS:
                yield part
                part = LoadedPart(file)
        source, linked = file.item.source, dict(self._loader.linked)
        notes = skipped[before:]
        if self._has_changed(file) and attempt < _ATTEMPTS:
            if part.documents:
                yield part
            self._queue.append((file, attempt + 1))
            return
        part.done = True
        if self._has_changed(file):
            part.refused = Skipped(source, "it is being written to; mirror again later", temporary=True)
        elif notes and notes[-1].source == source and not part.documents and part.file is file:
            part.refused = notes.pop()
        part.left_out = tuple(notes)
        if file.item.path is not None:
            part.file = file._replace(links=links_of(linked, file.item.path.parent))
        try:
            part.sha256 = self._hashes.get(source) or file_hash(file.item)
        except ContentError as error:
            part.refused = part.refused or Skipped(source, str(error), is_temporary(error))
        yield part

    @staticmethod
    def _has_changed(file: FoundFile) -> bool:
        if file.item.path is None:
            return False
        try:
            now = _stamp(os.stat(file.item.path))  # noqa: PTH116  as above
        except OSError:
            return True
        return now.split()[:2] != file.stamp.split()[:2]
