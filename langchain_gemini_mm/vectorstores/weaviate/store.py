"""`WeaviateVectorStore`: the index of a team or a product, in a Weaviate server or cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from weaviate.classes.config import ConsistencyLevel

from langchain_gemini_mm.flows import Flow, arun, run
from langchain_gemini_mm.interfaces import MediaEmbeddings
from langchain_gemini_mm.vectorstores.backend import Backend, KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, Fingerprint
from langchain_gemini_mm.vectorstores.filters import Node
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.weaviate import maintenance, read, write
from langchain_gemini_mm.vectorstores.weaviate.collection import Place
from langchain_gemini_mm.vectorstores.weaviate.fields import FieldType, declared_field, declared_fields, stored_fields
from langchain_gemini_mm.vectorstores.weaviate.filters import require_declared
from langchain_gemini_mm.vectorstores.weaviate.objects import dumped, require_size
from langchain_gemini_mm.vectorstores.weaviate.schema import checked_options
from langchain_gemini_mm.vectorstores.write import Progress
from langchain_gemini_mm.weaviate_client.connection import TIMEOUT, WRITE_TIMEOUT, Connection
from langchain_gemini_mm.weaviate_client.names import checked_name, checked_tenant
from langchain_gemini_mm.weaviate_client.versions import NATIVE_MMR

KEPT_TENANTS = 100
"""Tenants whose backends are kept."""


class WeaviateVectorStore(MultimodalVectorStore):
    """A vector store in Weaviate, from 1.32 on.

    <!-- needs a Weaviate server -->
    ```python
    import weaviate

    from langchain_gemini_mm import GeminiEmbeddings, WeaviateVectorStore

    with weaviate.connect_to_local() as client:
        store = WeaviateVectorStore(client, "Mugs", GeminiEmbeddings(), fields={"price": float})
        store.add_texts(["a blue mug", "a red cup"], [{"price": 8.5}, {"price": 25.0}])
        assert store.search("a cup", filter={"price": {"$lt": 20}})[0].document.page_content == "a blue mug"
    ```

    `Mugs` is an alias of `Mugs_v1`, which is made by the first write. The client stays yours: connect it before,
    close it after.

    Args:
        client: a connected `WeaviateClient` or a `WeaviateAsyncClient`. Async methods use an async client, and without
            one a worker thread with the sync client.
        name: of the collection: a capital letter, then letters, digits or `_`.
        embedding: `GeminiEmbeddings`, or any LangChain embeddings for text alone.
        async_client: a `WeaviateAsyncClient` beside a sync one; connected on first use, for one event loop.
        tenant: whose data, in a collection with tenants. Searching, adding and deleting also take `tenant=`.
        multi_tenant: make the collection with tenants; by default when `tenant` is given.
        create_tenants: a tenant is made by its first write.
        fields: metadata keys that filters ask for, with their types: `{"price": float, "tags": list[str]}`. Those of
            `MediaLoader` are always declared. See `add_field`.
        searchable: metadata keys whose words are searched too, when `query_properties` names them.
        index: `hnsw`, `flat` (exact), `dynamic` or `hfresh`.
        quantizer: `rq8`, `rq4`, `rq1`, None for whole vectors; `auto` is `rq8` for `hnsw` and `dynamic`, else None.
        vector_config: in place of `index` and `quantizer`, a `Configure.Vectors.self_provided(name="media", ...)`.
        replication: copies in a cluster.
        consistency: how many copies answer: `ONE`, `QUORUM` or `ALL`; by default a quorum for writes, one for reads.
        timeout: seconds for one answer.
        write_timeout: seconds for storing one chunk, attempts included.

    What concerns the schema (from `multi_tenant` to `replication`, without `create_tenants`) matters when the
    collection is made; one that is there stays as it is.

    Raises:
        SpaceMismatchError: the collection was made with other embeddings.
        StoreError: the server is away or too old, refuses the key, or the name belongs to something else.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        embedding: Embeddings | MediaEmbeddings,
        *,
        async_client: Any = None,
        tenant: str | None = None,
        multi_tenant: bool | None = None,
        create_tenants: bool = True,
        fields: Mapping[str, FieldType] | None = None,
        searchable: Sequence[str] = ("title",),
        index: str = "hnsw",
        quantizer: str | None = "auto",
        vector_config: Any = None,
        replication: int = 1,
        consistency: str | None = None,
        timeout: float = TIMEOUT,
        write_timeout: float = WRITE_TIMEOUT,
    ) -> None:
        options = checked_options(
            fields=declared_fields(fields),
            searchable=searchable,
            index=index,
            quantizer=quantizer,
            vector_config=vector_config,
            multi_tenant=tenant is not None if multi_tenant is None else multi_tenant,
            create_tenants=create_tenants,
            replication=replication,
        )
        place = Place(
            Connection(client, async_client, timeout=timeout, write_timeout=write_timeout),
            checked_name(name),
            options,
            tenant=None if tenant is None else checked_tenant(tenant),
            consistency=None if consistency is None else ConsistencyLevel(consistency),
        )
        self.backend: WeaviateBackend = WeaviateBackend(EmbeddingSpace(embedding), place)
        if place.connection.client is not None:
            run(place.located(self.space.fingerprint))

    @classmethod
    def _open(cls, embedding: Any, *, client: Any = None, name: str = "", **kwargs: Any) -> Self:
        return cls(client, name, embedding, **kwargs)

    @property
    def name(self) -> str:
        """Of the collection: the alias."""
        return self.backend.place.name

    @property
    def tenant(self) -> str | None:
        """Whose data; None in a collection without tenants, and where each call names one."""
        return self.backend.place.tenant

    def with_tenant(self, tenant: str) -> Self:
        """The same store for another tenant, on the same client; costs nothing.

        Raises:
            ValueError: Weaviate does not take the name.
        """
        other = object.__new__(type(self))  # `copy` asks __reduce__, which refuses
        other.__dict__.update(self.__dict__)
        other.backend = self.backend.for_tenant(tenant)
        return other

    def add_field(self, key: str, kind: FieldType, *, progress: Progress | None = None) -> int:
        """Declare a field in a collection that is there, and fill it from the metadata that is stored.

        Nothing is embedded. Other stores on the collection know the field within five seconds. A filter on it misses
        documents until this returns.

        Args:
            key: of the metadata.
            kind: `str`, `int`, `float`, `bool`, or `list[...]` of one of these.
            progress: called after each page with the number of documents filled so far.

        Returns:
            How many documents have a value for it.

        Raises:
            ContentError: a stored value is not of that type.
        """
        return run(maintenance.add_field_flow(self.backend.place, declared_field(key, kind), progress))

    async def aadd_field(self, key: str, kind: FieldType, *, progress: Progress | None = None) -> int:
        """Async twin of `add_field`."""
        return await arun(maintenance.add_field_flow(self.backend.place, declared_field(key, kind), progress))

    def reindex(self, *, progress: Progress | None = None) -> int:
        """Put every stored vector into the indexes of all replicas anew; nothing is embedded.

        For the time after a node was killed while documents were written: it may have documents that its vector index
        does not know, and does not mend that by itself (1.39.0).

        Args:
            progress: called after each page with the number of documents done so far.

        Returns:
            How many documents there are.
        """
        return run(maintenance.reindex_flow(self.backend.place, progress))

    async def areindex(self, *, progress: Progress | None = None) -> int:
        """Async twin of `reindex`."""
        return await arun(maintenance.reindex_flow(self.backend.place, progress))

    def wait_until_indexed(self, timeout: float = 600.0) -> None:
        """Wait until everything that was added can be found, on a server that indexes later (`ASYNC_INDEXING`).

        Raises:
            StoreError: there is something left after `timeout` seconds.
        """
        run(maintenance.indexed_flow(self.backend.place, timeout))

    async def await_until_indexed(self, timeout: float = 600.0) -> None:  # noqa: ASYNC109 - as in its twin
        """Async twin of `wait_until_indexed`."""
        await arun(maintenance.indexed_flow(self.backend.place, timeout))

    def __repr__(self) -> str:
        tenant = "" if self.tenant is None else f", tenant={self.tenant!r}"
        return f"{type(self).__name__}({self.name!r}, {type(self.space.embedding).__name__}{tenant})"

    def __reduce__(self) -> Any:
        """Refuse: connections cannot travel."""
        raise TypeError("a store in Weaviate cannot be pickled, because its client cannot; make it where it is used")


class WeaviateBackend(Backend):
    """The objects of one collection on a server, for one tenant where the collection has tenants."""

    store = "WeaviateVectorStore"
    search_types = ("similarity", "mmr", "keyword", "hybrid")
    ordered_by_hash = True

    def __init__(self, space: EmbeddingSpace, place: Place) -> None:
        self.space = space
        self.place = place
        self._tenants: dict[str, WeaviateBackend] = {}

    def for_tenant(self, tenant: str | None) -> WeaviateBackend:
        """The same collection for the data of another tenant; see `Backend`.

        The same tenant is the same object as long as it is kept, with what `ranking` has read of its background.
        """
        if tenant is None:
            return self
        name = checked_tenant(tenant)
        found = self._tenants.get(name)
        if found is None:
            while len(self._tenants) >= KEPT_TENANTS:
                self._tenants.pop(next(iter(self._tenants)), None)
            found = self._tenants.setdefault(name, WeaviateBackend(self.space, self.place.of_tenant(name)))
        return found

    @property
    def supports_mmr(self) -> bool:
        """Whether the server picks by maximal marginal relevance itself."""
        version = self.place.connection.version_if_known
        return version is not None and version >= NATIVE_MMR

    def check_document(self, text: str, metadata: Mapping[str, Any], where: str) -> None:
        """Refuse a document that is too large, and values that are not of their field's type; see `Backend`."""
        known = self.place.known
        fields = known.fields if known else self.place.options.fields
        require_size(text, dumped(metadata), where)
        stored_fields(fields, metadata, f"{where}.metadata")

    def check_filter(self, node: Node) -> None:
        """Refuse a filter on keys that are not declared; see `Backend`."""
        known = self.place.known
        if known is not None:
            require_declared(node, known.fields)

    def upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> Flow[None]:
        """Store records; see `Backend`."""
        return write.store_flow(self.place, records, fingerprint)

    def search_vectors_many(self, requests: Sequence[VectorRequest]) -> Flow[list[list[Scored]]]:
        """Answer several requests, some of them at once; see `Backend`."""
        return read.nearest_many_flow(self.place, requests)

    def search_keywords(self, request: KeywordRequest) -> Flow[list[Scored]]:
        """Find objects by their words; see `Backend`."""
        return read.matching_flow(self.place, request)

    def fetch(self, ids: Sequence[str], with_vectors: bool = False) -> Flow[list[Record]]:
        """Read objects by id; see `Backend`."""
        return read.fetch_flow(self.place, ids, with_vectors)

    def page(
        self,
        after: str | None,
        limit: int,
        node: Node | None = None,
        *,
        with_vectors: bool = False,
        with_documents: bool = True,
    ) -> Flow[list[Record]]:
        """Read the next objects in the order of their UUIDs; see `Backend`."""
        return read.page_flow(self.place, after, limit, node, with_vectors, with_documents)

    def delete(self, ids: Sequence[str] | None, node: Node | None) -> Flow[None]:
        """Delete by ids or by filter; see `Backend`."""
        return maintenance.remove_flow(self.place, ids, node)

    def update_metadata(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> Flow[list[str]]:
        """Change metadata; see `Backend`."""
        return maintenance.revise_flow(self.place, changes, replace)

    def truncate(self) -> Flow[None]:
        """Delete everything; see `Backend`."""
        return maintenance.clear_flow(self.place)

    def count(self, node: Node | None) -> Flow[int]:
        """Count the objects; see `Backend`."""
        return read.tally_flow(self.place, node)

    def read_info(self, key: str) -> Flow[Any]:
        """Read a JSON value; see `Backend`."""
        return maintenance.read_flow(self.place, key)

    def write_info(self, key: str, value: Any) -> Flow[None]:
        """Store a JSON value; see `Backend`."""
        return maintenance.write_flow(self.place, key, value)
