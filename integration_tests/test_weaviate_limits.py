"""Servers with low limits: as many results as asked for, filtered reading, and errors that name the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from integration_tests.weaviate_server import WeaviateServer
from langchain_gemini_mm import LocalVectorStore, MediaStore, MultimodalRetriever, WeaviateVectorStore
from langchain_gemini_mm.weaviate_client.errors import ResultLimitError, ServerFullError
from tests.vectorstores.contract_base import ids_of
from tests.vectorstores.fakes import WordEmbeddings

pytestmark = pytest.mark.weaviate

LIMIT, COUNT, SIZE = 50, 320, 16


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory, weaviate_program: Any) -> Iterator[WeaviateServer]:
    """A server that returns at most 50 results, accepts messages of 200 kB, and allows three tenants."""
    environment = {
        "QUERY_MAXIMUM_RESULTS": str(LIMIT),
        "GRPC_MAX_MESSAGE_SIZE": "200000",
        "MAXIMUM_ALLOWED_TENANTS_PER_COLLECTION": "3",
        "REPLICATION_MAXIMUM_FACTOR": "1",  # the server requires it with a limit on tenants
    }
    folder = tmp_path_factory.mktemp("small")
    with WeaviateServer(folder, program=weaviate_program, environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """Documents of two modalities that have one word in common."""
    return [
        Document(
            id=f"d{number}",
            page_content=f"note number{number}" + " of few" * (number < LIMIT - 1),
            metadata={"modality": ("text", "image")[number % 2], "source": f"s{number // 4}"},
        )
        for number in range(COUNT)
    ]


@pytest.fixture(scope="module")
def stores(
    small_server: WeaviateServer, documents: list[Document]
) -> Iterator[tuple[WeaviateVectorStore, LocalVectorStore]]:
    """A store on this server, and a local one with the same documents and vectors."""
    rows = np.random.default_rng(0).standard_normal((COUNT, SIZE))
    with small_server.client() as client:
        store = WeaviateVectorStore(client, "Limited", WordEmbeddings())
        local = LocalVectorStore(":memory:", WordEmbeddings())
        for one in (store, local):
            one.add_vectors(documents, rows)
        yield store, local


@pytest.mark.parametrize("given", [None, {"modality": "image"}, {"source": {"$in": ["s1", "s2"]}}])
@pytest.mark.parametrize("k", [10, LIMIT, LIMIT + 1, 150, 5 * COUNT])
def test_as_many_results_as_asked_for(
    stores: tuple[WeaviateVectorStore, LocalVectorStore], k: int, given: dict[str, Any] | None
) -> None:
    """Whatever the server's limit is, a search has the hits of the local store, in their order."""
    store, local = stores
    found, expected = (one.search("note number7", k=k, filter=given) for one in stores)
    assert ids_of(found) == ids_of(expected)
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-4)
    (late,) = asyncio.run(store.asearch_many(["note number7"], k=k, filter=given))
    assert ids_of(late) == ids_of(expected)
    assert local.count(filter=given) == store.count(filter=given)


def test_mmr_and_thresholds_beyond_the_limit(stores: tuple[WeaviateVectorStore, LocalVectorStore]) -> None:
    """Maximal marginal relevance chooses from as many candidates as asked for, and thresholds hold."""
    chosen, expected = (ids_of(one.search("note", k=20, search_type="mmr", fetch_k=200)) for one in stores)
    assert chosen == expected
    above, below = (ids_of(one.search("note", k=300, score_threshold=0.1)) for one in stores)
    assert above == below


@pytest.mark.parametrize("given", [None, {"modality": "image"}, {"modality": {"$ne": "none"}}, {"source": "s1"}])
def test_everything_is_read(stores: tuple[WeaviateVectorStore, LocalVectorStore], given: dict[str, Any] | None) -> None:
    """`iterate`, `vectors` and `get_by_ids` read more documents than the server returns at once, each once."""
    store, local = stores
    expected = sorted(str(document.id) for document in local.iterate(filter=given))
    assert sorted(str(document.id) for document in store.iterate(filter=given)) == expected
    assert sorted(id_ for ids, _ in store.vectors(filter=given, batch_size=70) for id_ in ids) == expected
    assert ids_of(store.get_by_ids(expected)) == expected


def test_rankings(stores: tuple[WeaviateVectorStore, LocalVectorStore]) -> None:
    """A retriever works as on any server: its background, files as results, and hybrid search."""
    found, expected = (ids_of(MultimodalRetriever(store=one, k=5).search("note number7")) for one in stores)
    assert found == expected
    groups, others = ([group.value for group in one.search_groups("note number7", k=60)] for one in stores)
    assert groups == others
    assert len(stores[0].search("number7", k=40, search_type="hybrid")) == 40


def test_keyword_searches(stores: tuple[WeaviateVectorStore, LocalVectorStore]) -> None:
    """The server cannot return more matches than its limit; that is an error with the limit, and no shorter list."""
    store, _ = stores
    assert len(store.search("few", k=300, search_type="keyword")) == LIMIT - 1
    for search_type in ("keyword", "hybrid"):
        with pytest.raises(ResultLimitError, match=rf"at most {LIMIT} results at once \(QUERY_MAXIMUM_RESULTS\)"):
            store.search("note", k=300, search_type=search_type)
    assert len(store.search("note", k=300, search_type="keyword", filter={"source": "s1"})) == 4


def test_deleting_more_than_the_limit(small_server: WeaviateServer, documents: list[Document]) -> None:
    """By ids and by filter."""
    with small_server.client() as client:
        store = WeaviateVectorStore(client, "Deleted", WordEmbeddings())
        store.add_documents(documents)
        store.delete(filter={"modality": "image"})
        assert store.count() == COUNT // 2
        store.delete([str(document.id) for document in documents[:200]])
        assert store.count() == (COUNT - 200) // 2
        store.update_metadata([str(document.id) for document in documents[200::2]], {"seen": True})
        assert {document.metadata["seen"] for document in store.iterate()} == {True}


def test_messages_larger_than_the_limit(small_server: WeaviateServer) -> None:
    """Long texts are written and read in parts; a document that is larger than a message is refused by name."""
    with small_server.client() as client:
        store = WeaviateVectorStore(client, "Long", WordEmbeddings())
        texts = [f"needle {number} " + "x" * 30_000 for number in range(20)]
        ids = store.add_texts(texts)
        assert len(store.search("needle", k=20)) == 20
        assert len(store.search("needle", k=20, search_type="keyword")) == 20
        assert sorted(one.page_content for one in store.iterate()) == sorted(texts)
        assert [one.page_content for one in store.get_by_ids(ids)] == texts
        with pytest.raises(Exception, match="too large"):
            store.add_texts(["y" * 500_000])


def test_media(small_server: WeaviateServer) -> None:
    """A media store lists, reads and removes more values than the server returns at once."""
    with small_server.client() as client:
        media = MediaStore.weaviate(client, "Media")
        contents = [b"\x89PNG\r\n\x1a\n" + bytes([number]) * 30 for number in range(120)]
        hashes = [media.put(content) for content in contents]
        assert [media.get(one) for one in hashes] == contents


def test_too_many_tenants(small_server: WeaviateServer) -> None:
    """The error names the limit at once, and the tenants that exist can be used."""
    with small_server.client() as client:
        store = WeaviateVectorStore(client, "Tenants", WordEmbeddings(), multi_tenant=True)
        for tenant in ("a", "b", "c"):
            store.add_texts(["x"], tenant=tenant)
        with pytest.raises(Exception, match=r"allows 3 tenants|tenants count limit of 3|MAXIMUM_ALLOWED_TENANTS"):
            store.add_texts(["x"], tenant="d")
        assert store.with_tenant("c").count() == 1


def test_a_full_server(start_weaviate: Callable[..., WeaviateServer]) -> None:
    """One store on a server for one collection can be used for everything that needs no other collection."""
    with start_weaviate(environment={"MAXIMUM_ALLOWED_COLLECTIONS_COUNT": "1"}).client() as client:
        store = WeaviateVectorStore(client, "Only", WordEmbeddings())
        store.add_texts(["a cat", "a dog"], ids=["cat", "dog"])
        assert ids_of(MultimodalRetriever(store=store, k=1).search("a dog")) == ["dog"]
        store.update_metadata(["cat"], {"seen": 1})
        assert store.get_by_ids(["cat"])[0].metadata == {"seen": 1}
        limit = r"allows 1 collections \(MAXIMUM_ALLOWED_COLLECTIONS_COUNT\)"
        with pytest.raises(ServerFullError, match=limit):
            store.set_info("note", 1)
        with pytest.raises(ServerFullError, match=limit):
            WeaviateVectorStore(client, "Another", WordEmbeddings()).add_texts(["x"])
        store.delete_all()
        assert store.count() == 0
        store.add_texts(["a fox"], ids=["fox"])
        assert [document.id for document in store.iterate()] == ["fox"]
        store.remove()
        assert client.collections.list_all() == {}
