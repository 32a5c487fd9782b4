"""`WeaviateVectorStore`: the index of a team or a product, in a Weaviate server or cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from weaviate.classes.config import ConsistencyLevel

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.interfaces import MediaEmbeddings
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace
from langchain_gemini_mm.vectorstores.weaviate.backend import WeaviateBackend
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.fields import Field, FieldType, declared_field, declared_fields
from langchain_gemini_mm.vectorstores.weaviate.schema import Options, property_of
from langchain_gemini_mm.vectorstores.weaviate.upsert import upsert_flow
from langchain_gemini_mm.vectorstores.write import Progress
from langchain_gemini_mm.weaviate_client.connection import TIMEOUT, WRITE_TIMEOUT, Connection
from langchain_gemini_mm.weaviate_client.names import checked_name, checked_tenant


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
        options = Options(
            fields=declared_fields(fields),
            searchable=searchable,
            index=index,
            quantizer=quantizer,
            vector_config=vector_config,
            multi_tenant=tenant is not None if multi_tenant is None else multi_tenant,
            create_tenants=create_tenants,
            replication=replication,
        )
        collection = WeaviateCollection(
            Connection(client, async_client, timeout=timeout, write_timeout=write_timeout),
            checked_name(name),
            options,
            tenant=None if tenant is None else checked_tenant(tenant),
            consistency=None if consistency is None else ConsistencyLevel(consistency),
        )
        self.backend: WeaviateBackend = WeaviateBackend(EmbeddingSpace(embedding), collection)
        if collection.connection.client is not None:
            run(collection.find(self.space.fingerprint))

    @classmethod
    def _open(cls, embedding: Any, *, client: Any = None, name: str = "", **kwargs: Any) -> Self:
        return cls(client, name, embedding, **kwargs)

    @property
    def name(self) -> str:
        """Of the collection: the alias."""
        return self.backend.collection.name

    @property
    def tenant(self) -> str | None:
        """Whose data; None in a collection without tenants, and where each call names one."""
        return self.backend.collection.tenant

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
        return run(_add_field_flow(self.backend, declared_field(key, kind), progress))

    async def aadd_field(self, key: str, kind: FieldType, *, progress: Progress | None = None) -> int:
        """Async twin of `add_field`."""
        return await arun(_add_field_flow(self.backend, declared_field(key, kind), progress))

    def reindex(self, *, progress: Progress | None = None) -> int:
        """Put every stored vector into the indexes of all replicas anew; nothing is embedded.

        For the time after a node was killed while documents were written: it may have documents that its vector index
        does not know, and does not mend that by itself (1.39.0).

        Args:
            progress: called after each page with the number of documents done so far.

        Returns:
            How many documents there are.
        """
        return run(_reindex_flow(self.backend, progress))

    async def areindex(self, *, progress: Progress | None = None) -> int:
        """Async twin of `reindex`."""
        return await arun(_reindex_flow(self.backend, progress))

    def wait_until_indexed(self, timeout: float = 600.0) -> None:
        """Wait until everything that was added can be found, on a server that indexes later (`ASYNC_INDEXING`).

        Raises:
            StoreError: there is something left after `timeout` seconds.
        """
        run(_indexed_flow(self.backend, timeout))

    async def await_until_indexed(self, timeout: float = 600.0) -> None:  # noqa: ASYNC109 - as in its twin
        """Async twin of `wait_until_indexed`."""
        await arun(_indexed_flow(self.backend, timeout))

    def __repr__(self) -> str:
        tenant = "" if self.tenant is None else f", tenant={self.tenant!r}"
        return f"{type(self).__name__}({self.name!r}, {type(self.space.embedding).__name__}{tenant})"

    def __reduce__(self) -> Any:
        """Refuse: connections cannot travel."""
        raise TypeError("a store in Weaviate cannot be pickled, because its client cannot; make it where it is used")


_PAGE = 500
_PAUSE = 0.2


def _add_field_flow(backend: WeaviateBackend, field: Field, progress: Progress | None) -> Flow[int]:
    """Add a property and fill it from the metadata; how many documents have a value for it."""
    collection = backend.collection
    layout = yield from collection.find(fresh=True)
    if layout is None:
        return 0
    collection.require_tenant(layout)
    yield from _require_fitting(backend, field)
    if field.key not in layout.fields:
        physical = layout.physical
        yield collection.connection.call(
            "adding a field", lambda c: c.collections.use(physical).config.add_property(property_of(field))
        )
        yield from collection.find(fresh=True)
    filled, after = 0, None
    while records := (yield from backend.page(after, _PAGE, with_vectors=True)):
        having = [record for record in records if record.metadata.get(field.key) is not None]
        yield from backend.store_again(having)
        filled += len(having)
        after = records[-1].id
        if progress is not None:
            progress(filled)
    return filled


def _reindex_flow(backend: WeaviateBackend, progress: Progress | None) -> Flow[int]:
    """Store every document as it is, so that each replica puts its vector into its index; how many there are."""
    collection = backend.collection
    layout = yield from collection.find(fresh=True)
    if layout is None or layout.fingerprint is None:
        return 0
    collection.require_tenant(layout)
    done, after = 0, None
    while records := (yield from backend.page(after, _PAGE, with_vectors=True)):
        yield from upsert_flow(collection, records, layout.fingerprint)
        done += len(records)
        after = records[-1].id
        if progress is not None:
            progress(done)
    return done


def _require_fitting(backend: WeaviateBackend, field: Field) -> Flow[None]:
    """Look at what is stored before the schema is changed, which cannot be undone.

    Raises:
        ContentError: a stored value is not of the field's type.
    """
    after: str | None = None
    while records := (yield from backend.page(after, _PAGE)):
        for record in records:
            field.stored(record.metadata.get(field.key), f"document {record.id[:60]!r}: metadata")
        after = records[-1].id


def _indexed_flow(backend: WeaviateBackend, seconds: float) -> Flow[None]:
    """Wait until every vector of the collection can be found.

    Raises:
        StoreError: there are still some in the queue after `seconds`.
    """
    collection = backend.collection
    ends = time.monotonic() + seconds
    while True:
        layout = yield from collection.find()
        if layout is None:
            return
        nodes = yield collection.connection.call("looking at the index", partial(_nodes, layout.physical))
        waiting = _waiting(nodes, collection.tenant)
        if not waiting:
            return
        if time.monotonic() > ends:
            raise StoreError(
                f"{waiting} vectors of {collection.label} are not indexed after {seconds:g} s. Wait longer"
            )
        yield Call(time.sleep, asyncio.sleep, (_PAUSE,))


def _nodes(physical: str, client: Any) -> Any:
    return client.cluster.nodes(collection=physical, output="verbose")


def _waiting(nodes: Any, tenant: str | None) -> int:
    """Vectors in the queues, or 1 where a shard is busy without saying how many."""
    waiting = 0
    for node in nodes:
        for shard in node.shards or []:
            if tenant is None or shard.name == tenant:
                length = int(shard.vector_queue_length or 0)
                waiting += length or int(shard.vector_indexing_status == "INDEXING")
    return waiting
