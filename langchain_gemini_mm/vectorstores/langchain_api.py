"""The vector store methods that LangChain defines."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, cast

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm.flows import Flow, arun, blocking, run
from langchain_gemini_mm.interfaces import Content, MediaEmbeddings, Vector
from langchain_gemini_mm.validation import positive_int, unknown_option
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, given_rows
from langchain_gemini_mm.vectorstores.hits import Hits
from langchain_gemini_mm.vectorstores.query import Query
from langchain_gemini_mm.vectorstores.search import WORD_SEARCHES, neighbours_flow, plan_search, search_flow
from langchain_gemini_mm.vectorstores.store_retriever import StoreRetriever
from langchain_gemini_mm.vectorstores.write import BATCH_SIZE, DocumentInputs, Progress, add_flow, texts_as_documents

T = TypeVar("T")


class LangChainMethods(VectorStore):
    """The methods that chains, retrievers and `index()` call.

    A query may be any content or a `Query`, not only text. Search options are those of
    `MultimodalVectorStore.search`; unknown options raise `TypeError`.
    """

    backend: Backend
    """The storage of the rows."""

    @property
    def space(self) -> EmbeddingSpace:
        """The embedding, and its embedding space."""
        return self.backend.space

    @property
    def search_types(self) -> tuple[str, ...]:
        """What `search(search_type=...)` can do."""
        return self.backend.search_types

    @classmethod
    @abstractmethod
    def _open(cls, embedding: Any, **kwargs: Any) -> Self:
        """Open a store for `from_texts` and `from_documents`."""

    def wait_until_indexed(self, timeout: float = 600.0) -> None:
        """Wait until all added documents can be found; needed only for servers that index asynchronously.

        Raises:
            StoreError: some cannot be found after `timeout` seconds.
        """

    async def await_until_indexed(self, timeout: float = 600.0) -> None:  # noqa: ASYNC109 - as in its twin
        """Async twin of `wait_until_indexed`."""
        await asyncio.to_thread(self.wait_until_indexed, timeout)

    def close(self) -> None:
        """Close the store; it cannot be used afterwards."""

    @property
    def embeddings(self) -> Embeddings | None:
        """The embeddings that the store was opened with."""
        return cast("Embeddings", self.space.embedding)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
        skip_unchanged: bool = False,
        tenant: str | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add documents, or replace those with the same id; they are stored durably when this returns.

        Args:
            documents: any iterable; a generator is read batch by batch, so that memory use does not grow.
            ids: one per document; they take precedence over `Document.id`. A document without an id gets a random one.
            batch_size: how many documents are embedded and stored together.
            progress: called after each batch with the number of documents stored so far.
            skip_unchanged: do not embed documents that are stored under the same id with the same text and metadata,
                so that adding a folder again costs nothing for unchanged files.
            tenant: the tenant, in a collection with tenants; by default that of the store.
            kwargs: none; part of LangChain's signature.

        Returns:
            One id per document, in order. Of documents with the same id the last one is kept.

        Raises:
            PartialWriteError: some documents are stored, others are not; raised once, at the end. If nothing is stored
                for one reason, that error is raised unchanged.
            ContentError: metadata is not JSON.
            SpaceMismatchError: the collection belongs to another embedding space.
        """
        inputs = DocumentInputs(documents, ids)
        return run(self._add(inputs, batch_size, progress, kwargs, skip_unchanged=skip_unchanged, tenant=tenant))

    async def aadd_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
        skip_unchanged: bool = False,
        tenant: str | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Async twin of `add_documents`; a generator is read in a worker thread."""
        inputs = DocumentInputs(documents, ids)
        return await arun(self._add(inputs, batch_size, progress, kwargs, skip_unchanged=skip_unchanged, tenant=tenant))

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with their metadata.

        Args:
            texts: any iterable of texts.
            metadatas: one dict per text; None for no metadata.
            ids: one id per text; None makes random ids.
            kwargs: other options of `add_documents`.

        Returns:
            One id per text, in order.
        """
        return self.add_documents(texts_as_documents(texts, metadatas, ids), ids=ids, **kwargs)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Async twin of `add_texts`."""
        return await self.aadd_documents(texts_as_documents(texts, metadatas, ids), ids=ids, **kwargs)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | MediaEmbeddings,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Open a store and add texts.

        Args:
            texts: any iterable of texts.
            embedding: embeds the texts.
            metadatas: one dict per text; None for no metadata.
            ids: one id per text; None makes random ids.
            kwargs: other arguments of the class, and `batch_size` and `progress` of `add_documents`.
        """
        return run(cls._filled(DocumentInputs(texts_as_documents(texts, metadatas, ids), ids), embedding, kwargs))

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | MediaEmbeddings,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Async twin of `from_texts`."""
        return await arun(
            cls._filled(DocumentInputs(texts_as_documents(texts, metadatas, ids), ids), embedding, kwargs)
        )

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | MediaEmbeddings, **kwargs: Any
    ) -> Self:
        """Open a store and add documents.

        Args:
            documents: any iterable of documents.
            embedding: embeds the documents.
            kwargs: `ids`, `batch_size` and `progress` of `add_documents`, and other arguments of the class.
        """
        return run(cls._filled(DocumentInputs(documents, kwargs.pop("ids", None)), embedding, kwargs))

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | MediaEmbeddings, **kwargs: Any
    ) -> Self:
        """Async twin of `from_documents`."""
        return await arun(cls._filled(DocumentInputs(documents, kwargs.pop("ids", None)), embedding, kwargs))

    def similarity_search(self, query: Content | Query, k: int = 4, **kwargs: Any) -> list[Document]:
        """The `k` nearest documents, nearest first.

        Args:
            query: any content, or a `Query`.
            k: how many documents.
            kwargs: options of `search`.
        """
        return run(self._similar(query, k, kwargs)).documents

    async def asimilarity_search(self, query: Content | Query, k: int = 4, **kwargs: Any) -> list[Document]:
        """Async twin of `similarity_search`."""
        return (await arun(self._similar(query, k, kwargs))).documents

    def similarity_search_with_score(
        self, query: Content | Query, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The `k` nearest documents with their cosine similarity in [-1, 1].

        Args:
            query: any content, or a `Query`.
            k: how many documents.
            kwargs: options of `search`.
        """
        return run(self._similar(query, k, kwargs, with_score=True)).scored

    async def asimilarity_search_with_score(
        self, query: Content | Query, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Async twin of `similarity_search_with_score`."""
        return (await arun(self._similar(query, k, kwargs, with_score=True))).scored

    def similarity_search_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """The `k` documents nearest to a vector.

        Args:
            embedding: `(d,)`, normalized to unit length.
            k: how many documents.
            kwargs: options of `search`, without `task_type`.
        """
        return run(self._neighbours(embedding, k, kwargs)).documents

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Async twin of `similarity_search_by_vector`."""
        return (await arun(self._neighbours(embedding, k, kwargs))).documents

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The `k` documents nearest to a vector with their cosine similarity.

        Args:
            embedding: `(d,)`, normalized to unit length.
            k: how many documents.
            kwargs: options of `search`, without `task_type`.
        """
        return run(self._neighbours(embedding, k, kwargs)).scored

    async def asimilarity_search_with_score_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Async twin of `similarity_search_with_score_by_vector`."""
        return (await arun(self._neighbours(embedding, k, kwargs))).scored

    def max_marginal_relevance_search(
        self,
        query: Content | Query,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Pick `k` documents of the `fetch_k` nearest to a query that are unlike each other.

        Args:
            query: any content, or a `Query`.
            k: how many documents.
            fetch_k: how many candidates; 20 by default, at least `k`.
            lambda_mult: 1 is relevance alone, 0 is diversity alone.
            kwargs: options of `search`.
        """
        return run(self._similar(query, k, _mmr(fetch_k, lambda_mult, kwargs))).documents

    async def amax_marginal_relevance_search(
        self,
        query: Content | Query,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Async twin of `max_marginal_relevance_search`."""
        return (await arun(self._similar(query, k, _mmr(fetch_k, lambda_mult, kwargs)))).documents

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | Vector,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Pick `k` documents of the `fetch_k` nearest to a vector that are unlike each other.

        Args:
            embedding: `(d,)`, normalized to unit length.
            k: how many documents.
            fetch_k: how many candidates; 20 by default, at least `k`.
            lambda_mult: 1 is relevance alone, 0 is diversity alone.
            kwargs: options of `search`.
        """
        return run(self._neighbours(embedding, k, _mmr(fetch_k, lambda_mult, kwargs))).documents

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | Vector,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Async twin of `max_marginal_relevance_search_by_vector`."""
        return (await arun(self._neighbours(embedding, k, _mmr(fetch_k, lambda_mult, kwargs)))).documents

    def as_retriever(self, **kwargs: Any) -> StoreRetriever:
        """A LangChain retriever on this store whose `batch` embeds all queries in one call."""
        tags = kwargs.pop("tags", None) or [*self._get_retriever_tags()]
        return StoreRetriever(vectorstore=self, tags=tags, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance

    def _add(
        self,
        inputs: DocumentInputs,
        batch_size: int,
        progress: Progress | None,
        unknown: Collection[str] = (),
        *,
        skip_unchanged: bool = False,
        tenant: str | None = None,
    ) -> Flow[list[str]]:
        if unknown:
            raise unknown_option(next(iter(unknown)), ("ids", "batch_size", "progress", "skip_unchanged"), "adding")
        backend, size = self.backend.for_tenant(tenant), positive_int("batch_size", batch_size)
        return add_flow(backend, inputs, size, progress, skip_unchanged=skip_unchanged)

    def _similar(
        self, query: Content | Query, k: int, options: Mapping[str, Any], *, with_score: bool = False
    ) -> Flow[Hits]:
        plan = plan_search(self.backend, k, **options)
        if with_score and plan.search_type in WORD_SEARCHES:
            raise ValueError(
                f"these scores are cosine similarities, and those of search_type={plan.search_type!r} are not; use "
                "search(), whose hits say what their score means"
            )
        return only(search_flow([query], plan))

    def _neighbours(self, vector: Sequence[float] | Vector, k: int, options: Mapping[str, Any]) -> Flow[Hits]:
        plan = plan_search(self.backend, k, **options)
        if plan.search_type in WORD_SEARCHES:
            raise ValueError(f"search_type={plan.search_type!r} needs a query with text, not a vector")
        if plan.task_type is not None:
            raise TypeError("task_type says how to embed content; a vector is embedded already")
        return only(neighbours_flow(given_rows([vector], "the vector to search with"), plan, None, [()]))

    @classmethod
    def _filled(
        cls, inputs: DocumentInputs, embedding: Embeddings | MediaEmbeddings, kwargs: dict[str, Any]
    ) -> Flow[Self]:
        batch_size, progress = kwargs.pop("batch_size", BATCH_SIZE), kwargs.pop("progress", None)
        store: Self = yield blocking(cls._open, embedding, **kwargs)
        try:
            yield from store._add(inputs, batch_size, progress)
        except BaseException:
            store.close()
            raise
        return store


def relevance(score: float) -> float:
    """Map a cosine similarity to a relevance in [0, 1]."""
    return min(1.0, max(0.0, (1.0 + score) / 2.0))


def only(flow: Flow[list[T]]) -> Flow[T]:
    """The only result of a flow that returns a list."""
    (result,) = yield from flow
    return result


def _mmr(fetch_k: int | None, lambda_mult: float, options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "search_type": "mmr", "fetch_k": fetch_k, "lambda_mult": lambda_mult}
