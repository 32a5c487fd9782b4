"""Keeping a local store in order: checking it, giving back space, and copying it while it is in use."""

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
from langchain_gemini_mm.interfaces import MediaSource, Vectors
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.backend import VectorRequest
from langchain_gemini_mm.vectorstores.local import rows
from langchain_gemini_mm.vectorstores.local.check import Check, CheckReport
from langchain_gemini_mm.vectorstores.local.database import Database, file_path, in_our_words
from langchain_gemini_mm.vectorstores.local.prefix import Recall, exact_scores, shares
from langchain_gemini_mm.vectorstores.local.rows import batches_after, vectors_of
from langchain_gemini_mm.vectorstores.local.schema import is_new

if TYPE_CHECKING:
    from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace
    from langchain_gemini_mm.vectorstores.local.database import Database
    from langchain_gemini_mm.vectorstores.local.search import LocalSearch


class LocalUpkeep:
    """The upkeep methods of `LocalVectorStore`; each works on the whole file, with all its collections."""

    space: EmbeddingSpace
    collection: str
    _database: Database

    def check(self, *, media: MediaSource | None = None) -> CheckReport:
        """Read everything in the file and say what is wrong with it; nothing is changed.

        SQLite's own check, the vectors (length, unit length), the tables that filters and keyword search look at, and
        the fingerprint. Other processes may read meanwhile, and wait with writing until it is done.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8)) as store:
            store.add_texts(["a cat", "a dog"])
            report = store.check()
            assert report.ok and report.documents == 2, report.problems
        ```

        Args:
            media: a media store; references in texts that it cannot find are problems, too.

        Raises:
            StoreError: the file cannot be read at all.
        """
        return Check(self._database, self.collection, self.space.fingerprint, media).report()

    async def acheck(self, *, media: MediaSource | None = None) -> CheckReport:
        """Async twin of `check`, in a worker thread."""
        return await asyncio.to_thread(self.check, media=media)

    def compact(self) -> int:
        """Give the space of deleted documents back to the disk, and merge what many writes left in pieces.

        Needs up to twice the size of the file meanwhile. Others may read, and wait with writing until it is done; a
        process that is killed leaves the file as it was.

        Returns:
            How many bytes the file became smaller; at least 0.

        Raises:
            StoreError: another process writes for longer than the timeout, or the disk is full.
        """
        return self._database.compact()

    async def acompact(self) -> int:
        """Async twin of `compact`, in a worker thread."""
        return await asyncio.to_thread(self.compact)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the whole file as it is at this moment, while others read and write it.

        The copy appears under its name when it is complete and on disk; an older copy is replaced then.

        Args:
            path: a new file, or an older copy that nobody has open.

        Raises:
            StoreError: there is another kind of file, or the copy cannot be written.
        """
        back_up(self._database, path)

    async def abackup(self, path: str | os.PathLike[str]) -> None:
        """Async twin of `backup`, in a worker thread."""
        await asyncio.to_thread(self.backup, path)


def back_up(database: Database, path: Any) -> None:
    """Copy to a temporary file beside `path`, sync it, and rename it.

    Raises:
        StoreError: see `LocalUpkeep.backup`.
    """
    target = Path(file_path(path))
    _require_free(database, target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        with in_our_words(str(target)):
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
    beside = [name for name in (f"{target.name}-wal", f"{target.name}-journal") if target.with_name(name).exists()]
    if beside:
        raise StoreError(
            f"{target} is open somewhere, or was not closed: {beside[0]} is beside it. Close it, or choose another path"
        )
    with in_our_words(str(target)), closing(sqlite3.connect(f"{target.as_uri()}?mode=ro", uri=True)) as connection:
        is_new(connection, str(target))  # refuses what is not one of ours


def _copy(database: Database, partial: Path) -> None:
    with database.whole() as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)  # in one step, so that writers of other processes do not make it start over
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without companions


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_ROWS_AT_ONCE = 1000


class RecallCheck:
    """The part of a local store that measures its own search."""

    collection: str
    _database: Database
    _search: LocalSearch

    def check_recall(self, *, sample: int = 100, k: int = 10) -> Recall:
        """Measure how many of the `k` nearest documents a search finds, with stored vectors as queries.

        The whole file is read once. What is written meanwhile may make the answer a little wrong. A search that holds
        whole vectors is exact, and the answer 1.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=16), prefix=8) as store:
            store.add_texts([f"text {number}" for number in range(50)])
            assert store.check_recall(k=5).recall == 1.0
        ```

        Args:
            sample: how many stored vectors to ask with, drawn at random but the same for the same rows.
            k: how many neighbours of each, without itself.
        """
        positive_int("sample", sample)
        positive_int("k", k)
        drawn = self._drawn(sample)
        if drawn is None:
            return Recall(recall=1.0, worst=1.0, sample=0, k=k, prefix=self._search.prefix)
        c, ids, queries = drawn
        exact = exact_scores(self._batches(c, queries.shape[1]), queries, k + 1)
        answers = self._search.nearest([VectorRequest(vector=query, k=k + 1) for query in queries])
        found = [
            [scored.score for scored in answer if scored.record.id != id_][:k]
            for id_, answer in zip(ids, answers, strict=True)
        ]
        each = shares(exact[:, :-1], found)  # the last is the vector itself
        mean, prefix = float(np.mean(each)), self._search.prefix
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
        """All vectors, in transactions so short that nobody waits."""
        last = -1
        while True:
            before = last
            with self._database.reading() as connection:
                for numbers, vectors in batches_after(connection, c, last, dimensions, _ROWS_AT_ONCE):
                    yield vectors
                    last = int(numbers[-1])
            if last == before:
                return
