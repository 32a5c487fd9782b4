"""Search and bulk insert of the local store against plain NumPy and plain SQLite, on made-up vectors."""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from benchmarks.report import Row, cost, interleaved, speed
from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.types import Vectors
from langchain_gemini_mm.vectorstores.writing import BATCH_SIZE

DIMENSIONS = 768
K = 10
FILTER = {"source": "file-7.pdf"}
"""Keeps one document in a hundred."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many rows are searched and inserted, and how often."""

    rows: Sequence[int]
    queries: int
    inserted: int
    rounds: int


FULL = Size(rows=(10_000, 50_000), queries=100, inserted=10_000, rounds=9)
QUICK = Size(rows=(10_000,), queries=50, inserted=2_000, rounds=3)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Search each number of rows, then insert."""
    with tempfile.TemporaryDirectory() as folder:
        for rows in size.rows:
            yield from _searching(Path(folder) / f"{rows}.db", rows, size)
        yield _inserting(Path(folder), size)


def _searching(path: Path, rows: int, size: Size) -> Iterator[Row]:
    vectors, documents = unit_vectors(rows, seed=1), made_up(rows)
    queries = unit_vectors(size.queries, seed=2)
    with LocalVectorStore(path, DeterministicFakeEmbedding(size=DIMENSIONS)) as store:
        store.add_vectors(documents, vectors)

        def ours(query: Any) -> list[Document]:
            return [hit.document for hit in store.search_by_vector(query, k=K)]

        def filtered(query: Any) -> list[Document]:
            return [hit.document for hit in store.search_by_vector(query, k=K, filter=FILTER)]

        def plain(query: Any) -> list[Document]:
            scores = vectors @ query
            best = np.argpartition(scores, -K)[-K:]
            return [documents[number] for number in best[np.argsort(-scores[best])]]

        for query in queries:
            assert [document.id for document in ours(query)] == [document.id for document in plain(query)]
            assert len(filtered(query)) == min(K, sum(document.metadata == FILTER for document in documents))
        medians = _medians({"ours": ours, "filtered": filtered, "plain": plain}, queries, size.rounds)
    name = f"search time, {rows:,} x {DIMENSIONS}, k={K}"
    yield cost(f"{name}, p50", "plain NumPy", medians["ours"], medians["plain"], aim=None)
    yield cost(f"{name}, 1 % filter, p50", "plain NumPy, all rows", medians["filtered"], medians["plain"], aim=None)


def _medians(searches: dict[str, Callable[[Any], object]], queries: Vectors, rounds: int) -> dict[str, list[float]]:
    """The median time of a query, of each round; the searches take turns with every query."""
    medians: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in searches}
        for query in queries:
            for name, search in searches.items():
                started = time.perf_counter()
                search(query)
                times[name].append(time.perf_counter() - started)
        for name, taken in times.items():
            medians[name].append(statistics.median(taken))
    return medians


def _inserting(folder: Path, size: Size) -> Row:
    vectors, documents = unit_vectors(size.inserted, seed=3), made_up(size.inserted)
    rows = [
        (document.id, document.page_content, json.dumps(document.metadata), vector.tobytes())
        for document, vector in zip(documents, vectors, strict=True)
    ]
    names = (folder / f"inserted-{number}.db" for number in count())

    def ours() -> None:
        with LocalVectorStore(next(names), DeterministicFakeEmbedding(size=DIMENSIONS)) as store:
            store.add_vectors(documents, vectors)

    turns = interleaved({"ours": ours, "plain": lambda: insert_plainly(next(names), rows)}, size.rounds)
    return speed(
        f"bulk insert, {size.inserted:,} x {DIMENSIONS}, a commit for {BATCH_SIZE}",
        "sqlite3 executemany",
        [turn.wall for turn in turns["ours"]],
        [turn.wall for turn in turns["plain"]],
        aim=None,
    )


def insert_plainly(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """The same rows, as durable, in as many transactions, without anything to filter or search by."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE doc (id TEXT PRIMARY KEY, text TEXT, metadata TEXT, vector BLOB)")
        for start in range(0, len(rows), BATCH_SIZE):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO doc VALUES (?, ?, ?, ?)", rows[start : start + BATCH_SIZE])
            connection.execute("COMMIT")


def unit_vectors(rows: int, *, seed: int) -> Vectors:
    """Random directions: `(rows, DIMENSIONS)` float32."""
    vectors = np.random.default_rng(seed).standard_normal((rows, DIMENSIONS), dtype=np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def made_up(rows: int) -> list[Document]:
    """Documents with a metadata value that one in a hundred shares."""
    return [
        Document(
            id=f"document-{number}",
            page_content=f"What stands in document {number}. " * 5,
            metadata={"source": f"file-{number % 100}.pdf"},
        )
        for number in range(rows)
    ]
