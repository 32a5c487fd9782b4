"""LangChain's own vector store methods, each a line over the flows of writing and searching."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, cast

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm.flows import Flow, arun, blocking, run
from langchain_gemini_mm.interfaces import Content, MediaEmbeddings, Vector
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.embedding_space import Space, given_vector
from langchain_gemini_mm.vectorstores.filters import Exists
from langchain_gemini_mm.vectorstores.hits import Group, Hit, Query
from langchain_gemini_mm.vectorstores.search import (
    groups_flow,
    hybrid_flow,
    keyword_flow,
    nearest_flow,
    plan_search,
    search_flow,
    search_many_flow,
)
from langchain_gemini_mm.vectorstores.store_retriever import StoreRetriever
from langchain_gemini_mm.vectorstores.write import (
    BATCH_SIZE,
    Intake,
    Progress,
    add_flow,
    texts_as_documents,
)

_FLOWS: dict[str, Callable[..., Flow[list[Hit]]]] = {"keyword": keyword_flow, "hybrid": hybrid_flow}
"""Modes that do not go by vectors alone."""


class LangChainSurface(VectorStore):
    """The methods that chains, retrievers and `index()` call.

    A query may be any content or a `Query`, not only text. Search options are those of
    `MultimodalVectorStore.search`; unknown ones fail by name.
    """

    backend: Backend
    """What holds the rows."""

    @property
    def space(self) -> Space:
        """The embedding, and its embedding space."""
        return self.backend.space

    @property
    def modes(self) -> tuple[str, ...]:
        """What `search(mode=...)` can do."""
        return self.backend.search_types

    @classmethod
    @abstractmethod
    def _open(cls, embedding: Any, **kwargs: Any) -> Self:
        """Make a store for `from_texts` and `from_documents`."""

    def wait_until_indexed(self, timeout: float = 600.0) -> None:
        """Return once everything that was added can be found; only some servers need it.

        Raises:
            StoreError: that is not so after `timeout` seconds.
        """

    async def await_until_indexed(self, timeout: float = 600.0) -> None:  # noqa: ASYNC109 - as in its twin
        """Async twin of `wait_until_indexed`."""
        await asyncio.to_thread(self.wait_until_indexed, timeout)

    def close(self) -> None:
        """Release what the store holds; it cannot be used afterwards."""

    @property
    def embeddings(self) -> Embeddings | None:
        """What turns content into vectors."""
        return cast("Embeddings", self.space.embedding)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
        skip_unchanged: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Add documents, or replace those with the same id; they are durably stored when this returns.

        Args:
            documents: any iterable; a generator is drawn batch by batch, so memory stays flat.
            ids: one per document; they beat `Document.id`. What has no id gets a random one.
            batch_size: how many documents are embedded and stored together.
            progress: called after each batch with the number of documents stored so far.
            skip_unchanged: leave what is stored under the same id with the same text and metadata as it is: a folder
                that is added again costs nothing but for what is new.
            kwargs: nothing else; LangChain's signature has it.

        Returns:
            One id per document, in order. For an id that comes twice the last document is kept.

        Raises:
            PartialWriteError: something failed after a first batch was stored. What fails before is raised as it is.
            ContentError: metadata is not JSON.
            SpaceMismatchError: the collection is of another embedding space.
        """
        return run(self._add(documents, ids, None, batch_size, progress, kwargs | {"skip_unchanged": skip_unchanged}))

    async def aadd_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
        skip_unchanged: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Async twin of `add_documents`; a generator is drawn in a worker thread."""
        options = kwargs | {"skip_unchanged": skip_unchanged}
        return await arun(self._add(documents, ids, None, batch_size, progress, options))

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with their metadata; options as in `add_documents`."""
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
        """Make a store that holds `texts`; other arguments are those of the class and of `add_documents`."""
        return run(cls._filled(texts_as_documents(texts, metadatas, ids), embedding, ids, kwargs))

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
        return await arun(cls._filled(texts_as_documents(texts, metadatas, ids), embedding, ids, kwargs))

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | MediaEmbeddings, **kwargs: Any
    ) -> Self:
        """Make a store that holds `documents`; other arguments are those of the class and of `add_documents`."""
        return run(cls._filled(documents, embedding, kwargs.pop("ids", None), kwargs))

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | MediaEmbeddings, **kwargs: Any
    ) -> Self:
        """Async twin of `from_documents`."""
        return await arun(cls._filled(documents, embedding, kwargs.pop("ids", None), kwargs))

    def similarity_search(self, query: Content | Query, k: int = 4, **kwargs: Any) -> list[Document]:
        """The `k` nearest documents, nearest first."""
        return _documents_of(run(self._hits(query, k, kwargs)))

    async def asimilarity_search(self, query: Content | Query, k: int = 4, **kwargs: Any) -> list[Document]:
        """Async twin of `similarity_search`."""
        return _documents_of(await arun(self._hits(query, k, kwargs)))

    def similarity_search_with_score(
        self, query: Content | Query, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The `k` nearest documents with their cosine similarity in [-1, 1]."""
        return _scored_documents(run(self._cosine_hits(query, k, kwargs)))

    async def asimilarity_search_with_score(
        self, query: Content | Query, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Async twin of `similarity_search_with_score`."""
        return _scored_documents(await arun(self._cosine_hits(query, k, kwargs)))

    def similarity_search_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """The `k` documents nearest to a vector."""
        return _documents_of(run(self._neighbours(embedding, k, kwargs)))

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Async twin of `similarity_search_by_vector`."""
        return _documents_of(await arun(self._neighbours(embedding, k, kwargs)))

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The `k` documents nearest to a vector with their cosine similarity."""
        return _scored_documents(run(self._neighbours(embedding, k, kwargs)))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Async twin of `similarity_search_with_score_by_vector`."""
        return _scored_documents(await arun(self._neighbours(embedding, k, kwargs)))

    def max_marginal_relevance_search(
        self,
        query: Content | Query,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Pick `k` documents of the `fetch_k` nearest that are near the query and unlike each other."""
        return _documents_of(run(self._hits(query, k, _mmr(fetch_k, lambda_mult, kwargs))))

    async def amax_marginal_relevance_search(
        self,
        query: Content | Query,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Async twin of `max_marginal_relevance_search`."""
        return _documents_of(await arun(self._hits(query, k, _mmr(fetch_k, lambda_mult, kwargs))))

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | Vector,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """The same for a vector."""
        return _documents_of(run(self._neighbours(embedding, k, _mmr(fetch_k, lambda_mult, kwargs))))

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | Vector,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        """Async twin of `max_marginal_relevance_search_by_vector`."""
        return _documents_of(await arun(self._neighbours(embedding, k, _mmr(fetch_k, lambda_mult, kwargs))))

    def as_retriever(self, **kwargs: Any) -> StoreRetriever:
        """A retriever on this store, as LangChain has it; its `batch` searches for all queries together."""
        tags = kwargs.pop("tags", None) or [*self._get_retriever_tags()]
        return StoreRetriever(vectorstore=self, tags=tags, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance

    def _backend_of(self, options: dict[str, Any]) -> Backend:
        """The backend of a call; takes `tenant` out of its options."""
        tenant = options.pop("tenant", None)
        return self.backend if tenant is None else self.backend.for_tenant(tenant)

    def _add(
        self,
        documents: Iterable[Document],
        ids: Iterable[str | None] | None,
        vectors: Iterable[Any] | None,
        batch_size: int,
        progress: Progress | None,
        others: dict[str, Any],
    ) -> Flow[list[str]]:
        skip_unchanged = others.pop("skip_unchanged", False)
        backend = self._backend_of(others)
        for name in others:
            raise TypeError(
                f"there is no option {name!r} for adding. Options: ids, batch_size, progress, skip_unchanged"
            )
        intake = Intake(documents, ids, vectors)
        size = positive_int("batch_size", batch_size)
        return add_flow(backend, intake, size, progress, skip_unchanged=skip_unchanged)

    def _hits(self, query: Content | Query, k: int, options: dict[str, Any]) -> Flow[list[Hit]]:
        backend = self._backend_of(options)
        plan = plan_search(backend, k, options)
        return _FLOWS.get(plan.mode, search_flow)(backend, query, plan)

    def _many(self, queries: Iterable[Content | Query], k: int, options: dict[str, Any]) -> Flow[list[list[Hit]]]:
        backend = self._backend_of(options)
        plan = plan_search(backend, k, options)
        asked = _listed(queries)
        if plan.mode not in _FLOWS:
            return (yield from search_many_flow(backend, asked, plan)) if asked else []
        answers: list[list[Hit]] = []
        for query in asked:
            answers += [(yield from _FLOWS[plan.mode](backend, query, plan))]
        return answers

    def _groups(
        self, query: Content | Query, k: int, by: str, per_group: int, options: dict[str, Any]
    ) -> Flow[list[Group]]:
        backend = self._backend_of(options)
        plan = plan_search(backend, k, options)
        if not isinstance(by, str):
            raise TypeError(f"by is the metadata key of the groups, got {by!r}")
        backend.check_filter(Exists(by))
        return groups_flow(backend, query, plan, by, positive_int("per_group", per_group))

    def _cosine_hits(self, query: Content | Query, k: int, options: dict[str, Any]) -> Flow[list[Hit]]:
        if options.get("mode") in _FLOWS:
            raise ValueError(
                f"these scores are cosine similarities, and those of mode={options['mode']!r} are not; use search(), "
                "whose hits say what their score means"
            )
        return self._hits(query, k, options)

    def _neighbours(self, vector: Sequence[float] | Vector, k: int, options: dict[str, Any]) -> Flow[list[Hit]]:
        if options.get("mode") in _FLOWS:
            raise ValueError(f"mode={options['mode']!r} needs a query with text, not a vector")
        if options.get("task") is not None:
            raise TypeError("task says how to embed content; a vector is embedded already")
        backend = self._backend_of(options)
        return nearest_flow(backend, given_vector(vector), plan_search(backend, k, options))

    @classmethod
    def _filled(
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | MediaEmbeddings,
        ids: Iterable[str | None] | None,
        kwargs: dict[str, Any],
    ) -> Flow[Self]:
        adding = {name: kwargs.pop(name) for name in ("batch_size", "progress") if name in kwargs}
        store: Self = yield blocking(cls._open, embedding, **kwargs)
        try:
            batch_size = adding.get("batch_size", BATCH_SIZE)
            yield from store._add(documents, ids, None, batch_size, adding.get("progress"), {})
        except BaseException:
            store.close()
            raise
        return store


def _listed(queries: Iterable[Content | Query]) -> list[Content | Query]:
    if isinstance(queries, str | bytes | Query):
        raise TypeError(f"queries is a list of queries, got one {type(queries).__name__}; write [query]")
    return list(queries)


def relevance(score: float) -> float:
    """Cosine similarity as relevance in [0, 1]."""
    return min(1.0, max(0.0, (1.0 + score) / 2.0))


def _mmr(fetch_k: int | None, lambda_mult: float, options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "mode": "mmr", "fetch_k": fetch_k, "lambda_mult": lambda_mult}


def _documents_of(hits: list[Hit]) -> list[Document]:
    return [hit.document for hit in hits]


def _scored_documents(hits: list[Hit]) -> list[tuple[Document, float]]:
    return [(hit.document, hit.score) for hit in hits]
