"""Maintenance while others write, names that belong to a store, and removal: no acknowledged write is undone."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from langchain_core.documents import Document
from weaviate.classes.config import Configure, DataType, Property, VectorDistances

from langchain_gemini_mm import MultimodalRetriever, WeaviateVectorStore
from langchain_gemini_mm.errors import ContentError, StoreError
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateClient

    from integration_tests.weaviate_server import Endpoint

pytestmark = pytest.mark.weaviate

Open = Callable[..., WeaviateVectorStore]
SIZE = 400


@pytest.fixture
def open_store(weaviate_client: WeaviateClient, weaviate_name: str) -> Open:
    """Opens the collection of this test, or another whose name starts with its name."""

    def open_one(suffix: str = "", **options: Any) -> WeaviateVectorStore:
        return WeaviateVectorStore(weaviate_client, f"{weaviate_name}{suffix}", WordEmbeddings(), **options)

    return open_one


class Writer:
    """Replaces and deletes documents at random in a thread with a client of its own, until it is stopped."""

    def __init__(self, store: WeaviateVectorStore) -> None:
        self.replaced: set[str] = set()
        self.deleted: set[str] = set()
        self._store = store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        dice = random.Random(1)
        while not self._over.is_set():
            ids = [f"d{number}" for number in dice.sample(range(SIZE), 8)]
            new = [id_ for id_ in ids[:6] if id_ not in self.deleted]
            old = [id_ for id_ in ids[6:] if id_ not in self.replaced]
            self._store.add_documents(
                [Document(page_content=f"new {id_}", id=id_, metadata={"price": -1}) for id_ in new]
            )
            self.replaced.update(new)
            if old:
                self._store.delete(old)
            self.deleted.update(old)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def reindex(store: WeaviateVectorStore) -> None:
    """Index every vector again."""
    store.reindex()


def add_field(store: WeaviateVectorStore) -> None:
    """Declare a field that is in the metadata."""
    store.add_field("price", int)


def update_metadata(store: WeaviateVectorStore) -> None:
    """Set a key of every document, some at a time."""
    for start in range(0, SIZE, 50):
        documents = store.get_by_ids([f"d{number}" for number in range(start, start + 50)])
        try:
            store.update_metadata([document.id or "" for document in documents], {"seen": True})
        except ContentError:
            continue  # one was deleted meanwhile


@pytest.mark.parametrize("maintain", [reindex, add_field, update_metadata])
def test_maintenance_undoes_nothing(
    open_store: Open,
    weaviate_server: Endpoint,
    weaviate_name: str,
    maintain: Callable[[WeaviateVectorStore], None],
) -> None:
    """What another client replaces meanwhile stays replaced, with its vector, and what it deletes stays deleted."""
    store = open_store()
    store.add_documents(
        Document(page_content=f"old {number}", id=f"d{number}", metadata={"price": number}) for number in range(SIZE)
    )
    with weaviate_server.client() as client:
        other = WeaviateVectorStore(client, weaviate_name, WordEmbeddings())
        with Writer(other) as writer:
            maintain(store)
    assert writer.replaced
    assert writer.deleted
    now = {document.id: document for document in store.iterate()}
    assert not [id_ for id_ in writer.replaced - writer.deleted if now[id_].page_content != f"new {id_}"]
    assert not [id_ for id_ in writer.deleted if id_ in now]
    for ids, rows in store.vectors():
        expected = np.asarray(WordEmbeddings().embed([now[id_].page_content for id_ in ids]))
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert float(np.abs(rows - expected).max()) < 1e-4
    if maintain is add_field:
        for price in (-1, 7):
            matching = {document.id for document in store.iterate(filter={"price": price})}
            assert matching == {id_ for id_, document in now.items() if document.metadata["price"] == price}


async def test_metadata_of_a_deleted_document(open_store: Open) -> None:
    """Changing it is refused by name and does not bring it back; async as well."""
    store = open_store()
    store.add_texts(["a", "b"], ids=["x", "y"])
    store.delete(["x"])
    for change in (store.update_metadata, None):
        with pytest.raises(ContentError, match="x"):
            change(["x", "y"], {"k": 1}) if change else await store.aupdate_metadata(["x", "y"], {"k": 1})
    assert [document.id for document in store.iterate()] == ["y"]


def test_metadata_of_the_wrong_type_change_nothing(open_store: Open) -> None:
    """All documents are checked before the first of them is changed."""
    store = open_store(fields={"price": int})
    store.add_texts(["a", "b"], ids=["x", "y"])
    with pytest.raises(ContentError, match="price"):
        store.update_metadata({"x": {"price": 1}, "y": {"price": "much"}})
    assert [document.metadata for document in store.iterate()] == [{}, {}]


def test_a_replaced_key_leaves_the_filter(open_store: Open) -> None:
    """With `replace=True`, fields that the new metadata lack are not found any more."""
    store = open_store(fields={"price": int})
    store.add_texts(["a"], [{"price": 7, "title": "old title"}], ids=["x"])
    store.update_metadata(["x"], {"title": "new"}, replace=True)
    assert list(store.iterate(filter={"price": 7})) == []
    (found,) = store.iterate(filter={"title": "new"})
    assert found.metadata == {"title": "new"}
    assert len(store.search("new", search_type="keyword", query_properties=["title"])) == 1
    assert store.search("old", search_type="keyword", query_properties=["title"]) == []


@pytest.mark.parametrize("suffix", ["_v1", "_v2", "_v17", "_info"])
def test_names_that_belong_to_a_store(open_store: Open, suffix: str) -> None:
    """They cannot be opened as stores, whether they exist or not, so nothing of a store is lost through them."""
    with pytest.raises(StoreError, match="name"):
        open_store(suffix)
    store = open_store()
    store.add_texts(["one", "two"])
    store.set_info("note", 1)
    with pytest.raises(StoreError):
        open_store(suffix)
    assert (store.count(), store.get_info("note")) == (2, 1)
    assert len(MultimodalRetriever(store=store).search("one")) == 2


def test_foreign_collections_in_the_way(open_store: Open, weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A version's name that is taken is left alone: the next number is used, by the first write and by `delete_all`."""
    for number in (1, 3):
        weaviate_client.collections.create(
            f"{weaviate_name}_v{number}",
            properties=[Property(name="foo", data_type=DataType.TEXT)],
            vector_config=Configure.Vectors.self_provided(),
        )
    store = open_store()
    store.add_texts(["one"])
    store.delete_all()
    store.add_texts(["two"])
    assert [document.page_content for document in open_store().iterate()] == ["two"]
    store.remove()
    assert weaviate_client.collections.exists(f"{weaviate_name}_v1")
    assert weaviate_client.collections.exists(f"{weaviate_name}_v3")
    assert not weaviate_client.alias.exists(alias_name=weaviate_name)


def test_names_that_differ_in_case(open_store: Open, weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """The server keeps one of them; the second is refused with the reason and leaves the first as it is."""
    store = open_store("Case")
    store.add_texts(["one"])
    other = WeaviateVectorStore(weaviate_client, f"{weaviate_name}CASE", WordEmbeddings())
    with pytest.raises(StoreError, match="upper and lower case"):
        other.add_texts(["two"])
    assert store.count() == 1


def test_two_clients_delete_all(open_store: Open, weaviate_server: Endpoint, weaviate_name: str) -> None:
    """Of clients that empty a collection at once and write, each finds what it wrote last, and nothing older."""
    store = open_store()
    store.add_texts(["old"] * 5)
    with weaviate_server.client() as client:
        stores = [store, WeaviateVectorStore(client, weaviate_name, WordEmbeddings())]
        for _ in range(5):
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(WeaviateVectorStore.delete_all, stores))
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda one: one.add_texts(["new"]), stores))
            assert [document.page_content for document in store.iterate()] == ["new", "new"]


@pytest.mark.parametrize("create_tenants", [True, False])
def test_an_emptied_tenant(open_store: Open, weaviate_client: WeaviateClient, create_tenants: bool) -> None:
    """`delete_all` leaves an empty tenant, which can be read and written also where tenants are made by an admin."""
    open_store(tenant="first").add_texts(["x"])
    store = open_store(tenant="first", create_tenants=create_tenants)
    store.delete_all()
    assert (store.count(), store.search("x")) == (0, [])
    store.add_texts(["y"])
    assert store.count() == 1


@pytest.fixture
def library(open_store: Open) -> Iterator[WeaviateVectorStore]:
    """A store with documents and information."""
    store = open_store()
    store.add_texts(["one", "two"])
    store.set_info("note", 1)
    yield store
    store.remove()


async def test_a_library_is_removed(
    library: WeaviateVectorStore, weaviate_client: WeaviateClient, weaviate_name: str
) -> None:
    """Collection, alias and information are gone, removing again is safe, and the name can be used again."""
    await library.aremove()
    library.remove()
    assert not [name for name in weaviate_client.collections.list_all() if name.startswith(weaviate_name)]
    assert not [name for name in weaviate_client.alias.list_all() if name.startswith(weaviate_name)]
    assert library.get_info("note") is None
    library.add_texts(["three"])
    assert library.count() == 1


def test_a_tenant_is_removed(open_store: Open) -> None:
    """Only the documents and the information of this tenant are gone."""
    first, second = open_store(tenant="first"), open_store(tenant="second")
    for store in (first, second):
        store.add_texts(["x"])
        store.set_info("note", store.tenant)
    first.remove()
    assert (first.get_info("note"), second.get_info("note"), second.count()) == (None, "second", 1)
    second.with_tenant("first").add_texts(["y"])


@pytest.mark.parametrize(
    "config",
    [
        Configure.Vectors.self_provided(name="other"),
        Configure.Vectors.self_provided(),
        Configure.Vectors.text2vec_openai(name="media"),
        Configure.Vectors.self_provided(
            name="media",
            vector_index_config=Configure.VectorIndex.hnsw(distance_metric=VectorDistances.DOT),
        ),
        "media",
    ],
    ids=["other name", "default name", "vectorizer", "distance", "text"],
)
def test_a_vector_configuration_that_cannot_work(
    open_store: Open, weaviate_client: WeaviateClient, weaviate_name: str, config: Any
) -> None:
    """It is refused before anything is created."""
    with pytest.raises(ValueError, match="vector_config must be"):
        open_store(vector_config=config)
    assert not [name for name in weaviate_client.collections.list_all() if name.startswith(weaviate_name)]
