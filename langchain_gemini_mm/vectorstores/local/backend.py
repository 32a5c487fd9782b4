"""The rows of a local store: one collection in one SQLite file, its vectors searched in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from langchain_gemini_mm.errors import InvalidValueError, StoreError
from langchain_gemini_mm.flows import in_thread
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectors import top_k
from langchain_gemini_mm.vectorstores.backend import (
    Backend,
    Columns,
    KeywordRequest,
    Replacement,
    Scored,
    VectorRequest,
)
from langchain_gemini_mm.vectorstores.embedding_space import (
    EmbeddingSpace,
    Fingerprint,
    require_dimensions,
    require_space,
)
from langchain_gemini_mm.vectorstores.filters import Node, Predicate
from langchain_gemini_mm.vectorstores.local import keyword_index, ledger_rows, rows
from langchain_gemini_mm.vectorstores.local.database import Database
from langchain_gemini_mm.vectorstores.local.filter_sql import Mask, positions_of, require_known_keys
from langchain_gemini_mm.vectorstores.local.matrix import Matrix
from langchain_gemini_mm.vectorstores.local.prefix import PrefixPlan
from langchain_gemini_mm.vectorstores.local.rows import vectors_of
from langchain_gemini_mm.vectorstores.local.scoring import BestRows, RowQuery, SharedScoring, View, products
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import terms

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

T = TypeVar("T")
_LOGGER = logging.getLogger("langchain_gemini_mm")

_Filter: TypeAlias = "Node | NDArray[np.int64] | None"
"""A filter that is evaluated in the file, or the row numbers that a function kept."""

_ATTEMPTS = 3
_MOST_TRIED = 32
_PAGE_SIZE = 1000
_NO_LIMIT = -1


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Requests that are answered together."""

    requests: Sequence[VectorRequest]
    filters: Sequence[_Filter]
    filter_of: Sequence[int]
    """For each request the position of its filter."""


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """The rows that one request gets, best first."""

    numbers: list[int]
    scores: list[float]
    vectors: Vectors | None


class LocalBackend(Backend):
    """The rows of one collection in one SQLite file, and the vectors of it that are held in memory.

    Args:
        space: the embedding, and its embedding space.
        database: the open file.
        collection: its name in the file.
        plan: whether whole vectors are held in memory, or prefixes.
    """

    store = "LocalVectorStore"
    search_types = ("similarity", "mmr", "keyword", "hybrid")
    calls_predicates = True

    def __init__(self, space: EmbeddingSpace, database: Database, collection: str, plan: PrefixPlan) -> None:
        self.space = space
        self.plan = plan
        self.collection = collection
        self._database = database
        self._name = f"collection {collection!r} in {database.path}"
        self._matrix = Matrix(plan)
        self._known_keys: set[str] = set()
        self._scoring = SharedScoring()

    @property
    def prefix(self) -> int | None:
        """How many numbers of each vector are held in memory; None for all, or if nothing is loaded."""
        return self._matrix.prefix

    def require_space(self) -> None:
        """Refuse a collection of another embedding space.

        Raises:
            SpaceMismatchError: the collection was made with other embeddings.
        """
        with self._database.reading() as connection:
            found = rows.find_collection(connection, self.collection)
        require_space(self._name, found.fingerprint if found else None, self.space.fingerprint)

    @in_thread
    def upsert(self, records: Sequence[Record], fingerprint: Fingerprint) -> None:
        """Store records; see `Backend`."""
        if records:
            with self._database.writing() as connection:
                self._upsert(connection, records, fingerprint)

    def _upsert(self, connection: sqlite3.Connection, records: Sequence[Record], fingerprint: Fingerprint) -> None:
        dimensions = len(records[0].vector) if records[0].vector is not None else 0
        collection = rows.make_collection(connection, self.collection)
        require_space(self._name, collection.fingerprint, fingerprint)
        require_dimensions(self._name, collection.dimensions, dimensions)
        if collection.dimensions is None or collection.fingerprint != fingerprint:
            rows.set_space(connection, collection.c, dimensions, fingerprint)
        rows.delete_ids(connection, collection.c, [record.id for record in records])
        rows.insert(connection, collection.c, records)

    @in_thread
    def replace(self, change: Replacement, fingerprint: Fingerprint) -> None:
        """Store and delete in one transaction; see `Backend`."""
        with self._database.writing() as connection:
            if change.records:
                self._upsert(connection, change.records, fingerprint)
            c = rows.make_collection(connection, self.collection).c
            rows.delete_ids(connection, c, change.deleted)
            ledger_rows.write_ledger(connection, c, change.ledger)

    @in_thread
    def read_ledger(self, prefix: str) -> dict[str, str]:
        """Read entries of the ledger; see `Backend`."""
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            return ledger_rows.read_ledger(connection, collection.c, prefix) if collection else {}

    @in_thread
    def find_ledger(self, keys: Sequence[str]) -> dict[str, str]:
        """Read single entries of the ledger; see `Backend`."""
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            return ledger_rows.find_ledger(connection, collection.c, keys) if collection else {}

    @in_thread
    def write_ledger(self, entries: Mapping[str, str | None]) -> None:
        """Write entries of the ledger; see `Backend`."""
        with self._database.writing() as connection:
            ledger_rows.write_ledger(connection, rows.make_collection(connection, self.collection).c, entries)

    @in_thread
    def search_keywords(self, request: KeywordRequest) -> list[Scored]:
        """Find documents by their words; an outdated index is rebuilt first."""
        if request.properties not in (None, ("text",)):
            raise InvalidValueError(
                f"{self.store} searches the text alone; query_properties={list(request.properties)}"
            )
        if not terms(request.text):
            return []
        for _ in range(_ATTEMPTS):
            found = self._with_words(request)
            if found is not None:
                return found
            with self._database.writing() as connection:
                collection = rows.find_collection(connection, self.collection)
                if collection is not None and not keyword_index.is_current(connection, collection.c):
                    keyword_index.build(connection, collection.c)
        raise StoreError(
            f"{self._database.path}: the keyword index was outdated {_ATTEMPTS} times in a row; another process may be "
            "writing whose SQLite lacks FTS5. Try again"
        )

    @in_thread
    def fetch(self, ids: Sequence[str], with_vectors: bool = False) -> list[Record]:
        """Read records by id; see `Backend`."""
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is None:
                return []
            dimensions = rows.length_of_vectors(connection, collection) if with_vectors else None
            found = rows.by_ids(connection, collection.c, ids, dimensions)
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    @in_thread
    def page(
        self, after: str | None, limit: int, node: Node | None = None, columns: Columns = "documents"
    ) -> list[Record]:
        """Read the next records in the order of their ids; see `Backend`."""
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is None:
                return []
            self._require_known_keys(connection, collection.c, node)
            with_vectors = columns in ("vectors", "all")
            dimensions = rows.length_of_vectors(connection, collection) if with_vectors else None
            documents = columns in ("documents", "all")
            return rows.page(connection, collection.c, after, limit, node, dimensions=dimensions, documents=documents)

    @in_thread
    def delete(self, ids: Sequence[str] | None, node: Node | None) -> None:
        """Delete by ids or by filter; see `Backend`."""
        with self._database.writing() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is not None and ids is not None:
                rows.delete_ids(connection, collection.c, ids)
            elif collection is not None and node is not None:
                self._require_known_keys(connection, collection.c, node)
                rows.delete_where(connection, collection.c, node)

    @in_thread
    def update_metadata(self, changes: Mapping[str, Mapping[str, Any]], replace: bool) -> list[str]:
        """Change metadata; see `Backend`."""
        with self._database.writing() as connection:
            collection = rows.find_collection(connection, self.collection)
            return (
                rows.update_metadata_rows(connection, collection, changes, replace=replace)
                if collection
                else list(changes)
            )

    @in_thread
    def truncate(self) -> None:
        """Delete everything; see `Backend`."""
        with self._database.writing() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is not None:
                rows.delete_all(connection, collection.c)
                rows.set_space(connection, collection.c, None, None)

    @in_thread
    def revision(self) -> tuple[int, int, int] | None:
        """Read the number of the last change; see `Backend`."""
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            return (collection.c, collection.epoch, collection.revision) if collection else None

    @in_thread
    def count(self, node: Node | None) -> int:
        """Count the records; see `Backend`."""
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is None:
                return 0
            self._require_known_keys(connection, collection.c, node)
            return rows.count(connection, collection.c, node)

    @in_thread
    def read_info(self, key: str) -> Any:
        """Read a JSON value; see `Backend`."""
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is None:
                return None
            if key in ("fingerprint", "dimensions"):
                return getattr(collection, key)
            return rows.read_info(connection, collection.c, key)

    @in_thread
    def write_info(self, key: str, value: Any) -> None:
        """Store a JSON value; see `Backend`."""
        with self._database.writing() as connection:
            rows.write_info(connection, rows.make_collection(connection, self.collection).c, key, value)

    @in_thread
    def search_vectors_many(self, requests: Sequence[VectorRequest]) -> list[list[Scored]]:
        """Answer requests that differ only in `vector`, `k` and `filter`; see `Backend`.

        Neighbouring requests that share a vector share its product; those that share a filter evaluate it once.
        """
        given, filter_of = _distinct([request.filter for request in requests])
        filters = [self._numbers_kept(one) if callable(one) else one for one in given]
        return self._answered(_Batch(requests, filters, filter_of))

    def _answered(self, batch: _Batch) -> list[list[Scored]]:
        """Score one state of the file, then read the records; if a row was deleted in between, score the new state."""
        for _ in range(_ATTEMPTS):
            with self._database.reading() as connection:
                seen = self._view(connection, batch)
            if seen is None:
                return [[] for _ in batch.requests]
            found = self._score(*seen, batch)
            with self._database.reading() as connection:
                answer = self._read(connection, seen[0], batch.requests, found)
            if answer is not None:
                return answer
        with self._database.reading() as connection:  # with many writes, do both in one transaction
            for _ in range(_ATTEMPTS):  # rows that turn out to be damaged are left out the next time
                seen = self._view(connection, batch)
                if seen is None:
                    return [[] for _ in batch.requests]
                answer = self._read(connection, seen[0], batch.requests, self._score(*seen, batch))
                if answer is not None:
                    return answer
        raise AssertionError("rows go only in another transaction")

    def _view(self, connection: sqlite3.Connection, batch: _Batch) -> tuple[View, list[Mask | None]] | None:
        """The vectors that this transaction sees, and which of them each filter keeps."""
        collection = rows.find_collection(connection, self.collection)
        if collection is None or collection.dimensions is None:
            return None
        request = batch.requests[0]
        require_space(self._name, collection.fingerprint, request.fingerprint)
        require_dimensions(self._name, collection.dimensions, len(request.vector))
        view = self._matrix.view(connection, collection, [request.vector for request in batch.requests[:_MOST_TRIED]])
        masks: list[Mask | None] = []
        for kept in batch.filters:
            mask = None
            if isinstance(kept, np.ndarray):
                mask = np.zeros(len(view.numbers), dtype=np.bool_)
                mask[positions_of(kept, view.numbers)] = True
            elif kept is not None:
                self._require_known_keys(connection, collection.c, kept)
                mask = self._matrix.masks.of(connection, collection.c, kept, view.numbers)
            masks.append(mask)
        return view, masks

    def _require_known_keys(self, connection: sqlite3.Connection, c: int, node: Node | None) -> None:
        if node is not None:
            require_known_keys(connection, c, node, self._known_keys)

    def _score(self, view: View, masks: Sequence[Mask | None], batch: _Batch) -> list[BestRows]:
        vectors, vector_of = _distinct([request.vector for request in batch.requests])
        queries = [
            RowQuery(vector, mask, request.k if view.whole else self.plan.count(request.k))
            for vector, mask, request in zip(vector_of, batch.filter_of, batch.requests, strict=True)
        ]
        return self._scoring.nearest(view, np.stack(vectors), masks, queries)

    def _read(
        self, connection: sqlite3.Connection, view: View, requests: Sequence[VectorRequest], found: Sequence[BestRows]
    ) -> list[list[Scored]] | None:
        """Read the records of the best rows; None if one of them was deleted."""
        choices: list[_Choice] = []
        numbers: dict[int, None] = {}
        for request, best in zip(requests, found, strict=True):
            choice = _chosen(view, request, best) if view.whole else _rescored(connection, view, request, best)
            if choice is None:
                return None
            choices.append(choice)
            numbers |= dict.fromkeys(choice.numbers)
        records = rows.by_numbers(connection, list(numbers))
        if len(records) < len(numbers):
            self._leave_out_damaged(connection, [n for n in numbers if n not in records])
            return None
        return [_scored(choice, records) for choice in choices]

    def _leave_out_damaged(self, connection: sqlite3.Connection, missing: Sequence[int]) -> None:
        """Leave out all rows that cannot be read, if this is why some are missing."""
        collection = rows.find_collection(connection, self.collection)
        damaged = rows.damaged_numbers(connection, collection.c, missing) if collection else []
        if damaged:
            _LOGGER.warning(
                "%s: %d documents are damaged and cannot be found; check() lists them", self._name, len(damaged)
            )
            self._matrix.leave_out(damaged)

    def _numbers_kept(self, keeps: Predicate) -> NDArray[np.int64]:
        """Call a filter function for every document, without holding a lock; return the row numbers that it keeps."""
        allowed: list[int] = []
        last = 0
        while True:
            with self._database.reading() as connection:
                collection = rows.find_collection(connection, self.collection)
                numbers = rows.numbers_after(connection, collection.c, last, _PAGE_SIZE) if collection else []
                page = rows.by_numbers(connection, numbers)
            if not numbers:
                return np.array(allowed, dtype=np.int64)
            allowed += [n for n, record in page.items() if keeps(record.document)]
            last = numbers[-1]

    def _with_words(self, request: KeywordRequest) -> list[Scored] | None:
        """The documents with words of the request, best first; None if the index is outdated."""
        keeps, node = (request.filter, None) if callable(request.filter) else (None, request.filter)
        with self._database.reading() as connection:
            collection = rows.find_collection(connection, self.collection)
            if collection is None:
                return []
            self._require_known_keys(connection, collection.c, node)
            allowed = None if node is None else rows.numbers_where(connection, collection.c, node)
            best = keyword_index.search(
                connection,
                collection.c,
                request.text,
                _NO_LIMIT if keeps else request.k,
                threshold=request.score_threshold,
                allowed=allowed,
            )
            if best is None:
                return None
            records = rows.by_numbers(connection, [n for n, _ in best])
        scored = (Scored(records[n], score) for n, score in best if n in records)
        # No lock is held here: a filter function may use the store.
        return list(islice((one for one in scored if keeps is None or keeps(one.record.document)), request.k))


def _distinct(values: Sequence[T]) -> tuple[list[T], list[int]]:
    """The values without repetitions of one object in a row, and for each value its position among them."""
    distinct: list[T] = []
    positions = []
    for value in values:
        if not distinct or value is not distinct[-1]:
            distinct.append(value)
        positions.append(len(distinct) - 1)
    return distinct, positions


def _scored(choice: _Choice, records: Mapping[int, Record]) -> list[Scored]:
    answer = []
    for position, (number, score) in enumerate(zip(choice.numbers, choice.scores, strict=True)):
        record = records[number]
        if choice.vectors is not None:
            record = replace(record, vector=choice.vectors[position])
        answer.append(Scored(record, score))
    return answer


def _chosen(view: View, request: VectorRequest, found: BestRows) -> _Choice:
    best = found.above(request.score_threshold)
    vectors = view.rows[best.positions] if request.with_vectors else None
    return _Choice(view.numbers[best.positions].tolist(), best.scores.tolist(), vectors)


def _rescored(connection: sqlite3.Connection, view: View, request: VectorRequest, found: BestRows) -> _Choice | None:
    """Score candidates again with whole vectors; None if one of them was deleted."""
    candidates = np.sort(found.positions)  # equal scores keep the order of insertion
    numbers = view.numbers[candidates].tolist()
    vectors = vectors_of(connection, numbers, view.dimensions)
    if vectors is None:
        return None
    scores = products(request.vector[None, :], vectors)[0]
    scores[~vectors.any(axis=1)] = -np.inf  # damaged
    order = top_k(scores, request.k)
    order = order[np.isfinite(scores[order])]
    best = BestRows(order, scores[order]).above(request.score_threshold)
    return _Choice(
        [numbers[position] for position in best.positions.tolist()],
        best.scores.tolist(),
        vectors[best.positions] if request.with_vectors else None,
    )
