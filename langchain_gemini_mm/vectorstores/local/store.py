"""`LocalVectorStore`: an index in one SQLite file, searched exactly with NumPy."""

from __future__ import annotations

import asyncio
import math
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.embeddings import Embeddings

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.flows import Flow, asynchronous, synchronous
from langchain_gemini_mm.interfaces import Content, MediaEmbeddings, MediaSource
from langchain_gemini_mm.validation import explains_unknown_options, positive_int
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from langchain_gemini_mm.storage import MediaStore
    from langchain_gemini_mm.vectorstores.local.backend import LocalBackend
    from langchain_gemini_mm.vectorstores.local.check import CheckReport
    from langchain_gemini_mm.vectorstores.local.prefix import Precision, Recall
    from langchain_gemini_mm.vectorstores.query import Query

CANDIDATES = 200
"""Number of best rows by prefix that are scored again with whole vectors."""


class LocalVectorStore(MultimodalVectorStore):
    """A vector store in one file.

    Added documents are on disk when `add_documents` returns, and survive a killed process and a power failure. Several
    threads and processes can use one file at the same time.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore

    with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8)) as store:
        store.add_texts(["a cat", "a dog"])
        assert store.similarity_search("a dog", k=1)[0].page_content == "a dog"
    ```

    Args:
        path: the file; it is created with its folders if needed. `":memory:"` keeps everything in memory.
        embedding: `GeminiEmbeddings`, or any LangChain embeddings for text.
        collection: name of one of several independent collections in the file.
        timeout: seconds to wait for another process that is writing.
        prefix: how many numbers of each vector are held in memory and searched first; False holds whole vectors. None
            holds prefixes of 256 numbers for collections above 256 MB of vectors, if their recall is sufficient.
        candidates: how many rows a search by prefixes, or in half precision, scores again with the vectors of the file;
            at least 10 per hit.
        precision: `half` holds numbers of two bytes in memory instead of four, and searches take longer.
        relevance_score_fn: maps a cosine similarity to a relevance from 0 to 1 for
            `similarity_search_with_relevance_scores`; by default `(1 + cosine) / 2`.

    Raises:
        StoreError: the file is locked or damaged, or belongs to another program or a newer version.
        SpaceMismatchError: the collection was created with other embeddings.
    """

    backend: LocalBackend

    @explains_unknown_options("LocalVectorStore")
    def __init__(
        self,
        path: str | Path,
        embedding: Embeddings | MediaEmbeddings,
        *,
        collection: str = "default",
        timeout: float = 30.0,
        prefix: int | Literal[False] | None = None,
        candidates: int = CANDIDATES,
        precision: Precision = "single",
        relevance_score_fn: Callable[[float], float] | None = None,
    ) -> None:
        from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace
        from langchain_gemini_mm.vectorstores.local.backend import LocalBackend
        from langchain_gemini_mm.vectorstores.local.database import Database
        from langchain_gemini_mm.vectorstores.local.prefix import PrefixPlan

        space = EmbeddingSpace(embedding)
        self.collection = _checked_name(collection)
        self._timeout = _checked_seconds(timeout)
        plan = PrefixPlan(prefix, candidates, precision=precision)
        self._database = Database(path, self._timeout)
        self._finalizer = weakref.finalize(self, self._database.close)
        self.backend = LocalBackend(space, self._database, self.collection, plan)
        self.relevance_score_fn = relevance_score_fn
        try:
            self.backend.require_space()
        except BaseException:
            self.close()
            raise

    @classmethod
    def _open(cls, embedding: Any, *, path: str | Path = ":memory:", **kwargs: Any) -> Self:
        return cls(path, embedding, **kwargs)

    @property
    def path(self) -> str:
        """The absolute path of the file, or `":memory:"`."""
        return self._database.path

    def close(self) -> None:
        """Close the file; all added documents are already stored."""
        self._finalizer()

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
        from langchain_gemini_mm.vectorstores.local.check import Check

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
        from langchain_gemini_mm.vectorstores.local.maintenance import back_up

        back_up(self._database, path)

    async def abackup(self, path: str | os.PathLike[str]) -> None:
        """Async twin of `backup`, in a worker thread."""
        await asyncio.to_thread(self.backup, path)

    @synchronous
    def check_recall(
        self, *, sample: int = 100, k: int = 10, queries: Iterable[Content | Query] | None = None
    ) -> Flow[Recall]:
        """Measure the recall of the search, compared with an exact search of the file.

        The whole file is read once. Concurrent writes can change the result slightly. A search on whole vectors is
        exact and has recall 1. Stored vectors as queries say nothing about queries of another modality than the
        documents: give some of yours.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=16), prefix=8) as store:
            store.add_texts([f"text {number}" for number in range(50)])
            assert store.check_recall(k=5).recall == 1.0
            assert store.check_recall(k=5, queries=["a question", "another one"]).sample == 2
        ```

        Args:
            sample: how many stored vectors are used as queries, drawn with a fixed seed.
            k: how many neighbours of each, without itself.
            queries: used instead of stored vectors; each as for `search`.

        Raises:
            ContentError: a query cannot be embedded.
        """
        from langchain_gemini_mm.vectorstores.local.maintenance import recall_flow

        positive_int("sample", sample)
        positive_int("k", k)
        return recall_flow(self._database, self.backend, sample, k, queries)

    acheck_recall = asynchronous(check_recall)

    def remove(self, *, media: MediaStore | None = None) -> None:
        """Remove the collection from the file, with its information, and release the space.

        `delete_all` empties a collection and keeps its information. Other collections of the file are kept. The file
        stays, because other processes may have it open. Calling it again is safe.

        Args:
            media: a media store; media that only documents of this collection refer to, and no other collection of the
                file, are deleted from it. Other stores that use it are not considered: see `MediaStore.sweep`.

        Raises:
            StoreError: the file or the media store cannot be written; the collection is removed completely or not at
                all.
        """
        from langchain_gemini_mm.vectorstores.local.maintenance import remove_collection

        remove_collection(self._database, self.backend, media)

    async def aremove(self, *, media: MediaStore | None = None) -> None:
        """Async twin of `remove`, in a worker thread."""
        await asyncio.to_thread(self.remove, media=media)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        file, embedding = Path(self.path).name, type(self.space.embedding).__name__
        return f"{type(self).__name__}({file!r}, {embedding}, {self.collection!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path, the embedding and the options; the copy opens the file again."""
        if self._database.in_memory:
            raise InvalidTypeError("a store in memory cannot be pickled; give it a path")
        return _reopen, (type(self), self.path, self.space.embedding, self._options())

    def _options(self) -> dict[str, Any]:
        plan = self.backend.plan
        return {
            "collection": self.collection,
            "timeout": self._timeout,
            "prefix": plan.prefix,
            "candidates": plan.candidates,
            "precision": plan.precision,
        }


def _checked_name(value: Any) -> str:
    from langchain_gemini_mm.vectorstores.records import plain_text

    if not isinstance(value, str) or not value:
        raise InvalidValueError(f"collection must be a name, got {value!r}")
    return plain_text(value, "collection")


def _checked_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidValueError(f"timeout must be seconds >= 0, got {value!r}")
    return float(value)


def _reopen(cls: type[LocalVectorStore], path: str, embedding: Any, options: dict[str, Any]) -> LocalVectorStore:
    return cls(path, embedding, **options)
