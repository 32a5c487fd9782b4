"""How much a search by prefixes finds: asked with stored vectors, against an exact search of the file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from langchain_gemini_mm.batching import positive
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectorstores.backend import Nearest
from langchain_gemini_mm.vectorstores.local import rows
from langchain_gemini_mm.vectorstores.local.prefix import Recall, exact_scores, shares
from langchain_gemini_mm.vectorstores.local_vectors import batches_after, vectors_of

if TYPE_CHECKING:
    from langchain_gemini_mm.vectorstores.local.database import Database
    from langchain_gemini_mm.vectorstores.local.search import LocalSearch

_ROWS_AT_ONCE = 1000


class RecallCheck:
    """The part of a local store that measures its own search."""

    collection: str
    _database: Database
    _search: LocalSearch

    def check_recall(self, *, sample: int = 100, k: int = 10) -> Recall:
        """Measure how many of the `k` nearest documents a search finds, with stored vectors as queries.

        The whole file is read once. What is written meanwhile may make the answer a little wrong. A search that holds
        whole vectors is exact, and the answer 1.

        ```python
        from langchain_core.embeddings import DeterministicFakeEmbedding

        from langchain_gemini_mm import LocalVectorStore

        with LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=16), prefix=8) as store:
            store.add_texts([f"text {number}" for number in range(50)])
            assert store.check_recall(k=5).recall == 1.0
        ```

        Args:
            sample: how many stored vectors to ask with, drawn at random but the same for the same rows.
            k: how many neighbours of each, without itself.
        """
        positive("sample", sample)
        positive("k", k)
        drawn = self._drawn(sample)
        if drawn is None:
            return Recall(recall=1.0, worst=1.0, sample=0, k=k, prefix=self._search.prefix)
        c, ids, queries = drawn
        exact = exact_scores(self._batches(c, queries.shape[1]), queries, k + 1)
        answers = self._search.nearest([Nearest(vector=query, k=k + 1) for query in queries])
        found = [
            [scored.score for scored in answer if scored.record.id != id_][:k]
            for id_, answer in zip(ids, answers, strict=True)
        ]
        each = shares(exact[:, :-1], found)  # the last is the vector itself
        mean, prefix = float(np.mean(each)), self._search.prefix
        return Recall(recall=mean, worst=min(each), sample=len(each), k=k, prefix=prefix)

    async def acheck_recall(self, *, sample: int = 100, k: int = 10) -> Recall:
        """Async twin of `check_recall`."""
        return await asyncio.to_thread(self.check_recall, sample=sample, k=k)

    def _drawn(self, sample: int) -> tuple[int, list[str], Vectors] | None:
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is None or collection.dimensions is None:
                return None
            found = connection.execute("SELECT n FROM doc WHERE c = ? ORDER BY n", (collection.c,)).fetchall()
            numbers = [n for (n,) in found]
            drawn = (
                np.random.default_rng(len(numbers)).choice(numbers, min(sample, len(numbers)), replace=False).tolist()
            )
            queries = vectors_of(connection, drawn, collection.dimensions)
            if not drawn or queries is None:
                return None
            records = rows.by_numbers(connection, drawn)
        return collection.c, [records[n].id for n in drawn], queries

    def _batches(self, c: int, dimensions: int) -> Iterator[Vectors]:
        """All vectors, in transactions so short that nobody waits."""
        last = -1
        while True:
            before = last
            with self._database.reading() as connection:
                for numbers, vectors in batches_after(connection, c, last, dimensions, _ROWS_AT_ONCE):
                    yield vectors
                    last = int(numbers[-1])
            if last == before:
                return
