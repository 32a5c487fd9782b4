"""`MultimodalVectorStore`: the methods of all stores; what they are made of is imported when one is called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.flows import Flow, arun, asynchronous, run, synchronous
from langchain_gemini_mm.interfaces import Content, Filter, Vector, Vectors
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.langchain_api import BATCH_SIZE, LangChainMethods, node_of

if TYPE_CHECKING:
    import os

    from langchain_gemini_mm.vectorstores.backend import Columns
    from langchain_gemini_mm.vectorstores.hits import Group, Hits
    from langchain_gemini_mm.vectorstores.query import Query, StoreSearchOptions
    from langchain_gemini_mm.vectorstores.records import Record
    from langchain_gemini_mm.vectorstores.store_retriever import StoreRetriever
    from langchain_gemini_mm.vectorstores.write import Changes, Progress

PAGE_SIZE = 1000
"""Documents read together by `iterate` and `vectors`."""

_READ_ONLY_INFO = ("fingerprint", "dimensions")


class MultimodalVectorStore(LangChainMethods, VectorStore):
    """A vector store that is searched with any content.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["a cat", "a dog"], [{"page": 1}, {"page": 2}], ids=["cat", "dog"])
    (hit,) = store.search("a dog", k=1, filter={"page": {"$gte": 2}})
    assert hit.document.id == "dog"
    ```
    """

    @overload  # type: ignore[override] # `search_type` by name is ours
    def search(self, query: str, search_type: str, /, **options: Any) -> list[Document]: ...
    @overload
    def search(self, query: Content | Query, k: int = 4, **options: Unpack[StoreSearchOptions]) -> Hits: ...
    def search(self, query: Any, *args: Any, **options: Any) -> Any:  # type: ignore[misc] # `query` is no option
        """Find the nearest documents.

        LangChain's form, with a search type in the place of `k`, returns documents: `store.search("a cat", "mmr", k=2)`
        with `similarity`, `mmr` or `similarity_score_threshold`.

        Args:
            query: any content, or a `Query` that combines contents and stored documents.
            args: `k`, how many hits, at least 1; 4 by default. Also by name.
            options: those of `StoreSearchOptions`: `search_type` (`similarity` by vector; `mmr` for hits unlike each
                other; `keyword` for the words of the query, with `score_kind` "bm25"; `hybrid` for both lists fused,
                with `score_kind` "rank", or "fused" for `fusion="scores"`), `filter` on metadata, `task_type`,
                `score_threshold`, `fetch_k` and `lambda_mult` of mmr, `alpha` and `fusion` of hybrid,
                `query_properties`, `tenant`.

        Raises:
            ContentError: the query cannot be embedded, or names ids that are not stored.
            FilterError: the filter is malformed.
            SpaceMismatchError: the collection is of another embedding space.
        """
        if args and isinstance(args[0], str):
            return super().search(query, *args, **options)
        (hits,) = run(self._search([query], *args, **options))
        return hits

    @overload  # type: ignore[override] # as above
    async def asearch(self, query: str, search_type: str, /, **options: Any) -> list[Document]: ...
    @overload
    async def asearch(self, query: Content | Query, k: int = 4, **options: Unpack[StoreSearchOptions]) -> Hits: ...
    async def asearch(self, query: Any, *args: Any, **options: Any) -> Any:  # type: ignore[misc] # as above
        """Async twin of `search`."""
        if args and isinstance(args[0], str):
            return await super().asearch(query, *args, **options)
        (hits,) = await arun(self._search([query], *args, **options))
        return hits

    @synchronous
    def search_many(
        self, queries: Iterable[Content | Query], k: int = 4, **options: Unpack[StoreSearchOptions]
    ) -> Flow[list[Hits]]:
        """Search with several queries at once.

        The contents are embedded in one call, and a local store scores all queries in one matrix product.

        Args:
            queries: each as for `search`.
            k: how many hits for each.
            options: those of `search`, the same for all.

        Returns:
            The hits of each query, in order.
        """
        return self._search(_listed(queries), k, **options)

    asearch_many = asynchronous(search_many)

    @synchronous
    def search_by_vector(
        self, vector: Sequence[float] | Vector, k: int = 4, **options: Unpack[StoreSearchOptions]
    ) -> Flow[Hits]:
        """Find the documents nearest to a vector.

        Args:
            vector: `(d,)`, made by the store's embedding; normalized to unit length.
            k: how many hits.
            options: those of `search`, without `task_type`.
        """
        return self._neighbours(vector, k, options)

    asearch_by_vector = asynchronous(search_by_vector)

    @synchronous
    def search_groups(
        self,
        query: Content | Query,
        k: int = 4,
        *,
        by: str = "source",
        per_source: int = 3,
        **options: Unpack[StoreSearchOptions],
    ) -> Flow[list[Group]]:
        """Find the nearest files instead of the nearest documents: `k` groups, each with its nearest hits.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
        store.add_texts(["a cat", "a dog", "a fox"], [{"source": "a"}, {"source": "a"}, {"source": "b"}])
        assert {group.value for group in store.search_groups("a dog", k=2)} == {"a", "b"}
        ```

        Args:
            query: as for `search`.
            k: how many groups.
            by: the metadata key whose value defines the group; a document without it is a group of its own.
            per_source: how many hits in each, at most.
            options: `filter`, `task_type`, `score_threshold` and `tenant`, as in `search`.

        Returns:
            Groups, the one with the best hit first.
        """
        from langchain_gemini_mm.vectorstores.search import groups_flow, plan_search

        return groups_flow(query, plan_search(self.backend, k, **options), by, per_source)

    asearch_groups = asynchronous(search_groups)

    @synchronous
    def add_vectors(
        self,
        documents: Iterable[Document],
        vectors: Iterable[Sequence[float] | Vector],
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
    ) -> Flow[list[str]]:
        """Add documents with vectors that the store's embedding made before; nothing is embedded.

        Args:
            documents: as for `add_documents`.
            vectors: one per document, such as the rows of an `(n, d)` array; normalized to unit length.
            ids: as for `add_documents`.
            batch_size: how many are stored together.
            progress: as for `add_documents`.

        Raises:
            ContentError: a vector is not finite, or all zeros.
            SpaceMismatchError: the vectors have another length than those stored.
        """
        return self._add(documents, ids, vectors, batch_size, progress)

    aadd_vectors = asynchronous(add_vectors)

    @synchronous
    def replace(
        self, documents: Iterable[Document], *, by: str = "source", progress: Progress | None = None
    ) -> Flow[list[str]]:
        """Store documents, and delete all others that have one of their values under a metadata key.

        Documents that are stored already are not embedded again. New ones are stored before others are deleted: in a
        local store in one transaction, if there are at most 1,000.

        ```python
        from langchain_core.documents import Document
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
        store.add_texts(["a cat", "a dog", "a fox"], [{"source": "a"}, {"source": "a"}, {"source": "b"}])
        store.replace([Document("a bird", metadata={"source": "a"})])
        assert sorted(document.page_content for document in store.iterate()) == ["a bird", "a fox"]
        ```

        Args:
            documents: all documents of each of these values; a value without documents is not touched.
            by: the metadata key, whose values are texts, numbers or booleans; a field, in Weaviate.
            progress: as for `add_documents`.

        Returns:
            One id per document, in order.

        Raises:
            ContentError: a document does not have the key; nothing is changed.
            PartialWriteError: some documents are not stored; nothing is deleted.
        """
        from langchain_gemini_mm.vectorstores.write import replace_flow

        return replace_flow(self.backend, documents, by, BATCH_SIZE, progress)

    areplace = asynchronous(replace)

    @synchronous
    def update_metadata(
        self, ids: Iterable[str] | Changes, metadata: Mapping[str, Any] | None = None, *, replace: bool = False
    ) -> Flow[None]:
        """Change the metadata of stored documents; nothing is embedded, and the documents stay searchable.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
        store.add_texts(["a cat", "a dog"], [{"page": 1}, {"page": 2}], ids=["cat", "dog"])
        store.update_metadata(["cat", "dog"], {"seen": True})
        store.update_metadata({"cat": {"page": 7}, "dog": {"page": 8}})
        assert store.get_by_ids(["cat"])[0].metadata == {"page": 7, "seen": True}
        ```

        Args:
            ids: the documents, or a dict of metadata by id.
            metadata: for each of `ids`.
            replace: replace all metadata of a document. By default only the given keys are set; values are replaced,
                never merged.

        Raises:
            ContentError: an id is not stored, or metadata is not JSON; nothing is changed.
        """
        from langchain_gemini_mm.vectorstores.write import update_metadata_flow

        return update_metadata_flow(self.backend, ids, metadata, replace=replace)

    aupdate_metadata = asynchronous(update_metadata)

    @synchronous
    def export_to(self, folder: str | os.PathLike[str]) -> Flow[int]:
        """Write the collection as a plain folder: JSON lines, one `.npy` array and a manifest.

        Documents are written in batches, so that memory use does not grow. Media are not copied. Documents that are
        added or deleted during the export may be missing; all others are exported exactly once.

        Returns:
            How many documents were written.

        Raises:
            StoreError: the folder holds something else, or cannot be written.
        """
        from langchain_gemini_mm.vectorstores.export import export_flow

        return export_flow(self.backend, folder)

    aexport_to = asynchronous(export_to)

    @synchronous
    def import_from(
        self, folder: str | os.PathLike[str], *, batch_size: int = BATCH_SIZE, progress: Progress | None = None
    ) -> Flow[int]:
        """Add all documents of a folder written by `export_to`; nothing is embedded.

        Batches are stored one by one. An interrupted import can be repeated and then completes.

        Args:
            folder: a complete export of a collection with the same embeddings.
            batch_size: how many documents are stored together.
            progress: called after each batch with the number of documents stored so far.

        Returns:
            How many documents were read.

        Raises:
            StoreError: the export is incomplete or was changed; nothing is added.
            SpaceMismatchError: the vectors belong to another embedding space; nothing is added.
        """
        from langchain_gemini_mm.vectorstores.export import import_flow

        return import_flow(self.backend, folder, batch_size, progress)

    aimport_from = asynchronous(import_from)

    @synchronous
    def delete_all(self) -> Flow[None]:
        """Delete every document of the collection, and its embedding space; `set_info` values are kept.

        For a tenant only its documents are deleted; the embedding space belongs to all tenants and is kept.
        """
        return self.backend.truncate()

    adelete_all = asynchronous(delete_all)

    @synchronous
    def count(self, *, filter: Filter | None = None) -> Flow[int]:  # noqa: A002
        """Count the documents, or those that a filter matches."""
        return self.backend.count(node_of(filter))

    acount = asynchronous(count)

    def iterate(self, *, filter: Filter | None = None, batch_size: int = PAGE_SIZE) -> Iterator[Document]:  # noqa: A002
        """Read all documents in a fixed order of ids, `batch_size` at a time.

        Documents may be added and deleted during the iteration; all others are read exactly once.
        """
        for records in self._pages(filter, batch_size):
            yield from (record.document for record in records)

    async def aiterate(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002
        batch_size: int = PAGE_SIZE,
    ) -> AsyncIterator[Document]:
        """Async twin of `iterate`."""
        async for records in self._apages(filter, batch_size):
            for record in records:
                yield record.document

    def vectors(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002
        batch_size: int = PAGE_SIZE,
    ) -> Iterator[tuple[list[str], Vectors]]:
        """Read all vectors, as batches of up to `batch_size` ids and `(n, d)` float32 unit rows.

        Order and behaviour during changes are those of `iterate`.
        """
        for records in self._pages(filter, batch_size, "vectors"):
            yield _ids_and_rows(records)

    async def avectors(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002
        batch_size: int = PAGE_SIZE,
    ) -> AsyncIterator[tuple[list[str], Vectors]]:
        """Async twin of `vectors`."""
        async for records in self._apages(filter, batch_size, "vectors"):
            yield _ids_and_rows(records)

    @synchronous
    def get_info(self, key: str) -> Flow[Any]:
        """Read a value of `set_info`, or None; `fingerprint` and `dimensions` describe the embedding space."""
        return self.backend.read_info(_info_key(key))

    aget_info = asynchronous(get_info)

    @synchronous
    def set_info(self, key: str, value: Any) -> Flow[None]:
        """Store a JSON value with the collection, such as a calibration; None removes it.

        Raises:
            ValueError: the keys `fingerprint` and `dimensions` are reserved for the store.
            ContentError: JSON cannot hold the value.
        """
        from langchain_gemini_mm.vectorstores.records import plain_json

        return self.backend.write_info(_info_key(key, to_write=True), plain_json(value, f"info {key!r}"))

    aset_info = asynchronous(set_info)

    def as_retriever(self, **kwargs: Any) -> StoreRetriever:
        """A LangChain retriever on this store whose `batch` embeds all queries in one call."""
        from langchain_gemini_mm.vectorstores.store_retriever import StoreRetriever

        tags = kwargs.pop("tags", None) or [*self._get_retriever_tags()]
        return StoreRetriever(vectorstore=self, tags=tags, **kwargs)

    def _search(self, queries: Iterable[Content | Query], *args: Any, **options: Any) -> Flow[list[Hits]]:
        from langchain_gemini_mm.vectorstores.search import plan_search, search_flow

        return search_flow(queries, plan_search(self.backend, *args, **options))

    def _pages(self, given: Filter | None, batch_size: int, columns: Columns = "documents") -> Iterator[list[Record]]:
        node, limit, after = node_of(given), positive_int("batch_size", batch_size), None
        while records := run(self.backend.page(after, limit, node, columns)):
            yield records
            after = records[-1].id

    async def _apages(
        self, given: Filter | None, batch_size: int, columns: Columns = "documents"
    ) -> AsyncIterator[list[Record]]:
        node, limit, after = node_of(given), positive_int("batch_size", batch_size), None
        while records := await arun(self.backend.page(after, limit, node, columns)):
            yield records
            after = records[-1].id


def _listed(queries: Iterable[Content | Query]) -> Iterable[Content | Query]:
    from langchain_gemini_mm.vectorstores.query import Query

    if isinstance(queries, str | bytes | Query):
        raise InvalidTypeError(f"queries is a list of queries, got one {type(queries).__name__}; write [query]")
    return queries


def _info_key(key: Any, *, to_write: bool = False) -> str:
    from langchain_gemini_mm.vectorstores.records import plain_text

    if not isinstance(key, str) or not key:
        raise InvalidTypeError(f"the key of an info is a str, got {key!r}")
    if to_write and key in _READ_ONLY_INFO:
        raise InvalidValueError(f"{key!r} is kept by the store itself; choose another key")
    return plain_text(key, "the key of an info")


def _ids_and_rows(records: list[Record]) -> tuple[list[str], Vectors]:
    return [record.id for record in records], np.stack(
        [record.vector for record in records if record.vector is not None]
    )
