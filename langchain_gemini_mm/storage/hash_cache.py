"""Hashes of known files, so that an unchanged folder is not read again.

They are stored in a small SQLite file. A connection is opened for each operation, so that stores can be forked, pickled
and used from any thread, and their folder can be removed on Windows; while many files are loaded, one is kept open.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.media.source import Stamp

logger = logging.getLogger("langchain_gemini_mm")

_VERSION = 1
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS file (
    path BLOB PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL, hashed_ns INTEGER NOT NULL, seen REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS file_sha256 ON file (sha256);
PRAGMA user_version = {_VERSION};
COMMIT;
"""


class _KeptConnection:
    """A connection that one thread keeps open.

    Args:
        path: of the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = os.getpid(), threading.get_ident()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    @property
    def is_own(self) -> bool:
        """Whether this thread may use it."""
        return self._owner == (os.getpid(), threading.get_ident())

    def get(self, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """The connection; a new one if there is none, or if the file was removed or replaced meanwhile."""
        if self._connection is None or not self._path.exists() or self._path.stat().st_ino != self._inode:
            self.close()
            self._connection = connect()
            self._inode = self._path.stat().st_ino
        return self._connection

    def close(self) -> None:
        """Close it."""
        if self._connection is not None and self._owner[0] == os.getpid():
            self._connection.close()
        self._connection = None


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file with its hash."""

    path: Path
    stamp: str
    sha256: str
    hashed_ns: int
    """When hashing began, in nanoseconds since 1970."""
    seen: float
    """When it was last put or touched, in seconds since 1970."""

    def is_still(self, stamp: Stamp) -> bool:
        """Whether a file with this stamp certainly has the stored hash."""
        return self.stamp == _spelled(stamp) and stamp.settled(self.hashed_ns)

    @property
    def size(self) -> int:
        """Size in bytes when it was hashed."""
        return int(self.stamp.partition(" ")[0])


class FileTable:
    """A table from paths to hashes.

    Args:
        path: of the SQLite file.
        truth: the table is not a cache but the only copy: writes are synced, and errors raised.
    """

    def __init__(self, path: Path, *, truth: bool = False) -> None:
        self._path = path
        self._truth = truth
        self._kept: _KeptConnection | None = None

    def __getstate__(self) -> dict[str, object]:
        """Without an open connection."""
        return {**self.__dict__, "_kept": None}

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Keep one connection open for the operations of this thread."""
        if self._kept is not None:
            yield
            return
        kept = self._kept = _KeptConnection(self._path)
        try:
            yield
        finally:
            self._kept = None
            kept.close()

    def find(self, path: Path) -> KnownFile | None:
        """The entry of a path, if any."""
        return next(iter(self._select("WHERE path = ?", os.fsencode(path))), None)

    def with_hash(self, sha256: str) -> list[KnownFile]:
        """All files with this hash, the latest first."""
        return self._select("WHERE sha256 = ? ORDER BY seen DESC, path", sha256)

    def hashes(self) -> Iterator[tuple[str, int, float]]:
        """Every hash, with its size in bytes and its latest time."""
        last = ""
        clause = "WHERE sha256 > ? GROUP BY sha256 HAVING seen = max(seen) ORDER BY sha256 LIMIT 1000"
        while batch := self._select(clause, last):
            yield from ((known.sha256, known.size, known.seen) for known in batch)
            last = batch[-1].sha256

    def remember(self, path: Path, stamp: Stamp, sha256: str, hashed_ns: int) -> None:
        """Store the hash of a file.

        Args:
            path: absolute.
            stamp: of the file before it was hashed.
            sha256: 64 hex digits.
            hashed_ns: when hashing began, in nanoseconds since 1970.
        """
        row = (os.fsencode(path), _spelled(stamp), sha256, hashed_ns, time.time())
        self._write("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)", *row)

    def touch(self, sha256: str, *, within: float = 0.0, sweep_began: float = 0.0) -> bool:
        """Set the time of a hash to now; False if it is unknown, or removed meanwhile.

        Args:
            sha256: 64 hex digits.
            within: leave a time of so many seconds ago, which saves a synced write.
            sweep_began: when the last sweep began; an earlier time is never left.
        """
        known = self.with_hash(sha256)
        if not known:
            return False
        now = max(time.time(), sweep_began)
        if known[0].seen >= max(now - within, sweep_began):
            return True
        return self._write("UPDATE file SET seen = ? WHERE sha256 = ?", now, sha256) > 0

    def forget(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove all files with this hash, unless the time of one of them is `before` or later."""
        limit = float("inf") if before is None else before
        statement = "DELETE FROM file WHERE sha256 = ? AND (SELECT max(seen) FROM file WHERE sha256 = ?) < ?"
        return self._write(statement, sha256, sha256, limit) > 0

    def _select(self, clause: str, value: object) -> list[KnownFile]:
        if not self._path.exists():
            return []
        statement = f"SELECT path, stamp, sha256, hashed_ns, seen FROM file {clause}"  # noqa: S608
        try:
            with self._connect() as connection:
                rows = connection.execute(statement, (value,)).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return []
        return [KnownFile(Path(os.fsdecode(path)), *rest) for path, *rest in rows]

    def _write(self, statement: str, *values: object) -> int:
        try:
            with self._connect() as connection:
                return connection.execute(statement, values).rowcount
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return 0

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        kept = self._kept
        if kept is not None and kept.is_own:
            yield kept.get(self._opened)
            return
        with closing(self._opened()) as connection:
            yield connection

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._truth else 'OFF'}")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(_SCHEMA)
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"written by a newer version (schema {version}, known is {_VERSION})")
        except BaseException:
            connection.close()
            raise
        return connection

    def _failed(self, error: Exception) -> None:
        """Raise an error, or for a cache warn and remove a file that is no database."""
        if self._truth:
            raise StoreError(f"cannot use the media index {str(self._path)!r}: {error}") from error
        logger.warning("files will be hashed again, %r cannot be used: %s", self._path.name, error)
        if self._kept is not None and self._kept.is_own:
            self._kept.close()
        if not isinstance(error, sqlite3.OperationalError | OSError):
            with suppress(OSError):
                self._path.unlink()


def _spelled(stamp: Stamp) -> str:
    return f"{stamp.size} {stamp.mtime_ns} {stamp.ctime_ns}"
