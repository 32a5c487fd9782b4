"""What a mirror writes to: a store of this package, or any other LangChain store with a ledger in a file."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.errors import ContentError, GeminiMMError, PartialEmbeddingError, StoreError
from langchain_gemini_mm.flows import Call, Flow, in_thread
from langchain_gemini_mm.sync.ledger import VectorJournal
from langchain_gemini_mm.vectorstores.backend import Backend, Replacement
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace
from langchain_gemini_mm.vectorstores.filters import In
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.write import EmbeddedDocuments, concerns_inputs, embedded_flow

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document
    from langchain_core.vectorstores import VectorStore

_AT_ONCE = 500


class MirrorTarget(ABC):
    """An index and its ledger."""

    journal: VectorJournal | None = None
    """Keeps vectors until they are stored; None for embeddings without a cache."""

    @abstractmethod
    def read_ledger(self, prefix: str) -> Flow[dict[str, str]]:
        """Read the entries whose keys begin with `prefix`."""

    @abstractmethod
    def find_ledger(self, keys: Sequence[str]) -> Flow[dict[str, str]]:
        """Read single entries."""

    @abstractmethod
    def write_ledger(self, entries: Mapping[str, str | None]) -> Flow[None]:
        """Write entries; None removes one."""

    @abstractmethod
    def fetch(self, ids: Sequence[str]) -> Flow[dict[str, Record]]:
        """Read stored documents by id, with their vectors if the store returns them."""

    @abstractmethod
    def embed(self, documents: Sequence[Document]) -> Flow[EmbeddedDocuments]:
        """Embed documents."""

    @abstractmethod
    def replace(self, change: Replacement) -> Flow[None]:
        """Store and delete documents, and write the ledger."""

    def is_empty(self) -> Flow[bool]:
        """Whether the store certainly has no documents."""
        yield from ()
        return False

    def of_sources(self, sources: Sequence[str]) -> Flow[list[Record]]:  # noqa: ARG002 - for stores with filters
        """Documents with these values of `source` and their vectors, if the store can find them."""
        yield from ()
        return []

    def _with_journal(self, embedding: Any) -> Any:
        """A copy of embeddings that have a cache, which keeps vectors in the ledger as well."""
        if "cache" not in getattr(type(embedding), "model_fields", ()):
            return embedding
        self.journal = VectorJournal(self.find_ledger, self.write_ledger, embedding.cache)
        return embedding.model_copy(update={"cache": self.journal})


class StoreTarget(MirrorTarget):
    """A store of this package, which holds the ledger itself."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._space = EmbeddingSpace(self._with_journal(backend.space.embedding))

    def read_ledger(self, prefix: str) -> Flow[dict[str, str]]:
        """Read entries; see `MirrorTarget`."""
        return self._backend.read_ledger(prefix)

    def find_ledger(self, keys: Sequence[str]) -> Flow[dict[str, str]]:
        """Read single entries; see `MirrorTarget`."""
        return self._backend.find_ledger(keys)

    def write_ledger(self, entries: Mapping[str, str | None]) -> Flow[None]:
        """Write entries; see `MirrorTarget`."""
        return self._backend.write_ledger(entries)

    def fetch(self, ids: Sequence[str]) -> Flow[dict[str, Record]]:
        """Read documents with their vectors."""
        found: dict[str, Record] = {}
        for start in range(0, len(ids), _AT_ONCE):
            records = yield from self._backend.fetch(ids[start : start + _AT_ONCE], with_vectors=True)
            found |= {record.id: record for record in records}
        return found

    def embed(self, documents: Sequence[Document]) -> Flow[EmbeddedDocuments]:
        """Embed documents; see `MirrorTarget`."""
        return embedded_flow(self._backend, self._space, documents)

    def replace(self, change: Replacement) -> Flow[None]:
        """Store and delete documents; see `MirrorTarget`."""
        return self._backend.replace(change, self._space.fingerprint)

    def is_empty(self) -> Flow[bool]:
        """Whether the store has no documents."""
        return (yield from self._backend.count(None)) == 0

    def of_sources(self, sources: Sequence[str]) -> Flow[list[Record]]:
        """Documents with these values of `source`; see `MirrorTarget`."""
        found: list[Record] = []
        node, after = In("source", tuple(sources)), None
        while records := (yield from self._backend.page(after, _AT_ONCE, node, "all")):
            found += records
            after = records[-1].id
        return found


class ForeignTarget(MirrorTarget):
    """A LangChain store that deletes by id; its ledger is in a file.

    Vectors of `GeminiEmbeddings` stay in the ledger, because other stores do not return them: a file that is moved is
    stored again, and not embedded again.

    Args:
        store: the store.
        ledger: its ledger.
    """

    def __init__(self, store: VectorStore, ledger: LedgerFile) -> None:
        self._store = store
        self._ledger = ledger
        self._embedding: Any = store.embeddings
        self._journaled = self._with_journal(self._embedding)

    @in_thread
    def read_ledger(self, prefix: str) -> dict[str, str]:
        """Read entries; see `MirrorTarget`."""
        return self._ledger.read(prefix)

    @in_thread
    def find_ledger(self, keys: Sequence[str]) -> dict[str, str]:
        """Read single entries; see `MirrorTarget`."""
        return self._ledger.find(keys)

    @in_thread
    def write_ledger(self, entries: Mapping[str, str | None]) -> None:
        """Write entries; see `MirrorTarget`."""
        self._ledger.write(entries)

    def fetch(self, ids: Sequence[str]) -> Flow[dict[str, Record]]:
        """Read documents without vectors; see `MirrorTarget`."""
        if not ids:
            return {}
        store = self._store
        documents = yield Call(store.get_by_ids, store.aget_by_ids, (list(ids),))
        return {record.id: record for record in map(_foreign_record, documents)}

    def embed(self, documents: Sequence[Document]) -> Flow[EmbeddedDocuments]:
        """Embed documents, if the embeddings have a cache from which the store gets them; else the store does."""
        texts = [document.page_content for document in documents]
        failed: dict[int, str] = {}
        temporary = frozenset[int]()
        stopped = None
        if self.journal is not None:
            embedding = self._journaled
            try:
                yield Call(embedding.embed_documents, embedding.aembed_documents, (texts,))
            except PartialEmbeddingError as error:
                failed = {position: one.message for position, one in error.failed.items()}
                temporary = frozenset(position for position, one in error.failed.items() if not concerns_inputs(one))
                stopped = error.__cause__ if error.stopped and isinstance(error.__cause__, Exception) else None
            except GeminiMMError as error:
                if not isinstance(error, ContentError) or not error.inputs:
                    raise
                failed = {position: one.message for one in (error, *error.others) for position in one.inputs}
        records = {
            position: Record(str(document.id), document.page_content, document.metadata)
            for position, document in enumerate(documents)
            if position not in failed
        }
        return EmbeddedDocuments(records, {} if stopped else failed, stopped, temporary)

    def replace(self, change: Replacement) -> Flow[None]:
        """Store documents before others are deleted; see `MirrorTarget`."""
        if change.pending:
            yield from self.write_ledger(change.pending)
        if change.records:
            held = yield from self.fetch([record.id for record in change.records])
            yield from self._delete(list(held))  # some stores refuse ids that they have
            documents = [record.document for record in change.records]
            with self._from_journal():
                yield Call(
                    self._store.add_documents,
                    self._store.aadd_documents,
                    (documents,),
                    {"ids": [record.id for record in change.records]},
                )
        yield from self._delete(list((yield from self.fetch(change.deleted))))
        if change.ledger:
            # Vectors stay: this store would embed a moved file again.
            entries = {key: value for key, value in change.ledger.items() if not self._is_vector(key)}
            yield from self.write_ledger(entries)

    def _is_vector(self, key: str) -> bool:
        return key.startswith("vector\n")

    def _delete(self, ids: list[str]) -> Flow[None]:
        if not ids:
            return
        done = yield Call(self._store.delete, self._store.adelete, (ids,))
        if done is False:
            raise StoreError(f"{type(self._store).__name__} did not delete {len(ids)} documents. Mirror again")

    @contextmanager
    def _from_journal(self) -> Iterator[None]:
        """Let the embeddings of the store take vectors from the ledger."""
        if self.journal is None:
            yield
            return
        cache = self._embedding.cache
        self._embedding.cache = self.journal
        try:
            yield
        finally:
            self._embedding.cache = cache


def _foreign_record(document: Document) -> Record:
    """A document of another store; Qdrant's `get_by_ids` puts the id into a copy of the metadata.

    Raises:
        StoreError: it has no id.
    """
    id_, metadata = document.id, document.metadata
    if id_ is None and "_id" in metadata:
        id_ = str(metadata["_id"])
        metadata = {key: value for key, value in metadata.items() if key not in {"_id", "_collection_name"}}
    if id_ is None:
        raise StoreError("get_by_ids of this store returns documents without their ids, so that it cannot be mirrored")
    return Record(id_, document.page_content, metadata)


class LedgerFile:
    """A ledger in an SQLite file, or in memory.

    Args:
        path: the file; None is in memory.

    Raises:
        StoreError: it cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._memory: dict[str, str] = {}

    def read(self, prefix: str) -> dict[str, str]:
        """The entries whose keys begin with `prefix`."""
        if self._path is None:
            return {key: value for key, value in self._memory.items() if key.startswith(prefix)}
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        with self._opened() as connection:
            sql = "SELECT key, value FROM ledger WHERE key >= ? AND key < ?"
            return dict(connection.execute(sql, (prefix, end)).fetchall())

    def find(self, keys: Sequence[str]) -> dict[str, str]:
        """Single entries."""
        if self._path is None:
            return {key: self._memory[key] for key in keys if key in self._memory}
        with self._opened() as connection:
            rows = (
                connection.execute("SELECT key, value FROM ledger WHERE key = ?", (key,)).fetchone() for key in keys
            )
            return dict(row for row in rows if row is not None)

    def write(self, entries: Mapping[str, str | None]) -> None:
        """Write entries in one transaction; None removes one."""
        if self._path is None:
            for key, value in entries.items():
                if value is None:
                    self._memory.pop(key, None)
                else:
                    self._memory[key] = value
            return
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            removed = [(key,) for key, value in entries.items() if value is None]
            connection.executemany("DELETE FROM ledger WHERE key = ?", removed)
            written = [(key, value) for key, value in entries.items() if value is not None]
            connection.executemany("INSERT OR REPLACE INTO ledger (key, value) VALUES (?, ?)", written)
            connection.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        assert self._path is not None  # noqa: S101 - a ledger in memory opens nothing
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > _VERSION:
                    raise StoreError(
                        f"{self._path} has format {version}, this version reads {_VERSION}. Upgrade langchain-gemini-mm"
                    )
                if version == 0:
                    connection.executescript(_SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the ledger {self._path} cannot be used: {error}") from error


_VERSION = 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS ledger (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""
