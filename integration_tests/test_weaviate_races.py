"""Clients that create, empty and remove the same collection at once, and what a client leaves that died meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from weaviate.classes.data import DataObject

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.vectorstores.weaviate import collection as collections
from langchain_gemini_mm.vectorstores.weaviate.schema import CHANGES, FORMAT, description_of
from langchain_gemini_mm.vectorstores.weaviate.update_lock import UpdateLock
from langchain_gemini_mm.weaviate_client.connection import Connection
from langchain_gemini_mm.weaviate_client.errors import InactiveTenantError
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateClient

    from integration_tests.weaviate_server import Endpoint, WeaviateServer

pytestmark = pytest.mark.weaviate

CLIENTS = 6


@pytest.fixture
def stores(weaviate_server: Endpoint, weaviate_name: str) -> Iterator[list[WeaviateVectorStore]]:
    """Stores on one collection, each with a client of its own."""
    with ExitStack() as stack:
        clients = [stack.enter_context(weaviate_server.client()) for _ in range(CLIENTS)]
        yield [WeaviateVectorStore(client, weaviate_name, WordEmbeddings()) for client in clients]


def versions(client: WeaviateClient, name: str) -> list[str]:
    """The collections that belong to a store."""
    return [found for found in client.collections.list_all() if found.startswith(f"{name}_v")]


def at_once(stores: list[WeaviateVectorStore], call: Callable[[WeaviateVectorStore], Any]) -> list[Any]:
    """Call something with each store at the same time."""
    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(call, stores))


def test_first_writers_and_delete_all(
    stores: list[WeaviateVectorStore], weaviate_client: WeaviateClient, weaviate_name: str
) -> None:
    """What is written after all `delete_all` calls have returned is kept, and exactly one collection is left."""
    for number in range(4):
        stored = at_once(stores, lambda store, number=number: store.add_texts([f"text {number}"]))  # type: ignore[misc]
        assert {document.id for document in stores[0].iterate()} >= {id_ for ids in stored for id_ in ids}
        at_once(stores, WeaviateVectorStore.delete_all)
        assert [store.count() for store in stores] == [0] * CLIENTS
        assert len(versions(weaviate_client, weaviate_name)) == 1
    at_once(stores, lambda store: store.add_texts(["last"]))
    assert stores[0].count() == CLIENTS
    assert len(versions(weaviate_client, weaviate_name)) == 1


def test_half_writes_and_half_empties(
    stores: list[WeaviateVectorStore], weaviate_client: WeaviateClient, weaviate_name: str
) -> None:
    """Writers and `delete_all` at once: no call fails, and later writes are kept."""
    stores[0].add_texts(["the first"])

    def work(store: WeaviateVectorStore) -> None:
        for number in range(4):
            if stores.index(store) % 2:
                store.delete_all()
            else:
                store.add_texts([f"text {number}"])

    at_once(stores, work)
    before = stores[0].count()
    stores[1].add_texts(["kept"])
    assert stores[2].count() == before + 1
    assert len(versions(weaviate_client, weaviate_name)) == 1


@pytest.mark.parametrize("dropped", [False, True])
def test_a_client_that_died_while_it_emptied_the_collection(
    stores: list[WeaviateVectorStore],
    weaviate_client: WeaviateClient,
    weaviate_name: str,
    monkeypatch: pytest.MonkeyPatch,
    dropped: bool,
) -> None:
    """Others finish what it began, before or after it dropped the old collection, and write to the successor."""
    monkeypatch.setattr(collections, "_PATIENCE", 0.5)  # of the one that waits for it
    store = stores[0]
    store.add_texts(["old"])
    config = weaviate_client.collections.use(f"{weaviate_name}_v1").config.get().to_dict()
    description = description_of(None, None, FORMAT)
    successor = {**config, "class": f"{weaviate_name}_v2", "description": description}
    weaviate_client.collections.create_from_dict(successor)
    if dropped:
        weaviate_client.collections.delete(f"{weaviate_name}_v1")
        assert (stores[1].count(), stores[1].search("old")) == (0, [])
    else:
        assert stores[1].count() == 1
        stores[1].delete_all()
    assert store.count() == 0
    stores[2].add_texts(["new"])
    assert [document.page_content for document in store.iterate()] == ["new"]
    assert len(versions(weaviate_client, weaviate_name)) == 1


def test_two_clients_that_change_the_same_metadata(stores: list[WeaviateVectorStore]) -> None:
    """Every key that a client set is there afterwards."""
    stores[0].add_texts(["a", "b"], ids=["x", "y"])

    def change(store: WeaviateVectorStore) -> None:
        for number in range(5):
            store.update_metadata(["x", "y"], {f"k{stores.index(store)}x{number}": number})

    at_once(stores, change)
    for document in stores[0].iterate():
        assert len(document.metadata) == 5 * CLIENTS


def test_changes_of_others_do_not_wait_for_ever(
    weaviate_client: WeaviateClient, stores: list[WeaviateVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that died while it changed documents does not keep others from changing them."""
    from langchain_gemini_mm.vectorstores.weaviate import update_lock

    store = stores[0]
    store.add_texts(["a"], ids=["x"])
    store.update_metadata(["x"], {"k": 1})
    name = f"{store.name}_info"
    keys = [f"/{store.backend.collection.objects.uuid_of('x')}"]
    dead = UpdateLock(Connection(weaviate_client), name, keys)
    run(dead.acquire())
    monkeypatch.setattr(update_lock, "ABANDONED", 0.5)
    store.update_metadata(["x"], {"k": 2})
    assert store.get_by_ids(["x"])[0].metadata == {"k": 2}
    assert [found.properties["key"] for found in weaviate_client.collections.use(name).iterator()] == []


def test_a_collection_of_an_older_version(
    weaviate_client: WeaviateClient, weaviate_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without the property for changed metadata is read and written, and gets it with the first change."""
    monkeypatch.setattr(collections, "REFRESH_SECONDS", 0.1)
    store = WeaviateVectorStore(weaviate_client, f"{weaviate_name}x", WordEmbeddings())
    store.add_texts(["a"])
    config = weaviate_client.collections.use(f"{weaviate_name}x_v1").config.get().to_dict()
    config["properties"] = [item for item in config["properties"] if item["name"] != CHANGES]
    old = {**json.loads(config["description"]), "format": 1}
    weaviate_client.collections.create_from_dict(
        {**config, "class": f"{weaviate_name}_v1", "description": json.dumps(old)}
    )
    weaviate_client.alias.create(alias_name=weaviate_name, target_collection=f"{weaviate_name}_v1")
    stored = {"text": "old text", "metadata_json": '{"of":"old"}', "doc_id": "old", "words": "old text"}
    vector = {"media": [1.0] + [0.0] * 15}
    weaviate_client.collections.use(f"{weaviate_name}_v1").data.insert_many(
        [DataObject(properties=stored, uuid=store.backend.collection.objects.uuid_of("old"), vector=vector)]
    )
    opened = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings())
    opened.add_texts(["new"], ids=["new"])
    assert {document.id for document in opened.iterate()} == {"old", "new"}
    opened.update_metadata(["old"], {"seen": 1})
    assert opened.get_by_ids(["old"])[0].metadata == {"of": "old", "seen": 1}
    described = weaviate_client.collections.use(weaviate_name).config.get().description
    assert json.loads(described or "")["format"] == FORMAT
    opened.delete_all()
    opened.add_texts(["again"], ids=["x"])
    opened.update_metadata(["x"], {"seen": 2})
    assert [document.metadata for document in opened.iterate()] == [{"seen": 2}]


def test_inactive_tenants(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A deactivated tenant is activated by reading and writing; without automatic activation, the error says so."""
    from weaviate.classes.config import Reconfigure
    from weaviate.classes.tenants import Tenant, TenantActivityStatus

    store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings(), tenant="red")
    store.add_texts(["a cat"])
    collection = weaviate_client.collections.use(f"{weaviate_name}_v1")
    inactive = Tenant(name="red", activity_status=TenantActivityStatus.INACTIVE)
    collection.tenants.update([inactive])
    assert store.count() == 1
    collection.tenants.update([inactive])
    store.add_texts(["a dog"])
    collection.config.update(multi_tenancy_config=Reconfigure.multi_tenancy(auto_tenant_activation=False))
    collection.tenants.update([inactive])
    for call in (store.count, lambda: store.search("a cat"), lambda: list(store.iterate())):
        with pytest.raises(InactiveTenantError, match="activate"):
            call()
    with pytest.raises(StoreError, match=r"inactive|not active"):
        store.add_texts(["a fox"])


def test_a_restarted_server(start_weaviate: Callable[..., WeaviateServer]) -> None:
    """Documents, changed metadata and information are there again, and a store that was open before goes on."""
    server = start_weaviate()
    with server.client() as client:
        store = WeaviateVectorStore(client, "Restarted", WordEmbeddings())
        store.add_texts(["a cat", "a dog"], ids=["cat", "dog"])
        store.update_metadata(["cat"], {"seen": 1})
        store.set_info("note", 7)
        server.restart()
        assert {document.id: document.metadata for document in store.iterate()} == {"cat": {"seen": 1}, "dog": {}}
        assert store.search("a dog", k=1)[0].document.id == "dog"
        assert store.get_info("note") == 7
        store.add_texts(["a fox"])
        assert store.count() == 3
