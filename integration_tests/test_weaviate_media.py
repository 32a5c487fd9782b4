"""Media in Weaviate on a real server: the tests of every media store, tenants, interrupted uploads, outages."""

from __future__ import annotations

import base64
import hashlib
import inspect
import json
import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from weaviate.classes.config import Configure, DataType, Property

from integration_tests.weaviate_server import Endpoint, WeaviateServer
from langchain_gemini_mm import MediaLimitError, MediaStore, MissingMediaError, StoreError
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.storage.byte_store import PIECES
from langchain_gemini_mm.testing import jpeg, png, wav
from tests.storage import test_garbage as test_sweep
from tests.storage import test_store
from tests.storage.conftest import UNRELATED, swept
from tests.storage.test_garbage import sweep_beside_writers

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

pytestmark = pytest.mark.weaviate

PNG = png()
LONG = wav(300.0)
"""Five pieces."""


@pytest.fixture(params=["plain", "tenant"])
def store(request: pytest.FixtureRequest, weaviate_client: WeaviateClient, weaviate_name: str) -> MediaStore:
    """An empty store with a collection of its own."""
    return MediaStore.weaviate(weaviate_client, weaviate_name, tenant="red" if request.param == "tenant" else None)


def contract() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The tests of every media store, which take `store`."""
    for module in (test_store, test_sweep):
        for name, test in vars(module).items():
            if name.startswith("test_") and "store" in inspect.signature(test).parameters:
                yield name, test


globals().update(contract())


def keys_of(store: MediaStore) -> list[str]:
    """All keys in the store's collection."""
    return sorted(store._backend._values.yield_keys())  # type: ignore[attr-defined]


def test_reading_before_the_first_write(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """Before the first write there are no media, and reading creates no collection."""
    for tenant in (None, "red"):
        store = MediaStore.weaviate(weaviate_client, weaviate_name, tenant=tenant)
        with pytest.raises(MissingMediaError, match="is not in this media store"):
            store.get(MediaRef("ab" * 32))
        assert not list(store.refs())
        assert not store.delete(MediaRef("ab" * 32))
        assert store.unused(UNRELATED).leftovers == 0
    assert not weaviate_client.collections.exists(weaviate_name)


def test_the_repr_names_the_backend(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """The repr names the backend; pickling is refused with the reason."""
    store = MediaStore.weaviate(weaviate_client, weaviate_name)
    assert repr(store) == "<MediaStore weaviate>"
    with pytest.raises(TypeError, match="cannot be pickled, because the client cannot"):
        pickle.dumps(store)


def test_the_collection_has_no_index(store: MediaStore, weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """Neither vectors nor texts are indexed."""
    store.put(PNG)
    config: Any = weaviate_client.collections.use(weaviate_name).config.get()
    assert config.vector_config["none"].vector_index_config.skip
    assert not any(item.index_filterable or item.index_searchable for item in config.properties)


def test_tenants_do_not_see_each_other(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A tenant cannot read, list, delete or sweep the media of another, even if it knows the hash."""
    red, blue = (MediaStore.weaviate(weaviate_client, weaviate_name, tenant=name) for name in ("red", "blue"))
    ref = red.put(PNG)
    for _ in range(2):
        assert ref not in blue
        assert not blue.delete(ref)
        swept(blue, UNRELATED)
        other = blue.put(jpeg())
        assert list(blue.refs()) == [other]
    assert red.get(ref) == PNG
    assert list(red.refs()) == [ref]
    assert blue.put(PNG) == ref
    assert red.delete(ref)
    assert blue.get(ref) == PNG


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a small letter": ({"name": "media"}, ValueError, "a capital letter"),
    "a tenant with a space": ({"tenant": "a b"}, ValueError, "a tenant is 1 to 64 letters"),
    "no bytes": ({"max_bytes": 0}, ValueError, "max_bytes must be an int >= 1, got 0"),
    "no copies": ({"replication": 0}, ValueError, "replication must be an int >= 1"),
    "no time": ({"timeout": 0}, ValueError, "timeout must be seconds > 0"),
    "no client": ({"client": None}, TypeError, "is needed, got None"),
}


@pytest.mark.parametrize(("changes", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(
    weaviate_client: WeaviateClient, weaviate_name: str, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Wrong arguments are reported at once."""
    with pytest.raises(error, match=words):
        MediaStore.weaviate(**{"client": weaviate_client, "name": weaviate_name, **changes})


async def test_an_async_client_alone_is_refused(weaviate_async_client: WeaviateAsyncClient) -> None:
    """The media store needs a sync client."""
    with pytest.raises(TypeError, match="needs a WeaviateClient, got a WeaviateAsyncClient"):
        MediaStore.weaviate(weaviate_async_client)


def test_foreign_collections_are_refused(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A collection of another program is not changed, even if it appears between opening and writing."""
    late = MediaStore.weaviate(weaviate_client, weaviate_name)
    text = Property(name="text", data_type=DataType.TEXT)
    weaviate_client.collections.create(
        weaviate_name, properties=[text], vector_config=Configure.Vectors.self_provided()
    )
    with pytest.raises(StoreError, match=r"holds no media of this package\. Choose another name"):
        MediaStore.weaviate(weaviate_client, weaviate_name)
    with pytest.raises(StoreError, match="holds no media of this package"):
        late.put(PNG)
    assert weaviate_client.collections.use(weaviate_name).aggregate.over_all().total_count == 0


def test_a_newer_format_is_refused(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """The error says to upgrade."""
    MediaStore.weaviate(weaviate_client, weaviate_name).put(PNG)
    config = weaviate_client.collections.use(weaviate_name).config
    said = json.loads(config.get().description or "")
    config.update(description=json.dumps(said | {"format": 2}))
    with pytest.raises(StoreError, match=r"has format 2, and this version reads 1\. Upgrade"):
        MediaStore.weaviate(weaviate_client, weaviate_name)


def test_with_or_without_tenants(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """A collection with tenants is opened with a tenant, others without."""
    plain, tenants = weaviate_name, f"{weaviate_name}_T"
    MediaStore.weaviate(weaviate_client, plain).put(PNG)
    MediaStore.weaviate(weaviate_client, tenants, tenant="red").put(PNG)
    with pytest.raises(StoreError, match="was made without tenants; open it without tenant='red'"):
        MediaStore.weaviate(weaviate_client, plain, tenant="red")
    with pytest.raises(StoreError, match=r"has tenants. Open it with tenant=\.\.\."):
        MediaStore.weaviate(weaviate_client, tenants)


def test_files_over_the_limit(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """The limit applies to the size of the file; a larger one leaves nothing behind."""
    store = MediaStore.weaviate(weaviate_client, weaviate_name, max_bytes=3_000_000)
    with pytest.raises(MediaLimitError, match=r"more than 3,000,000 bytes, .* Raise max_bytes, or keep large files in"):
        store.put(LONG)
    assert keys_of(store) == []
    store = MediaStore.weaviate(weaviate_client, weaviate_name, max_bytes=len(LONG))
    assert store.get(store.put(LONG)) == LONG


def test_first_writers_race(weaviate_server: Endpoint, weaviate_name: str) -> None:
    """Several clients store the same and other files at the same time in a collection that does not exist yet."""
    files = [png(f"picture {number}") for number in range(4)] + [LONG]
    clients = [weaviate_server.client() for _ in range(6)]
    try:
        stores = [MediaStore.weaviate(client, weaviate_name) for client in clients]
        with ThreadPoolExecutor(6) as pool:
            refs = list(pool.map(lambda store: [store.put(data) for data in files], stores))
        assert all(found == refs[0] for found in refs)
        assert set(stores[0].refs()) == set(refs[0])
        assert [stores[1].get(ref) for ref in refs[0]] == files
        # Overtaken uploads are removed, and referenced media stay.
        swept(stores[2], refs[0])
        assert [stores[3].get(ref) for ref in refs[0]] == files
        assert sum(key.startswith(PIECES) for key in keys_of(stores[0])) == 4 + 5
    finally:
        for client in clients:
            client.close()


def test_damage_is_reported(store: MediaStore) -> None:
    """A file with a missing or changed chunk is never returned."""
    ref = store.put(LONG)
    values: Any = store._backend._values  # type: ignore[attr-defined]
    pieces = sorted(values.yield_keys(prefix=PIECES))
    assert len(pieces) == 5
    (whole,) = values.mget([pieces[1]])
    values.mset([(pieces[1], bytes(len(whole)))])
    with pytest.raises(MissingMediaError, match="is damaged in the store"):
        store.get(ref)
    values.mdelete([pieces[1]])
    with pytest.raises(MissingMediaError, match="is damaged in the store"):
        store.get(ref)
    assert store.read_range(ref, 0, 9) == LONG[:9]
    assert store.delete(ref)
    assert keys_of(store) == []


def test_keys_are_listed_by_prefix(store: MediaStore) -> None:
    """Listing by prefix, which uses ranges of UUIDs, returns each key with that prefix."""
    values: Any = store._backend._values  # type: ignore[attr-defined]
    pairs = {
        f"{folder}/{n}": b"x%d" % n
        for folder in ("media", "media-uploads", "a/b", "media-pieces/1-a")
        for n in range(40)
    }
    pairs |= {"media-pieces/1-b/00": b"y", "plain": b""}
    values.mset(list(pairs.items()))
    for prefix in (
        "",
        "m",
        "media/",
        "media/1",
        "media-uploads/",
        "media-pieces/",
        "media-pieces/1",
        "media-pieces/1-b/",
        "a/",
    ):
        assert sorted(values.yield_keys(prefix=prefix)) == sorted(key for key in pairs if key.startswith(prefix)), (
            prefix
        )
    keys = [*pairs, "none", "media/1"]
    assert values.mget(keys) == [pairs.get(key) for key in keys]
    values.mdelete(list(pairs)[5:])
    assert sorted(values.yield_keys()) == sorted(list(pairs)[:5])


KILLED = """
import sys, weaviate
from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.testing import wav
from tests.storage.conftest import UNRELATED, swept
from tests.storage.test_garbage import sweep_beside_writers
import io

class Slow(io.BytesIO):
    def read(self, size=-1):
        if self.tell() > 3_500_000:
            print("half", flush=True)
            sys.stdin.read()
        return super().read(size)

host, port, grpc_port, name = sys.argv[1:]
client = weaviate.connect_to_local(host, int(port), int(grpc_port), skip_init_checks=True)
MediaStore.weaviate(client, name).put(Slow(wav(300.0)))
"""


def test_a_killed_upload_is_invisible_and_tidied(
    weaviate_server: Endpoint, weaviate_client: WeaviateClient, weaviate_name: str
) -> None:
    """A killed upload is not visible; it can be repeated, and a sweep removes what is left of it."""
    place = [weaviate_server.host, str(weaviate_server.rest_port), str(weaviate_server.grpc_port), weaviate_name]
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", KILLED, *place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
    store = MediaStore.weaviate(weaviate_client, weaviate_name)
    ref = MediaRef(hashlib.sha256(LONG).hexdigest())
    assert list(store.refs()) == []
    assert ref not in store
    torn = keys_of(store)
    assert len(torn) == 5
    assert store.get(store.put(LONG)) == LONG
    assert store.sweep([ref]).leftovers == 0
    assert swept(store, [ref], dry_run=True).leftovers == 1
    assert set(torn) < set(keys_of(store))
    assert swept(store, [ref]).leftovers == 1
    assert not set(torn) & set(keys_of(store))
    assert store.get(ref) == LONG


def test_a_sweep_never_takes_what_is_being_put(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """Sweeps and puts may run in any order: media that were put exist afterwards."""
    store = MediaStore.weaviate(weaviate_client, weaviate_name)
    values: Any = store._backend._values  # type: ignore[attr-defined]
    files = [png(f"picture {number}") for number in range(3)]
    refs = [store.put(data) for data in files]
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            store.sweep(UNRELATED, grace_s=60)

    def age(ref: MediaRef) -> None:
        (manifest,) = values.mget([f"media/{ref.sha256}"])
        if manifest is not None:
            values.mset([(f"media/{ref.sha256}", json.dumps(json.loads(manifest) | {"at": 1}).encode())])
            values.mdelete([f"media-wanted/{ref.sha256}"])

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        ends = time.monotonic() + 5
        while time.monotonic() < ends:
            for ref, data in zip(refs, files, strict=True):
                age(ref)
                store.put(data)
    finally:
        stop.set()
        sweeper.join()
    for ref, data in zip(refs, files, strict=True):
        store.put(data)
        assert store.get(ref) == data


@pytest.mark.soak
def test_sweeps_beside_writers_and_a_reader(
    weaviate_client: WeaviateClient, weaviate_name: str, rounds: Callable[..., Iterator[int]]
) -> None:
    """With sweeps in a loop beside two writers and a reader, each Document in the index has its media."""
    sweep_beside_writers(MediaStore.weaviate(weaviate_client, weaviate_name), rounds(1), 20.0)


def test_a_dropped_collection_is_reported(weaviate_client: WeaviateClient, weaviate_name: str) -> None:
    """If the collection is dropped, the next put raises an error, and the one after creates it again."""
    store = MediaStore.weaviate(weaviate_client, weaviate_name)
    ref = store.put(PNG)
    weaviate_client.collections.delete(weaviate_name)
    assert ref not in store
    with pytest.raises(StoreError, match=r"was dropped while media were stored in it\. Put them again"):
        store.put(PNG)
    assert store.get(store.put(PNG)) == PNG


def test_an_outage_ends_in_time(start_weaviate: Callable[..., WeaviateServer]) -> None:
    """An unreachable server causes an error within the timeouts; one that comes back in time is waited for."""
    server = start_weaviate()
    with server.client() as client:
        store = MediaStore.weaviate(client, timeout=2, write_timeout=2)
        ref = store.put(PNG)
        server.kill()
        for work in (lambda: store.get(ref), lambda: store.put(LONG), lambda: list(store.refs())):
            started = time.monotonic()
            with pytest.raises(StoreError, match="Weaviate"):
                work()
            assert time.monotonic() - started < 30  # the client alone takes a minute
        patient = threading.Timer(1, server.start)
        patient.start()
        store._backend._values._connection.write_timeout = 60  # type: ignore[attr-defined]
        store._backend._values._connection.timeout = 60  # type: ignore[attr-defined]
        assert store.get(store.put(LONG)) == LONG
        patient.join()
        assert store.get(ref) == PNG


def test_payloads_stay_out_of_the_log(
    weaviate_client: WeaviateClient, weaviate_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused write, which the client logs with its object, shows no byte of the media."""
    store = MediaStore.weaviate(weaviate_client, weaviate_name)
    store.put(PNG)
    collection = weaviate_client.collections.use(weaviate_name)
    shards = {shard.name: "READONLY" for shard in collection.config.get_shards()}
    caplog.set_level(logging.DEBUG)
    collection.config.update_shards("READONLY", list(shards))
    try:
        with pytest.raises(StoreError, match=r"storing media in collection .* failed") as error:
            store.put(LONG)
    finally:
        collection.config.update_shards("READY", list(shards))
    payload = base64.b64encode(LONG[:30]).decode()[:-2]
    assert payload not in caplog.text
    assert payload not in str(error.value)
    assert store.get(store.put(LONG)) == LONG
