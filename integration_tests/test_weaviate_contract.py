"""The Weaviate store on a real server: the contract of all our stores, and LangChain's standard suites."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from langchain_gemini_mm import LocalVectorStore, SpaceMismatchError, WeaviateVectorStore
from tests.vectorstores.contract import StoreContract
from tests.vectorstores.contract_base import FIELDS
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

    from weaviate import WeaviateAsyncClient, WeaviateClient

pytestmark = pytest.mark.weaviate

FLAT: dict[str, Any] = {"index": "flat"}
QUANTIZED: dict[str, Any] = {"index": "hnsw", "quantizer": "rq8"}
TENANT: dict[str, Any] = {"tenant": "red-team"}


class Contract(StoreContract):
    """The contract of all stores, with a collection for each test."""

    options: ClassVar[dict[str, Any]]

    @pytest.fixture
    async def open_store(
        self, weaviate_client: WeaviateClient, weaviate_async_client: WeaviateAsyncClient, weaviate_name: str
    ) -> Callable[..., WeaviateVectorStore]:
        """Stores on one collection, each with both clients."""

        def open_one(embedding: Any, **options: Any) -> WeaviateVectorStore:
            given = {"async_client": weaviate_async_client, "fields": FIELDS, **self.options, **options}
            return WeaviateVectorStore(weaviate_client, weaviate_name, embedding, **given)

        return open_one


class TestQuantized(Contract):
    """The default: HNSW with 8-bit codes."""

    options = QUANTIZED


class TestTenants(Contract):
    """One tenant of a collection with tenants, with exact search."""

    options: ClassVar[dict[str, Any]] = FLAT | TENANT

    async def test_an_emptied_collection_takes_another_space(self, open_store: Any, animals: Any, call: Any) -> None:
        """If others share the collection, an emptied tenant keeps its information and the embedding space of all."""
        await call(animals, "set_info", "calibration", 1)
        await call(animals, "delete_all")
        with pytest.raises(SpaceMismatchError):
            open_store(WordEmbeddings(size=8, model="words-2"))
        same = open_store(WordEmbeddings())
        await call(same, "add_texts", ["x"])
        assert (await call(same, "count"), await call(same, "get_info", "calibration")) == (1, 1)

    async def test_another_space_is_refused(self, animals: Any, open_store: Any, call: Any, tmp_path: Path) -> None:
        """An export of another model is refused by its fingerprint before anything is added."""
        with LocalVectorStore(":memory:", WordEmbeddings(model="words-2")) as other:
            other.add_texts(["x"])
            other.export_to(tmp_path / "export")
        with pytest.raises(SpaceMismatchError, match="model: 'words-2' stored, 'words-1' given"):
            await call(animals, "import_from", tmp_path / "export")
        assert await call(animals, "count") == 6


class Standard(VectorStoreIntegrationTests):
    """LangChain's suite; its async half uses the async client."""

    options: ClassVar[dict[str, Any]]

    @pytest.fixture
    async def vectorstore(
        self, weaviate_client: WeaviateClient, weaviate_async_client: WeaviateAsyncClient, weaviate_name: str
    ) -> WeaviateVectorStore:
        """An empty store."""
        given = {"async_client": weaviate_async_client, **self.options}
        return WeaviateVectorStore(weaviate_client, weaviate_name, self.get_embeddings(), **given)


class TestStandardFlat(Standard):
    """Exact search."""

    options = FLAT


class TestStandardQuantized(Standard):
    """HNSW with 8-bit codes."""

    options = QUANTIZED


class TestStandardFlatTenants(Standard):
    """Exact search for a tenant."""

    options: ClassVar[dict[str, Any]] = FLAT | TENANT


class TestStandardQuantizedTenants(Standard):
    """HNSW with 8-bit codes for a tenant."""

    options: ClassVar[dict[str, Any]] = QUANTIZED | TENANT


class TestStandardSyncClient(VectorStoreIntegrationTests):
    """With only the sync client, async methods run in threads."""

    @pytest.fixture
    def vectorstore(self, weaviate_client: WeaviateClient, weaviate_name: str) -> WeaviateVectorStore:
        """An empty store."""
        return WeaviateVectorStore(weaviate_client, weaviate_name, self.get_embeddings())
