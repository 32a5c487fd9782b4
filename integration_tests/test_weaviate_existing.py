"""Collections that others created: by langchain-weaviate itself, and by hand."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances
from weaviate.classes.data import DataObject, GeoCoordinate
from weaviate.classes.query import Filter

from integration_tests import langchain_weaviate_writer as writer
from integration_tests.weaviate_server import WeaviateServer
from langchain_gemini_mm import LocalVectorStore, MultimodalRetriever, WeaviateVectorStore
from langchain_gemini_mm.errors import ContentError, FilterError, SpaceMismatchError, StoreError
from tests.vectorstores.contract_base import Call
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path

    from weaviate import WeaviateClient

pytestmark = pytest.mark.weaviate

UUIDS = [str(uuid.uuid5(uuid.NAMESPACE_URL, f"object {number}")) for number in range(6)]


class CountingEmbeddings(Embeddings):
    """The embeddings of `langchain_weaviate_writer`, which count the texts they embed as documents."""

    def __init__(self) -> None:
        self.documents = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text."""
        self.documents += len(texts)
        return [writer.vector_of(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return writer.vector_of(text)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture(scope="module")
def langchain_weaviate() -> str:
    """A Python that has langchain-weaviate."""
    named = os.environ.get("LANGCHAIN_WEAVIATE_PYTHON")
    if named is None and importlib.util.find_spec("langchain_weaviate") is None:
        pytest.skip("needs the dependency group `rivals`, or LANGCHAIN_WEAVIATE_PYTHON, a Python with the package")
    return named or sys.executable


@pytest.fixture(scope="module")
def open_server(weaviate_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WeaviateServer]:
    """A server that adds properties by itself, as servers do by default; langchain-weaviate relies on that."""
    folder, environment = tmp_path_factory.mktemp("open"), {"AUTOSCHEMA_ENABLED": "true"}
    with WeaviateServer(folder, program=weaviate_program, environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def collections(langchain_weaviate: str, open_server: WeaviateServer) -> list[tuple[str, list[str]]]:
    """Collections that langchain-weaviate wrote, the last two with the tenant `red`: names, and ids of the objects."""
    names = [f"Theirs{number}{':red' if number > 3 else ''}" for number in range(6)]
    ports = [str(open_server.rest_port), str(open_server.grpc_port)]
    command = [langchain_weaviate, str(writer.__file__), *ports, *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [(name.partition(":")[0], ids) for name, ids in zip(names, json.loads(done.stdout), strict=True)]


def texts(hits: Any) -> list[str]:
    """The texts of hits, best first."""
    return [hit.document.page_content for hit in hits]


FILTERS: list[tuple[Any, list[int]]] = [
    ({"source": "zoo/fox.txt"}, [0]),
    ({"source": "kitchen/TEA.txt"}, []),
    ({"source": "fox zoo txt"}, []),
    ({"source": {"$ne": "zoo/fox.txt"}}, [1, 2, 3]),
    ({"source": {"$in": ["zoo/whale.txt", "Kitchen/tea.txt"]}}, [1, 2]),
    ({"source": {"$startswith": "zoo/"}}, [0, 1]),
    ({"source": {"$gte": "zoo/g"}}, [1]),
    ({"source": "the"}, []),
    ({"page": {"$gt": 1, "$lte": 3}}, [1, 2]),
    ({"seen": "2024-05-01T14:00:00+02:00"}, [0]),
    ({"seen": {"$gte": "2024-05-02"}}, [2]),
    ({"$or": [{"seen": {"$lt": "2024-05-02"}}, {"source": "zoo/whale.txt"}]}, [0, 1]),
    ({"tags": "red"}, [0]),
    ({"weight": {"$exists": True}}, [1]),
    ({"weight": None}, [0, 2, 3]),
    ({"draft": True}, [2]),
    ({"modality": "image"}, []),
    ({"$not": {"$or": [{"page": 1}, {"source": {"$startswith": "zoo"}}]}}, [2, 3]),
    (Filter.by_property("source").like("*tea*"), [2]),
    ({"$and": [Filter.by_property("page").greater_than(1), {"source": {"$startswith": "zoo/"}}]}, [1]),
]


async def test_a_collection_of_langchain_weaviate(collections: Any, open_server: WeaviateServer, call: Call) -> None:
    """It is opened, searched, filtered, extended and changed, and no stored text is embedded."""
    name, ids = collections[call.asynchronous]
    embedding = CountingEmbeddings()
    async with open_server.async_client() as async_client:
        with open_server.client() as client:
            before = client.collections.use(name).config.get()
            store = WeaviateVectorStore.existing(client, name, embedding, text_key="body", async_client=async_client)
            assert await call(store, "count") == len(writer.TEXTS)
            (best,) = await call(store, "search", writer.TEXTS[1], k=1)
            assert (best.document.id, round(best.score, 5)) == (ids[1], 1.0)
            assert best.document.metadata == {"source": "zoo/whale.txt", "page": 2, "weight": 1.5, "tags": ["blue"]}
            for given, expected in FILTERS:
                found = await call(store, "search", "anything", k=9, filter=given)
                assert {hit.document.id for hit in found} == {ids[i] for i in expected}, given
                assert await call(store, "count", filter=given) == len(expected), given
            assert texts(await call(store, "search", "whale", k=1, search_type="keyword")) == [writer.TEXTS[1]]
            assert len(await call(store, "search", writer.TEXTS[0], k=4, search_type="hybrid", alpha=0.3)) == 4
            assert len(await call(store, "max_marginal_relevance_search", "x", k=3, fetch_k=4)) == 3
            groups = await call(store, "search_groups", writer.TEXTS[0], k=4)
            assert {group.value for group in groups} == {metadata["source"] for metadata in writer.METADATAS}
            assert embedding.documents == 0
            after = client.collections.use(name).config.get()
            assert (after.description, after.properties) == (before.description, before.properties)
            await extend(store, ids, call)
            assert embedding.documents == 1


async def extend(store: WeaviateVectorStore, ids: list[str], call: Call) -> None:
    """Write into a collection of others."""
    assert await call(store, "update_metadata", [ids[0]], {"page": 9}) is None
    (changed,) = await call(store, "get_by_ids", [ids[0]])
    assert changed.metadata["page"] == 9
    assert changed.metadata["seen"] == "2024-05-01T12:00:00.000000Z"
    assert await call(store, "reindex") == len(ids)
    fits = Document(page_content="new", metadata={"page": 7, "seen": "2024-07-01", "tags": ["x"]})
    with pytest.raises(ContentError, match=r"has no property 'shelf' .* Call store.add_field\('shelf', str\) first"):
        await call(store, "add_documents", [Document(page_content="new", metadata={"shelf": "A"})])
    assert await call(store, "add_field", "shelf", str) == 0
    fits.metadata["shelf"] = "A 1"
    (added,) = await call(store, "add_documents", [fits])
    assert (await call(store, "search", "new", k=1, filter={"shelf": "A 1"}))[0].document.id == added
    await call(store, "delete", filter={"source": {"$startswith": "zoo/"}})
    await call(store, "delete", [added])
    assert await call(store, "count") == 2


async def test_tenants_of_langchain_weaviate(collections: Any, open_server: WeaviateServer, call: Call) -> None:
    """A tenant is opened, or named in the call; without one, the error says so."""
    name, ids = collections[4 + call.asynchronous]
    with open_server.client() as client:
        store = WeaviateVectorStore.existing(client, name, CountingEmbeddings(), text_key="body")
        with pytest.raises(StoreError, match=r"has tenants\. Open it with tenant="):
            await call(store, "count")
        assert (await call(store, "search", writer.TEXTS[0], k=1, tenant="red"))[0].document.id == ids[0]
        red, blue = (store.with_tenant(tenant) for tenant in ("red", "blue"))
        await call(blue, "add_texts", ["only here"], [{"page": 1}])
        assert await call(red, "count") == len(ids)
        assert await call(blue, "count") == 1
        await call(red, "delete_all")
        assert await call(red, "count") == 0
        assert await call(blue, "count") == 1


def test_an_async_client_alone(collections: Any, open_server: WeaviateServer) -> None:
    """Nothing needs a sync client; a missing collection is reported by the first call."""
    import asyncio

    name, ids = collections[2]

    async def use() -> None:
        async with open_server.async_client() as client:
            store = WeaviateVectorStore.existing(client, name, CountingEmbeddings(), text_key="body")
            assert [document.id async for document in store.aiterate()] == sorted(ids)
            options: dict[str, Any] = {"text_key": "body", "vector_name": "media"}
            unnamed = WeaviateVectorStore.existing(client, name, CountingEmbeddings(), **options)
            with pytest.raises(StoreError, match="Its vectors are: one without a name"):
                await unnamed.acount()
            missing = WeaviateVectorStore.existing(client, f"{name}x", CountingEmbeddings())
            with pytest.raises(StoreError, match=r"there is no collection .* makes a new one with its first document"):
                await missing.acount()

    asyncio.run(use())


def test_documents_move_into_a_store_of_this_package(collections: Any, open_server: WeaviateServer) -> None:
    """Copying needs no embedding, and the copy has everything that other stores have."""
    from langchain_gemini_mm.vectorstores import copy_store

    name, ids = collections[3]
    embedding = CountingEmbeddings()
    with open_server.client() as client:
        theirs = WeaviateVectorStore.existing(client, name, embedding, text_key="body")
        ours = LocalVectorStore(":memory:", embedding)
        assert copy_store(theirs, ours).copied == len(ids)
        assert ours.get_by_ids([ids[0]]) == theirs.get_by_ids([ids[0]])
        assert embedding.documents == 0


@pytest.fixture
def made(weaviate_client: WeaviateClient, weaviate_name: str) -> Any:
    """Creates a collection by hand, with objects whose vectors are not of unit length."""

    def make(
        properties: list[Property], objects: list[dict[str, Any]], vector_name: str | None = None, **options: Any
    ) -> str:
        collection = weaviate_client.collections.create(weaviate_name, properties=properties, **options)
        rows = [3 * np.asarray(WordEmbeddings().embed([item["text"]])[0]) for item in objects]
        stored = [
            DataObject(
                properties=item, uuid=UUIDS[i], vector={vector_name: row.tolist()} if vector_name else row.tolist()
            )
            for i, (item, row) in enumerate(zip(objects, rows, strict=True))
        ]
        assert not collection.data.insert_many(stored).has_errors
        return weaviate_name

    return make


def text_property(name: str, **options: Any) -> Property:
    """A text property."""
    return Property(name=name, data_type=DataType.TEXT, **options)


async def test_types_of_properties(made: Any, weaviate_client: WeaviateClient, call: Call) -> None:
    """UUIDs, places and nested objects are metadata, are kept by changes, and can be written."""
    properties = [
        text_property("text"),
        text_property("key", tokenization=Tokenization.FIELD),
        text_property("hidden", index_filterable=False, index_searchable=False),
        Property(name="ref", data_type=DataType.UUID),
        Property(name="place", data_type=DataType.GEO_COORDINATES),
        Property(
            name="inner", data_type=DataType.OBJECT, nested_properties=[Property(name="a", data_type=DataType.INT)]
        ),
        Property(name="raw", data_type=DataType.BLOB),
    ]
    first = {
        "text": "a red cup",
        "key": "Cup 1",
        "hidden": "h",
        "ref": uuid.UUID(UUIDS[5]),
        "place": GeoCoordinate(latitude=1.5, longitude=2.5),
        "inner": {"a": 1},
        "raw": "aGVsbG8=",
    }
    name = made(properties, [first, {"text": "a blue mug", "key": "cup 1", "hidden": "i"}])
    store = WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings())
    expected = {
        "key": "Cup 1",
        "hidden": "h",
        "ref": UUIDS[5],
        "place": {"latitude": 1.5, "longitude": 2.5},
        "inner": {"a": 1},
    }
    (cup,) = await call(store, "get_by_ids", UUIDS[:1])
    assert cup.metadata == expected
    for given, found in [
        ({"key": "Cup 1"}, {UUIDS[0]}),
        ({"key": {"$startswith": "cup"}}, {UUIDS[1]}),
        ({"hidden": "i"}, {UUIDS[1]}),
        ({"ref": UUIDS[5]}, {UUIDS[0]}),
        ({"ref": {"$ne": UUIDS[5]}}, {UUIDS[1]}),
        ({"place": {"$exists": True}}, {UUIDS[0]}),
        (Filter.by_property("place").within_geo_range(GeoCoordinate(latitude=1.5, longitude=2.5), 10), {UUIDS[0]}),
    ]:
        assert {hit.document.id for hit in await call(store, "search", "a cup", filter=given)} == found, given
    await call(store, "update_metadata", UUIDS[:1], {"key": "new"})
    await call(store, "add_documents", [cup.model_copy(update={"id": UUIDS[2]})])
    assert [document.metadata for document in await call(store, "get_by_ids", UUIDS[:3:2])] == [
        {**expected, "key": "new"},
        expected,
    ]
    assert (
        weaviate_client.collections.use(name).query.fetch_object_by_id(UUIDS[0], return_properties=["raw"]).properties
    )
    for wrong in ({"ref": "no uuid"}, {"place": 5}, {"raw": "aGVsbG8="}):
        with pytest.raises(ContentError, match=next(iter(wrong))):
            await call(store, "add_texts", ["x"], [wrong])
    few = WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings(), metadata_keys=["key"])
    assert (await call(few, "get_by_ids", UUIDS[1:2]))[0].metadata == {"key": "cup 1"}


@pytest.mark.parametrize("metric", [VectorDistances.DOT, VectorDistances.L2_SQUARED, VectorDistances.COSINE])
def test_scores_are_cosine_similarities(made: Any, weaviate_client: WeaviateClient, metric: VectorDistances) -> None:
    """Whatever distance the collection has, and however long its vectors are."""
    index = Configure.VectorIndex.hnsw(distance_metric=metric)
    vectors = [Configure.Vectors.self_provided(name=name, vector_index_config=index) for name in ("first", "second")]
    name = made(
        [text_property("text")], [{"text": "a red cup"}, {"text": "a blue mug"}], "second", vector_config=vectors
    )
    with pytest.raises(StoreError, match=r"several vectors; say which .* with vector_name=: first, second"):
        WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings())
    store = WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings(), vector_name="second")
    local = LocalVectorStore(":memory:", WordEmbeddings())
    local.add_texts(["a red cup", "a blue mug"])
    for threshold in (None, 0.5):
        here, there = (
            one.search("red cup", k=2, score_threshold=threshold, return_vectors=True) for one in (store, local)
        )
        assert texts(here) == texts(there)
        assert [hit.score for hit in here] == pytest.approx([hit.score for hit in there], abs=1e-5)
        assert [np.linalg.norm(hit.vector) for hit in here if hit.vector is not None] == pytest.approx(
            [1.0] * len(here)
        )
    store.add_texts(["a green pot"])
    assert store.search("a green pot", k=1)[0].score == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(SpaceMismatchError, match="have 16 dimensions, those given have 8"):
        WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings(8), vector_name="second").add_texts(["x"])


async def test_ids(made: Any, weaviate_client: WeaviateClient, call: Call) -> None:
    """Ids are UUIDs; others need a property, and are refused before anything is embedded."""
    name = made([text_property("text"), text_property("name_of")], [{"text": "a red cup", "name_of": "cup"}])
    embedding = WordEmbeddings()
    store = WeaviateVectorStore.existing(weaviate_client, name, embedding)
    with pytest.raises(
        ContentError,
        match=r"the id 'cup' of documents\[0\] cannot be stored: .* name a text property for them with id_key=",
    ):
        await call(store, "add_texts", ["x"], ids=["cup"])
    assert not embedding.calls
    named = WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings(), id_key="name_of")
    assert await call(named, "add_texts", ["x", "y"], ids=["mug", UUIDS[3]]) == ["mug", UUIDS[3]]
    assert [document.id for document in await call(named, "get_by_ids", ["mug", UUIDS[3], UUIDS[0]])] == [
        "mug",
        UUIDS[3],
        UUIDS[0],
    ]
    assert named.uuid_of(UUIDS[3]) == uuid.UUID(UUIDS[3])
    await call(named, "delete", ["mug"])
    assert await call(named, "count") == 2


async def test_what_needs_a_collection_of_this_package(made: Any, weaviate_client: WeaviateClient, call: Call) -> None:
    """Errors name the reason and what to do instead."""
    name = made([text_property("text", index_searchable=False)], [{"text": "a red cup"}])
    store = WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings())
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
        ("set_info", ("a", 1), {}, "keeps no information such as 'a'. Keep it in a file, or copy"),
        ("remove", (), {}, "does not remove it. delete_all"),
        ("search", ("x",), {"search_type": "keyword"}, "'text' is not searched for words"),
        ("search", ("x",), {"filter": {"page": 1}}, "'page' is not a declared field"),
        ("add_field", ("No name", str), {}, "a property of Weaviate cannot be called 'No name'"),
    ]
    for method, arguments, options, message in calls:
        with pytest.raises((StoreError, ValueError), match=message):
            await call(store, method, *arguments, **options)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"text_key": "txet"}, "text_key='txet' is no text property of the collection .* Did you mean 'text'"),
        ({"vector_name": "media"}, "has no vector 'media'. Its vectors are: default"),
    ]
    for options, message in wrong:
        with pytest.raises(StoreError, match=message):
            WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings(), **options)
    with pytest.raises(StoreError, match=r"not created by this package. Open it with WeaviateVectorStore.existing\("):
        WeaviateVectorStore(weaviate_client, name, WordEmbeddings())
    ours = WeaviateVectorStore(weaviate_client, f"{name}Ours", WordEmbeddings(), index="flat")
    ours.add_texts(["x"])
    with pytest.raises(
        StoreError, match=rf"was created by this package. Open it with WeaviateVectorStore\(client, '{name}Ours'"
    ):
        WeaviateVectorStore.existing(weaviate_client, f"{name}Ours", WordEmbeddings())


def test_the_space_is_recorded_on_demand(made: Any, weaviate_client: WeaviateClient) -> None:
    """From then on other embeddings are refused; what the description contained is kept."""
    name = made([text_property("text")], [{"text": "a red cup"}], description="cups of the house")
    store = WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings())
    WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings(model="words-2"))
    store.record_space()
    store.record_space()
    described = json.loads(weaviate_client.collections.use(name).config.get().description or "")
    assert described["existing"] == "cups of the house"
    with pytest.raises(SpaceMismatchError, match="words-1"):
        WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings(model="words-2"))
    assert store.search("a red cup", k=1)
    with pytest.raises(StoreError, match="not created by this package"):
        WeaviateVectorStore(weaviate_client, name, WordEmbeddings())


def test_a_filter_that_would_read_everything(
    made: Any, weaviate_client: WeaviateClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server cannot find the few matches among many documents, the error says what to do."""
    from langchain_gemini_mm.vectorstores.weaviate import backend

    objects = [{"text": f"cup {number}", "hidden": "yes" if number == 5 else "no"} for number in range(6)]
    name = made(
        [text_property("text"), text_property("hidden", index_filterable=False, index_searchable=False)], objects
    )
    store = WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings())
    assert len(store.search("cup", k=3, filter={"hidden": "yes"})) == 1
    monkeypatch.setattr(backend, "MOST_RESULTS", 4)
    with pytest.raises(FilterError, match=r"of the first 4 results only . match it\. Filter on a field with an index"):
        store.search("cup", k=3, filter={"hidden": "yes"})


async def test_the_retriever(made: Any, weaviate_client: WeaviateClient, call: Call) -> None:
    """`MultimodalRetriever` works with a collection of others, which knows no modalities."""
    name = made([text_property("text")], [{"text": "a red cup"}, {"text": "a blue mug"}])
    retriever = MultimodalRetriever(store=WeaviateVectorStore.existing(weaviate_client, name, WordEmbeddings()), k=1)
    assert texts(await call(retriever, "search", "a blue mug")) == ["a blue mug"]
    assert texts(await call(retriever, "search", "a blue mug", ranking="normalized")) == ["a blue mug"]
    assert not await call(retriever, "search", "a blue mug", modalities=["image"])
