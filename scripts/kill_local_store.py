"""Kill writers of a local store with SIGKILL at random moments, and check the file against what they acknowledged.

    python -m scripts.kill_local_store --rounds 200

Each round starts one or two processes that carry out a fixed list of operations and acknowledge each on a pipe after it
returned. After the kill, the file must contain exactly the result of the acknowledged operations; the operation in
progress is either complete or absent.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm import LocalVectorStore

KINDS = ("add", "upsert", "delete", "update", "compact", "migrate")
ROWS = 10
"""Documents per batch."""
SLOTS = 4
"""Batches that are replaced repeatedly, in all modes but `add`."""
OLD_ROWS = 3000
"""Documents in the file of format 1 that is upgraded."""
ROUNDS_PER_FILE = 12
LONGEST = 0.25
"""Longest time until the kill, in seconds."""
LONGEST_MIGRATION = 0.1
"""The same for a writer that upgrades a file."""

VERSION_ONE = (
    """CREATE TABLE collection (c INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimensions INTEGER, fingerprint TEXT,
    revision INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE doc (n INTEGER PRIMARY KEY AUTOINCREMENT, c INTEGER NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL,
    metadata TEXT NOT NULL, vector BLOB NOT NULL, UNIQUE (c, id))""",
    "CREATE INDEX doc_of_collection ON doc (c)",
    "CREATE TABLE gone (g INTEGER PRIMARY KEY AUTOINCREMENT, c INTEGER NOT NULL, n INTEGER NOT NULL)",
    """CREATE TABLE attribute (c INTEGER NOT NULL, key TEXT NOT NULL, kind INTEGER NOT NULL, value NOT NULL,
    n INTEGER NOT NULL, PRIMARY KEY (c, key, kind, value, n)) WITHOUT ROWID""",
    "CREATE TABLE info (c INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (c, key))",
    "PRAGMA application_id = 0x6C676D6D",
    "PRAGMA user_version = 1",
)
"""The schema of format 1."""

Rows = dict[str, tuple[str, dict[str, Any]]]
"""Text and metadata by id."""


def embeddings() -> DeterministicFakeEmbedding:
    """Return the embeddings of all processes."""
    return DeterministicFakeEmbedding(size=8)


def make_version_one(path: Path, count: int = OLD_ROWS) -> Rows:
    """Write a file in format 1, with metadata `{"batch": 0}`; return its content."""
    words = " ".join(f"word{i}" for i in range(150))
    rows: Rows = {f"old-{i}": (f"old text {i} {words}", {"batch": 0}) for i in range(count)}
    vectors = np.random.default_rng(0).standard_normal((count, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f4")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in VERSION_ONE:
            connection.execute(statement)
        fingerprint = '{"embeddings":"DeterministicFakeEmbedding"}'
        connection.execute("INSERT INTO collection VALUES (1, 'default', 8, ?, 1, 0)", (fingerprint,))
        for n, (id_, vector) in enumerate(zip(rows, vectors, strict=True), start=1):
            row = (n, id_, rows[id_][0], '{"batch":0}', vector.tobytes())
            connection.execute("INSERT INTO doc VALUES (?, 1, ?, ?, ?, ?)", row)
            connection.execute("INSERT INTO attribute VALUES (1, 'batch', 1, 0, ?)", (n,))
        connection.commit()
    return rows


def operation(kind: str, number: int) -> tuple[str, int]:
    """Return operation and batch of a writer's step `number`."""
    if kind in ("add", "migrate"):
        return "put", number
    slot = number % SLOTS
    if kind == "upsert" or number < SLOTS:
        return "put", slot
    if kind == "delete":
        return ("delete" if (number // SLOTS) % 2 else "put"), slot
    if kind == "update":
        return "update", slot
    return ("delete", "put", "compact")[number % 3], number // 3 % SLOTS


def ids_of(name: str, batch: int) -> list[str]:
    """Return the ids of a writer's batch."""
    return [f"{name}-{batch}-{i}" for i in range(ROWS)]


def carry_out(store: LocalVectorStore, name: str, kind: str, number: int) -> None:
    """Carry out one step."""
    verb, batch = operation(kind, number)
    ids = ids_of(name, batch)
    if verb == "put":
        texts = [f"{name} {batch} step {number}"] * ROWS
        store.add_documents(
            Document(id=id_, page_content=text, metadata={"batch": number})
            for id_, text in zip(ids, texts, strict=True)
        )
    elif verb == "delete":
        store.delete(ids)
    elif verb == "update":
        store.update_metadata(ids, {"step": number})
    else:
        store.compact()


def after(rows: Rows, name: str, kind: str, number: int) -> Rows:
    """Apply one step to the expected rows of a writer."""
    verb, batch = operation(kind, number)
    ids = ids_of(name, batch)
    if verb == "put":
        return rows | {id_: (f"{name} {batch} step {number}", {"batch": number}) for id_ in ids}
    if verb == "delete":
        return {id_: row for id_, row in rows.items() if id_ not in ids}
    if verb == "update":
        return rows | {id_: (rows[id_][0], rows[id_][1] | {"step": number}) for id_ in ids}
    return rows


def work(path: str, name: str, kind: str, pipe: Any) -> None:
    """Run a writer: acknowledge each step after it returned, until killed."""
    if kind == "migrate":
        pipe.send("ready")  # the kill may interrupt opening
    with LocalVectorStore(path, embeddings()) as store:
        if kind != "migrate":
            pipe.send("ready")
        number = 0
        while True:
            carry_out(store, name, kind, number)
            pipe.send(number)
            number += 1


@dataclass
class Tally:
    """The results of all rounds."""

    rounds: int = 0
    writers: int = 0
    acknowledged: int = 0
    """Operations that returned before the kill."""
    rows: int = 0
    """Rows compared after the kills."""
    under_way_whole: int = 0
    """Operations without acknowledgement that are completely stored."""
    migrations_undone: int = 0
    lost: int = 0
    torn: int = 0
    unopened: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether there was no error."""
        return not (self.lost or self.torn or self.unopened or self.problems)


def start(path: Path, writers: dict[str, str]) -> list[Any]:
    """Start one process per name and mode."""
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(["langchain_gemini_mm.vectorstores"])
    started = []
    for name, kind in writers.items():
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(str(path), name, kind, sending), daemon=True)
        process.start()
        sending.close()
        started.append((process, receiving))
    return started


def acknowledged(pipe: Any) -> int:
    """Return the number of steps that a killed writer has acknowledged."""
    count = 0
    try:
        while True:
            count += pipe.recv() != "ready"
    except EOFError:
        pipe.close()
        return count


def run_round(path: Path, number: int, chance: random.Random, expected: Rows, tally: Tally) -> None:
    """Start writers, kill them, check the file; afterwards `expected` is its content."""
    kind = KINDS[number % len(KINDS)]
    if kind == "migrate":
        path = path.with_name(f"old-{number}.db")
        expected = make_version_one(path)
    writers = {f"r{number}a": kind}
    if number // len(KINDS) % 2:
        writers[f"r{number}b"] = kind if kind == "migrate" else chance.choice(KINDS[:-1])
    started = start(path, writers)
    for _, pipe in started:
        pipe.poll(30)
    time.sleep(chance.uniform(0, LONGEST_MIGRATION if kind == "migrate" else LONGEST))
    for process, _ in started:
        process.kill()
    for process, _ in started:
        process.join()
    counts = [acknowledged(pipe) for _, pipe in started]
    tally.rounds += 1
    tally.writers += len(writers)
    tally.acknowledged += sum(counts)
    if kind == "migrate":
        with closing(sqlite3.connect(path)) as connection:
            tally.migrations_undone += connection.execute("PRAGMA user_version").fetchone() == (1,)
    try:
        compare(path, dict(zip(writers.items(), counts, strict=True)), expected, tally)
    except Exception as error:  # noqa: BLE001 - counted and shown
        tally.unopened += 1
        tally.problems.append(f"round {number}: {error}")


def compare(path: Path, counts: dict[tuple[str, str], int], expected: Rows, tally: Tally) -> None:
    """Compare the rows of each writer with its acknowledged steps."""
    with LocalVectorStore(path, embeddings()) as store:
        found = {str(doc.id): (doc.page_content, doc.metadata) for doc in store.iterate()}
        problems = store.check().problems
        tally.problems += problems
        hits = store.search("step", k=5)
        if len(hits) < min(5, len(found)):
            tally.problems.append(f"{len(hits)} hits among {len(found)} rows")
    tally.rows += len(found)
    for (name, kind), count in counts.items():
        mine = {id_: row for id_, row in found.items() if id_.startswith(f"{name}-")}
        told: Rows = {}
        for number in range(count):
            told = after(told, name, kind, number)
        also = after(told, name, kind, count)
        if mine == also != told:
            tally.under_way_whole += 1
        elif mine != told:
            tally.lost += len(told.keys() - mine.keys())
            tally.torn += 1
            tally.problems.append(f"{name} ({kind}): the rows are those of neither {count} nor {count + 1} steps")
        expected |= mine
    tally.lost += len(expected.keys() - found.keys())
    if expected != found:
        tally.problems.append(f"{path.name}: rows of earlier rounds changed")


def run(folder: Path, rounds: int, seed: int = 0) -> Tally:
    """Run all rounds, with a new file every few rounds."""
    chance = random.Random(seed)
    tally = Tally()
    expected: Rows = {}
    for number in range(rounds):
        if number % ROUNDS_PER_FILE == 0:
            expected = {}
        run_round(folder / f"index-{number // ROUNDS_PER_FILE}.db", number, chance, expected, tally)
    return tally


def main() -> int:
    """Run the rounds and print the results."""
    parser = argparse.ArgumentParser(description="Kill writers of a local store and check the file.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = run(Path(folder), given.rounds, given.seed)
    print(
        f"{tally.rounds} rounds, {tally.writers} writers killed, {tally.acknowledged} acknowledged operations, "
        f"{tally.rows} rows compared, in {time.monotonic() - began:.0f} s\n"
        f"lost rows {tally.lost}, incomplete operations {tally.torn}, files that do not open {tally.unopened}\n"
        f"operations in progress at the kill that are complete: {tally.under_way_whole}; "
        f"upgrades undone by the kill: {tally.migrations_undone}"
    )
    for problem in tally.problems:
        print(f"  {problem}")
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
