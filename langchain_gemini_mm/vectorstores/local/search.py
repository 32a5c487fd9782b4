"""Searching a local store: look at one state of the file, score it in memory, fetch what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectors import top_k
from langchain_gemini_mm.vectorstores.backend import KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.embedding_space import require_dimensions, require_space
from langchain_gemini_mm.vectorstores.filters import Node, Predicate
from langchain_gemini_mm.vectorstores.local import keyword_index, rows
from langchain_gemini_mm.vectorstores.local.database import Database
from langchain_gemini_mm.vectorstores.local.filter_masks import Mask, positions_of
from langchain_gemini_mm.vectorstores.local.matrix import Matrix
from langchain_gemini_mm.vectorstores.local.prefix import PrefixPlan
from langchain_gemini_mm.vectorstores.local.rows import vectors_of
from langchain_gemini_mm.vectorstores.local.scoring import Found, View, Wanted, products
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import terms

if TYPE_CHECKING:
    import sqlite3

    from numpy.typing import NDArray

    from langchain_gemini_mm.vectorstores.filters import Node


_Filter: TypeAlias = "Node | NDArray[np.int64] | None"
"""A filter that is looked up in the file, or the row numbers that a function kept."""

_ATTEMPTS = 3
_SCORES_AT_ONCE = 16_000_000
"""Most scores of one product of several queries; 4 bytes each."""
_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What one transaction saw: the vectors, and which of them each filter keeps."""

    view: View
    allowed: dict[int, Mask | None]
    """By the identity of the filter."""


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """What one request gets, best first."""

    numbers: list[int]
    scores: list[float]
    vectors: Vectors | None

    def scored(self, records: dict[int, Record]) -> list[Scored]:
        """With their records.

        Raises:
            KeyError: one is gone.
        """
        answer = []
        for place, (number, score) in enumerate(zip(self.numbers, self.scores, strict=True)):
            record = records[number]
            if self.vectors is not None:
                record = replace(record, vector=self.vectors[place])
            answer.append(Scored(record, score))
        return answer


class LocalSearch:
    """The search of one collection, and the vectors it holds in memory.

    Args:
        database: the open file.
        collection: its name.
        plan: whether whole vectors are held or prefixes.
    """

    def __init__(self, database: Database, collection: str, plan: PrefixPlan) -> None:
        self.plan = plan
        self._database = database
        self._collection = collection
        self._name = f"collection {collection!r} in {database.path}"
        self._matrix = Matrix(plan)

    @property
    def prefix(self) -> int | None:
        """How many numbers of each vector are held now; None for all, or when nothing is loaded."""
        return self._matrix.prefix

    def nearest(self, requests: Sequence[VectorRequest]) -> list[list[Scored]]:
        """Answer requests that differ in `vector`, `k` and `filter`; those that share a vector share its product."""
        filters = {id(request.filter): request.filter for request in requests}
        wanted = {key: self._as_node_or_numbers(given) for key, given in filters.items()}
        at_once = max(1, _SCORES_AT_ONCE // max(1, self._matrix.size))
        answers: list[list[Scored]] = []
        for start in range(0, len(requests), at_once):
            answers += self._answered(requests[start : start + at_once], wanted)
        return answers

    def _answered(self, requests: Sequence[VectorRequest], wanted: Mapping[int, _Filter]) -> list[list[Scored]]:
        """Score a state of the file, then fetch; when a row went in between, score the new state."""
        for _ in range(_ATTEMPTS):
            with self._database.reading() as connection:
                look = self._look(connection, requests[0], wanted)
            found = self._score(look, requests)
            with self._database.reading() as connection:
                answer = self._read(connection, look, requests, found)
            if answer is not None:
                return answer
        with self._database.reading() as connection:  # so busy that only one transaction around both will do
            look = self._look(connection, requests[0], wanted)
            answer = self._read(connection, look, requests, self._score(look, requests))
        if answer is None:
            raise AssertionError("rows go only in another transaction")
        return answer

    def _look(
        self, connection: sqlite3.Connection, request: VectorRequest, wanted: Mapping[int, _Filter]
    ) -> _Look | None:
        collection = rows.find_collection(connection, self._collection)
        if collection is None or collection.dimensions is None:
            return None
        require_space(self._name, collection.fingerprint, request.fingerprint)
        require_dimensions(self._name, collection.dimensions, len(request.vector))
        view = self._matrix.view(connection, collection)
        return _Look(view, {key: self._mask(connection, collection.c, one, view) for key, one in wanted.items()})

    def _mask(self, connection: sqlite3.Connection, c: int, wanted: _Filter, view: View) -> Mask | None:
        if wanted is None:
            return None
        if not isinstance(wanted, np.ndarray):
            return self._matrix.masks.of(connection, c, wanted, view.numbers)
        allowed = np.zeros(len(view.numbers), dtype=np.bool_)
        allowed[positions_of(wanted, view.numbers)] = True
        return allowed

    def _score(self, look: _Look | None, requests: Sequence[VectorRequest]) -> list[Found]:
        if look is None:
            return []
        whole = look.view.whole
        vectors = {id(request.vector): request.vector for request in requests}
        place = {key: number for number, key in enumerate(vectors)}
        wanted = [
            Wanted(
                place[id(request.vector)],
                request.k if whole else self.plan.count(request.k),
                look.allowed[id(request.filter)],
            )
            for request in requests
        ]
        return look.view.nearest(np.stack(list(vectors.values())), wanted)

    def _read(
        self,
        connection: sqlite3.Connection,
        look: _Look | None,
        requests: Sequence[VectorRequest],
        found: Sequence[Found],
    ) -> list[list[Scored]] | None:
        """Fetch the records of what was found; None when one of them is gone."""
        if look is None:
            return [[] for _ in requests]
        choices: list[_Choice] = []
        for request, best in zip(requests, found, strict=True):
            if look.view.whole:
                choice: _Choice | None = _chosen(look.view, request, best)
            else:
                choice = _rescored(connection, look.view, request, best)
            if choice is None:
                return None
            choices.append(choice)
        records = rows.by_numbers(connection, list({n: None for choice in choices for n in choice.numbers}))
        try:
            return [choice.scored(records) for choice in choices]
        except KeyError:
            return None

    def _as_node_or_numbers(self, given: Node | Predicate | None) -> _Filter:
        """Call a function once for every document, outside of any lock; a checked filter is looked up in the file."""
        if not callable(given):
            return given
        allowed: list[int] = []
        last = 0
        while True:
            with self._database.reading() as connection:
                collection = rows.find_collection(connection, self._collection)
                page = rows.after_number(connection, collection.c, last, _PAGE_SIZE) if collection else {}
            if not page:
                return np.array(allowed, dtype=np.int64)
            allowed += [n for n, record in page.items() if given(record.document)]
            last = max(page)


def _chosen(view: View, request: VectorRequest, found: Found) -> _Choice:
    best = found.above(request.score_threshold)
    vectors = view.rows[best.positions] if request.with_vectors else None
    return _Choice(view.numbers[best.positions].tolist(), best.scores.tolist(), vectors)


def _rescored(connection: sqlite3.Connection, view: View, request: VectorRequest, found: Found) -> _Choice | None:
    """Score candidates again with their whole vectors; None when one of them is gone."""
    candidates = np.sort(found.positions)  # so that equal scores keep the order of writing
    numbers = view.numbers[candidates].tolist()
    vectors = vectors_of(connection, numbers, view.dimensions)
    if vectors is None:
        return None
    scores = products(request.vector[None, :], vectors)[0]
    order = top_k(scores, request.k)
    best = Found(order, scores[order]).above(request.score_threshold)
    return _Choice(
        [numbers[position] for position in best.positions.tolist()],
        best.scores.tolist(),
        vectors[best.positions] if request.with_vectors else None,
    )


_EVERYTHING = -1
"""SQLite's word for no limit."""


def matching(database: Database, name: str, request: KeywordRequest) -> list[Scored]:
    """Answer one request; an index that is out of step is built first.

    Args:
        database: the open file.
        name: of the collection.
        request: what is asked.

    Raises:
        StoreError: this SQLite lacks FTS5, or the index cannot be built.
        ValueError: something else than the text is to be searched.
    """
    if request.properties not in (None, ("text",)):
        raise ValueError(f"LocalVectorStore searches the text alone; query_properties={list(request.properties)}")
    words = terms(request.text)
    if not words:
        return []
    for _ in range(_ATTEMPTS):
        if callable(request.filter):
            found = _kept(database, name, words, request, request.filter)
        else:
            with database.reading() as connection:
                found = _found(connection, name, words, request, request.filter)
        if found is not None:
            return found
        _bring_in_step(database, name)
    raise StoreError(
        f"{database.path}: the words were out of step {_ATTEMPTS} times in a row; another process may be writing whose "
        "SQLite lacks FTS5. Try again"
    )


def _found(
    connection: sqlite3.Connection, name: str, words: list[str], request: KeywordRequest, node: Node | None, k: int = 0
) -> list[Scored] | None:
    collection = rows.find_collection(connection, name)
    if collection is None:
        return []
    c = collection.c
    allowed = None if node is None else rows.numbers_where(connection, c, node)
    best = keyword_index.search(
        connection, c, words, k or request.k, threshold=request.score_threshold, allowed=allowed
    )
    if best is None:
        return None
    records = rows.by_numbers(connection, [n for n, _ in best])
    return [Scored(records[n], score) for n, score in best]


def _kept(
    database: Database, name: str, words: list[str], request: KeywordRequest, keeps: Predicate
) -> list[Scored] | None:
    """Call a function for what has the words, outside of any lock: it may use the store."""
    with database.reading() as connection:
        found = _found(connection, name, words, request, None, _EVERYTHING)
    if found is None:
        return None
    kept: list[Scored] = []
    for scored in found:
        if len(kept) == request.k:
            break
        if keeps(scored.record.document):
            kept.append(scored)
    return kept


def _bring_in_step(database: Database, name: str) -> None:
    with database.writing() as connection:
        collection = rows.find_collection(connection, name)
        if collection is not None and not keyword_index.in_step(connection, collection.c):
            keyword_index.build(connection, collection.c)
