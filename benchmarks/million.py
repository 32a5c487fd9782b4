"""A million vectors: a prefix of 256 in memory, whole vectors on disk. Takes some minutes and 8 GB below TMPDIR."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.local_store import Bench, K, first_query, recall_row
from benchmarks.local_store import Size as Sizes
from benchmarks.report import Row


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of rows, and of rounds."""

    rows: int
    queries: int
    rounds: int


FULL = Size(rows=1_000_000, queries=15, rounds=3)
QUICK = Size(rows=20_000, queries=10, rounds=3)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Search with a prefix, compared with plain NumPy on whole vectors."""
    sizes = Sizes(small=0, middle=0, large=0, wide=0, queries=size.queries, rounds=size.rounds)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "index.db", size.rows, 768, sizes)
        with bench.open(prefix=256) as store:
            yield from bench.against_plain({"prefix 256": (lambda query: store.search_by_vector(query, k=K), None)})
            yield recall_row(bench, store)
        yield from first_query(bench)
