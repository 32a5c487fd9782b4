"""The interface between a vector store and what holds its rows: every operation is a flow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeAlias

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, Fingerprint
from langchain_gemini_mm.vectorstores.filters import Native, Node, Predicate, leaves, native_filter_error
from langchain_gemini_mm.vectorstores.records import Record

Columns: TypeAlias = Literal["ids", "documents", "vectors", "all"]
"""What the records of a page carry, in addition to their ids."""


@dataclass(frozen=True, slots=True, eq=False)
class VectorRequest:
    """A search for the rows nearest to a vector."""

    vector: Vector
    """`(d,)` float32, unit length."""
    k: int
    filter: Node | Predicate | None = None
    score_threshold: float | None = None
    """Lowest cosine similarity."""
    with_vectors: bool = False
    """Whether the records carry their vectors."""
    fingerprint: Fingerprint | None = None
    """The space of the vector; None where a caller gave the vector itself."""
    mmr: tuple[int, float] | None = None
    """How many of the `k` to pick by maximal marginal relevance, and its lambda; for backends with `supports_mmr`."""
    auto_limit: int | None = None
    """After how many drops of the score results are left out; for backends with `supports_auto_limit`."""


@dataclass(frozen=True, slots=True, eq=False)
class KeywordRequest:
    """A search for the documents that contain words of a text."""

    text: str
    k: int
    filter: Node | Predicate | None = None
    score_threshold: float | None = None
    """Lowest BM25 score."""
    properties: tuple[str, ...] | None = None
    """Which texts are searched, such as `("text", "title^2")`; None is the document's text."""
    auto_limit: int | None = None
    """As in `VectorRequest`."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A record and its score: cosine similarity, or BM25 for a keyword search."""

    record: Record
    score: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Replacement:
    """Changes of records and of the ledger that belong together."""

    records: Sequence[Record] = ()
    """Stored, with their vectors; those with the same ids are replaced."""
    deleted: Sequence[str] = ()
    """Ids of records that are deleted."""
    ledger: Mapping[str, str | None] = field(default_factory=dict)
    """Entries of the ledger; None removes one."""
    pending: Mapping[str, str] = field(default_factory=dict)
    """Entries that name all ids of both states; written first by a backend without transactions."""


class Backend(ABC):
    """The storage of one vector store.

    Operations are flows: `found = yield from backend.search_vectors(request)` inside another flow, or
    `run(backend.count(None))` and `await arun(backend.count(None))` outside of one.
    """

    store: ClassVar[str]
    """Name of the store's class, for messages."""
    search_types: ClassVar[tuple[str, ...]] = ("similarity", "mmr")
    """What `search(search_type=...)` can do: `keyword` and `hybrid` need `search_keywords`."""
    supports_auto_limit: ClassVar[bool] = False
    """Whether it answers requests with `auto_limit`."""
    calls_predicates: ClassVar[bool] = False
    """Whether a filter may be a function of a document."""
    ordered_by_hash: ClassVar[bool] = False
    """Whether the order of `page` is independent of the ids, so that neighbours in it are a random sample."""

    space: EmbeddingSpace
    """The embedding, and its embedding space."""

    @property
    def supports_mmr(self) -> bool:
        """Whether `search_vectors` carries out `VectorRequest.mmr`."""
        return False

    def for_tenant(self, tenant: str | None) -> Self:
        """The same backend for the data of another tenant; None is the tenant it has.

        Raises:
            TypeError: the store has no tenants.
            ValueError: the server does not accept the name.
        """
        if tenant is not None:
            raise InvalidTypeError(f"{self.store} has no tenants, got tenant={tenant!r}")
        return self

    def check_id(self, id_: str, where: str) -> None:  # noqa: B027 - refuses nothing
        """Refuse an id that the store could not keep, before the document is embedded.

        Args:
            id_: of the document.
            where: the name of the document in messages, such as `documents[3]`.

        Raises:
            ContentError: the store cannot keep it.
        """

    def check_document(self, text: str, metadata: Mapping[str, Any], where: str) -> None:  # noqa: B027 - refuses nothing
        """Refuse a document that the store could not keep, before it is embedded.

        Args:
            text: of the document.
            metadata: JSON values.
            where: the name of the document in messages, such as `documents[3]`.

        Raises:
            ContentError: the store cannot keep the document.
        """

    def check_filter(self, node: Node) -> None:
        """Refuse a filter that this store cannot answer, before the query is embedded.

        Raises:
            FilterError: the store cannot answer the filter.
        """
        if any(isinstance(leaf, Native) for leaf in leaves(node)):
            raise native_filter_error(self.store)

    def search_vectors(self, request: VectorRequest) -> Flow[list[Scored]]:
        """Find the `k` nearest rows, best first; fewer only if fewer match.

        Raises:
            SpaceMismatchError: the vector is of another space.
        """
        (found,) = yield from self.search_vectors_many([request])
        return found

    @abstractmethod
    def search_vectors_many(self, requests: Sequence[VectorRequest]) -> Flow[list[list[Scored]]]:
        """Answer several requests, at least one, that differ only in `vector`, `k` and `filter`."""

    def search_keywords(self, request: KeywordRequest) -> Flow[list[Scored]]:
        """Find the `k` documents that match the words best, best first, by BM25 (higher is better).

        Every text is valid; a text without words finds nothing.
        """
        raise NotImplementedError(f"{self.store} has no keyword search")

    @abstractmethod
    def upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> Flow[None]:
        """Store records with their vectors durably, all or none of them; ids are unique within `records`.

        Raises:
            SpaceMismatchError: the collection is of another space.
            PartialWriteError: only from a backend that cannot store all or none; it lists the stored ids.
        """

    @abstractmethod
    def fetch(self, ids: Sequence[str], with_vectors: bool = False) -> Flow[list[Record]]:
        """Read records by id, each once, in the order of `ids`; unknown ids are left out."""

    @abstractmethod
    def page(
        self, after: str | None, limit: int, node: Node | None = None, columns: Columns = "documents"
    ) -> Flow[list[Record]]:
        """Read the next records after an id, in one fixed order of ids; an empty list is the end.

        Args:
            after: the last id of the previous page; None for the first page.
            limit: most records of the page.
            node: only records that match this filter.
            columns: what the records carry: `documents` are text and metadata, `all` these and the vector.
        """

    def wait_until_indexed(self, seconds: float) -> Flow[None]:  # noqa: ARG002 - for backends that index later
        """Wait until all stored records can be found; a backend that indexes when it stores does not wait.

        Raises:
            StoreError: some cannot be found after `seconds`.
        """
        yield from ()

    @abstractmethod
    def update_metadata(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> Flow[list[str]]:
        """Change the metadata of stored documents durably, all or none.

        Args:
            changes: metadata by id.
            replace: replace all metadata of a document instead of setting only the given keys.

        Returns:
            The ids that are not stored; with one of them nothing is changed.
        """

    @abstractmethod
    def delete(self, ids: Sequence[str] | None, node: Node | None) -> Flow[None]:
        """Delete durably by ids or by filter; unknown ids are no error."""

    @abstractmethod
    def truncate(self) -> Flow[None]:
        """Delete every record and the embedding space; values of `write_info` are kept."""

    def revision(self) -> Flow[object]:
        """A value that differs after every change of the collection, by any process; None where the store has none."""
        yield from ()
        return None

    @abstractmethod
    def count(self, node: Node | None) -> Flow[int]:
        """Count the records that match a filter; None counts all."""

    @abstractmethod
    def read_info(self, key: str) -> Flow[Any]:
        """Read a JSON value; None if there is none. `fingerprint` and `dimensions` describe the space."""

    @abstractmethod
    def write_info(self, key: str, value: Any) -> Flow[None]:
        """Store a JSON value durably; None removes it."""

    def replace(self, change: Replacement, fingerprint: Fingerprint) -> Flow[None]:
        """Store and delete records, and write the ledger, so that no moment has less than before or after.

        In one transaction, if the backend has them. Otherwise records are stored before others are deleted, and what
        was interrupted is completed by doing it again.

        Raises:
            SpaceMismatchError: the collection is of another space.
            PartialWriteError: only from a backend that cannot store all or none; nothing is deleted.
        """
        if change.pending:
            yield from self.write_ledger(change.pending)
        if change.records:
            yield from self.upsert(change.records, fingerprint)
        if change.deleted:
            yield from self.delete(change.deleted, None)
        if change.ledger:
            yield from self.write_ledger(change.ledger)

    def read_ledger(self, prefix: str) -> Flow[dict[str, str]]:
        """Read the entries of the ledger whose keys begin with `prefix`: what is known of the files of the index."""
        raise NotImplementedError(f"{self.store} has no ledger")

    def find_ledger(self, keys: Sequence[str]) -> Flow[dict[str, str]]:
        """Read single entries of the ledger; absent ones are left out."""
        raise NotImplementedError(f"{self.store} has no ledger")

    def write_ledger(self, entries: Mapping[str, str | None]) -> Flow[None]:
        """Write entries of the ledger durably; None removes one."""
        raise NotImplementedError(f"{self.store} has no ledger")
