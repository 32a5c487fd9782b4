"""Keeping a local store in order: checking it, giving back space, and copying it while it is in use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.vectorstores.local.check import Check, CheckReport
from langchain_gemini_mm.vectorstores.local.database import Database
from langchain_gemini_mm.vectorstores.local_backup import back_up

if TYPE_CHECKING:
    import os

    from langchain_gemini_mm.vectorstores.embedding_space import Space


class LocalUpkeep:
    """The upkeep methods of `LocalVectorStore`; each works on the whole file, with all its collections."""

    space: Space
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
