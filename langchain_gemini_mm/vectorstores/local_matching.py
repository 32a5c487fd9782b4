"""Searching a local store by words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.vectorstores.backend import Matching, Predicate, Scored
from langchain_gemini_mm.vectorstores.local import keyword_index, rows
from langchain_gemini_mm.vectorstores.local.database import Database
from langchain_gemini_mm.vectorstores.tokenizer import terms

if TYPE_CHECKING:
    import sqlite3

    from langchain_gemini_mm.vectorstores.filters import Node

_ATTEMPTS = 3
_EVERYTHING = -1
"""SQLite's word for no limit."""


def matching(database: Database, name: str, request: Matching) -> list[Scored]:
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
    connection: sqlite3.Connection, name: str, words: list[str], request: Matching, node: Node | None, k: int = 0
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


def _kept(database: Database, name: str, words: list[str], request: Matching, keeps: Predicate) -> list[Scored] | None:
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
