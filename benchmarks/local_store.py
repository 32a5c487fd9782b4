"""Search of the local store, compared with plain NumPy on the same synthetic vectors in one run.

Run: python benchmarks/local_store.py [--quick], and once more with OPENBLAS_NUM_THREADS=1 as in a server. Needs 2.5 GB
below TMPDIR.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.report import Row, cost, interleaved, machine, skipped, speed, table
from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.interfaces import Vectors

K = 10
TOGETHER = 16
OPENED_IN = 0.3
"""Target, in seconds, for the first query of a new process."""
INSERTED = 15_000
"""Target of rows per second, stored durably."""
RARE, HALF = {"source": "file-7.pdf"}, {"half": 1}
MADE_UP = "vectors of 300 clusters in 64 hidden dimensions with a decaying spectrum, which raises recall"

_FIRST_QUERY = """
import sys, time
from pathlib import Path
import numpy as np
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_gemini_mm import LocalVectorStore
path, dimensions = sys.argv[1], int(sys.argv[2])
statm = Path("/proc/self/statm")
def held(): return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0
query = np.ones(dimensions)
np.ones((100, dimensions)) @ query
before, started = held(), time.perf_counter()
store = LocalVectorStore(path, DeterministicFakeEmbedding(size=dimensions))
assert len(store.search_by_vector(query, k=10)) == 10
print(time.perf_counter() - started, held() - before)
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of rows, and of rounds."""

    small: int
    middle: int
    large: int
    wide: int
    queries: int
    rounds: int


FULL = Size(small=10_000, middle=50_000, large=200_000, wide=50_000, queries=40, rounds=5)
QUICK = Size(small=10_000, middle=50_000, large=20_000, wide=20_000, queries=20, rounds=3)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure one collection after the other, each in a folder of its own."""
    plans: list[tuple[int, int, Callable[[Bench], Iterator[Row]]]] = [
        (size.small, 768, _small),
        (size.middle, 768, _middle),
        (size.wide, 3072, _wide),
        (size.large, 768, _large),
    ]
    for rows, dimensions, measured in plans:
        with tempfile.TemporaryDirectory() as folder:
            yield from measured(Bench(Path(folder) / "index.db", rows, dimensions, size))


class Bench:
    """A filled collection, and the same vectors as one array."""

    def __init__(self, path: Path, rows: int, dimensions: int, size: Size) -> None:
        self.path, self.size = path, size
        self.name = f"{rows:,} x {dimensions}"
        both = made_up_vectors(rows + size.queries, dimensions)
        self.vectors, self.queries = both[:rows], both[rows:]
        self.documents = made_up_documents(rows)
        with self.open() as store:
            started = time.perf_counter()
            store.add_vectors(self.documents, self.vectors)
            self.inserted = rows / (time.perf_counter() - started)

    def open(self, **options: Any) -> LocalVectorStore:
        """Open the collection."""
        return LocalVectorStore(self.path, DeterministicFakeEmbedding(size=self.queries.shape[1]), **options)

    def plain(self, query: Any) -> list[Document]:
        """Search with plain NumPy, and take the documents from a list."""
        scores = self.vectors @ query
        best = np.argpartition(scores, -K)[-K:]
        return [self.documents[number] for number in best[np.argsort(-scores[best])]]

    def against_plain(self, searches: dict[str, tuple[Callable[[Any], object], float | None]]) -> Iterator[Row]:
        """Return the median time of a query in each round; all contenders take turns with every query."""
        callables = {"plain": self.plain} | {name: search for name, (search, _) in searches.items()}
        for search in callables.values():
            search(self.queries[0])
        medians: dict[str, list[float]] = {name: [] for name in callables}
        for _ in range(self.size.rounds):
            times: dict[str, list[float]] = {name: [] for name in callables}
            for query in self.queries:
                for name, search in callables.items():
                    started = time.perf_counter()
                    search(query)
                    times[name].append(time.perf_counter() - started)
            for name, taken in times.items():
                medians[name].append(statistics.median(taken))
        for name, (_, aim) in searches.items():
            note = f"{1000 * statistics.median(medians[name]):.2f} ms"
            yield cost(
                f"{self.name}, {name}", "plain NumPy, all rows", medians[name], medians["plain"], aim=aim, note=note
            )


def _small(bench: Bench) -> Iterator[Row]:
    with bench.open(prefix=False) as store:
        for query in bench.queries:
            found = store.similarity_search_by_vector(query, k=K)
            assert [document.id for document in found] == [document.id for document in bench.plain(query)]
        yield from bench.against_plain({"whole": (lambda query: store.search_by_vector(query, k=K), 1.15)})


def _middle(bench: Bench) -> Iterator[Row]:
    note = f"{bench.inserted:,.0f} rows per second"
    yield cost(
        f"{bench.name}, insert", f"{INSERTED:,} rows per second", [INSERTED], [bench.inserted], aim=1.0, note=note
    )
    yield from first_query(bench)
    with bench.open(prefix=False) as store, bench.open(prefix=256) as short:
        yield from bench.against_plain(
            {
                "whole": (lambda query: store.search_by_vector(query, k=K), 1.05),
                "whole, 1 % filter": (lambda query: store.search_by_vector(query, k=K, filter=RARE), 0.08),
                "whole, 50 % filter": (lambda query: store.search_by_vector(query, k=K, filter=HALF), 1.3),
                "prefix 256": (lambda query: short.search_by_vector(query, k=K), 1.0),
            }
        )
        yield _together(bench, store)
        yield _at_once(bench, store)
        yield from _filtered_and_hybrid(bench, store)
    with bench.open(prefix=False, precision="half") as half:
        yield from bench.against_plain({"half precision": (lambda query: half.search_by_vector(query, k=K), None)})
        yield recall_row(bench, half)


def _at_once(bench: Bench, store: LocalVectorStore) -> Row:
    """Compare the searches per second of four threads with those of one."""

    def seconds(threads: int) -> float:
        def search(_: int) -> None:
            for query in bench.queries:
                store.search_by_vector(query, k=K)

        with ThreadPoolExecutor(threads) as pool:
            started = time.perf_counter()
            list(pool.map(search, range(threads)))
            return (time.perf_counter() - started) / threads

    seconds(4)
    pairs = [(seconds(4), seconds(1)) for _ in range(bench.size.rounds)]
    four, one = ([pair[i] for pair in pairs] for i in (0, 1))
    return speed(f"{bench.name}, whole, four threads at once", "one thread", four, one, aim=1.6)


def _filtered_and_hybrid(bench: Bench, store: LocalVectorStore) -> Iterator[Row]:
    """Compare a range filter that was never used before, and hybrid search, with the searches they consist of."""
    bounds = iter(np.random.default_rng(0).uniform(0, bench.vectors.shape[0], 100_000).tolist())
    texts = iter(f"document {number}" for number in np.random.default_rng(0).integers(0, 10**6, 100_000).tolist())
    pairs: dict[str, tuple[str, Callable[[], object], Callable[[], object]]] = {
        "a new range filter": (
            "no filter",
            lambda: store.search_by_vector(bench.queries[0], k=K, filter={"number": {"$gte": next(bounds)}}),
            lambda: store.search_by_vector(bench.queries[0], k=K),
        ),
        "hybrid": (
            "keyword and vector search",
            lambda: store.search(next(texts), k=K, search_type="hybrid"),
            lambda: (store.search(text := next(texts), k=K, search_type="keyword"), store.search(text, k=K)),
        ),
    }
    for name, (against, ours, theirs) in pairs.items():
        for _ in range(3):
            ours(), theirs()
        turns = interleaved({"ours": ours, "theirs": theirs}, 10 * bench.size.rounds)
        taken = {who: [turn.wall for turn in found] for who, found in turns.items()}
        size = bench.size.rounds
        medians = {
            who: [statistics.median(found[start::size]) for start in range(size)] for who, found in taken.items()
        }
        yield cost(f"{bench.name}, {name}", against, medians["ours"], medians["theirs"], aim=1.3)


def _together(bench: Bench, store: LocalVectorStore) -> Row:
    # Searches by ids of stored documents need no embedding, so only the search is measured.
    from langchain_gemini_mm import Query

    asked = [Query(like=[document.id or ""]) for document in bench.documents[:TOGETHER]]
    together, alone = [], []
    for _ in range(bench.size.rounds):
        started = time.perf_counter()
        store.search_many(asked, k=K)
        middle = time.perf_counter()
        for query in asked:
            store.search(query, k=K)
        together.append(middle - started)
        alone.append(time.perf_counter() - middle)
    return cost(f"{bench.name}, {TOGETHER} queries at once", f"{TOGETHER} searches", together, alone, aim=0.5)


def first_query(bench: Bench) -> Iterator[Row]:
    """Open the collection and search once, in a new process: time, and memory relative to the vectors."""
    seconds, held = [], []
    for _ in range(bench.size.rounds):
        command = [sys.executable, "-c", _FIRST_QUERY, str(bench.path), str(bench.queries.shape[1])]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
        taken, more = answer.stdout.split()
        seconds.append(float(taken))
        held.append(float(more))
    name, note = f"{bench.name}, open and first query", f"{statistics.median(seconds):.3f} s, without imports"
    yield cost(name, f"{OPENED_IN} s", seconds, [OPENED_IN] * len(seconds), aim=1.0, note=note)
    if all(held):
        yield cost(f"{bench.name}, memory", "the vectors", held, [float(bench.vectors.nbytes)] * len(held), aim=1.3)
    else:
        yield skipped(f"{bench.name}, memory", "the vectors", "the memory of a process is measured on Linux only")


def _wide(bench: Bench) -> Iterator[Row]:
    with bench.open(prefix=256) as store:
        yield from bench.against_plain(
            {
                "prefix 256": (lambda query: store.search_by_vector(query, k=K), 0.2),
                "prefix 256, 1 % filter": (lambda query: store.search_by_vector(query, k=K, filter=RARE), 0.2),
                "prefix 256, 50 % filter": (lambda query: store.search_by_vector(query, k=K, filter=HALF), 0.3),
            }
        )
        yield recall_row(bench, store)


def _large(bench: Bench) -> Iterator[Row]:
    with bench.open(prefix=False) as store, bench.open() as short:
        yield from bench.against_plain(
            {
                "whole": (lambda query: store.search_by_vector(query, k=K), 1.1),
                "as opened by default": (lambda query: short.search_by_vector(query, k=K), 0.3),
            }
        )
        yield recall_row(bench, short)


def recall_row(bench: Bench, store: LocalVectorStore) -> Row:
    """Measure the recall of the prefix search."""
    found = store.check_recall(sample=50, k=K)
    return Row(
        measured=f"{bench.name}, recall, prefix {found.prefix}",
        against="exact search",
        ratio=f"{found.recall:.4f}",
        rounds=f"worst {found.worst:.2f}",
        aim="≥ 0.999",
        met=found.recall >= 0.999,
        note=MADE_UP,
    )


def made_up_vectors(rows: int, dimensions: int) -> Vectors:
    """Return clustered directions with most energy in the first values: `(rows, dimensions)` float32, unit rows."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((300, 64), dtype=np.float32)
    weights = np.arange(1, dimensions + 1, dtype=np.float32) ** -0.32
    spread = random.standard_normal((64, dimensions), dtype=np.float32) * weights
    vectors = np.empty((rows, dimensions), dtype=np.float32)
    for start in range(0, rows, 10_000):
        part = vectors[start : start + 10_000]
        hidden = centres[random.integers(0, 300, len(part))]
        hidden += 0.6 * random.standard_normal(hidden.shape, dtype=np.float32)
        np.matmul(hidden, spread, out=part)
        part += random.standard_normal(part.shape, dtype=np.float32) * weights * 2
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def made_up_documents(rows: int) -> Sequence[Document]:
    """Return documents with a value that one in a hundred shares, and one that every second shares."""
    return [
        Document(
            id=f"document-{number}",
            page_content=f"What stands in document {number}. " * 5,
            metadata={"source": f"file-{number % 100}.pdf", "half": number % 2, "number": number},
        )
        for number in range(rows)
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and inaccurate, to test the benchmark")
    quick = parser.parse_args().quick
    print(f"{machine()}{', --quick' if quick else ''}\n\n{table(measure(QUICK if quick else FULL))}")


if __name__ == "__main__":
    main()
