"""The Weaviate store when the client, the server, the disk or the key fails."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.errors import PartialWriteError, StoreError
from tests.vectorstores.contract_base import ids_of
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

    from integration_tests.weaviate_server import Endpoint, WeaviateServer

pytestmark = pytest.mark.weaviate

ADDING = """
    import sys
    from langchain_core.documents import Document
    from integration_tests.weaviate_server import Endpoint
    from langchain_gemini_mm import WeaviateVectorStore
    from tests.vectorstores.fakes import WordEmbeddings

    name, count, url, grpc_url, *key = sys.argv[1:]
    with Endpoint(url, grpc_url, *key).client() as client:
        store = WeaviateVectorStore(client, name, WordEmbeddings(), index="flat")
        documents = (
            Document(f"text {i}", id=f"id-{i}", metadata={"position": i, "source": f"file {i}"})
            for i in range(int(count))
        )
        print("ready", flush=True)
        store.add_documents(documents, batch_size=600, progress=lambda stored: print(stored, flush=True))
"""


KEYS = {
    "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
    "AUTHENTICATION_APIKEY_ALLOWED_KEYS": "root-key,reader-key,writer-key",
    "AUTHENTICATION_APIKEY_ENABLED": "true",
    "AUTHENTICATION_APIKEY_USERS": "root,reader,writer",
    "AUTHORIZATION_RBAC_ENABLED": "true",
    "AUTHORIZATION_RBAC_ROOT_USERS": "root",
}


def reading_rights() -> list[Any]:
    """The minimal permissions for reading a store on `Docs`."""
    from weaviate.classes.rbac import Permissions

    return [
        Permissions.collections(collection="Docs_*", read_config=True),
        Permissions.data(collection="Docs_*", tenant="*", read=True),
        # Only wait_until_indexed() needs these.
        Permissions.Nodes.verbose(collection="Docs_*", read=True),
    ]


def writing_rights() -> list[Any]:
    """The minimal permissions for writing, including the first document and `delete_all`."""
    from weaviate.classes.rbac import Permissions

    return [
        # Also for `Docs`: until the alias exists, its name is treated as that of a collection.
        Permissions.collections(collection="Docs", read_config=True),
        Permissions.collections(
            collection="Docs_*", create_collection=True, read_config=True, update_config=True, delete_collection=True
        ),
        Permissions.alias(alias="Docs", collection="Docs_*", create=True, update=True),
        Permissions.data(collection="Docs_*", tenant="*", create=True, read=True, update=True, delete=True),
        Permissions.tenants(collection="Docs_*", tenant="*", create=True, delete=True),
    ]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script in a separate process, which is killed at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(script: str, *args: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def numbered(count: int) -> list[Document]:
    """The documents that the script adds."""
    return [Document(f"text {i}", id=f"id-{i}", metadata={"position": i, "source": f"file {i}"}) for i in range(count)]


def by_id(documents: Any) -> dict[str, Document]:
    """Documents by id; a duplicate id is an error."""
    found = list(documents)
    assert len({document.id for document in found}) == len(found)
    return {document.id: document for document in found}


@pytest.mark.parametrize(("after", "delay"), [(0, 0.0), (0, 0.15), (1, 0.05), (3, 0.1)])
def test_a_killed_client_starts_again(
    weaviate_server: Endpoint,
    weaviate_client: WeaviateClient,
    weaviate_name: str,
    start: Callable[..., Any],
    after: int,
    delay: float,
) -> None:
    """A client is killed with -9 while adding, then the call is repeated: each document is stored exactly once."""
    count = 3000
    where = [weaviate_server.url, weaviate_server.grpc_url, *filter(None, [weaviate_server.api_key])]
    victim = start(ADDING, weaviate_name, count, *where)
    acknowledged = 0
    for _ in range(after):
        acknowledged = int(victim.stdout.readline())
    time.sleep(delay)
    victim.kill()
    victim.communicate()
    store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings())
    expected = by_id(numbered(count))
    found = by_id(store.iterate())
    assert expected.items() >= found.items()
    assert found.keys() >= set(list(expected)[:acknowledged])
    assert len(found) < count
    start(ADDING, weaviate_name, count, *where).communicate(timeout=60)
    assert by_id(store.iterate()) == expected
    assert store.count() == count


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_server_that_restarts_during_a_load(start_weaviate: Callable[..., WeaviateServer], way: str) -> None:
    """A server is restarted during a load: the load completes, and all acknowledged documents are there."""
    server, count = start_weaviate(), 6000
    acknowledged: list[int] = []
    enough = threading.Event()

    def restart() -> None:
        enough.wait(60)
        getattr(server, way)()
        acknowledged.append(-1)
        server.start()

    def progress(stored: int) -> None:
        acknowledged.append(stored)
        if stored >= count // 3:
            enough.set()

    with server.client() as client:
        store = WeaviateVectorStore(client, "Docs", WordEmbeddings(), index="flat")
        thread = threading.Thread(target=restart)
        thread.start()
        stored = store.add_documents(numbered(count), batch_size=300, progress=progress)
        thread.join()
        assert acknowledged.index(-1) < len(acknowledged) - 1
        assert stored == [f"id-{i}" for i in range(count)]
        assert by_id(store.iterate()) == by_id(numbered(count))
        server.kill()
        server.start()
        assert by_id(store.iterate()) == by_id(numbered(count))
        assert ids_of(store.search("text 17", k=1)) == ["id-17"]


def test_a_read_only_shard(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """As with a full disk: writing is an error, reading works, and writing works again afterwards."""
    store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings(), index="flat", write_timeout=3)
    store.add_texts(["a cat"], ids=["cat"])
    config = weaviate_client.collections.use(f"{weaviate_name}_v1").config
    config.update_shards(status="READONLY")
    for operation in (
        lambda: store.add_texts(["a dog"], ids=["dog"]),
        lambda: store.add_texts(["a new cat"], ids=["cat"]),
        lambda: store.update_metadata(["cat"], {"track": "x"}),
        lambda: store.delete(["cat"]),
    ):
        with pytest.raises(StoreError, match=r"(?i)read-?only.*make room, then set it READY"):
            operation()
    assert [hit.document for hit in store.search("a dog")] == [Document("a cat", id="cat")]
    config.update_shards(status="READY")
    store.add_texts(["a dog"], ids=["dog"])
    store.delete(["cat"])
    assert ids_of(list(store.iterate())) == ["dog"]


@pytest.mark.parametrize("tenant", [None, "red-team"])
def test_keys_and_permissions(start_weaviate: Callable[..., WeaviateServer], tenant: str | None) -> None:
    """The roles of the documentation are sufficient; anything they do not allow is an error."""
    server = start_weaviate(environment=KEYS)
    with server.client(api_key="root-key") as root:
        for user, rights in (("reader", reading_rights()), ("writer", writing_rights())):
            root.roles.create(role_name=f"{user}-role", permissions=[p for group in rights for p in group])
            root.users.db.assign_roles(user_id=user, role_names=f"{user}-role")
    with server.client(api_key="writer-key") as writer, server.client(api_key="reader-key") as reader:
        store = WeaviateVectorStore(writer, "Docs", WordEmbeddings(), tenant=tenant)
        store.add_texts(["a cat", "a dog"], ids=["cat", "dog"])
        store.update_metadata(["cat"], {"price": 1.5})
        assert store.add_field("price", float) == 1
        store.delete(["dog"])
        store.set_info("calibration", 2)
        store.delete_all()
        store.add_texts(["a cat", "a dog"], ids=["cat", "dog"])
        reading = WeaviateVectorStore(reader, "Docs", WordEmbeddings(), tenant=tenant)
        assert (
            ids_of(reading.search("a dog", k=1)) == ids_of(reading.search("dog", k=1, search_type="keyword")) == ["dog"]
        )
        assert (reading.count(), len(list(reading.iterate())), reading.get_info("calibration")) == (2, 2, 2)
        reading.wait_until_indexed()
        for operation in (
            lambda: reading.add_texts(["a bird"]),
            lambda: reading.delete(["cat"]),
            lambda: reading.update_metadata(["cat"], {"track": "x"}),
            lambda: reading.add_field("colour", str),
            lambda: reading.set_info("calibration", 3),
            reading.delete_all,
            lambda: WeaviateVectorStore(reader, "Others", WordEmbeddings()),
        ):
            with pytest.raises(StoreError, match=r"insufficient permissions|Check auth_credentials") as caught:
                operation()
            assert "reader-key" not in str(caught.value)
        assert store.count() == 2
        assert store.get_info("calibration") == 2

    async def with_a_wrong_key() -> None:
        client = server.async_client(api_key="wrong-key")
        with pytest.raises(StoreError, match=r"refused the key .* Check auth_credentials"):
            await WeaviateVectorStore(client, "Docs", WordEmbeddings(), tenant=tenant).asearch("a cat")
        await client.close()

    asyncio.run(with_a_wrong_key())


async def test_clients_that_are_not_connected(weaviate_server: Endpoint, weaviate_name: str) -> None:
    """A closed client, and one never connected, are errors; an async client connects on first use."""
    with weaviate_server.client() as client:
        store = WeaviateVectorStore(client, weaviate_name, WordEmbeddings(), index="flat")
        store.add_texts(["a cat"], ids=["cat"])
    for name, argument in (("search", "a cat"), ("add_texts", ["a"]), ("get_by_ids", ["cat"]), ("delete", ["cat"])):
        with pytest.raises(StoreError, match=r"client is closed\. Connect it"):
            getattr(store, name)(argument)
        with pytest.raises(StoreError, match=r"client is closed\. Connect it"):
            await getattr(store, f"a{name}")(argument)
    with pytest.raises(StoreError, match=r"client is closed\. Connect it"):
        WeaviateVectorStore(client, weaviate_name, WordEmbeddings())
    later = weaviate_server.async_client()
    alone = WeaviateVectorStore(later, weaviate_name, WordEmbeddings())
    assert ids_of(await alone.asearch("a cat")) == ["cat"]
    await later.close()


async def test_an_async_client_alone(weaviate_async_client: WeaviateAsyncClient, weaviate_name: str) -> None:
    """All async methods work; the others raise an error that names the missing client."""
    store = WeaviateVectorStore(weaviate_async_client, weaviate_name, WordEmbeddings(), index="flat")
    await store.aadd_texts(["a cat", "a dog"], ids=["cat", "dog"])
    assert ids_of(await store.asearch("a dog", k=1)) == ["dog"]
    assert len([document async for document in store.aiterate()]) == await store.acount() == 2
    await store.adelete(["dog"])
    await store.await_until_indexed()
    for operation in (lambda: store.search("a dog"), store.count, lambda: store.add_texts(["b"])):
        with pytest.raises(StoreError, match="without await, and there is only an async client"):
            operation()


def test_an_async_client_of_another_event_loop(weaviate_server: Endpoint, weaviate_name: str) -> None:
    """An error in the wrong loop; the store still works in the right one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    client = weaviate_server.async_client()
    store = WeaviateVectorStore(client, weaviate_name, WordEmbeddings(), index="flat")
    try:
        there(store.aadd_texts(["a cat"], ids=["cat"]))
        for work in (store.asearch("a cat"), store.aadd_texts(["a dog"]), store.acount(), store.aget_by_ids(["cat"])):
            with pytest.raises(StoreError, match=r"another event loop.*Make a client and a store for each"):
                asyncio.run(work)
        assert ids_of(there(store.asearch("a cat"))) == ["cat"]
    finally:
        with suppress(TimeoutError):
            there(client.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# The first loop ends with the client open, as in programs that call `asyncio.run` for each question.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("connected", [False, True], ids=["connected by the store", "connected by the caller"])
def test_event_loops_after_each_other(weaviate_server: Endpoint, weaviate_name: str, connected: bool) -> None:
    """With a sync client in addition, `asyncio.run` may be called several times: later loops use threads."""
    _ask_in_several_loops(weaviate_server, weaviate_name, connected=connected)
    gc.collect()


def _ask_in_several_loops(server: Endpoint, name: str, *, connected: bool) -> None:
    async_client = server.async_client()

    async def connect() -> None:
        if connected:
            await async_client.connect()

    async def close() -> None:
        with suppress(Exception):  # its loop is gone
            await async_client.close()

    with server.client() as client:
        options: dict[str, Any] = {"async_client": async_client, "index": "flat"}
        store = WeaviateVectorStore(client, name, WordEmbeddings(), **options)
        asyncio.run(connect())
        try:
            for number in range(3):
                asyncio.run(store.aadd_texts(["a cat"], ids=[f"cat {number}"]))
                assert asyncio.run(store.acount()) == number + 1
                assert len(asyncio.run(store.asearch_many(["a cat"] * 3, k=9))[2]) == number + 1
        finally:
            asyncio.run(close())


@pytest.mark.parametrize("options", [{"index": "hnsw"}, {"index": "dynamic"}, {"tenant": "red-team"}])
def test_a_server_that_indexes_later(start_weaviate: Callable[..., WeaviateServer], options: dict[str, Any]) -> None:
    """After `wait_until_indexed` a search for the text of a document finds it."""
    server = start_weaviate(environment={"ASYNC_INDEXING": "true"})
    with server.client() as client:
        store = WeaviateVectorStore(client, "Docs", WordEmbeddings(64), **options)
        store.wait_until_indexed()
        store.add_documents(numbered(3000))
        store.wait_until_indexed(60)
        hits = store.search_many([f"text {i}" for i in range(0, 3000, 50)], k=1)
        assert ids_of([hit for (hit,) in hits]) == [f"id-{i}" for i in range(0, 3000, 50)]


def test_a_partial_write_is_repaired_by_the_same_call(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """Documents with an invalid type fail alone, or all before anything is sent; the call can be repeated."""
    store = WeaviateVectorStore(weaviate_client, weaviate_name, WordEmbeddings(), index="flat")
    documents = numbered(1500)
    documents[1200].page_content = "poison"
    with pytest.raises(PartialWriteError) as caught:
        store.add_documents(documents, batch_size=500)
    assert set(caught.value.stored) == set(by_id(store.iterate())) == {f"id-{i}" for i in range(1000)}
    documents[1200].page_content = "text 1200"
    store.add_documents(documents, batch_size=500)
    assert by_id(store.iterate()) == by_id(numbered(1500))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="quantized"),
        pytest.param({"quantizer": None}, id="whole"),
        pytest.param({"index": "flat"}, id="flat"),
    ],
)
def test_a_killed_server_finds_acknowledged_documents(
    start_weaviate: Callable[..., WeaviateServer], options: dict[str, Any]
) -> None:
    """After a restart the last batch is found by vector and by id."""
    server = start_weaviate()
    embedding = WordEmbeddings(size=32)
    with server.client() as client:
        store = WeaviateVectorStore(client, "Killed", embedding, **options)
        modality = [{"modality": "image" if i % 2 else "pdf"} for i in range(100)]
        ids = store.add_texts([f"word{i}" for i in range(100)], modality, ids=[f"id {i}" for i in range(100)])
        server.kill()
        server.start()
    with server.client() as client:
        store = WeaviateVectorStore(client, "Killed", embedding, **options)
        assert store.count() == 100
        assert sorted(str(hit.document.id) for hit in store.search("word5", k=200)) == sorted(ids)
        assert store.search("word5", k=1)[0].document.id == "id 5"
        assert [document.id for document in store.get_by_ids(ids)] == ids
        assert store.count(filter={"modality": "pdf"}) == 50
        assert [hit.document.id for hit in store.search("word7", search_type="keyword")] == ["id 7"]
