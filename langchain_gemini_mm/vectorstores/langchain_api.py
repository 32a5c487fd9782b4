"""The vector store methods that LangChain defines; what they are made of is imported when one is called."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.flows import Call, Flow, arun, asynchronous, blocking, run, synchronous
from langchain_gemini_mm.interfaces import Content, Filter, MediaEmbeddings, Vector
from langchain_gemini_mm.validation import positive_int, unknown_option

if TYPE_CHECKING:
    from langchain_gemini_mm.vectorstores.backend import Backend
    from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace
    from langchain_gemini_mm.vectorstores.filters import Node
    from langchain_gemini_mm.vectorstores.hits import Hits
    from langchain_gemini_mm.vectorstores.query import Query
    from langchain_gemini_mm.vectorstores.write import Progress

T = TypeVar("T")

BATCH_SIZE = 1000
"""Documents embedded and stored together."""
_ADD_OPTIONS = ("batch_size", "progress", "skip_unchanged")
"""The options of `add_documents` that opening and filling a store accepts as well."""


class LangChainMethods:
    """The methods that chains, retrievers and `index()` call.

    A query may be any content or a `Query`, not only text. Search options are those of
    `MultimodalVectorStore.search`; unknown options raise `TypeError`.
    """

    backend: Backend
    """The storage of the rows."""
    relevance_score_fn: Callable[[float], float] | None = None
    """Maps a cosine similarity to a relevance from 0 to 1; None is `(1 + cosine) / 2`."""

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

    @synchronous
    def wait_until_indexed(self, timeout: float = 600.0) -> Flow[None]:
        """Wait until all added documents can be found; needed only for servers with `ASYNC_INDEXING`.

        Raises:
            StoreError: some cannot be found after `timeout` seconds.
        """
        return self.backend.wait_until_indexed(timeout)

    await_until_indexed = asynchronous(wait_until_indexed)

    def close(self) -> None:
        """Close the store; it cannot be used afterwards."""

    @property
    def embeddings(self) -> Embeddings | None:
        """The embeddings that the store was opened with."""
        return cast("Embeddings", self.space.embedding)

    @synchronous
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
    ) -> Flow[list[str]]:
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
        options = {"skip_unchanged": skip_unchanged, "tenant": tenant, **kwargs}
        return self._add(documents, ids, None, batch_size, progress, **options)

    aadd_documents = asynchronous(add_documents)

    @synchronous
    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> Flow[list[str]]:
        """Add texts with their metadata.

        Args:
            texts: any iterable of texts.
            metadatas: one dict per text; None for no metadata.
            ids: one id per text; None makes random ids.
            kwargs: other options of `add_documents`.

        Returns:
            One id per text, in order.
        """
        documents, options = _as_documents(texts, metadatas, ids), {"ids": ids, **kwargs}
        stored: list[str] = yield Call(self.add_documents, self.aadd_documents, (documents,), options)
        return stored

    aadd_texts = asynchronous(add_texts)

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
            kwargs: other arguments of the class, and `batch_size`, `progress` and `skip_unchanged` of `add_documents`.
        """
        return run(cls._filled(_as_documents(texts, metadatas, ids), ids, embedding, kwargs))

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
        return await arun(cls._filled(_as_documents(texts, metadatas, ids), ids, embedding, kwargs))

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | MediaEmbeddings, **kwargs: Any
    ) -> Self:
        """Open a store and add documents.

        Args:
            documents: any iterable of documents.
            embedding: embeds the documents.
            kwargs: `ids`, `batch_size`, `progress` and `skip_unchanged` of `add_documents`, and other arguments of the
                class.
        """
        return run(cls._filled(documents, kwargs.pop("ids", None), embedding, kwargs))

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | MediaEmbeddings, **kwargs: Any
    ) -> Self:
        """Async twin of `from_documents`."""
        return await arun(cls._filled(documents, kwargs.pop("ids", None), embedding, kwargs))

    @synchronous
    def get_by_ids(self, ids: Sequence[str], /) -> Flow[list[Document]]:
        """Read documents by id, each once, in the order of `ids`; unknown ids are left out."""
        records = yield from self.backend.fetch(_checked_ids(ids))
        return [record.document for record in records]

    aget_by_ids = asynchronous(get_by_ids)

    @synchronous
    def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002
        tenant: str | None = None,
        **kwargs: Any,
    ) -> Flow[bool]:
        """Delete documents by their ids or by a filter; unknown ids are no error, an empty list deletes nothing.

        Args:
            ids: the documents; None to delete by filter.
            filter: delete the documents that it matches.
            tenant: the tenant, in a collection with tenants; by default that of the store.
            kwargs: none; part of LangChain's signature.

        Returns:
            True.

        Raises:
            ValueError: neither ids nor a filter is given, or both, or the filter is empty; see `delete_all`.
        """
        from langchain_gemini_mm.vectorstores.filters import And

        if kwargs:
            raise unknown_option(next(iter(kwargs)), ("ids", "filter", "tenant"), "deleting")
        if ids is not None and filter is not None:
            raise InvalidValueError("delete takes ids or a filter, not both")
        if ids is None and filter is None:
            raise InvalidValueError("delete needs ids or a filter. To delete everything, call delete_all()")
        node = node_of(filter)
        if node == And(()):
            raise InvalidValueError(
                "delete with an empty filter would delete everything; if that is meant, call delete_all()"
            )
        checked = None if ids is None else _checked_ids(ids)
        if checked != []:
            yield from self.backend.for_tenant(tenant).delete(checked, node)
        return True

    adelete = asynchronous(delete)

    @synchronous
    def similarity_search(self, query: Content | Query, k: int = 4, **kwargs: Any) -> Flow[list[Document]]:
        """The `k` nearest documents, nearest first.

        Args:
            query: any content, or a `Query`.
            k: how many documents.
            kwargs: options of `search`.
        """
        return (yield from self._similar(query, k, kwargs)).documents

    asimilarity_search = asynchronous(similarity_search)

    @synchronous
    def similarity_search_with_score(
        self, query: Content | Query, k: int = 4, **kwargs: Any
    ) -> Flow[list[tuple[Document, float]]]:
        """The `k` nearest documents with their cosine similarity in [-1, 1].

        Args:
            query: any content, or a `Query`.
            k: how many documents.
            kwargs: options of `search`.
        """
        return (yield from self._similar(query, k, kwargs, with_score=True)).scored

    asimilarity_search_with_score = asynchronous(similarity_search_with_score)

    @synchronous
    def similarity_search_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> Flow[list[Document]]:
        """The `k` documents nearest to a vector.

        Args:
            embedding: `(d,)`, normalized to unit length.
            k: how many documents.
            kwargs: options of `search`, without `task_type`.
        """
        return (yield from self._neighbours(embedding, k, kwargs)).documents

    asimilarity_search_by_vector = asynchronous(similarity_search_by_vector)

    @synchronous
    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float] | Vector, k: int = 4, **kwargs: Any
    ) -> Flow[list[tuple[Document, float]]]:
        """The `k` documents nearest to a vector with their cosine similarity.

        Args:
            embedding: `(d,)`, normalized to unit length.
            k: how many documents.
            kwargs: options of `search`, without `task_type`.
        """
        return (yield from self._neighbours(embedding, k, kwargs)).scored

    asimilarity_search_with_score_by_vector = asynchronous(similarity_search_with_score_by_vector)

    @synchronous
    def max_marginal_relevance_search(
        self,
        query: Content | Query,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> Flow[list[Document]]:
        """Pick `k` documents of the `fetch_k` nearest to a query that are unlike each other.

        Args:
            query: any content, or a `Query`.
            k: how many documents.
            fetch_k: how many candidates; 20 by default, at least `k`.
            lambda_mult: 1 is relevance alone, 0 is diversity alone.
            kwargs: options of `search`.
        """
        return (yield from self._similar(query, k, _mmr(fetch_k, lambda_mult, kwargs))).documents

    amax_marginal_relevance_search = asynchronous(max_marginal_relevance_search)

    @synchronous
    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | Vector,
        k: int = 4,
        fetch_k: int | None = None,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> Flow[list[Document]]:
        """Pick `k` documents of the `fetch_k` nearest to a vector that are unlike each other.

        Args:
            embedding: `(d,)`, normalized to unit length.
            k: how many documents.
            fetch_k: how many candidates; 20 by default, at least `k`.
            lambda_mult: 1 is relevance alone, 0 is diversity alone.
            kwargs: options of `search`.
        """
        return (yield from self._neighbours(embedding, k, _mmr(fetch_k, lambda_mult, kwargs))).documents

    amax_marginal_relevance_search_by_vector = asynchronous(max_marginal_relevance_search_by_vector)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return self.relevance_score_fn or relevance

    def _add(
        self,
        documents: Iterable[Document],
        ids: Iterable[str | None] | None,
        vectors: Iterable[Any] | None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
        *,
        skip_unchanged: bool = False,
        tenant: str | None = None,
        **unknown: Any,
    ) -> Flow[list[str]]:
        from langchain_gemini_mm.vectorstores.write import DocumentInputs, add_flow

        if unknown:
            raise unknown_option(next(iter(unknown)), ("ids", "tenant", *_ADD_OPTIONS), "adding")
        backend, size = self.backend.for_tenant(tenant), positive_int("batch_size", batch_size)
        inputs = DocumentInputs(documents, ids, vectors)
        return add_flow(backend, inputs, size, progress, skip_unchanged=skip_unchanged)

    def _similar(
        self, query: Content | Query, k: int, options: Mapping[str, Any], *, with_score: bool = False
    ) -> Flow[Hits]:
        from langchain_gemini_mm.vectorstores.search import WORD_SEARCHES, plan_search, search_flow

        plan = plan_search(self.backend, k, **options)
        if with_score and plan.search_type in WORD_SEARCHES:
            raise InvalidValueError(
                f"these scores are cosine similarities, and those of search_type={plan.search_type!r} are not; use "
                "search(), whose hits say what their score means"
            )
        return _only(search_flow([query], plan))

    def _neighbours(self, vector: Sequence[float] | Vector, k: int, options: Mapping[str, Any]) -> Flow[Hits]:
        from langchain_gemini_mm.vectorstores.embedding_space import given_rows
        from langchain_gemini_mm.vectorstores.search import WORD_SEARCHES, neighbours_flow, plan_search, returned_flow

        plan = plan_search(self.backend, k, **options)
        if plan.search_type in WORD_SEARCHES:
            raise InvalidValueError(f"search_type={plan.search_type!r} needs a query with text, not a vector")
        if plan.task_type is not None:
            raise InvalidTypeError("task_type says how to embed content; a vector is embedded already")
        found = yield from neighbours_flow(given_rows([vector], "the vector to search with"), plan, None, [()])
        (hits,) = yield from returned_flow(found, plan)
        return hits

    @classmethod
    def _filled(
        cls,
        documents: Iterable[Document],
        ids: Iterable[str | None] | None,
        embedding: Embeddings | MediaEmbeddings,
        kwargs: dict[str, Any],
    ) -> Flow[Self]:
        options = {name: kwargs.pop(name) for name in _ADD_OPTIONS if name in kwargs}
        store: Self = yield blocking(cls._open, embedding, **kwargs)
        try:
            yield from store._add(documents, ids, None, **options)
        except BaseException:
            store.close()
            raise
        return store


def node_of(given: Filter | None) -> Node | None:
    """The parsed filter; None for none."""
    from langchain_gemini_mm.vectorstores.filters import parse_filter

    return None if given is None else parse_filter(given)


def _checked_ids(ids: Iterable[str]) -> list[str]:
    from langchain_gemini_mm.vectorstores.records import plain_text

    if isinstance(ids, str | bytes):
        raise InvalidTypeError(f"ids is a list of str, got one {type(ids).__name__}; write [{ids!r}]")
    found = list(ids)
    for position, id_ in enumerate(found):
        if not isinstance(id_, str):
            raise InvalidTypeError(f"ids[{position}] is {id_!r}; ids are str")
        plain_text(id_, f"ids[{position}]")
    return found


def relevance(score: float) -> float:
    """Map a cosine similarity to a relevance in [0, 1]."""
    return min(1.0, max(0.0, (1.0 + score) / 2.0))


def _only(flow: Flow[list[T]]) -> Flow[T]:
    """The only result of a flow that returns a list."""
    (result,) = yield from flow
    return result


def _as_documents(
    texts: Iterable[str], metadatas: Iterable[Any] | None, ids: Iterable[Any] | None
) -> Iterator[Document]:
    from langchain_gemini_mm.vectorstores.write import texts_as_documents

    return texts_as_documents(texts, metadatas, ids)


def _mmr(fetch_k: int | None, lambda_mult: float, options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "search_type": "mmr", "fetch_k": fetch_k, "lambda_mult": lambda_mult}
