"""The check of a local store's file."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

import numpy as np

from langchain_gemini_mm.errors import ContentError, MissingMediaError, SpaceMismatchError
from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_space
from langchain_gemini_mm.vectorstores.filters import attributes
from langchain_gemini_mm.vectorstores.local import keyword_index
from langchain_gemini_mm.vectorstores.local.database import Database
from langchain_gemini_mm.vectorstores.local.rows import FLOAT, CollectionRow, find_collection

MOST_PROBLEMS = 1000
"""Maximum number of listed problems; a last entry gives the number of the others."""

_ROWS_AT_ONCE = 500
_TOLERANCE = 1e-3
_REMEMBERED_MEDIA = 100_000


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of `check`."""

    documents: int
    """Documents checked, in all collections of the file."""
    problems: tuple[str, ...]
    """One sentence each; empty if there are none."""
    missing_media: tuple[str, ...] = ()
    """References in texts that the media store cannot resolve, each once; they are also in `problems`."""

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


class Check:
    """One check of a file.

    Args:
        database: the open file.
        collection: the collection whose fingerprint is compared.
        fingerprint: of the embeddings in use.
        media: resolves references in texts; None does not check them.
    """

    def __init__(
        self, database: Database, collection: str, fingerprint: Fingerprint, media: MediaSource | None
    ) -> None:
        self._database = database
        self._collection = collection
        self._fingerprint = fingerprint
        self._media = media
        self._problems: list[str] = []
        self._unlisted = 0
        self._missing: dict[str, None] = {}
        self._seen_media: set[str] = set()
        self._documents = 0

    def report(self) -> CheckReport:
        """Run all checks."""
        with self._database.rolled_back() as connection:
            try:
                self._look(connection)
            except sqlite3.DatabaseError as error:
                self._report(f"SQLite cannot read the whole file: {error}")
        if self._unlisted:
            self._problems.append(f"and {self._unlisted} more problems")
        return CheckReport(self._documents, tuple(self._problems), tuple(self._missing))

    def _look(self, connection: sqlite3.Connection) -> None:
        found = [text for (text,) in connection.execute("PRAGMA integrity_check(100)")]
        self._report(*(f"SQLite: {text}" for text in found if text != "ok"))
        names = connection.execute("SELECT name FROM collection ORDER BY c").fetchall()
        for (name,) in names:
            collection = find_collection(connection, name)
            if collection is not None:
                self._space(name, collection)
                self._rows(connection, name, collection)
                self._keywords(connection, name, collection.c)
        for table in ("doc", "attribute", "info"):
            sql = f"SELECT count(*) FROM {table} WHERE c NOT IN (SELECT c FROM collection)"  # noqa: S608
            (lost,) = connection.execute(sql).fetchone()
            if lost:
                self._report(f"{lost} rows of the table {table!r} belong to no collection")

    def _space(self, name: str, collection: CollectionRow) -> None:
        if name == self._collection:
            try:
                require_space(f"collection {name!r}", collection.fingerprint, self._fingerprint)
            except SpaceMismatchError as error:
                self._report(str(error))
        if (collection.fingerprint is None) != (collection.dimensions is None):
            self._report(f"collection {name!r} has an incomplete embedding space: fingerprint or dimensions is missing")

    def _rows(self, connection: sqlite3.Connection, name: str, collection: CollectionRow) -> None:
        """Check vectors, attributes and references of all rows."""
        expected = 0
        found = connection.execute("SELECT n, id, text, metadata, vector FROM doc WHERE c = ?", (collection.c,))
        while rows := found.fetchmany(_ROWS_AT_ONCE):
            self._documents += len(rows)
            self._vectors(name, collection.dimensions, [(id_, vector) for _, id_, _, _, vector in rows])
            for n, id_, text, metadata, _ in rows:
                if not isinstance(id_, str) or not isinstance(text, str):
                    self._report(f"collection {name!r}: the id or the text of {id_!r} is no text")
                    continue
                expected += self._attributes(connection, name, collection.c, n, id_, metadata)
                if self._media is not None:
                    self._references(name, id_, text, self._media)
        (stored,) = connection.execute("SELECT count(*) FROM attribute WHERE c = ?", (collection.c,)).fetchone()
        if stored > expected:
            self._report(f"collection {name!r}: filters find {stored - expected} values that no document has")

    def _vectors(self, name: str, dimensions: int | None, rows: list[tuple[str, object]]) -> None:
        size = (dimensions or 0) * FLOAT.itemsize
        whole = []
        for id_, blob in rows:
            if isinstance(blob, bytes) and len(blob) == size:
                whole.append((id_, blob))
            else:
                self._report(f"collection {name!r}: the vector of {id_!r} is not one of {dimensions} dimensions")
        if whole and dimensions:
            vectors = np.frombuffer(b"".join(blob for _, blob in whole), dtype=FLOAT).reshape(len(whole), dimensions)
            lengths = np.einsum("ij,ij->i", vectors, vectors)
            for place in np.flatnonzero(~(np.abs(lengths - 1) < _TOLERANCE)):
                self._report(f"collection {name!r}: the vector of {whole[place][0]!r} is not of unit length")

    def _attributes(self, connection: sqlite3.Connection, name: str, c: int, n: int, id_: str, metadata: str) -> int:
        try:
            expected = set(attributes(json.loads(metadata)))
        except (ValueError, TypeError, AttributeError, RecursionError):
            self._report(f"collection {name!r}: the metadata of {id_!r} is not JSON")
            return 0
        sql = "SELECT 1 FROM attribute WHERE c = ? AND key = ? AND kind = ? AND value = ? AND n = ?"
        for key, kind, value in expected:
            if connection.execute(sql, (c, key, kind, value, n)).fetchone() is None:
                self._report(f"collection {name!r}: filters do not find the value of {key!r} of {id_!r}")
        return len(expected)

    def _references(self, name: str, id_: str, text: str, media: MediaSource) -> None:
        try:
            references = [piece for piece in split_references(text) if isinstance(piece, MediaRef)]
        except ContentError as error:
            self._report(f"collection {name!r}: in the text of {id_!r}, {error}")
            return
        for ref in references:
            if ref.sha256 in self._seen_media:
                continue
            try:
                media.info(ref.whole)
            except MissingMediaError as error:
                if ref.whole.uri not in self._missing:
                    self._report(f"collection {name!r}: the media that {id_!r} names are missing: {error}")
                    self._missing[ref.whole.uri] = None
                continue
            if len(self._seen_media) >= _REMEMBERED_MEDIA:
                self._seen_media.clear()
            self._seen_media.add(ref.sha256)

    def _keywords(self, connection: sqlite3.Connection, name: str, c: int) -> None:
        if not keyword_index.is_current(connection, c) or not keyword_index.has_fts5(connection):
            return
        if self._database.read_only:  # SQLite checks the index with a statement that writes
            return
        try:
            for problem in keyword_index.problems(connection, c):
                self._report(f"collection {name!r}: {problem}")
        except sqlite3.DatabaseError as error:
            self._report(f"collection {name!r}: keyword search is damaged: {error}")

    def _report(self, *problems: str) -> None:
        for problem in problems:
            if len(self._problems) < MOST_PROBLEMS:
                self._problems.append(problem)
            else:
                self._unlisted += 1
