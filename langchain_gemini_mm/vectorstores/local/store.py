"""`LocalVectorStore`: an index in one SQLite file, searched exactly with NumPy."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.embeddings import Embeddings

from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.interfaces import MediaEmbeddings
from langchain_gemini_mm.vectorstores.backend import Backend, KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import (
    EmbeddingSpace,
    Fingerprint,
    require_dimensions,
    require_space,
)
from langchain_gemini_mm.vectorstores.filters import Node
from langchain_gemini_mm.vectorstores.local import rows
from langchain_gemini_mm.vectorstores.local.database import MEMORY, Database
from langchain_gemini_mm.vectorstores.local.maintenance import LocalUpkeep, RecallCheck
from langchain_gemini_mm.vectorstores.local.prefix import CANDIDATES, prefix_plan
from langchain_gemini_mm.vectorstores.local.rows import Collection
from langchain_gemini_mm.vectorstores.local.search import LocalSearch, matching
from langchain_gemini_mm.vectorstores.records import Record, plain_text

if TYPE_CHECKING:
    from pathlib import Path


class LocalVectorStore(LocalUpkeep, MultimodalVectorStore, RecallCheck):
    """A vector store in one file.

    What is added is on disk when `add_documents` returns, and survives a killed process and a power cut. Several
    threads and processes may use one file at once.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore

    with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8)) as store:
        store.add_texts(["a cat", "a dog"])
        assert store.similarity_search("a dog", k=1)[0].page_content == "a dog"
    ```

    Args:
        path: file to open or create, with its folders; `":memory:"` keeps everything in memory.
        embedding: `GeminiEmbeddings`, or any LangChain embeddings for text alone.
        collection: name of one of several independent indexes in the file.
        timeout: seconds to wait for another process that is writing.
        prefix: how many numbers of each vector to hold in memory and search first; False holds all. None holds 256 of
            collections above 256 MB of vectors, after a trial that they find what there is.
        candidates: how many rows such a search scores again with whole vectors (at least 10 for each of `k`).

    Raises:
        StoreError: the file is locked, damaged, of another program or of a newer version.
        SpaceMismatchError: the collection was made with other embeddings.
    """

    def __init__(
        self,
        path: str | Path,
        embedding: Embeddings | MediaEmbeddings,
        *,
        collection: str = "default",
        timeout: float = 30.0,
        prefix: int | Literal[False] | None = None,
        candidates: int = CANDIDATES,
    ) -> None:
        space = EmbeddingSpace(embedding)
        self.collection = _checked_name(collection)
        self._timeout = _checked_seconds(timeout)
        plan = prefix_plan(prefix, candidates)
        self._database = Database(path, self._timeout)
        self._search = LocalSearch(self._database, self.collection, plan)
        self._finalizer = weakref.finalize(self, self._database.close)
        self.backend = LocalBackend(space, self._database, self._search, self.collection)
        try:
            self.backend.require_space()
        except BaseException:
            self.close()
            raise

    @classmethod
    def _open(cls, embedding: Any, *, path: str | Path = MEMORY, **kwargs: Any) -> Self:
        return cls(path, embedding, **kwargs)

    @property
    def path(self) -> str:
        """The absolute path of the file, or `":memory:"`."""
        return self._database.path

    def close(self) -> None:
        """Close the file. What was added is stored already."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {type(self.space.embedding).__name__}, {self.collection!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the path and the embedding; the copy opens the file for itself."""
        if self._database.in_memory:
            raise TypeError("a store in memory cannot be pickled; give it a path")
        return _reopen, (type(self), self.path, self.space.embedding, self._options())

    def _options(self) -> dict[str, Any]:
        plan = self._search.plan
        return {
            "collection": self.collection,
            "timeout": self._timeout,
            "prefix": plan.prefix,
            "candidates": plan.candidates,
        }


class LocalBackend(Backend):
    """The rows of one collection in one SQLite file."""

    store = "LocalVectorStore"
    search_types = ("similarity", "mmr", "keyword", "hybrid")
    calls_predicates = True

    def __init__(self, space: EmbeddingSpace, database: Database, search: LocalSearch, collection: str) -> None:
        self.space = space
        self._database = database
        self._search = search
        self._collection = collection
        self._name = f"collection {collection!r} in {database.path}"

    def require_space(self) -> None:
        """Refuse a collection of another embedding space.

        Raises:
            SpaceMismatchError: the collection was made with other embeddings.
        """
        with self._database.reading() as connection:
            found = self._found(connection)
        require_space(self._name, found.fingerprint if found else None, self.space.fingerprint)

    def upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> Flow[None]:
        """Store records; see `Backend`."""
        yield blocking(self._upsert, records, fingerprint)

    def search_vectors_many(self, requests: Sequence[VectorRequest]) -> Flow[list[list[Scored]]]:
        """Answer several requests with one matrix product; see `Backend`."""
        found: list[list[Scored]] = yield blocking(self._search.nearest, requests)
        return found

    def search_keywords(self, request: KeywordRequest) -> Flow[list[Scored]]:
        """Find documents by their words; see `Backend`."""
        found: list[Scored] = yield blocking(matching, self._database, self._collection, request)
        return found

    def fetch(self, ids: Sequence[str], with_vectors: bool = False) -> Flow[list[Record]]:
        """Read records by id; see `Backend`."""
        records: list[Record] = yield blocking(self._fetch, ids, with_vectors)
        return records

    def page(
        self,
        after: str | None,
        limit: int,
        node: Node | None = None,
        *,
        with_vectors: bool = False,
        with_documents: bool = True,
    ) -> Flow[list[Record]]:
        """Read the next records in the order of their ids; see `Backend`."""
        records: list[Record] = yield blocking(self._page, after, limit, node, with_vectors, with_documents)
        return records

    def delete(self, ids: Sequence[str] | None, node: Node | None) -> Flow[None]:
        """Delete by ids or by filter; see `Backend`."""
        yield blocking(self._delete, ids, node)

    def update_metadata(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> Flow[list[str]]:
        """Change metadata; see `Backend`."""
        unknown: list[str] = yield blocking(self._update_metadata, changes, replace)
        return unknown

    def truncate(self) -> Flow[None]:
        """Delete everything; see `Backend`."""
        yield blocking(self._truncate)

    def count(self, node: Node | None) -> Flow[int]:
        """Count the records; see `Backend`."""
        number: int = yield blocking(self._count, node)
        return number

    def read_info(self, key: str) -> Flow[Any]:
        """Read a JSON value; see `Backend`."""
        return (yield blocking(self._read_info, key))

    def write_info(self, key: str, value: Any) -> Flow[None]:
        """Store a JSON value; see `Backend`."""
        yield blocking(self._write_info, key, value)

    def _found(self, connection: Any) -> Collection | None:
        return rows.find_collection(connection, self._collection)

    def _upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> None:
        if not records:
            return
        dimensions = len(records[0].vector) if records[0].vector is not None else 0
        with self._database.writing() as connection:
            collection = rows.make_collection(connection, self._collection)
            require_space(self._name, collection.fingerprint, fingerprint)
            require_dimensions(self._name, collection.dimensions, dimensions)
            if collection.dimensions is None:
                rows.set_space(connection, collection.c, dimensions, fingerprint)
            rows.delete_ids(connection, collection.c, [record.id for record in records])
            rows.insert(connection, collection.c, records)

    def _fetch(self, ids: Sequence[str], with_vectors: bool) -> list[Record]:
        with self._database.reading() as connection:
            collection = self._found(connection)
            if collection is None:
                return []
            dimensions = collection.dimensions if with_vectors else None
            found = rows.by_ids(connection, collection.c, ids, dimensions)
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    def _page(
        self, after: str | None, limit: int, node: Node | None, with_vectors: bool, with_documents: bool
    ) -> list[Record]:
        with self._database.reading() as connection:
            collection = self._found(connection)
            if collection is None:
                return []
            dimensions = collection.dimensions if with_vectors else None
            return rows.page(
                connection, collection.c, after, limit, node, dimensions=dimensions, documents=with_documents
            )

    def _delete(self, ids: Sequence[str] | None, node: Node | None) -> None:
        with self._database.writing() as connection:
            collection = self._found(connection)
            if collection is None:
                return
            if ids is not None:
                rows.delete_ids(connection, collection.c, ids)
            elif node is not None:
                rows.delete_where(connection, collection.c, node)

    def _update_metadata(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> list[str]:
        with self._database.writing() as connection:
            collection = self._found(connection)
            return rows.revise(connection, collection, changes, replace=replace) if collection else list(changes)

    def _truncate(self) -> None:
        with self._database.writing() as connection:
            collection = self._found(connection)
            if collection is not None:
                rows.delete_everything(connection, collection.c)
                rows.set_space(connection, collection.c, None, None)

    def _count(self, node: Node | None) -> int:
        with self._database.reading() as connection:
            collection = self._found(connection)
            return rows.count(connection, collection.c, node) if collection else 0

    def _read_info(self, key: str) -> Any:
        with self._database.reading() as connection:
            collection = self._found(connection)
            if collection is None:
                return None
            if key == "fingerprint":
                return collection.fingerprint
            return collection.dimensions if key == "dimensions" else rows.read_info(connection, collection.c, key)

    def _write_info(self, key: str, value: Any) -> None:
        with self._database.writing() as connection:
            rows.write_info(connection, rows.make_collection(connection, self._collection).c, key, value)


def _checked_name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"collection must be a name, got {value!r}")
    return plain_text(value, "collection")


def _checked_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"timeout must be seconds >= 0, got {value!r}")
    return float(value)


def _reopen(cls: type[LocalVectorStore], path: str, embedding: Any, options: dict[str, Any]) -> LocalVectorStore:
    return cls(path, embedding, **options)
