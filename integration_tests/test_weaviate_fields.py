"""Fields that are declared later, additional searched properties, and information of the collection."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.vectorstores.weaviate.objects import uuid_of
from langchain_gemini_mm.vectorstores.weaviate.schema import layout_of
from tests.vectorstores import older_tokenizer
from tests.vectorstores.contract_base import Call, ids_of
from tests.vectorstores.contract_keywords import SCRIPTS
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

    from integration_tests.weaviate_server import Endpoint

pytestmark = pytest.mark.weaviate

Open = Callable[..., WeaviateVectorStore]
GOODS = [
    Document(id="cup", page_content="a red cup", metadata={"price": 3, "title": "cup", "shop": "Rose"}),
    Document(id="mug", page_content="a blue mug", metadata={"price": 5, "title": "red", "shop": "Moss"}),
    Document(id="pot", page_content="a green pot", metadata={"title": "pot", "shop": "red"}),
]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
def open_store(weaviate_client: WeaviateClient, weaviate_async_client: WeaviateAsyncClient, weaviate_name: str) -> Open:
    """Opens the collection of this test."""

    def open_one(**options: Any) -> WeaviateVectorStore:
        given = {"index": "flat", "async_client": weaviate_async_client, **options}
        return WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings(), **given)

    return open_one


async def test_a_field_declared_later(open_store: Open, call: Call) -> None:
    """The field is filled from stored metadata; filters on it work in this and other stores; nothing else changes."""
    store, other = open_store(), open_store()
    await call(store, "add_documents", GOODS)
    await call(other, "count")
    before = await call(store, "search", "a red cup", k=3)
    seen: list[int] = []
    assert await call(store, "add_field", "price", int, progress=seen.append) == 2
    assert seen[-1] == 2
    assert ids_of(await call(store, "search", "a cup", k=3, filter={"price": {"$gte": 4}})) == ["mug"]
    assert await call(store, "search", "a red cup", k=3) == before
    assert await call(store, "add_field", "price", int) == 2
    await call(other, "search", "a cup", k=1)
    assert ids_of(await call(open_store(), "search", "a cup", k=3, filter={"price": {"$lt": 4}})) == ["cup"]
    await call(store, "add_documents", [Document(id="jug", page_content="a jug", metadata={"price": 9})])
    assert ids_of(await call(store, "search", "a cup", k=3, filter={"price": 9})) == ["jug"]


async def test_a_field_that_does_not_fit(open_store: Open, weaviate_client: WeaviateClient, call: Call) -> None:
    """The error names a stored value of another type before the schema is changed, which cannot be undone."""
    store = open_store()
    await call(store, "add_documents", GOODS)
    with pytest.raises(ContentError, match=r"document '\w+': metadata\['shop'\] is '\w+', .* declared as float"):
        await call(store, "add_field", "shop", float)
    schema = weaviate_client.collections.use(f"{store.backend.collection.name}_v1").config.get()
    assert not [item.name for item in schema.properties if "shop" in item.name]
    assert await call(store, "add_field", "shop", str) == 3


async def test_fields_of_tenants(open_store: Open, call: Call) -> None:
    """A tenant's field is filled for that tenant only."""
    red, blue = (open_store(multi_tenant=True, tenant=name) for name in ("red", "blue"))
    for store in (red, blue):
        await call(store, "add_documents", GOODS)
    assert await call(red, "add_field", "price", int) == 2
    assert ids_of(await call(red, "search", "a cup", filter={"price": 5})) == ["mug"]
    assert await call(blue, "add_field", "price", int) == 2
    assert ids_of(await call(blue, "search", "a cup", filter={"price": 5})) == ["mug"]


async def test_more_than_one_text_is_searched(open_store: Open, call: Call) -> None:
    """Keyword search uses the fields in `query_properties` with their weights."""
    store = open_store(searchable=["title", "shop"])
    await call(store, "add_documents", GOODS)

    async def words(*properties: str, search_type: str = "keyword") -> list[str]:
        options = {"query_properties": list(properties)} if properties else {}
        return ids_of(await call(store, "search", "red", k=3, search_type=search_type, **options))

    assert await words() == ["cup"]
    assert await words("title") == ["mug"]
    assert set(await words("text", "title^2", "shop")) == {"cup", "mug", "pot"}
    assert (await words("text", "title^9"))[0] == "mug"
    assert (await words("text^9", "title"))[0] == "cup"
    assert "pot" in await words("shop", search_type="hybrid")
    with pytest.raises(ValueError, match="maker"):
        await words("maker")


async def test_information_is_kept(open_store: Open, call: Call) -> None:
    """Information can be replaced and removed, and is kept after deletions; each tenant has its own."""
    store = open_store(multi_tenant=True, tenant="red")
    other = open_store(multi_tenant=True, tenant="blue")
    await call(store, "set_info", "calibration", {"a": [1, 2.5, None, "ü"]})
    await call(store, "add_documents", GOODS)
    assert await call(store, "get_info", "calibration") == {"a": [1, 2.5, None, "ü"]}
    assert await call(other, "get_info", "calibration") is None
    await call(store, "set_info", "calibration", 2)
    await call(store, "delete_all")
    assert await call(store, "get_info", "calibration") == 2
    await call(store, "set_info", "calibration", None)
    assert await call(store, "get_info", "calibration") is None
    await call(store, "set_info", "calibration", None)


def test_information_of_many_writers(weaviate_server: Endpoint, weaviate_name: str) -> None:
    """Several clients write their first information at the same time; the collection for it is created once."""
    clients = [weaviate_server.client() for _ in range(6)]
    try:
        stores = [WeaviateVectorStore(client, weaviate_name, WordEmbeddings()) for client in clients]

        def write(number: int) -> None:
            stores[number].set_info(f"of {number}", number)
            stores[number].set_info("of all", number)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(write, range(6)))
        assert [stores[0].get_info(f"of {number}") for number in range(6)] == list(range(6))
        assert stores[1].get_info("of all") in range(6)
    finally:
        for client in clients:
            client.close()


async def test_words_of_an_older_collection_are_found_and_renewed(
    weaviate_client: WeaviateClient, weaviate_name: str
) -> None:
    """A collection with the tokens of version 0.1.0 is searched for these, too, until `reindex` renews them."""
    store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings(), searchable=["title"])
    ids = store.add_texts(
        [text for _, text, _ in SCRIPTS],
        [{"title": text} for _, text, _ in SCRIPTS],
        ids=[name for name, _, _ in SCRIPTS],
    )
    collection = weaviate_client.collections.use(f"{weaviate_name}_v1")
    collection.config.update(property_descriptions={"words": "the words of text, prepared for search"})
    for id_, text, _ in SCRIPTS:
        words = " ".join(older_tokenizer.tokens(text))
        collection.data.update(uuid_of(id_), {"words": words, "words_title": words})

    def found(query: str) -> list[str]:
        store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings())
        return ids_of(store.search(query, k=100, search_type="keyword"))

    before = {
        name
        for name, text, query in SCRIPTS
        if set(older_tokenizer.token_terms(query)) & set(older_tokenizer.tokens(text))
    }
    assert len(before) > len(SCRIPTS) // 2
    for name, _, query in SCRIPTS:
        assert name not in before or name in found(query), name
    assert "Polish l" not in found("lodz")
    assert store.reindex() == len(ids)
    for name, _, query in SCRIPTS:
        assert name in found(query), name
    config = collection.config.get()
    assert not layout_of(config, weaviate_name).older_words
