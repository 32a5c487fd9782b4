"""Retrievers whose `batch` embeds all queries in one call, and the one of `as_retriever()`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStoreRetriever

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.flows import Call, Flow, arun, run

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.runnables import RunnableConfig

    from langchain_gemini_mm.vectorstores.hits import Hits

_TOGETHER = ("similarity", "mmr")


class AnsweredQuery(str):
    """The text of a query that was searched for with others; its own run returns the documents."""

    __slots__ = ("documents",)
    documents: list[Document]


class BatchedRetriever(BaseRetriever):
    """A retriever whose `batch` and `abatch` search with all queries in one call.

    Every query has a run with its own config and callbacks. With `return_exceptions=True` the queries are searched one
    by one.
    """

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """Search with all queries in one call, then run each.

        Args:
            inputs: the queries.
            config: of all runs, or one per query.
            return_exceptions: return the exception of a query in place of its documents.
            kwargs: options of `search`.

        Raises:
            TypeError: one query instead of a list.
        """
        _require_list(inputs)
        if return_exceptions or not self._is_batch(inputs):
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        answers = run(self._batch_flow(inputs, kwargs))
        return super().batch(self._answered(inputs, answers), config, **kwargs)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """Async twin of `batch`."""
        _require_list(inputs)
        if return_exceptions or not self._is_batch(inputs):
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        answers = await arun(self._batch_flow(inputs, kwargs))
        return await super().abatch(self._answered(inputs, answers), config, **kwargs)

    @abstractmethod
    def _batch_flow(self, queries: Sequence[Any], options: Mapping[str, Any]) -> Flow[list[Hits]]:
        """Search with all queries."""

    def _is_batch(self, queries: Sequence[Any]) -> bool:
        """Whether the queries can be searched for together."""
        return len(queries) > 1

    def _text_of(self, query: Any) -> str:
        """The text of a query, for callbacks."""
        return str(query)

    def _answered(self, queries: Sequence[Any], answers: Sequence[Hits]) -> list[Any]:
        texts = [AnsweredQuery(self._text_of(query)) for query in queries]
        for text, hits in zip(texts, answers, strict=True):
            text.documents = hits.documents
        return texts


def _require_list(queries: object) -> None:
    if isinstance(queries, str | bytes):
        raise InvalidTypeError(f"batch takes a list of queries, got one {type(queries).__name__}; write batch([query])")


class StoreRetriever(BatchedRetriever, VectorStoreRetriever):
    """LangChain's retriever; `batch` and `abatch` search with all queries in one call.

    With a relevance threshold the queries are searched one by one.
    """

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if isinstance(query, AnsweredQuery):
            return query.documents
        return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if isinstance(query, AnsweredQuery):
            return query.documents
        return await super()._aget_relevant_documents(query, run_manager=run_manager, **kwargs)

    def _is_batch(self, queries: Sequence[Any]) -> bool:
        texts = all(isinstance(query, str) for query in queries)
        return len(queries) > 1 and self.search_type in _TOGETHER and texts

    def _batch_flow(self, queries: Sequence[Any], options: Mapping[str, Any]) -> Flow[list[Hits]]:
        store: Any = self.vectorstore
        given = {**self.search_kwargs, **options}
        if self.search_type == "mmr":
            given["search_type"] = "mmr"
        hits: list[Hits] = yield Call(store.search_many, store.asearch_many, (queries,), given)
        return hits
