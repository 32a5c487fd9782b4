"""One collection with many users: changed aliases and schemas, concurrent writers, tenants, unusual sizes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.errors import ContentError, FilterError, SpaceMismatchError, StoreError
from tests.vectorstores.contract_base import ids_of
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateClient

    from integration_tests.weaviate_server import Endpoint

pytestmark = pytest.mark.weaviate

FOLLOWS = 10.0
"""Seconds within which a reader has followed an alias; it looks every five."""
Open = Callable[..., WeaviateVectorStore]


@pytest.fixture
def open_store(weaviate_client: WeaviateClient, weaviate_name: str) -> Open:
    """Opens the collection of this test, or another whose name starts with its name."""

    def open_one(suffix: str = "", model: str = "words-1", **options: Any) -> WeaviateVectorStore:
        given = {"index": "flat", **options}
        return WeaviateVectorStore(weaviate_client, f"{weaviate_name}{suffix}", WordEmbeddings(model=model), **given)

    return open_one


class Readers:
    """Threads that search until they are stopped, and record results with times."""

    def __init__(self, store: WeaviateVectorStore, count: int = 3) -> None:
        self.seen: list[list[tuple[float, Any]]] = [[] for _ in range(count)]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(store, seen)) for seen in self.seen]

    def _read(self, store: WeaviateVectorStore, seen: list[tuple[float, Any]]) -> None:
        while not self._over.is_set():
            try:
                answer: Any = {hit.document.page_content.split()[0] for hit in store.search("a cat", k=50)}
            except Exception as error:  # noqa: BLE001 - looked at in the end
                answer = error
            seen.append((time.monotonic(), answer))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_an_alias_switched_under_readers(open_store: Open, weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """To a collection of the same space: no search fails or mixes results, and all readers follow within seconds."""
    store, new = open_store(), open_store("_new")
    store.add_texts([f"old {i}" for i in range(20)])
    new.add_texts([f"new {i}" for i in range(20)])
    with Readers(store) as readers:
        time.sleep(0.5)
        weaviate_client.alias.update(alias_name=weaviate_name, new_target_collection=f"{weaviate_name}_new_v1")
        time.sleep(FOLLOWS)
        switched = time.monotonic()
        store.add_texts(["new one"])
        weaviate_client.alias.update(alias_name=weaviate_name, new_target_collection=f"{weaviate_name}_v1")
        weaviate_client.alias.update(alias_name=weaviate_name, new_target_collection=f"{weaviate_name}_new_v1")
        weaviate_client.collections.delete(f"{weaviate_name}_v1")
        time.sleep(0.5)
    for seen in readers.seen:
        answers = [answer for _, answer in seen]
        first_new = answers.index({"new"})
        assert answers == [{"old"}] * first_new + [{"new"}] * (len(answers) - first_new)
        assert seen[first_new][0] < switched
    assert new.count() == 21


def test_an_alias_switched_to_another_space(
    open_store: Open, weaviate_client: WeaviateClient, weaviate_name: str
) -> None:
    """Readers use the old collection or refuse, and soon all refuse; a writer refuses at once."""
    store, other = open_store(), open_store("_other", model="words-2")
    store.add_texts([f"old {i}" for i in range(20)])
    other.add_texts([f"other {i}" for i in range(20)])
    with Readers(store) as readers:
        weaviate_client.alias.update(alias_name=weaviate_name, new_target_collection=f"{weaviate_name}_other_v1")
        with pytest.raises(SpaceMismatchError, match="words-2"):
            store.add_texts(["a mistake"])
        time.sleep(FOLLOWS)
    for seen in readers.seen:
        answers = [answer for _, answer in seen]
        old = answers.count({"old"})
        assert answers[:old] == [{"old"}] * old
        assert {type(answer) for answer in answers[old:]} == {SpaceMismatchError}
    assert other.count() == 20


def test_a_schema_changed_by_others(open_store: Open, weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """An extra property is ignored; a dropped collection is created again; a foreign collection is refused."""
    from weaviate.classes.config import DataType, Property

    store = open_store()
    store.add_texts(["a cat"], ids=["cat"])
    collection = weaviate_client.collections.use(f"{weaviate_name}_v1")
    collection.config.add_property(Property(name="colour", data_type=DataType.TEXT))
    store.add_texts(["a dog"], ids=["dog"])
    with pytest.raises(FilterError, match="'colour' is not a declared field"):
        store.search("a dog", filter={"colour": "red"})
    assert open_store().add_field("price", float) == 0
    store.add_texts(["a bird"], [{"price": 2.5}], ids=["bird"])
    assert ids_of(open_store().search("a bird", filter={"price": {"$gt": 2}})) == ["bird"]
    weaviate_client.collections.delete(f"{weaviate_name}_v1")
    assert (store.search("a cat"), store.count(), list(store.iterate())) == ([], 0, [])
    assert store.get_by_ids(["cat"]) == []
    store.delete(["cat"])
    store.add_texts(["a fox"], ids=["fox"])
    assert ids_of(store.search("a cat", k=3)) == ["fox"]
    weaviate_client.collections.delete(f"{weaviate_name}_v1")
    weaviate_client.collections.create(f"{weaviate_name}_v1", description="Ours now")
    for operation in (lambda: store.search("a cat"), lambda: store.add_texts(["a cat"]), open_store):
        with pytest.raises(StoreError, match="was not created by this package"):
            operation()


WRITING = """
    import sys
    from langchain_core.documents import Document
    from integration_tests.weaviate_server import Endpoint
    from langchain_gemini_mm import WeaviateVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    collection, writer, rounds, url, grpc_url, *key = sys.argv[1:]
    with Endpoint(url, grpc_url, *key).client() as client:
        store = WeaviateVectorStore(client, collection, WordEmbeddings(), index="flat")
        for number in range(int(rounds)):
            said = f"{writer} {number}"
            store.add_documents([Document(said, id=f"id-{i}", metadata={"source": said}) for i in range(300)])
"""


def test_two_writers_on_the_same_ids(
    weaviate_server: Endpoint, open_store: Open, weaviate_client: WeaviateClient, weaviate_name: str
) -> None:
    """Threads and processes: each document is complete, from one writer, and stored once."""
    where = [weaviate_server.url, weaviate_server.grpc_url, *filter(None, [weaviate_server.api_key])]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", textwrap.dedent(WRITING), weaviate_name]
    processes = [subprocess.Popen([*command, f"process{i}", "6", *where], env=environment, text=True) for i in range(2)]
    stores = [open_store(), open_store()]

    def write(number: int) -> None:
        for round_ in range(12):
            said = f"thread{number} {round_}"
            stores[number % 2].add_documents(
                [Document(said, id=f"id-{i}", metadata={"source": said}) for i in range(300)]
            )

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert [process.wait(60) for process in processes] == [0, 0]
    store = stores[0]
    documents = {document.id: document for document in store.iterate()}
    assert documents.keys() == {f"id-{i}" for i in range(300)}
    assert store.count() == 300
    assert {document.metadata["source"] == document.page_content for document in documents.values()} == {True}
    last = {f"thread{i} 11" for i in range(3)} | {f"process{i} 5" for i in range(2)}
    assert {document.page_content for document in documents.values()} <= last
    for ids, rows in store.vectors():
        expected = store.space.embedding.embed([documents[id_].page_content for id_ in ids])  # type: ignore[union-attr]
        np.testing.assert_allclose(rows, expected, atol=1e-6)


@pytest.mark.parametrize("after", ["nothing", "delete_all"])
def test_first_writers_that_race(open_store: Open, after: str) -> None:
    """Eight writers of two spaces on a new collection: one space wins, writers of the other get an error."""
    for number in range(3):
        suffix = f"_{number}"
        if after == "delete_all":
            before = open_store(suffix, model="words-0")
            before.add_texts(["an old text"])
            before.delete_all()
        stores = [open_store(suffix, model=f"words-{i % 2 + 1}") for i in range(8)]
        gate = threading.Barrier(8)

        def write(i: int, stores: list[WeaviateVectorStore] = stores, gate: threading.Barrier = gate) -> str:
            gate.wait()
            try:
                stores[i].add_texts([f"text {i}"], ids=[f"id-{i}"])
            except SpaceMismatchError:
                return ""
            return f"id-{i}"

        with ThreadPoolExecutor(8) as pool:
            stored = list(pool.map(write, range(8)))
        winner = next(i for i, id_ in enumerate(stored) if id_)
        assert [bool(id_) for id_ in stored] == [i % 2 == winner % 2 for i in range(8)]
        store = stores[winner]
        assert {document.id for document in store.iterate()} == set(filter(None, stored))
        assert store.get_info("fingerprint")["model"] == f"words-{winner % 2 + 1}"


def test_long_texts_and_large_metadata(open_store: Open) -> None:
    """Texts of 100,000 characters round-trip; 10 MB of metadata are refused before anything is embedded."""
    store = open_store()
    text = "".join(chr(0x4E00 + i % 5000) if i % 7 == 0 else f"{i % 10}" for i in range(100_000)) + " needle"
    store.add_texts([text, "short"], ids=["long", "short"])
    assert store.get_by_ids(["long"])[0].page_content == text
    assert ids_of(store.search("needle", k=1, search_type="keyword")) == ["long"]
    embedding: Any = store.space.embedding
    embedding.calls.clear()
    documents = [Document("small"), Document("large", id="large", metadata={"blob": "x" * 10_000_000})]
    with pytest.raises(ContentError, match=r"documents\[1\] is 10,000,016 bytes .* the limit in Weaviate is 4,194,304"):
        store.add_documents(documents)
    with pytest.raises(ContentError, match="the limit in Weaviate"):
        store.update_metadata(["short"], {"blob": "x" * 10_000_000})
    assert embedding.calls == []
    assert store.count() == 2


def test_big_pages(open_store: Open) -> None:
    """A thousand documents of 200 kB exceed the size of a message; every way of reading returns them."""
    store = open_store()
    count, rows = 1000, np.random.default_rng(0).standard_normal((1000, 16))
    documents = (Document(f"text {i}", id=f"{i}", metadata={"x": f"{i:06}" * 33_000}) for i in range(count))
    store.add_vectors(documents, list(rows), batch_size=200)
    assert sorted(int(document.id or "") for document in store.iterate()) == list(range(count))
    found = store.get_by_ids([f"{i}" for i in range(count)])
    assert [document.metadata["x"][:6] for document in found] == [f"{i:06}" for i in range(count)]
    assert len(store.search_by_vector(list(rows[7]), k=400)) == 400
    assert len(store.search_by_vector(list(rows[7]), k=700)) == 700
    assert len(store.search("text", k=700, search_type="keyword")) == 700
    assert sum(len(ids) for ids, _ in store.vectors()) == count


IDS = [
    "a" * 10_000,
    "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}",
    "3F2504E0-4F89-11D3-9A0C-0305E82C3301",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "3f2504e04f8911d39a0c0305e82c3301",
    "urn:uuid:3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "00000000-0000-0000-0000-000000000000",
    "/каталог/画像🐕.png#page=3,8",
    "é",
    "e\u0301",
    " ",
    "\x00",
    "' OR 1=1 --",
    "info//calibration",
]


def test_unusual_ids(open_store: Open) -> None:
    """Each id is a separate document and is returned unchanged; an empty id is refused."""
    store = open_store()
    store.add_texts([f"text {i}" for i in range(len(IDS))], ids=IDS)
    store.set_info("calibration", 1)
    assert {document.id: document.page_content for document in store.iterate()} == {
        id_: f"text {i}" for i, id_ in enumerate(IDS)
    }
    assert ids_of(store.get_by_ids(IDS)) == IDS
    for id_ in IDS:
        store.delete([id_])
        assert store.get_by_ids([id_]) == []
    assert store.count() == 0
    with pytest.raises(ValueError, match="empty"):
        store.add_texts(["a"], ids=[""])


@pytest.fixture
def tenants(open_store: Open) -> Open:
    """Opens the collection for tenants; `red` and `blue` have a document with the same id."""
    for tenant in ("red", "blue"):
        open_store(tenant=tenant).add_texts([f"a {tenant} cat"], ids=["cat"])
    return open_store


def test_tenants_do_not_see_each_other(tenants: Open) -> None:
    """Nor does a call that names a tenant; a call without one is an error."""
    store: Any = tenants(multi_tenant=True)
    assert [hit.document.page_content for hit in store.search("a cat", tenant="red")] == ["a red cat"]
    assert [hit.document.page_content for hit in store.search("a cat", tenant="blue")] == ["a blue cat"]
    store.add_texts(["a red dog"], ids=["dog"], tenant="red")
    store.delete(["cat"], tenant="red")
    assert ids_of(list(store.with_tenant("red").iterate())) == ["dog"]
    assert store.with_tenant("blue").get_by_ids(["cat", "dog"]) == [Document("a blue cat", id="cat")]
    for operation in (
        lambda: store.search("a cat"),
        lambda: store.add_texts(["a cat"]),
        lambda: store.delete(["cat"]),
        lambda: store.add_field("price", float),
        store.count,
        store.delete_all,
    ):
        with pytest.raises(StoreError, match=r"has tenants\. Open it with tenant="):
            operation()
    store.wait_until_indexed()
    assert store.with_tenant("blue").count() == 1
    with pytest.raises(ValueError, match="a tenant is"):
        store.search("a cat", tenant="no such/name")


def test_tenants_that_do_not_exist(tenants: Open) -> None:
    """Reading from a new tenant finds nothing; if tenants must exist, reading and writing are errors."""
    fresh = tenants(tenant="green")
    assert (fresh.search("a cat"), fresh.count(), fresh.get_by_ids(["cat"])) == ([], 0, [])
    closed = tenants(tenant="green", create_tenants=False)
    for operation in (lambda: closed.search("a cat"), closed.count, lambda: closed.add_texts(["a cat"])):
        with pytest.raises(StoreError, match=r"tenant 'green' of .* does not exist, and create_tenants is off"):
            operation()
    fresh.add_texts(["a green cat"], ids=["cat"])
    assert closed.count() == 1
    closed.add_texts(["a green dog"])
    assert fresh.count() == 2


def test_a_collection_made_without_new_tenants(open_store: Open) -> None:
    """A store that is opened with tenant creation creates them."""
    with pytest.raises(StoreError, match="create_tenants is off"):
        open_store(tenant="red", create_tenants=False).add_texts(["a cat"])
    store = open_store(tenant="red")
    store.add_texts([f"cat {i}" for i in range(1000)])
    assert store.count() == 1000


def test_deleting_all_of_one_tenant(tenants: Open) -> None:
    """Other tenants and the shared embedding space remain."""
    red, blue = tenants(tenant="red"), tenants(tenant="blue")
    red.delete_all()
    assert (red.count(), blue.count()) == (0, 1)
    with pytest.raises(SpaceMismatchError):
        tenants(tenant="red", model="words-2").add_texts(["a cat"])
    red.add_texts(["a red cat"], ids=["cat"])
    assert (red.count(), blue.count()) == (1, 1)
    red.delete_all()
    blue.delete_all()
    assert (red.count(), blue.count()) == (0, 0)
    with pytest.raises(SpaceMismatchError):
        tenants(tenant="red", model="words-2").add_texts(["a cat"])


def test_tenants_where_there_are_none(open_store: Open) -> None:
    """A collection without tenants cannot be opened for a tenant."""
    open_store().add_texts(["a cat"])
    with pytest.raises(StoreError, match="was created without tenants; open it without tenant='red'"):
        open_store(tenant="red")
