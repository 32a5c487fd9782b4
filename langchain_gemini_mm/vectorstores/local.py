"""`LocalVectorStore`: an index in one SQLite file, searched exactly with NumPy."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from langchain_gemini_mm.types import MediaEmbeddings
from langchain_gemini_mm.vectorstores import local_rows
from langchain_gemini_mm.vectorstores.base import PAGE_SIZE, MultimodalVectorStore
from langchain_gemini_mm.vectorstores.filters import Node
from langchain_gemini_mm.vectorstores.local_database import MEMORY, Database
from langchain_gemini_mm.vectorstores.local_matrix import Matrix, View
from langchain_gemini_mm.vectorstores.local_rows import Collection
from langchain_gemini_mm.vectorstores.primitives import Nearest, Predicate, Scored
from langchain_gemini_mm.vectorstores.records import Record, plain_text
from langchain_gemini_mm.vectorstores.spaces import (
    Fingerprint,
    Space,
    require_dimensions,
    require_space,
)

if TYPE_CHECKING:
    from pathlib import Path

_ATTEMPTS = 3


class LocalVectorStore(MultimodalVectorStore):
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

    Raises:
        StoreError: the file is locked, damaged, of another program or of a newer version.
        SpaceMismatchError: the collection was made with other embeddings.
    """

    calls_predicates = True

    def __init__(
        self,
        path: str | Path,
        embedding: Embeddings | MediaEmbeddings,
        *,
        collection: str = "default",
        timeout: float = 30.0,
    ) -> None:
        self.space = Space(embedding)
        self.collection = _checked_name(collection)
        self._timeout = _checked_seconds(timeout)
        self._matrix = Matrix()
        self._database = Database(path, self._timeout)
        self._finalizer = weakref.finalize(self, self._database.close)
        try:
            with self._database.reading() as connection:
                found = self._found(connection)
            require_space(self._name, found.fingerprint if found else None, self.space.fingerprint)
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
        return _reopen, (type(self), self.path, self.space.embedding, self.collection, self._timeout)

    @property
    def _name(self) -> str:
        return f"collection {self.collection!r} in {self.path}"

    def _found(self, connection: Any) -> Collection | None:
        return local_rows.find_collection(connection, self.collection)

    def _upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> None:
        if not records:
            return
        dimensions = len(records[0].vector) if records[0].vector is not None else 0
        with self._database.writing() as connection:
            collection = local_rows.make_collection(connection, self.collection)
            require_space(self._name, collection.fingerprint, fingerprint)
            require_dimensions(self._name, collection.dimensions, dimensions)
            if collection.dimensions is None:
                local_rows.set_space(connection, collection.c, dimensions, fingerprint)
            local_rows.delete_ids(connection, collection.c, [record.id for record in records])
            local_rows.insert(connection, collection.c, records)

    def _nearest(self, request: Nearest) -> list[Scored]:
        """Score a state of the file, then fetch; when a row went in between, score the new state."""
        node = self._as_node_or_numbers(request.filter)
        for _ in range(_ATTEMPTS):
            with self._database.reading() as connection:
                view, allowed = self._look(connection, request, node)
            found = self._score(view, request, allowed)
            with self._database.reading() as connection:
                answer = self._read(connection, view, request, found)
            if answer is not None:
                return answer
        with self._database.reading() as connection:  # so busy that only one transaction around both will do
            view, allowed = self._look(connection, request, node)
            return self._read(connection, view, request, self._score(view, request, allowed)) or []

    def _look(
        self, connection: Any, request: Nearest, node: Node | NDArray[np.int64] | None
    ) -> tuple[View | None, NDArray[np.int64] | None]:
        collection = self._found(connection)
        if collection is None or collection.dimensions is None:
            return None, None
        require_space(self._name, collection.fingerprint, request.fingerprint)
        require_dimensions(self._name, collection.dimensions, len(request.vector))
        view = self._matrix.view(connection, collection)
        if node is None or isinstance(node, np.ndarray):
            return view, node
        return view, local_rows.numbers_where(connection, collection.c, node)

    @staticmethod
    def _score(
        view: View | None, request: Nearest, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        if view is None:
            return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.float32)
        return view.nearest(request.vector, request.k, request.score_threshold, allowed)

    @staticmethod
    def _read(
        connection: Any,
        view: View | None,
        request: Nearest,
        found: tuple[NDArray[np.intp], NDArray[np.float32]],
    ) -> list[Scored] | None:
        """Fetch the records of what was found; None when one of them is gone."""
        if view is None:
            return []
        positions, scores = found
        numbers = view.numbers[positions].tolist()
        records = local_rows.by_numbers(connection, numbers)
        if len(records) < len(numbers):
            return None
        answer = []
        for position, number, score in zip(positions.tolist(), numbers, scores.tolist(), strict=True):
            record = records[number]
            if request.with_vectors:
                record = Record(record.id, record.text, record.metadata, view.rows[position])
            answer.append(Scored(record, score))
        return answer

    def _as_node_or_numbers(self, given: Node | Predicate | None) -> Node | NDArray[np.int64] | None:
        """Call a function once for every document, outside of any lock; a checked filter is left to SQL."""
        if not callable(given):
            return given
        allowed: list[int] = []
        last = 0
        while True:
            with self._database.reading() as connection:
                collection = self._found(connection)
                page = local_rows.after_number(connection, collection.c, last, PAGE_SIZE) if collection else {}
            if not page:
                return np.array(allowed, dtype=np.int64)
            allowed += [n for n, record in page.items() if given(record.document)]
            last = max(page)

    def _fetch(self, ids: Sequence[str], with_vectors: bool = False) -> list[Record]:
        with self._database.reading() as connection:
            collection = self._found(connection)
            if collection is None:
                return []
            dimensions = collection.dimensions if with_vectors else None
            found = local_rows.by_ids(connection, collection.c, ids, dimensions)
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    def _page(
        self, after: str | None, limit: int, node: Node | None, with_vectors: bool = False, with_documents: bool = True
    ) -> list[Record]:
        with self._database.reading() as connection:
            collection = self._found(connection)
            if collection is None:
                return []
            dimensions = collection.dimensions if with_vectors else None
            return local_rows.page(
                connection, collection.c, after, limit, node, dimensions=dimensions, documents=with_documents
            )

    def _remove(self, ids: Sequence[str] | None, node: Node | None) -> None:
        with self._database.writing() as connection:
            collection = self._found(connection)
            if collection is None:
                return
            if ids is not None:
                local_rows.delete_ids(connection, collection.c, ids)
            elif node is not None:
                local_rows.delete_where(connection, collection.c, node)

    def _clear(self) -> None:
        with self._database.writing() as connection:
            collection = self._found(connection)
            if collection is not None:
                local_rows.delete_everything(connection, collection.c)
                local_rows.set_space(connection, collection.c, None, None)

    def _tally(self, node: Node | None) -> int:
        with self._database.reading() as connection:
            collection = self._found(connection)
            return local_rows.count(connection, collection.c, node) if collection else 0

    def _read_info(self, key: str) -> Any:
        with self._database.reading() as connection:
            collection = self._found(connection)
            if collection is None:
                return None
            if key == "fingerprint":
                return collection.fingerprint
            return collection.dimensions if key == "dimensions" else local_rows.read_info(connection, collection.c, key)

    def _write_info(self, key: str, value: Any) -> None:
        with self._database.writing() as connection:
            local_rows.write_info(connection, local_rows.make_collection(connection, self.collection).c, key, value)


def _checked_name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"collection must be a name, got {value!r}")
    return plain_text(value, "collection")


def _checked_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"timeout must be seconds >= 0, got {value!r}")
    return float(value)


def _reopen(
    cls: type[LocalVectorStore], path: str, embedding: Any, collection: str, timeout: float
) -> LocalVectorStore:
    return cls(path, embedding, collection=collection, timeout=timeout)
