"""`WeaviateVectorStore`: the index of a team or a product, in a Weaviate server or cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self

from langchain_core.embeddings import Embeddings
from weaviate.classes.config import ConsistencyLevel

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.flows import Flow, asynchronous, run, synchronous
from langchain_gemini_mm.interfaces import MediaEmbeddings, Vector
from langchain_gemini_mm.validation import explains_unknown_options
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.weaviate.backend import WeaviateBackend
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.existing import ExistingCollection, existing_backend
from langchain_gemini_mm.vectorstores.weaviate.existing_schema import ExistingSchema
from langchain_gemini_mm.vectorstores.weaviate.fields import Field, FieldType, declared_field, declared_fields
from langchain_gemini_mm.vectorstores.weaviate.merge import index_again_flow, merge_metadata_flow
from langchain_gemini_mm.vectorstores.weaviate.schema import Options, words_description
from langchain_gemini_mm.vectorstores.write import Progress
from langchain_gemini_mm.weaviate_client.connection import TIMEOUT, WRITE_TIMEOUT, Connection
from langchain_gemini_mm.weaviate_client.names import checked_name, checked_tenant, existing_name

if TYPE_CHECKING:
    from uuid import UUID


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

    `Mugs` is an alias of `Mugs_v1`, which is created by the first write. The store never connects or closes the client.

    Args:
        client: a connected `WeaviateClient` or a `WeaviateAsyncClient`. Async methods use an async client, and without
            one a worker thread with the sync client.
        name: name of the collection: a capital letter, then letters, digits or `_`.
        embedding: `GeminiEmbeddings`, or any LangChain embeddings for text alone.
        async_client: a `WeaviateAsyncClient` in addition to a sync client; connected on first use, for one event loop.
        tenant: the tenant, in a collection with tenants. Searching, adding and deleting also accept `tenant=`.
        multi_tenant: create the collection with tenants; by default if `tenant` is given.
        create_tenants: create a tenant with its first write.
        fields: metadata keys that can be used in filters, with their types: `{"price": float, "tags": list[str]}`.
            Those of `MediaLoader` are always declared. See `add_field`.
        searchable: metadata keys that keyword search can use, if `query_properties` names them.
        index: `hnsw`, `flat` (exact), `dynamic` or `hfresh`.
        quantizer: `rq8`, `rq4`, `rq1`, None for full vectors; `auto` is `rq8` for `hnsw` and `dynamic`, else None.
        vector_config: instead of `index` and `quantizer`, a `Configure.Vectors.self_provided(name="media", ...)`.
        replication: number of replicas in a cluster.
        consistency: how many replicas must answer: `ONE`, `QUORUM` or `ALL`; by default a quorum for writes, one for
            reads.
        timeout: seconds for one answer.
        write_timeout: seconds for storing one chunk, including retries.
        relevance_score_fn: maps a cosine similarity to a relevance from 0 to 1 for
            `similarity_search_with_relevance_scores`; by default `(1 + cosine) / 2`.

    The options of the schema (`multi_tenant` to `replication`, except `create_tenants`) are used when the collection is
    created; an existing collection is not changed.

    Raises:
        SpaceMismatchError: the collection was created with other embeddings.
        StoreError: the server is unreachable or too old, refuses the key, or the name belongs to something else.
    """

    @explains_unknown_options("WeaviateVectorStore")
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
        relevance_score_fn: Callable[[float], float] | None = None,
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
        connection = Connection(client, async_client, timeout=timeout, write_timeout=write_timeout)
        collection = WeaviateCollection(connection, checked_name(name), options, **_checked(tenant, consistency))
        self.backend: WeaviateBackend = WeaviateBackend(EmbeddingSpace(embedding), collection)
        self.relevance_score_fn = relevance_score_fn
        self._open_now()

    @classmethod
    def existing(
        cls,
        client: Any,
        name: str,
        embedding: Embeddings | MediaEmbeddings,
        *,
        text_key: str = "text",
        vector_name: str | None = None,
        id_key: str | None = None,
        metadata_keys: Sequence[str] | None = None,
        async_client: Any = None,
        tenant: str | None = None,
        create_tenants: bool = True,
        consistency: str | None = None,
        timeout: float = TIMEOUT,
        write_timeout: float = WRITE_TIMEOUT,
        relevance_score_fn: Callable[[float], float] | None = None,
    ) -> Self:
        """Open a collection that this package did not create, such as one of langchain-weaviate.

        <!-- not run: needs a collection of yours -->
        ```python
        import weaviate

        from langchain_gemini_mm import GeminiEmbeddings, WeaviateVectorStore

        with weaviate.connect_to_local() as client:
            store = WeaviateVectorStore.existing(client, "Articles", GeminiEmbeddings(), text_key="body")
            hits = store.search("rising rents", filter={"source": {"$startswith": "reports/"}})
        ```

        Nothing is embedded again, and nothing is added to the schema, except by `add_field` and `record_space`. Keys of
        metadata are the properties of the collection; a document with another key is refused. Ids are the UUIDs of the
        objects.

        Args:
            client: as for the class.
            name: of the collection, or of an alias.
            embedding: the embeddings that made the vectors of the collection; nothing in it says which these are.
            text_key: the property with the text of a document.
            vector_name: the vector that the embedding makes; needed only if the collection has several.
            id_key: a text property for ids that are no UUIDs. Without it, ids must be UUIDs.
            metadata_keys: the properties that become metadata; by default all but `text_key`, `id_key` and blobs.
            async_client: as for the class; so are all further arguments.
            tenant: the tenant.
            create_tenants: create a tenant with its first write.
            consistency: how many replicas must answer.
            timeout: seconds for one answer.
            write_timeout: seconds for storing one chunk, including retries.
            relevance_score_fn: maps a cosine similarity to a relevance.

        Raises:
            StoreError: there is no such collection; it was created by this package; it lacks a property or a vector;
                or its vectors are made by the server.
        """
        schema = ExistingSchema(
            text_key=text_key,
            vector_name=vector_name,
            id_key=id_key,
            metadata_keys=None if metadata_keys is None else tuple(metadata_keys),
        )
        store = object.__new__(cls)
        store.relevance_score_fn = relevance_score_fn
        store.backend = existing_backend(
            EmbeddingSpace(embedding),
            Connection(client, async_client, timeout=timeout, write_timeout=write_timeout),
            existing_name(name),
            schema,
            create_tenants=create_tenants,
            **_checked(tenant, consistency),
        )
        store._open_now()
        return store

    def _open_now(self) -> None:
        """Check the collection; with an async client alone, its first use does."""
        collection = self.backend.collection
        if collection.connection.client is not None:
            run(collection.find(self.space.fingerprint))

    @classmethod
    def _open(cls, embedding: Any, *, client: Any = None, name: str = "", **kwargs: Any) -> Self:
        return cls(client, name, embedding, **kwargs)

    @property
    def name(self) -> str:
        """The name of the collection: the alias."""
        return self.backend.collection.name

    @property
    def tenant(self) -> str | None:
        """The tenant; None in a collection without tenants, or if each call names one."""
        return self.backend.collection.tenant

    def uuid_of(self, id_: str) -> UUID:
        """The UUID of the object of a document: its id if that is a UUID, else one derived from it."""
        return self.backend.collection.objects.uuid_of(id_)

    def with_tenant(self, tenant: str) -> Self:
        """The same store for another tenant, with the same client; sends no request.

        Raises:
            ValueError: Weaviate does not accept the name.
        """
        other = object.__new__(type(self))  # `copy` asks __reduce__, which refuses
        other.__dict__.update(self.__dict__)
        other.backend = self.backend.for_tenant(tenant)
        return other

    @synchronous
    def add_field(self, key: str, kind: FieldType, *, progress: Progress | None = None) -> Flow[int]:
        """Declare a field of an existing collection, and fill it from the stored metadata.

        In a collection that was opened with `existing`, a property with the name of the key is created.

        Nothing is embedded. Other stores on the collection use the field within five seconds. A filter on it misses
        documents until this returns. Documents that others write or delete meanwhile stay as these leave them.

        Args:
            key: the metadata key.
            kind: `str`, `int`, `float`, `bool`, or `list[...]` of one of these.
            progress: called after each page with the number of documents filled so far.

        Returns:
            How many documents have a value.

        Raises:
            ContentError: a stored value has another type.
        """
        backend, field = self.backend, declared_field(key, kind)
        collection = backend.collection
        layout = yield from collection.find(fresh=True)
        if layout is None:
            return 0
        collection.require_tenant(layout)
        added = collection.objects.property_of(field)
        if collection.objects.stores_all_metadata:
            yield from _require_fitting(backend, field)
        if field.key not in layout.fields:
            physical = layout.physical
            yield collection.connection.call(
                "adding a field", lambda c: c.collections.use(physical).config.add_property(added)
            )
            yield from collection.find(fresh=True)
        if not collection.objects.stores_all_metadata:
            return 0
        filled, after = 0, None
        while records := (yield from backend.page(after, _PAGE, columns="documents")):
            having = [record.id for record in records if record.metadata.get(field.key) is not None]
            gone = yield from merge_metadata_flow(collection, having, attrgetter("metadata"))
            filled += len(having) - len(gone)
            after = records[-1].id
            if progress is not None:
                progress(filled)
        return filled

    aadd_field = asynchronous(add_field)

    @synchronous
    def record_space(self) -> Flow[None]:
        """Write the embedding space into the description of a collection that was opened with `existing`.

        From then on, opening it with other embeddings is refused. What the description contained is kept in it. Stores
        that this package created record their space by themselves.

        Raises:
            SpaceMismatchError: another space is recorded.
        """
        collection = self.backend.collection
        if isinstance(collection, ExistingCollection):
            yield from collection.record_space(self.space.fingerprint)

    arecord_space = asynchronous(record_space)

    @synchronous
    def remove(self) -> Flow[None]:
        """Remove the collection, its alias and its information from the server; of a tenant, only what belongs to it.

        `delete_all` empties a collection and keeps its information. The media of the documents are not removed: see
        `MediaStore.sweep`. Calling it again is safe.

        Raises:
            StoreError: the server refuses; what was removed until then stays removed.
        """
        yield from self.backend.remove()

    aremove = asynchronous(remove)

    @synchronous
    def reindex(self, *, progress: Progress | None = None) -> Flow[int]:
        """Insert every stored vector into the vector indexes of all replicas again; nothing is embedded.

        Use it after a node was killed during writes: its vector index may lack documents that it stores, and the node
        does not repair it (1.39.0). Others may write meanwhile: texts and metadata are not written, and a document that
        is replaced in the same instant is embedded again. In a collection of version 0.1.0, the words that keyword
        search uses are renewed as well.

        Args:
            progress: called after each page with the number of documents processed so far.

        Returns:
            The number of documents.
        """
        backend = self.backend
        collection = backend.collection
        layout = yield from collection.find(fresh=True)
        if layout is None:
            return 0
        collection.require_tenant(layout)
        done, after = 0, None

        def reembed(record: Record) -> Flow[Vector]:
            answer = yield backend.space.embed_documents([record.text], [record.metadata.get("title")])
            vector: Vector = backend.space.checked_rows(answer, 1)[0]
            return vector

        while records := (yield from backend.page(after, _PAGE, columns="ids")):
            ids = [record.id for record in records]
            if layout.older_words:
                yield from merge_metadata_flow(collection, ids, attrgetter("metadata"))
            yield from index_again_flow(collection, ids, reembed)
            done += len(records)
            after = records[-1].id
            if progress is not None:
                progress(done)
        if layout.older_words and not layout.multi_tenant:  # with tenants, those of others are not renewed
            described = {name: words_description(key) for key, name in layout.words.items()}
            yield collection.connection.call(
                "describing the collection",
                lambda c: c.collections.use(layout.physical).config.update(property_descriptions=described),
            )
            collection.forget_layout()
        return done

    areindex = asynchronous(reindex)

    def __repr__(self) -> str:
        tenant = "" if self.tenant is None else f", tenant={self.tenant!r}"
        return f"{type(self).__name__}({self.name!r}, {type(self.space.embedding).__name__}{tenant})"

    def __reduce__(self) -> Any:
        """Refuse pickling, because connections cannot be pickled."""
        raise InvalidTypeError(
            "a store in Weaviate cannot be pickled, because its client cannot; create it in each process"
        )


_PAGE = 500


def _checked(tenant: str | None, consistency: str | None) -> dict[str, Any]:
    return {
        "tenant": None if tenant is None else checked_tenant(tenant),
        "consistency": None if consistency is None else ConsistencyLevel(consistency),
    }


def _require_fitting(backend: WeaviateBackend, field: Field) -> Flow[None]:
    """Check the stored values before the schema is changed, which is permanent.

    Raises:
        ContentError: a stored value has another type than the field.
    """
    after: str | None = None
    while records := (yield from backend.page(after, _PAGE)):
        for record in records:
            field.stored(record.metadata.get(field.key), f"document {record.id[:60]!r}: metadata")
        after = records[-1].id
