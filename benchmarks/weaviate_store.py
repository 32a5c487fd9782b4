"""`WeaviateVectorStore`, compared with the bare client on the same server in one run, on synthetic vectors.

Run: python benchmarks/run.py --only weaviate_store [--quick], or make bench-weaviate. The server is that of
WEAVIATE_URL, or one that is started on this machine. Client and server then share the processor.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from benchmarks.local_store import MADE_UP, made_up_documents, made_up_vectors
from benchmarks.report import Row, cost, skipped, speed, tell
from benchmarks.service import ROOT
from integration_tests.weaviate_server import Endpoint, WeaviateServer, find_program
from langchain_gemini_mm.interfaces import Vectors

DIMENSIONS = 768
INGEST_AIM, QUERY_AIM, MEMORY_AIM = 0.95, 1.1, 1.1
TOGETHER = 32
"""Number of concurrent async searches."""
FINALISTS = 3
"""Number of variants of the bare client that take turns with the store, after all variants have been tried."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of objects, and of rounds."""

    inserted: int
    rounds: int
    searched: int
    queries: int
    recalled: int
    little: int
    much: int


FULL = Size(inserted=5_000, rounds=9, searched=20_000, queries=100, recalled=20_000, little=10_000, much=200_000)
QUICK = Size(inserted=1_000, rounds=3, searched=2_000, queries=20, recalled=2_000, little=2_000, much=6_000)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure ingest, searches, recall and memory on one server."""
    with serving() as server:
        if server is None:
            yield skipped("Weaviate", "the bare client", "no weaviate-server is installed and WEAVIATE_URL is not set")
            return
        with server.client() as client:
            bench = Bench(server, client, size)
            for measured in (_ingest, _searches, _recall, _memory):
                tell(f"  {measured.__name__.strip('_')}")
                yield from measured(bench)


@contextmanager
def serving() -> Iterator[Endpoint | None]:
    """Yield the server of the environment, or a new one in a temporary folder, or None."""
    url = os.environ.get("WEAVIATE_URL")
    if url:
        yield Endpoint(url, os.environ.get("WEAVIATE_GRPC_URL"), os.environ.get("WEAVIATE_API_KEY"))
    elif find_program() is None:
        yield None
    else:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            WeaviateServer(Path(folder) / "weaviate") as server,
        ):
            yield server


class Bench:
    """A server, and stores on collections of their own."""

    def __init__(self, server: Endpoint, client: Any, size: Size) -> None:
        self.server, self.client, self.size = server, client, size
        self._numbers = count()

    @contextmanager
    def store(self, first: Document, vector: Any, **options: Any) -> Iterator[Any]:
        """Yield a store on a new collection with one document; delete the collection afterwards."""
        from langchain_gemini_mm import WeaviateVectorStore

        name = f"Bench{os.getpid()}x{next(self._numbers)}"
        store = WeaviateVectorStore(self.client, name, DeterministicFakeEmbedding(size=len(vector)), **options)
        store.add_vectors([first], [vector])
        try:
            yield store
        finally:
            self.client.alias.delete(alias_name=name)
            self.client.collections.delete(f"{name}_v1")


def bare(client: Any, store: Any) -> Any:
    """Return the client's object for the collection of a store."""
    return client.collections.use(f"{store.name}_v1")


def _ingest(bench: Bench) -> Iterator[Row]:
    """Insert the same objects with `add_vectors` and with every variant of the bare client; the best one counts."""
    size = bench.size
    documents, vectors = made_up_documents(size.inserted), made_up_vectors(size.inserted, DIMENSIONS)
    objects = prepared(bench, documents, vectors)

    def seconds(way: Callable[[Any, Sequence[Any]], object] | None) -> float:
        with bench.store(documents[0], vectors[0]) as store:
            collection = bare(bench.client, store)
            gc.collect()
            started = time.perf_counter()
            if way is None:
                store.add_vectors(documents, vectors)
            else:
                way(collection, objects)
            taken = time.perf_counter() - started
            assert store.count() == size.inserted
            return taken

    tried = {name: min(seconds(way) for _ in range(2)) for name, way in WAYS.items()}
    finalists = sorted(tried, key=lambda name: tried[name])[:FINALISTS]
    taken: dict[str, list[float]] = {"ours": [], **{name: [] for name in finalists}}
    order = list(taken)
    for _ in range(size.rounds):
        for name in order:
            taken[name].append(seconds(WAYS.get(name)))
        order.reverse()
    best = min(finalists, key=lambda name: statistics.median(taken[name]))
    rate = size.inserted / statistics.median(taken["ours"])
    yield speed(
        f"ingest, {size.inserted:,} x {DIMENSIONS}",
        "the bare client's best",
        taken["ours"],
        taken[best],
        aim=INGEST_AIM,
        note=f"{rate:,.0f} objects per second; the fastest of {len(WAYS)} variants with prepared objects was {best}",
    )


def prepared(bench: Bench, documents: Sequence[Document], vectors: Vectors) -> list[Any]:
    """Return the objects that the store would send, for the bare client."""
    from langchain_gemini_mm.vectorstores.records import Record
    from langchain_gemini_mm.vectorstores.weaviate.objects import sized_object

    with bench.store(documents[0], vectors[0]) as store:
        collection = store.backend.collection
        layout = collection.cached_layout
        assert layout is not None
        records = (
            Record(item.id or "", item.page_content, item.metadata, row)
            for item, row in zip(documents, vectors, strict=True)
        )
        objects = [sized_object(record, layout, collection.objects).object for record in records]
    for item, row in zip(objects, vectors, strict=True):
        item.vector = {"media": row.tolist()}  # fastest for the bare client to serialize
    return objects


def _insert_many(chunk: int, together: int, collection: Any, objects: Sequence[Any]) -> None:
    chunks = [objects[start : start + chunk] for start in range(0, len(objects), chunk)]
    with ThreadPoolExecutor(together) as pool:
        assert not any(answer.has_errors for answer in pool.map(collection.data.insert_many, chunks))


def _fixed_size(chunk: int, together: int, collection: Any, objects: Sequence[Any]) -> None:
    _fill(collection, collection.batch.fixed_size(chunk, together), objects)


def _stream(together: int, collection: Any, objects: Sequence[Any]) -> None:
    _fill(collection, collection.batch.stream(concurrency=together), objects)


def _fill(collection: Any, context: Any, objects: Sequence[Any]) -> None:
    with context as batch:
        for item in objects:
            batch.add_object(properties=item.properties, uuid=item.uuid, vector=item.vector)
    assert not collection.batch.failed_objects


WAYS: dict[str, Callable[[Any, Sequence[Any]], object]] = {
    **{
        f"insert_many of {chunk}, {together} at once": partial(_insert_many, chunk, together)
        for chunk in (100, 250, 500, 1000)
        for together in (1, 2, 4, 8)
    },
    "batch.fixed_size(200, 2)": partial(_fixed_size, 200, 2),
    "batch.fixed_size(500, 4)": partial(_fixed_size, 500, 4),
    "batch.stream(1)": partial(_stream, 1),
    "batch.stream(2)": partial(_stream, 2),
}
"""Return the variants of the bare client, with common settings."""


def _searches(bench: Bench) -> Iterator[Row]:
    size = bench.size
    documents = made_up_documents(size.searched)
    both = made_up_vectors(size.searched + size.queries, DIMENSIONS)
    vectors, queries = both[: size.searched], both[size.searched :]
    with bench.store(documents[0], vectors[0]) as store:
        store.add_vectors(documents, vectors)
        settled(bench)
        for k in (10, 100):
            yield _one_by_one(bench, store, queries, k)
        for k in (10, 100):
            yield asyncio.run(_at_once(bench, store, queries, k))


def settled(bench: Bench) -> None:
    """Wait until the server has finished indexing."""
    time.sleep(0 if bench.size is not FULL else 10)


def _asking(k: int) -> dict[str, Any]:
    """Return the arguments of a bare search that returns what a search of the store returns."""
    from weaviate.classes.query import MetadataQuery

    return {
        "target_vector": "media",
        "limit": k,
        "return_metadata": MetadataQuery(distance=True),
        "return_properties": ["text", "metadata_json", "doc_id"],
    }


def _one_by_one(bench: Bench, store: Any, queries: Vectors, k: int) -> Row:
    asking, collection = _asking(k), bare(bench.client, store)
    searches: dict[str, Callable[[Any], Any]] = {
        "ours": lambda query: store.search_by_vector(query, k=k),
        "bare": lambda query: collection.query.near_vector(query, **asking),
    }
    medians: dict[str, list[float]] = {name: [] for name in searches}
    for number in range(bench.size.rounds + 1):
        times: dict[str, list[float]] = {name: [] for name in searches}
        for position, query in enumerate(queries.tolist()):
            for name in list(searches)[:: 1 if position % 2 else -1]:
                started = time.perf_counter()
                searches[name](query)
                times[name].append(time.perf_counter() - started)
        if number:  # the first round is a warm-up
            for name, taken in times.items():
                medians[name].append(statistics.median(taken))
    return _search_row(bench, f"k={k}", medians)


async def _at_once(bench: Bench, store: Any, queries: Vectors, k: int) -> Row:
    from langchain_gemini_mm import WeaviateVectorStore

    asking = _asking(k)
    async with bench.server.async_client() as client:
        ours, collection = WeaviateVectorStore(client, store.name, store.embeddings), bare(client, store)
        searches: dict[str, Callable[[Any], Awaitable[Any]]] = {
            "ours": lambda query: ours.asearch_by_vector(query, k=k),
            "bare": lambda query: collection.query.near_vector(query, **asking),
        }
        medians: dict[str, list[float]] = {name: [] for name in searches}
        for number in range(bench.size.rounds + 1):
            for name in list(searches)[:: 1 if number % 2 else -1]:
                taken = await _latencies(searches[name], queries.tolist())
                if number:
                    medians[name].append(statistics.median(taken))
    return _search_row(bench, f"k={k}, async, {TOGETHER} at once", medians)


async def _latencies(search: Callable[[Any], Awaitable[Any]], queries: Sequence[Any]) -> list[float]:
    """Return the seconds of each search; a fixed number of workers take the queries in turn."""
    waiting, taken = iter([*queries, *queries]), []

    async def ask() -> None:
        for query in waiting:
            started = time.perf_counter()
            await search(query)
            taken.append(time.perf_counter() - started)

    await asyncio.gather(*(ask() for _ in range(TOGETHER)))
    return taken


def _search_row(bench: Bench, what: str, medians: dict[str, list[float]]) -> Row:
    ours, theirs = (1000 * statistics.median(medians[name]) for name in ("ours", "bare"))
    return cost(
        f"search of {bench.size.searched:,} x {DIMENSIONS}, {what}",
        "the bare client's near_vector",
        medians["ours"],
        medians["bare"],
        aim=QUERY_AIM,
        note=f"median {ours:.2f} ms, bare {theirs:.2f} ms",
    )


def _recall(bench: Bench) -> Iterator[Row]:
    """Measure the recall of HNSW with 8-bit codes, the default."""
    size, k = bench.size, 10
    documents = made_up_documents(size.recalled)
    for dimensions in (768, 1536, 3072):
        both = made_up_vectors(size.recalled + size.queries, dimensions)
        vectors, queries = both[: size.recalled], both[size.recalled :]
        with bench.store(documents[0], vectors[0]) as store:
            store.add_vectors(documents, vectors)
            found = []
            for query in queries:
                exact = {documents[i].id for i in np.argsort(-(vectors @ query))[:k]}
                found.append(len(exact & {hit.document.id for hit in store.search_by_vector(query, k=k)}) / k)
        yield Row(
            measured=f"recall@{k} of RQ-8, {size.recalled:,} x {dimensions}",
            against="exact search",
            ratio=f"{statistics.mean(found):.4f}",
            rounds=f"worst {min(found):.2f}",
            note=MADE_UP,
        )


def _memory(bench: Bench) -> Iterator[Row]:
    """Measure the peak memory of a process that loads documents from a generator: many, and few."""
    size = bench.size
    name, against = f"peak memory of loading {size.much:,} x {DIMENSIONS}", f"loading {size.little:,}"
    if sys.platform == "win32":
        yield skipped(name, against, "Python does not report the peak memory of a process on Windows")
        return
    much, little = (_peak(bench, number) for number in (size.much, size.little))
    note = f"{much / 1e6:.0f} MB and {little / 1e6:.0f} MB; all vectors are {4e-6 * size.much * DIMENSIONS:,.0f} MB"
    yield cost(name, against, [much], [little], aim=MEMORY_AIM, note=note)


def _peak(bench: Bench, number: int) -> float:
    server, name = bench.server, f"Bench{os.getpid()}load{number}"
    command = [sys.executable, "-m", "benchmarks.weaviate_load", server.url, server.grpc_url, name, str(number)]
    environment = os.environ | {"WEAVIATE_API_KEY": server.api_key or ""}
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    finally:
        bench.client.alias.delete(alias_name=name)
        bench.client.collections.delete(f"{name}_v1")
    return float(done.stdout)
