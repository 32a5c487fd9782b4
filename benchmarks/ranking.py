"""Normalized search of five modalities, compared with a raw search in one run, on synthetic vectors.

Run: python benchmarks/run.py --only ranking [--quick], with OPENBLAS_NUM_THREADS=1 as in a server.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.local_store import made_up_documents, made_up_vectors
from benchmarks.report import Row, cost, tell
from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.interfaces import Content, Role, Vectors
from langchain_gemini_mm.ranking import (
    RANKINGS,
    LabelledQuery,
    Ranking,
    calibrate,
    sample_background,
)
from langchain_gemini_mm.ranking.search import by_modality_flow, plan_ranking, ranked_flow

MODALITIES = ("text", "text", "text", "text", "image", "image", "pdf", "pdf", "video", "audio")
"""Modalities of ten documents."""
LEAST = 1.3
"""Target for a normalized search, relative to a raw one."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of rows, and of rounds."""

    rows: int
    dimensions: int
    queries: int
    rounds: int


FULL = Size(rows=50_000, dimensions=768, queries=40, rounds=5)
QUICK = Size(rows=50_000, dimensions=768, queries=15, rounds=3)


class Given:
    """Embeddings that look vectors up: the query is the number of its vector."""

    fingerprint: Mapping[str, object] = {"model": "given"}

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:  # noqa: ARG002
        """Return the vectors."""
        return self._vectors[[int(str(content)) for content in contents]]

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Return the vector."""
        return self.embed(contents, role=role, task_type=task_type)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Run every query with each ranking in turn."""
    both = made_up_vectors(size.rows + size.queries, size.dimensions)
    documents = made_up_documents(size.rows)
    for number, document in enumerate(documents):
        document.metadata["modality"] = MODALITIES[number % len(MODALITIES)]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalVectorStore(Path(folder) / "index.db", Given(both[size.rows :]), prefix=False) as store,
    ):
        store.add_vectors(documents, both[: size.rows])
        started = time.perf_counter()
        drawn = sum(sample_background(store).values())
        tell(f"{drawn:,} documents in the background sample, drawn once in {time.perf_counter() - started:.2f} s")
        calibrate(store, [LabelledQuery(str(query), ["document-0"]) for query in range(min(size.queries, 3))])
        for k in (4, 10):
            yield from _compared(store, size, k)


def _compared(store: LocalVectorStore, size: Size, k: int) -> Iterator[Row]:
    def ranked(ranking: Ranking) -> Callable[[str], object]:
        return lambda query: run(ranked_flow([query], plan_ranking(store.backend, k, ranking=ranking)))

    medians = _medians(
        {
            "store.search": partial(store.search, k=k),
            **{ranking: ranked(ranking) for ranking in RANKINGS},
            "by modality": lambda query: run(by_modality_flow(query, plan_ranking(store.backend, k))),
        },
        size,
    )
    name = f"{size.rows:,} x {size.dimensions}, k={k}"
    aims = {"normalized": LEAST, "calibrated": LEAST, "by modality": None}
    for ranking, aim in aims.items():
        note = f"{1000 * statistics.median(medians[ranking]):.2f} ms"
        yield cost(f"{name}, {ranking}", "raw", medians[ranking], medians["raw"], aim=aim, note=note)
    yield cost(f"{name}, raw", "store.search", medians["raw"], medians["store.search"], aim=None)


def _medians(contenders: Mapping[str, Callable[[str], object]], size: Size) -> dict[str, list[float]]:
    """Return the median time of a query, per round."""
    for search in contenders.values():
        search("0")
    medians: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(size.rounds):
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for query in np.random.default_rng(0).permutation(size.queries).tolist():
            for name, search in contenders.items():
                started = time.perf_counter()
                search(str(query))
                times[name].append(time.perf_counter() - started)
        for name, taken in times.items():
            medians[name].append(statistics.median(taken))
    return medians
