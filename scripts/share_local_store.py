"""Two processes write to one local store while three others search it; every search must return correct results.

python -m scripts.share_local_store --seconds 60
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from langchain_gemini_mm import LocalVectorStore

KEPT = 400
"""Documents that are replaced repeatedly and always present."""
WRITERS = ("even", "odd")
READERS = 3
K = 20
LEAST = 10
"""Least number of steps of each process, even if the time is over."""


def open_store(path: str | Path) -> LocalVectorStore:
    """Open the store of all processes."""
    return LocalVectorStore(path, DeterministicFakeEmbedding(size=64))


def kept_ids(writer: int) -> list[str]:
    """Return the ids that one writer replaces."""
    return [f"kept-{i}" for i in range(writer, KEPT, len(WRITERS))]


def documents(ids: list[str], step: int) -> list[Document]:
    """Return a version of documents that always contain the word `always`."""
    return [
        Document(id=id_, page_content=f"always {id_} in step {step}", metadata={"kept": True, "step": step})
        for id_ in ids
    ]


def write(store: LocalVectorStore, writer: int, step: int, chance: random.Random) -> None:
    """Replace, add, update and delete; compact occasionally."""
    store.add_documents(documents(chance.sample(kept_ids(writer), 20), step))
    store.update_metadata(chance.sample(kept_ids(writer), 5), {"revised": step})
    extra = [f"{WRITERS[writer]}-{step}-{i}" for i in range(10)]
    store.add_documents(Document(id=id_, page_content=f"passing {step}", metadata={"kept": False}) for id_ in extra)
    if step % 3 == 0:
        store.delete(filter={"kept": False})
    if step % 200 == 100:
        store.compact()


def read(store: LocalVectorStore, reader: int, step: int, chance: random.Random) -> None:
    """Check that each search type returns `K` different hits and that all permanent documents are there."""
    question = f"always {chance.randrange(KEPT)}"
    asked: dict[str, Any] = (
        {},
        {"filter": {"kept": True}},
        {"search_type": "keyword", "filter": {"kept": True}},
        {"search_type": "hybrid"},
        {"search_type": "mmr", "fetch_k": 40},
    )[(step + reader) % 5]
    found = {hit.document.id for hit in store.search(question, k=K, **asked)}
    if len(found) != K:
        raise AssertionError(f"{len(found)} hits instead of {K} for {asked}")
    if step % 10 == 0:
        count = store.count(filter={"kept": True})
        ids = [f"kept-{i}" for i in range(KEPT)]
        if count != KEPT or len(store.get_by_ids(ids)) != KEPT:
            raise AssertionError(f"{count} permanent documents counted instead of {KEPT}")


def work(path: str, number: int, act: Callable[..., None], seconds: float, pipe: Any) -> None:
    """Run one process until the time is over; send its number of steps and the first error."""
    chance = random.Random(number)
    steps, error = 0, ""
    try:
        with open_store(path) as store:
            end = time.monotonic() + seconds
            while steps < LEAST or time.monotonic() < end:
                act(store, number, steps, chance)
                steps += 1
    except Exception as problem:  # noqa: BLE001 - sent to the one who started us
        error = f"{act.__name__} {number}, step {steps}: {type(problem).__name__}: {problem}"
    pipe.send((steps, error))


@dataclass
class Tally:
    """The results of all processes."""

    writes: int = 0
    searches: int = 0
    errors: list[str] = field(default_factory=list)


def run(folder: Path, seconds: float) -> Tally:
    """Run all processes on one file, then check the file and a copy."""
    path = folder / "index.db"
    with open_store(path) as store:
        for writer in range(len(WRITERS)):
            store.add_documents(documents(kept_ids(writer), 0))
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(["langchain_gemini_mm.vectorstores"])
    tally = Tally()
    jobs = [(number, write) for number in range(len(WRITERS))] + [(number, read) for number in range(READERS)]
    started = []
    for number, act in jobs:
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(str(path), number, act, seconds, sending))
        process.start()
        sending.close()
        started.append((process, receiving, act))
    for process, pipe, act in started:
        steps, error = pipe.recv()
        process.join()
        tally.errors += [error] if error else []
        if act is write:
            tally.writes += steps
        else:
            tally.searches += steps
    with open_store(path) as store:
        tally.errors += store.check().problems
        count = store.count(filter={"kept": True})
    (folder / "elsewhere").mkdir()
    shutil.copy(path, folder / "elsewhere" / "copy.db")
    with open_store(folder / "elsewhere" / "copy.db") as copy:
        tally.errors += copy.check().problems
        if not count == copy.count(filter={"kept": True}) == KEPT:
            tally.errors.append(f"{count} documents are kept instead of {KEPT}")
    return tally


def main() -> int:
    """Run and print the results."""
    parser = argparse.ArgumentParser(description="Write and search one file in several processes.")
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        tally = run(Path(folder), given.seconds)
    print(
        f"{tally.writes} rounds of writing (three or four transactions each), {tally.searches} searches, "
        f"{len(tally.errors)} errors"
    )
    for error in tally.errors:
        print(f"  {error}")
    return 1 if tally.errors else 0


if __name__ == "__main__":
    sys.exit(main())
