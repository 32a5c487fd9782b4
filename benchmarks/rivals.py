"""Search time of other embedded stores relative to the local store, on the same vectors in the same run.

The local store returns whole documents, the others return ids only.

Run: python benchmarks/run.py --only rivals. Rows of stores that are not installed are skipped:
pip install chromadb lancedb apsw sqlite-vec
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.local_store import Bench, K
from benchmarks.local_store import Size as Sizes
from benchmarks.report import Row, cost, skipped
from langchain_gemini_mm.interfaces import Vectors

Search = Callable[[Any], list[str]]
"""A function from a query vector to ids."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of rows, and of rounds."""

    rows: int
    queries: int
    rounds: int


FULL = Size(rows=50_000, queries=40, rounds=5)
QUICK = Size(rows=5_000, queries=10, rounds=3)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Fill every store with the same rows, then search in turns."""
    sizes = Sizes(small=0, middle=0, large=0, wide=0, queries=size.queries, rounds=size.rounds)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder) / "index.db", size.rows, 768, sizes)
        ids = [document.id or "" for document in bench.documents]
        filled: dict[str, tuple[Search, float]] = {}
        for name, (package, fill) in RIVALS.items():
            if importlib.util.find_spec(package) is None:
                yield skipped(f"{bench.name}, search, {name}", "ours", f"{package} is not installed")
                continue
            started = time.perf_counter()
            filled[name] = fill(Path(folder) / package, ids, bench.vectors), time.perf_counter() - started
        yield from _compared(bench, filled)


def _compared(bench: Bench, filled: dict[str, tuple[Search, float]]) -> Iterator[Row]:
    with bench.open(prefix=False) as store:
        ours: dict[str, Search] = {"ours": lambda q: [hit.document.id or "" for hit in store.search_by_vector(q, k=K)]}
        searches = ours | {name: search for name, (search, _) in filled.items()}
        exact = [set(searches["ours"](query)) for query in bench.queries]
        taken: dict[str, list[float]] = {name: [] for name in searches}
        for _ in range(bench.size.rounds):
            for name, search in searches.items():
                times = []
                for query in bench.queries:
                    started = time.perf_counter()
                    search(query)
                    times.append(time.perf_counter() - started)
                taken[name].append(statistics.median(times))
    for name, (search, seconds) in filled.items():
        found = [len(set(search(query)) & right) / K for query, right in zip(bench.queries, exact, strict=True)]
        inserted = bench.inserted * seconds / len(bench.documents)
        note = f"recall {statistics.mean(found):.3f}; took {inserted:.1f} times as long to fill"
        yield cost(f"{bench.name}, search, {name}", "ours", taken[name], taken["ours"], aim=None, note=note)


def _chroma(folder: Path, ids: list[str], vectors: Vectors) -> Search:
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False))
    collection = client.create_collection("vectors", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    for start in range(0, len(ids), 5000):
        collection.add(ids[start : start + 5000], embeddings=vectors[start : start + 5000])
    return lambda query: list(collection.query(query_embeddings=[query], n_results=K, include=["distances"])["ids"][0])


def _lance(folder: Path, ids: list[str], vectors: Vectors) -> Search:
    import lancedb
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = lancedb.connect(str(folder)).create_table("vectors", pa.table({"id": ids, "vector": column}))
    return lambda query: [
        row["id"] for row in table.search(query).distance_type("cosine").select(["id", "_distance"]).limit(K).to_list()
    ]


def _sqlite_vec(folder: Path, ids: list[str], vectors: Vectors) -> Search:
    import apsw
    import sqlite_vec

    connection = apsw.Connection(str(folder))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(id TEXT PRIMARY KEY, e FLOAT[{vectors.shape[1]}] distance_metric=cosine)"
    )
    rows = ((id_, row.tobytes()) for id_, row in zip(ids, vectors, strict=True))
    with connection:
        connection.executemany("INSERT INTO v VALUES (?, ?)", rows)
    asked = "SELECT id FROM v WHERE e MATCH ? AND k = ? ORDER BY distance"
    return lambda query: [row[0] for row in connection.execute(asked, (query.tobytes(), K))]


RIVALS: dict[str, tuple[str, Callable[[Path, list[str], Vectors], Search]]] = {
    "Chroma": ("chromadb", _chroma),
    "LanceDB, no index": ("lancedb", _lance),
    "sqlite-vec": ("sqlite_vec", _sqlite_vec),
}
