"""Entries that a killed server loses from its vector index, and how they are restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from langchain_gemini_mm import WeaviateVectorStore
from tests.vectorstores.contract_base import Call
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from integration_tests.weaviate_server import WeaviateServer

pytestmark = pytest.mark.weaviate

TEXTS = [f"word{i}" for i in range(100)]
IDS = [f"id {i}" for i in range(100)]


def found(store: WeaviateVectorStore) -> set[str]:
    """Ids of a search that requests everything."""
    return {str(hit.document.id) for hit in store.search("word5", k=200)}


def interrupted(server: WeaviateServer, name: str) -> None:
    """Leave objects as a writer does whose server was killed before the response."""
    with server.client() as client:
        collection = client.collections.use(name)
        held = list(collection.iterator(include_vector=True))
        there = [DataObject(properties=item.properties, vector=item.vector, uuid=item.uuid) for item in held]
        collection.data.delete_many(Filter.by_id().contains_any([item.uuid for item in held]))
        assert not collection.data.insert_many(there).has_errors
        server.kill()
    server.start()


@pytest.mark.parametrize("options", [pytest.param({}, id="quantized"), pytest.param({"quantizer": None}, id="whole")])
def test_what_is_added_again_after_a_kill_is_found(
    start_weaviate: Callable[..., WeaviateServer], options: dict[str, Any]
) -> None:
    """A document added again is found by vector: the server kept the object, but lost its entry in the index."""
    server, embedding = start_weaviate(), WordEmbeddings(size=32)
    with server.client() as client:
        WeaviateVectorStore(client, "Again", embedding, **options).add_texts(TEXTS, ids=IDS)
    interrupted(server, "Again_v1")
    with server.client() as client:
        store = WeaviateVectorStore(client, "Again", embedding, **options)
        assert store.count() == 100
        assert store.add_texts(TEXTS, ids=IDS) == IDS
        assert found(store) == set(IDS)
        assert [hit.document.id for hit in store.search("word7", k=1)] == ["id 7"]
        store.update_metadata(IDS, {"seen": True})
        assert found(store) == set(IDS)


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_what_the_index_forgot_is_put_into_it_again(
    start_weaviate: Callable[..., WeaviateServer], way: str
) -> None:
    """`reindex` restores an index without embedding anything, and changes no document."""
    server, embedding = start_weaviate(), WordEmbeddings(size=32)
    with server.client() as client:
        WeaviateVectorStore(client, "Mend", embedding).add_texts(TEXTS, [{"n": i} for i in range(100)], ids=IDS)
    interrupted(server, "Mend_v1")
    embedding.calls.clear()
    with server.client() as client:
        store = WeaviateVectorStore(client, "Mend", embedding)
        before = {document.id: document for document in store.iterate()}
        seen: list[int] = []
        call = Call(asynchronous=way == "async")
        assert await call(store, "reindex", progress=seen.append) == seen[-1] == 100
        assert not embedding.calls
        assert found(store) == set(IDS)
        assert {document.id: document for document in store.iterate()} == before
