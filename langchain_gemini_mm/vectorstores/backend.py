"""What a store must be able to do; everything public is built on these few operations."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, Space
from langchain_gemini_mm.vectorstores.filters import Node
from langchain_gemini_mm.vectorstores.records import Record

Predicate: TypeAlias = Callable[[Document], bool]
"""A filter as a function, for stores that can call one."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """A search for the rows nearest to a vector."""

    vector: Vector
    k: int
    filter: Node | Predicate | None = None
    score_threshold: float | None = None
    """Lowest cosine similarity."""
    with_vectors: bool = False
    """Whether the records carry their vectors."""
    fingerprint: Fingerprint | None = None
    """The space of the vector; None where a caller gave the vector itself."""
    pick: tuple[int, float] | None = None
    """How many of the `k` to pick by maximal marginal relevance, and its lambda; for stores that do it themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """A search for the documents that have the words of a text."""

    text: str
    k: int
    filter: Node | Predicate | None = None
    score_threshold: float | None = None
    """Lowest BM25 score."""
    properties: tuple[str, ...] | None = None
    """Which texts are searched, such as `("text", "title^2")`; None is the document's text."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A record and its score: cosine similarity, or BM25 where words were asked for."""

    record: Record
    score: float


class Primitives(ABC):
    """The operations a store supplies, once sync and once async.

    By default the async ones run the sync ones in a worker thread; a store with an async client overrides them.
    """

    space: Space
    """The embedding, and what it says of its space."""
    modes: ClassVar[tuple[str, ...]] = ("similarity", "mmr")
    """What `search(mode=...)` can do: `keyword` and `hybrid` need `_matching`."""
    calls_predicates: ClassVar[bool] = False
    """Whether a filter may be a function of a document."""

    ordered_by_hash: ClassVar[bool] = False
    """Whether the order of `_page` has nothing to do with the ids, so that neighbours in it are a random sample."""

    @property
    def _picks(self) -> bool:
        """Whether `_nearest` heeds `Nearest.pick`."""
        return False

    def _check_document(self, text: str, metadata: Mapping[str, Any], where: str) -> None:  # noqa: B027 - refuses nothing
        """Refuse what this store could not keep, before it is embedded.

        Raises:
            ContentError: with `where`, what is wrong and what to do.
        """

    def _check_filter(self, node: Node) -> None:  # noqa: B027 - refuses nothing
        """Refuse a filter that this store is sure not to answer, before the query is embedded.

        Raises:
            FilterError: with what is wrong and what to do.
        """

    @abstractmethod
    def _upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> None:
        """Store records with their vectors durably, all or none of them; ids are unique within `records`.

        Raises:
            SpaceMismatchError: the collection is of another space.
            PartialWriteError: a store that cannot do all or none says which are stored.
        """

    @abstractmethod
    def _nearest(self, request: Nearest) -> list[Scored]:
        """Find the `k` nearest rows, best first; fewer only when fewer match.

        Raises:
            SpaceMismatchError: the vector is of another space.
        """

    def _matching(self, request: Matching) -> list[Scored]:
        """Find the `k` documents that match the words best, best first, by BM25 (higher is better).

        Text of any kind is no error; what holds no words finds nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no keyword search")

    def _nearest_many(self, requests: Sequence[Nearest]) -> list[list[Scored]]:
        """Answer several requests that differ in `vector`, `k` and `filter` alone."""
        return [self._nearest(request) for request in requests]

    @abstractmethod
    def _fetch(self, ids: Sequence[str], with_vectors: bool = False) -> list[Record]:
        """Read records by id, each once, in the order asked; unknown ids are left out."""

    @abstractmethod
    def _page(
        self, after: str | None, limit: int, node: Node | None, with_vectors: bool = False, with_documents: bool = True
    ) -> list[Record]:
        """Read the next records after an id, in one fixed order of ids, at most `limit`; an empty list is the end."""

    @abstractmethod
    def _remove(self, ids: Sequence[str] | None, node: Node | None) -> None:
        """Delete durably by ids or by filter; unknown ids are no error."""

    def _revise(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> list[str]:
        """Change the metadata of stored documents durably, all or none; return the ids that are not stored.

        With one id that is not stored nothing is changed.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot change metadata alone")

    @abstractmethod
    def _clear(self) -> None:
        """Delete every record and forget the space; information set by `set_info` stays."""

    @abstractmethod
    def _tally(self, node: Node | None) -> int:
        """Count the records."""

    @abstractmethod
    def _read_info(self, key: str) -> Any:
        """Read a JSON value; None when there is none. `fingerprint` and `dimensions` tell the space."""

    @abstractmethod
    def _write_info(self, key: str, value: Any) -> None:
        """Store a JSON value durably; None removes it."""

    async def _aupsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> None:
        await asyncio.to_thread(self._upsert, records, fingerprint)

    async def _anearest(self, request: Nearest) -> list[Scored]:
        return await asyncio.to_thread(self._nearest, request)

    async def _amatching(self, request: Matching) -> list[Scored]:
        return await asyncio.to_thread(self._matching, request)

    async def _anearest_many(self, requests: Sequence[Nearest]) -> list[list[Scored]]:
        return [await self._anearest(request) for request in requests]

    async def _afetch(self, ids: Sequence[str], with_vectors: bool = False) -> list[Record]:
        return await asyncio.to_thread(self._fetch, ids, with_vectors)

    async def _apage(
        self, after: str | None, limit: int, node: Node | None, with_vectors: bool = False, with_documents: bool = True
    ) -> list[Record]:
        return await asyncio.to_thread(self._page, after, limit, node, with_vectors, with_documents)

    async def _aremove(self, ids: Sequence[str] | None, node: Node | None) -> None:
        await asyncio.to_thread(self._remove, ids, node)

    async def _arevise(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> list[str]:
        return await asyncio.to_thread(self._revise, changes, replace)

    async def _aclear(self) -> None:
        await asyncio.to_thread(self._clear)

    async def _atally(self, node: Node | None) -> int:
        return await asyncio.to_thread(self._tally, node)

    async def _aread_info(self, key: str) -> Any:
        return await asyncio.to_thread(self._read_info, key)

    async def _awrite_info(self, key: str, value: Any) -> None:
        await asyncio.to_thread(self._write_info, key, value)
