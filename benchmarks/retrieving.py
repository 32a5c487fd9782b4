"""Time that the retriever adds to a search of its store, and time of grouping many hits by file.

Run: python benchmarks/retrieving.py [--quick]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import Row, machine, table
from langchain_gemini_mm import Hit, LocalVectorStore, MultimodalRetriever
from langchain_gemini_mm.retrievers import group_by_source

DIMENSIONS, K = 768, 10
OVERHEAD_MS, GROUPING_MS = 1.0, 50.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of hits, and of rounds."""

    rows: int
    queries: int
    rounds: int
    hits: int = 10_000


FULL = Size(rows=10_000, queries=100, rounds=5)
QUICK = Size(rows=2_000, queries=30, rounds=3)


class Seeded(Embeddings):
    """Embeddings that cost almost nothing, so that the overhead dominates."""

    def embed_query(self, text: str) -> list[float]:
        """Return a row of random numbers."""
        numbers: list[float] = np.random.default_rng(len(text)).standard_normal(DIMENSIONS).tolist()
        return numbers

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a row of random numbers per text."""
        found: list[list[float]] = np.random.default_rng(0).standard_normal((len(texts), DIMENSIONS)).tolist()
        return found


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure both."""
    yield _overhead(size)
    yield _grouping(size)


def _overhead(size: Size) -> Row:
    store = LocalVectorStore(":memory:", Seeded())
    store.add_texts((f"text {n}" for n in range(size.rows)), ({"modality": "text"} for _ in range(size.rows)))
    retriever = MultimodalRetriever(store=store, ranking="raw", k=K)
    queries = ["x" * n for n in range(1, size.queries + 1)]
    added = []
    for _ in range(size.rounds):
        direct = _p50_ms(lambda query: store.search(query, k=K), queries)
        added.append(_p50_ms(retriever.invoke, queries) - direct)
    middle = statistics.median(added)
    return Row(
        measured="retriever.invoke, raw",
        against="store.search",
        ratio=f"{middle:+.2f} ms",
        rounds=f"{min(added):.2f} to {max(added):.2f}",
        aim=f"< {OVERHEAD_MS:g} ms",
        met=middle < OVERHEAD_MS,
    )


def _grouping(size: Size) -> Row:
    chosen = random.Random(0)
    hits = []
    for rank in range(1, size.hits + 1):
        start = chosen.randrange(2000) * 10.0
        where = {"source": f"file {chosen.randrange(300)}", "start_s": start, "end_s": start + 10}
        hits.append(Hit(Document(id=str(rank), page_content="", metadata=where), 1 - rank / size.hits, "cosine", rank))
    times = []
    for _ in range(size.rounds):
        started = time.perf_counter()
        assert len(group_by_source(hits)) == 300
        times.append(1000 * (time.perf_counter() - started))
    middle = statistics.median(times)
    return Row(
        measured=f"grouping {size.hits:,} hits by file, moments merged",
        against=f"{GROUPING_MS:g} ms",
        ratio=f"{middle / GROUPING_MS:.2f}",
        rounds=f"{min(times) / GROUPING_MS:.2f} to {max(times) / GROUPING_MS:.2f}",
        aim="≤ 1.00",
        met=middle <= GROUPING_MS,
    )


def _p50_ms(ask: Callable[[str], object], queries: list[str]) -> float:
    times = []
    for query in queries:
        started = time.perf_counter()
        ask(query)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    print(machine(), table(measure(QUICK if given.quick else FULL)), sep="\n\n")
