"""LangChain's own standard tests for retrievers."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_gemini_mm import LocalVectorStore, MultimodalRetriever

TEXTS = ["a cat", "a dog", "a bird", "a fish", "a horse"]


class TestOnOurStore(RetrieversIntegrationTests):
    """A retriever of the local store."""

    @property
    def retriever_constructor(self) -> type[MultimodalRetriever]:
        """The class under test."""
        return MultimodalRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"store": LocalVectorStore.from_texts(TEXTS, DeterministicFakeEmbedding(size=8), path=":memory:")}

    @property
    def retriever_query_example(self) -> str:
        """A query."""
        return "a dog"


class TestOnAnotherStore(TestOnOurStore):
    """A retriever of a store of LangChain."""

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"store": InMemoryVectorStore.from_texts(TEXTS, DeterministicFakeEmbedding(size=8))}
