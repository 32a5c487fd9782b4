"""Maintenance of a local store: backups, and measuring the recall."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow, blocking, run
from langchain_gemini_mm.interfaces import Content, Vectors
from langchain_gemini_mm.references import SCHEME
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.storage.regular_files import replacing
from langchain_gemini_mm.vectorstores.backend import VectorRequest
from langchain_gemini_mm.vectorstores.local import rows
from langchain_gemini_mm.vectorstores.local.backend import LocalBackend
from langchain_gemini_mm.vectorstores.local.database import Database, file_path, translate_errors
from langchain_gemini_mm.vectorstores.local.prefix import Recall, exact_scores, shares
from langchain_gemini_mm.vectorstores.local.rows import vector_batches, vectors_of
from langchain_gemini_mm.vectorstores.local.schema import is_new
from langchain_gemini_mm.vectorstores.query import Query
from langchain_gemini_mm.vectorstores.search import query_vectors_flow

_ROWS_AT_ONCE = 1000


def recall_flow(
    database: Database, backend: LocalBackend, sample: int, k: int, queries: Iterable[Content | Query] | None
) -> Flow[Recall]:
    """Measure the recall of the search.

    Args:
        database: the file.
        backend: searches one of its collections.
        sample: how many stored vectors are used as queries, drawn with a fixed seed.
        k: how many neighbours of each, without itself.
        queries: used instead of stored vectors.
    """
    if queries is not None:
        asked = [query if isinstance(query, Query) else Query(query) for query in queries]
        vectors = (yield from query_vectors_flow(backend, asked, None)) if asked else []
        ids, rows_asked = None, np.stack(vectors) if vectors else None
    else:
        ids, rows_asked = yield blocking(_drawn, database, backend.collection, sample)
    recall: Recall = yield blocking(_compared, database, backend, rows_asked, ids, k)
    return recall


def _compared(
    database: Database, backend: LocalBackend, queries: Vectors | None, ids: Sequence[str] | None, k: int
) -> Recall:
    """Compare the search with an exact one.

    Args:
        database: the file.
        backend: searches one of its collections.
        queries: `(q, d)` float32, unit rows.
        ids: of the queries, if they are stored vectors.
        k: how many neighbours of each.
    """
    with database.reading() as connection:
        collection = rows.find_collection(connection, backend.collection)
    if collection is None or queries is None:
        return Recall(recall=1.0, worst=1.0, sample=0, k=k, prefix=backend.prefix)
    more = 0 if ids is None else 1  # a stored vector finds itself
    exact = exact_scores(_batches(database, collection.c, queries.shape[1]), queries, k + more)
    answers = run(backend.search_vectors_many([VectorRequest(vector=query, k=k + more) for query in queries]))
    found = [
        [scored.score for scored in answer if ids is None or scored.record.id != ids[number]][:k]
        for number, answer in enumerate(answers)
    ]
    each = shares(exact[:, :k], found) if more else shares(exact, found)
    return Recall(recall=float(np.mean(each)), worst=min(each), sample=len(each), k=k, prefix=backend.prefix)


def _drawn(database: Database, name: str, sample: int) -> tuple[list[str], Vectors | None]:
    """Ids and vectors of stored documents; the vectors are None if there are none."""
    with database.reading() as connection:
        collection = rows.find_collection(connection, name)
        if collection is None or collection.dimensions is None:
            return [], None
        found = connection.execute("SELECT n FROM doc WHERE c = ? ORDER BY n", (collection.c,)).fetchall()
        numbers = [n for (n,) in found]
        drawn = np.random.default_rng(len(numbers)).choice(numbers, min(sample, len(numbers)), replace=False).tolist()
        queries = vectors_of(connection, drawn, collection.dimensions)
        if not drawn or queries is None:
            return [], None
        records = rows.by_numbers(connection, drawn)
    kept = [position for position, n in enumerate(drawn) if n in records and queries[position].any()]
    return [records[drawn[position]].id for position in kept], queries[kept] if kept else None


def _batches(database: Database, c: int, dimensions: int) -> Iterator[Vectors]:
    """All vectors, read in short transactions."""
    last = -1
    while True:
        before = last
        with database.reading() as connection:
            for numbers, vectors in vector_batches(connection, c, last, dimensions, _ROWS_AT_ONCE):
                yield vectors
                last = int(numbers[-1])
        if last == before:
            return


def remove_collection(database: Database, backend: LocalBackend, media: MediaStore | None) -> None:
    """Remove a collection, release its space and, if wanted, delete its media.

    Args:
        database: the file.
        backend: of the collection.
        media: where media are deleted that only this collection refers to; None deletes none.

    Raises:
        StoreError: see `LocalVectorStore.remove`.
    """
    named: set[str] = set()
    with database.writing() as connection:
        collection = rows.find_collection(connection, backend.collection)
        if collection is not None:
            if media is not None:
                named = rows.media_of(connection, collection.c) - rows.media_of(connection, collection.c, others=True)
            rows.remove_collection(connection, collection.c)
    if media is not None:
        for sha256 in sorted(named):
            media.delete(f"{SCHEME}{sha256}")
    if collection is not None:
        database.compact()


def back_up(database: Database, path: Any) -> None:
    """Copy to a temporary file in the folder of `path`, sync it, and rename it; only an older copy is replaced.

    Raises:
        StoreError: see `LocalVectorStore.backup`.
    """
    target = Path(file_path(path))
    try:
        with (
            replacing(target, lambda existing: _require_free(database, existing)) as partial,
            translate_errors(str(target)),
        ):
            _copy(database, partial)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error}. Choose another path, or make room") from error


def _require_free(database: Database, target: Path) -> None:
    if not database.in_memory and target.samefile(database.path):
        raise StoreError(f"{target} is the store itself. Choose another path for the copy")
    existing = [name for name in (f"{target.name}-wal", f"{target.name}-journal") if target.with_name(name).exists()]
    if existing:
        raise StoreError(f"{target} is open, or was not closed: {existing[0]} exists. Close it, or choose another path")
    with translate_errors(str(target)), closing(sqlite3.connect(f"{target.as_uri()}?mode=ro", uri=True)) as connection:
        is_new(connection, str(target))  # refuses files of other programs


def _copy(database: Database, partial: Path) -> None:
    with database.whole() as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)  # in one step: with several, writes of other processes would restart it
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log
