"""The retriever of `as_retriever()`, whose `batch` embeds all queries in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStoreRetriever

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.runnables import RunnableConfig

    from langchain_gemini_mm.vectorstores.hits import Hits

_TOGETHER = ("similarity", "mmr")


class AnsweredQuery(str):
    """The text of a query that was searched for with others; its own run returns the documents."""

    __slots__ = ("documents",)
    documents: list[Document]


def answered(texts: Sequence[str], answers: Sequence[Hits]) -> list[Any]:
    """Put the hits of each query to its text, as input of its run."""
    queries = [AnsweredQuery(text) for text in texts]
    for query, hits in zip(queries, answers, strict=True):
        query.documents = hits.documents
    return queries


class StoreRetriever(VectorStoreRetriever):
    """LangChain's retriever; `batch` and `abatch` search with all queries in one call.

    Every query has a run with its own config and callbacks. With `return_exceptions=True` and with a relevance
    threshold the queries are searched one by one.
    """

    def batch(
        self,
        inputs: list[str],
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
        """
        if return_exceptions or not self._together(inputs):
            return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        store: Any = self.vectorstore
        hits = store.search_many(inputs, **self._options(kwargs))
        return super().batch(answered(inputs, hits), config, **kwargs)

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """Async twin of `batch`."""
        if return_exceptions or not self._together(inputs):
            return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        store: Any = self.vectorstore
        hits = await store.asearch_many(inputs, **self._options(kwargs))
        return await super().abatch(answered(inputs, hits), config, **kwargs)

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

    def _together(self, inputs: list[str]) -> bool:
        return len(inputs) > 1 and self.search_type in _TOGETHER and all(isinstance(query, str) for query in inputs)

    def _options(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        options = {**self.search_kwargs, **kwargs}
        return {**options, "search_type": "mmr"} if self.search_type == "mmr" else options
