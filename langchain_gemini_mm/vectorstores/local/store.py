"""`LocalVectorStore`: an index in one SQLite file, searched exactly with NumPy."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, Literal, Self

from langchain_core.embeddings import Embeddings

from langchain_gemini_mm.interfaces import MediaEmbeddings
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace
from langchain_gemini_mm.vectorstores.local.backend import LocalBackend
from langchain_gemini_mm.vectorstores.local.database import MEMORY, Database
from langchain_gemini_mm.vectorstores.local.maintenance import LocalMaintenance
from langchain_gemini_mm.vectorstores.local.prefix import CANDIDATES, prefix_plan
from langchain_gemini_mm.vectorstores.records import plain_text

if TYPE_CHECKING:
    from pathlib import Path


class LocalVectorStore(LocalMaintenance):
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
        candidates: how many rows a prefix search scores again with whole vectors, at least 10 per hit.

    Raises:
        StoreError: the file is locked or damaged, or belongs to another program or a newer version.
        SpaceMismatchError: the collection was created with other embeddings.
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
        self._finalizer = weakref.finalize(self, self._database.close)
        self.backend = LocalBackend(space, self._database, self.collection, plan)
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
        """Close the file; all added documents are already stored."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {type(self.space.embedding).__name__}, {self.collection!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path, the embedding and the options; the copy opens the file again."""
        if self._database.in_memory:
            raise TypeError("a store in memory cannot be pickled; give it a path")
        return _reopen, (type(self), self.path, self.space.embedding, self._options())

    def _options(self) -> dict[str, Any]:
        plan = self.backend.plan
        return {
            "collection": self.collection,
            "timeout": self._timeout,
            "prefix": plan.prefix,
            "candidates": plan.candidates,
        }


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
