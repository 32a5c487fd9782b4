"""The store on a cluster whose nodes are killed (SIGKILL): no acknowledged write is lost, errors come in time.

Every collection has three replicas, so that a write needs two nodes and a read one, for sync and async methods.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.errors import PartialWriteError, StoreError

if TYPE_CHECKING:
    from integration_tests.weaviate_cluster import WeaviateCluster

pytestmark = pytest.mark.chaos

EMBEDDING = DeterministicFakeEmbedding(size=64)
TIMEOUTS = {"timeout": 4.0, "write_timeout": 6.0}
SLACK = 3.0
"""Seconds that a busy machine may add to a deadline."""
PATIENCE = 60.0
"""Seconds in which a node that was down has caught up."""
PAUSE = 0.3
BATCH = 200
WAYS = ("sync", "async")

Open = Callable[..., Any]


@pytest.fixture
def name() -> str:
    """A collection name for the test; the cluster is deleted at the end."""
    return f"Chaos{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def opened(weaviate_cluster: WeaviateCluster, name: str) -> AsyncIterator[Open]:
    """Opens a collection through one node, for sync and async use."""
    async with AsyncExitStack() as stack:

        async def open_one(number: int, **options: Any) -> WeaviateVectorStore:
            client = stack.enter_context(weaviate_cluster.client(number))
            async_client = await stack.enter_async_context(weaviate_cluster.async_client(number))
            given = {"replication": 3, "index": "flat", **options}
            return WeaviateVectorStore(client, name, EMBEDDING, async_client=async_client, **given)

        yield open_one


@pytest.fixture
async def open_store(weaviate_cluster: WeaviateCluster, name: str) -> AsyncIterator[Open]:
    """Opens the collection of the test through one node."""
    async with opened(weaviate_cluster, name) as open_one:
        yield open_one


def documents(first: int, end: int) -> list[Document]:
    """Documents that have their number in text and metadata."""
    return [
        Document(id=f"document {i}", page_content=f"This is document {i}.", metadata={"number": i, "source": "made up"})
        for i in range(first, end)
    ]


def interrupted(items: Sequence[Document], position: int, happens: Callable[[], object]) -> Iterator[Document]:
    """The same documents; shortly after one of them was read, an action runs while others are being sent."""
    timer = threading.Timer(0.03, happens)
    for i, item in enumerate(items):
        if i == position:
            timer.start()
        yield item
    timer.join()


async def call(way: str, store: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call the sync method in a thread, or await its async twin."""
    if way == "async":
        return await getattr(store, f"a{method}")(*args, **kwargs)
    return await asyncio.to_thread(getattr(store, method), *args, **kwargs)


async def attempt(way: str, store: Any, items: Any) -> tuple[list[str], Exception | None]:
    """Add documents; return the ids reported as stored, and the exception."""
    try:
        return await call(way, store, "add_documents", items, batch_size=BATCH), None
    except PartialWriteError as error:
        return error.stored, error
    except StoreError as error:
        return [], error


def read(store: WeaviateVectorStore, ids: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Text and metadata by id."""
    return {str(item.id): (item.page_content, item.metadata) for item in store.get_by_ids(ids)}


def contents(items: Sequence[Document]) -> dict[str, tuple[str, dict[str, Any]]]:
    """The expected result of `read`."""
    return {str(item.id): (item.page_content, item.metadata) for item in items}


def everything(store: WeaviateVectorStore) -> dict[str, tuple[str, dict[str, Any]]]:
    """The expected result of `read` for all documents."""
    return contents(list(store.iterate()))


def nearest(store: WeaviateVectorStore, texts: Sequence[str]) -> list[tuple[Document, float]]:
    """The best hit of each text, and its score."""
    return [(hit.document, round(hit.score, 3)) for hits in store.search_many(texts, k=1) for hit in hits]


async def eventually(ask: Callable[[], Any], expected: Any) -> Any:
    """Call a function until it returns the expected value or time is up; return the last value."""
    found = ask()
    for _ in range(int(PATIENCE / PAUSE)):
        if found == expected:
            break
        await asyncio.sleep(PAUSE)
        found = ask()
    return found


async def caught_up(open_store: Open, items: Sequence[Document], killed: int | None = None) -> None:
    """Wait until each node has exactly these documents, then read and search all of them.

    A node that was killed during a write has the documents, but maybe not in its vector index, which is repaired first.
    """
    expected = contents(items)
    stores = [await open_store(number, consistency="ONE") for number in range(3)]
    for store in stores:
        assert await eventually(partial(everything, store), expected) == expected
        assert store.count() == len(expected)
        store.wait_until_indexed(PATIENCE)
    some = items[:: max(1, len(items) // 20)]
    best = [(item, 1.0) for item in some]
    for number, store in enumerate(stores):
        if number == killed:
            assert (await open_store((number + 1) % 3)).reindex() == len(expected)
        assert await eventually(partial(nearest, store, [item.page_content for item in some]), best) == best


def leader(cluster: WeaviateCluster) -> int:
    """The node that leads changes of the schema."""
    with urllib.request.urlopen(f"{cluster.nodes[0].url}/v1/cluster/statistics", timeout=10) as answer:
        said = json.load(answer)["statistics"]
    return next(int(node["leaderId"].removeprefix("node")) - 1 for node in said if node.get("leaderId"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("victim", ["leader", "follower"])
async def test_adding_continues_without_a_node(
    weaviate_cluster: WeaviateCluster, open_store: Open, way: str, victim: str
) -> None:
    """A replica is killed during `add_documents`: all documents are stored and can be read by id at once."""
    head = leader(weaviate_cluster)
    killed, ours = (head, (head + 1) % 3) if victim == "leader" else ((head + 1) % 3, (head + 2) % 3)
    store, items = await open_store(ours), documents(0, 1000)
    others = [await open_store(number) for number in range(3) if number != killed]
    stored, error = await attempt(way, store, interrupted(items, 300, lambda: weaviate_cluster.kill(killed)))
    assert (str(error), len(stored)) == ("None", 1000)
    for other in others:
        assert read(other, stored) == contents(items)
    assert await call(way, store, "count") == 1000
    weaviate_cluster.start()
    await caught_up(open_store, items, killed)


@pytest.mark.parametrize("way", WAYS)
async def test_acknowledged_documents_survive_the_death_of_their_node(
    weaviate_cluster: WeaviateCluster, open_store: Open, way: str
) -> None:
    """The connected node is killed: the error names what is stored, another node has it, a second call completes."""
    store, items = await open_store(0, **TIMEOUTS), documents(0, 1000)
    other = await open_store(1, timeout=30.0)  # opening waits until another leader is elected
    started = time.monotonic()
    stored, error = await attempt(way, store, interrupted(items, 500, lambda: weaviate_cluster.kill(0)))
    assert isinstance(error, PartialWriteError)
    assert time.monotonic() - started < TIMEOUTS["write_timeout"] + TIMEOUTS["timeout"] + SLACK
    assert 200 <= len(stored) < 1000
    assert read(other, stored) == contents([item for item in items if item.id in set(stored)])
    assert await call(way, other, "add_documents", items) == [item.id for item in items]
    assert await call(way, other, "count") == 1000
    weaviate_cluster.start()
    await caught_up(open_store, items)


@pytest.mark.parametrize("way", WAYS)
async def test_searches_continue_without_a_node(weaviate_cluster: WeaviateCluster, open_store: Open, way: str) -> None:
    """The leader is killed during searches on the other nodes: each result is correct and within its deadline."""
    items, head = documents(0, 300), leader(weaviate_cluster)
    stores = [await open_store(number, **TIMEOUTS) for number in range(3) if number != head]
    await call(way, stores[0], "add_documents", items)
    for store in stores:
        await call(way, store, "wait_until_indexed", PATIENCE)
    patient = await open_store((head + 1) % 3, timeout=30.0)
    ends, slowest, answers = time.monotonic() + 15.0, 0.0, 0

    async def ask(store: Any) -> None:
        nonlocal slowest, answers
        while (started := time.monotonic()) < ends:
            document = items[answers % len(items)]
            (hit,) = await call(way, store, "search", document.page_content, k=1)
            assert hit.document == document
            assert await call(way, store, "get_by_ids", [document.id]) == [document]
            slowest, answers = max(slowest, time.monotonic() - started), answers + 1

    async def kill() -> int:
        await asyncio.sleep(2)
        weaviate_cluster.kill(head)
        return int(await call(way, patient, "count"))

    *_, counted = await asyncio.gather(*map(ask, stores), kill())
    assert counted == len(items)
    assert answers > 100
    assert slowest < TIMEOUTS["timeout"]


@pytest.mark.parametrize("way", WAYS)
async def test_without_two_nodes_errors_come_in_time(
    weaviate_cluster: WeaviateCluster, open_store: Open, way: str
) -> None:
    """One node of three acknowledges nothing and reads correctly; when the others are back, everything works."""
    store, items = await open_store(0, **TIMEOUTS), documents(0, 400)
    before, later = items[:200], items[200:]
    await call(way, store, "add_documents", before)
    weaviate_cluster.kill(1, 2)
    started = time.monotonic()
    stored, error = await attempt(way, store, later)
    assert (stored, isinstance(error, StoreError)) == ([], True)
    assert time.monotonic() - started < TIMEOUTS["write_timeout"] + TIMEOUTS["timeout"] + SLACK
    for method, args in (("count", ()), ("get_by_ids", (["document 1"],))):
        started = time.monotonic()
        try:
            found = await call(way, store, method, *args)
        except StoreError:
            found = None
        assert time.monotonic() - started < TIMEOUTS["timeout"] + SLACK
        assert found in (None, 200, [items[1]])
    with pytest.raises(StoreError):
        await call(way, store, "delete", ["document 2"])
    weaviate_cluster.start()
    assert contents(before).items() <= read(store, [str(item.id) for item in items]).items()
    assert await call(way, store, "add_documents", items) == [item.id for item in items]
    await caught_up(open_store, items)


@pytest.mark.soak
async def test_kills_at_random(weaviate_cluster: WeaviateCluster, rounds: Callable[..., Iterable[int]]) -> None:
    """Random nodes are killed during a load: acknowledged documents are there, and repeating the load completes it."""
    for seed in rounds(1):
        chance, name = random.Random(seed), f"Random{uuid.uuid4().hex[:12]}"
        items, killed = documents(0, 800), chance.sample(range(3), chance.randint(1, 3))
        async with opened(weaviate_cluster, name) as open_store:
            store = await open_store(0, **TIMEOUTS)
            kill = partial(weaviate_cluster.kill, *killed)
            stored, _ = await attempt(chance.choice(WAYS), store, interrupted(items, chance.randrange(800), kill))
            weaviate_cluster.start()
            again = await open_store(1)
            assert read(again, stored) == contents([item for item in items if item.id in set(stored)])
            assert again.add_documents(items) == [item.id for item in items]
            await caught_up(open_store, items)


async def test_all_nodes_killed_lose_nothing(weaviate_cluster: WeaviateCluster, open_store: Open) -> None:
    """All nodes are killed during a load: acknowledged documents are there after the restart."""
    store, items = await open_store(0, **TIMEOUTS), documents(0, 1000)
    stored, error = await attempt("sync", store, interrupted(items, 700, lambda: weaviate_cluster.kill(0, 1, 2)))
    assert isinstance(error, PartialWriteError)
    assert len(stored) >= 400
    weaviate_cluster.start()
    again = await open_store(1)
    assert read(again, stored) == contents([item for item in items if item.id in set(stored)])
    assert again.add_documents(items) == [item.id for item in items]
    await caught_up(open_store, items)
