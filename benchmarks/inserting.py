"""Bulk insert into the local store, compared with plain SQLite, on synthetic vectors."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from benchmarks.report import Row, interleaved, speed
from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectorstores.langchain_api import BATCH_SIZE

DIMENSIONS = 768


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of rows, and of rounds."""

    inserted: int
    rounds: int


FULL = Size(inserted=10_000, rounds=9)
QUICK = Size(inserted=2_000, rounds=3)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Insert the same rows with both."""
    with tempfile.TemporaryDirectory() as folder:
        yield _inserting(Path(folder), size)


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
        f"bulk insert, {size.inserted:,} x {DIMENSIONS}, a commit per {BATCH_SIZE:,}",
        "sqlite3 executemany",
        [turn.wall for turn in turns["ours"]],
        [turn.wall for turn in turns["plain"]],
        aim=0.6,
    )


def insert_plainly(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert the same rows as durably and in as many transactions, without tables for filters and search."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE doc (id TEXT PRIMARY KEY, text TEXT, metadata TEXT, vector BLOB)")
        for start in range(0, len(rows), BATCH_SIZE):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO doc VALUES (?, ?, ?, ?)", rows[start : start + BATCH_SIZE])
            connection.execute("COMMIT")


def unit_vectors(rows: int, *, seed: int) -> Vectors:
    """Return random directions: `(rows, DIMENSIONS)` float32."""
    vectors = np.random.default_rng(seed).standard_normal((rows, DIMENSIONS), dtype=np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def made_up(rows: int) -> list[Document]:
    """Return documents with a metadata value that one in a hundred shares."""
    return [
        Document(
            id=f"document-{number}",
            page_content=f"What stands in document {number}. " * 5,
            metadata={"source": f"file-{number % 100}.pdf"},
        )
        for number in range(rows)
    ]
