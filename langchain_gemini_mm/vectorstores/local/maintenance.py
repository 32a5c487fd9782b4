"""Maintenance of a local store: checks, compaction, backups, and measuring the recall."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.interfaces import MediaSource, Vectors
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.backend import VectorRequest
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.local import rows
from langchain_gemini_mm.vectorstores.local.check import Check, CheckReport
from langchain_gemini_mm.vectorstores.local.database import Database, file_path, translate_errors
from langchain_gemini_mm.vectorstores.local.prefix import Recall, exact_scores, shares
from langchain_gemini_mm.vectorstores.local.rows import vector_batches, vectors_of
from langchain_gemini_mm.vectorstores.local.schema import is_new

if TYPE_CHECKING:
    from langchain_gemini_mm.vectorstores.local.backend import LocalBackend

_ROWS_AT_ONCE = 1000


class LocalMaintenance(MultimodalVectorStore):
    """The maintenance methods of `LocalVectorStore`; all but `check_recall` work on the whole file."""

    backend: LocalBackend
    collection: str
    _database: Database

    def check(self, *, media: MediaSource | None = None) -> CheckReport:
        """Check the whole file without changing it.

        Runs SQLite's integrity check and checks the vectors (dimensions, unit length), the tables of filters and
        keyword search, and the fingerprint. Other processes can read during the check; writers wait.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8)) as store:
            store.add_texts(["a cat", "a dog"])
            report = store.check()
            assert report.ok and report.documents == 2, report.problems
        ```

        Args:
            media: a media store; references in texts that it cannot resolve are reported as problems.

        Raises:
            StoreError: the file cannot be read at all.
        """
        return Check(self._database, self.collection, self.space.fingerprint, media).report()

    async def acheck(self, *, media: MediaSource | None = None) -> CheckReport:
        """Async twin of `check`, in a worker thread."""
        return await asyncio.to_thread(self.check, media=media)

    def compact(self) -> int:
        """Release the space of deleted documents and merge the segments of the keyword index.

        Needs free space of up to twice the size of the file. Other processes can read; writers wait. A killed process
        leaves the file unchanged.

        Returns:
            By how many bytes the file shrank; at least 0.

        Raises:
            StoreError: another process writes for longer than the timeout, or the disk is full.
        """
        return self._database.compact()

    async def acompact(self) -> int:
        """Async twin of `compact`, in a worker thread."""
        return await asyncio.to_thread(self.compact)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the current state of the whole file, while others read and write it.

        The copy appears under its name when it is complete and on disk, and replaces an older copy.

        Args:
            path: a new file, or an older copy that is not open.

        Raises:
            StoreError: the path is a file of another program, or the copy cannot be written.
        """
        back_up(self._database, path)

    async def abackup(self, path: str | os.PathLike[str]) -> None:
        """Async twin of `backup`, in a worker thread."""
        await asyncio.to_thread(self.backup, path)

    def check_recall(self, *, sample: int = 100, k: int = 10) -> Recall:
        """Measure the recall of the search with stored vectors as queries.

        The whole file is read once. Concurrent writes can change the result slightly. A search on whole vectors is
        exact and has recall 1.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=16), prefix=8) as store:
            store.add_texts([f"text {number}" for number in range(50)])
            assert store.check_recall(k=5).recall == 1.0
        ```

        Args:
            sample: how many stored vectors are used as queries, drawn with a fixed seed.
            k: how many neighbours of each, without itself.
        """
        positive_int("sample", sample)
        positive_int("k", k)
        drawn = self._drawn(sample)
        if drawn is None:
            return Recall(recall=1.0, worst=1.0, sample=0, k=k, prefix=self.backend.prefix)
        c, ids, queries = drawn
        exact = exact_scores(self._batches(c, queries.shape[1]), queries, k + 1)
        answers = run(self.backend.search_vectors_many([VectorRequest(vector=query, k=k + 1) for query in queries]))
        found = [
            [scored.score for scored in answer if scored.record.id != id_][:k]
            for id_, answer in zip(ids, answers, strict=True)
        ]
        each = shares(exact[:, :-1], found)  # the last is the vector itself
        mean, prefix = float(np.mean(each)), self.backend.prefix
        return Recall(recall=mean, worst=min(each), sample=len(each), k=k, prefix=prefix)

    async def acheck_recall(self, *, sample: int = 100, k: int = 10) -> Recall:
        """Async twin of `check_recall`."""
        return await asyncio.to_thread(self.check_recall, sample=sample, k=k)

    def _drawn(self, sample: int) -> tuple[int, list[str], Vectors] | None:
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is None or collection.dimensions is None:
                return None
            found = connection.execute("SELECT n FROM doc WHERE c = ? ORDER BY n", (collection.c,)).fetchall()
            numbers = [n for (n,) in found]
            drawn = (
                np.random.default_rng(len(numbers)).choice(numbers, min(sample, len(numbers)), replace=False).tolist()
            )
            queries = vectors_of(connection, drawn, collection.dimensions)
            if not drawn or queries is None:
                return None
            records = rows.by_numbers(connection, drawn)
        return collection.c, [records[n].id for n in drawn], queries

    def _batches(self, c: int, dimensions: int) -> Iterator[Vectors]:
        """All vectors, read in short transactions."""
        last = -1
        while True:
            before = last
            with self._database.reading() as connection:
                for numbers, vectors in vector_batches(connection, c, last, dimensions, _ROWS_AT_ONCE):
                    yield vectors
                    last = int(numbers[-1])
            if last == before:
                return


def back_up(database: Database, path: Any) -> None:
    """Copy to a temporary file in the folder of `path`, sync it, and rename it.

    Raises:
        StoreError: see `LocalMaintenance.backup`.
    """
    target = Path(file_path(path))
    _require_free(database, target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        with translate_errors(str(target)):
            _copy(database, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error}. Choose another path, or make room") from error
    finally:
        partial.unlink(missing_ok=True)


def _require_free(database: Database, target: Path) -> None:
    if not target.exists():
        return
    if not database.in_memory and target.samefile(database.path):
        raise StoreError(f"{target} is the store itself. Choose another path for the copy")
    existing = [name for name in (f"{target.name}-wal", f"{target.name}-journal") if target.with_name(name).exists()]
    if existing:
        raise StoreError(f"{target} is open, or was not closed: {existing[0]} exists. Close it, or choose another path")
    with translate_errors(str(target)), closing(sqlite3.connect(f"{target.as_uri()}?mode=ro", uri=True)) as connection:
        is_new(connection, str(target))  # refuses files of other programs


def _copy(database: Database, partial: Path) -> None:
    with database.whole() as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)  # in one step: with several, writes of other processes would restart it
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
