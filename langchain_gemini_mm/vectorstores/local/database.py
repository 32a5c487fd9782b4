"""The SQLite file of a local store: connections, transactions, and the translation of SQLite errors."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError, StoreError
from langchain_gemini_mm.vectorstores.local import keyword_index, schema

MEMORY = ":memory:"
PAGE_BYTES = 16_384
"""The page size of new files. A page has room for several vectors, or for a long one; with pages of 4 kB, inserting and
loading vectors takes twice as much processor time, and the file is larger."""
LOG_BYTES = 16_000_000
"""A write-ahead log is truncated when it is longer."""

_LOGGER = logging.getLogger("langchain_gemini_mm")
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process held its lock for too long. Try again, or open it with a larger timeout=",
    sqlite3.SQLITE_LOCKED: "another process held its lock for too long. Try again, or open it with a larger timeout=",
    sqlite3.SQLITE_FULL: "the disk is full. Nothing of this call is stored that was not reported. Make room",
    sqlite3.SQLITE_READONLY: "the file or its folder is read-only. Give this user write access, or copy the file",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened. Check that its folder exists and that this user may use it",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite file. Choose another path",
    sqlite3.SQLITE_CORRUPT: "the file is damaged. Restore a copy, or index into a new file",
    sqlite3.SQLITE_IOERR: "the disk reported an error. Check it and its connection",
    sqlite3.SQLITE_PERM: "this user may not use the file. Change its permissions",
    sqlite3.SQLITE_TOOBIG: "a text, a metadata value or a vector is too large for SQLite (about 1 GB)",
}


class Database:
    """One file, or a database in memory, shared by the threads of one process.

    A file has one connection for reading and one for writing, so that readers do not wait for a writer. A file that
    cannot be written is opened read-only.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: str | Path, timeout: float) -> None:
        self.in_memory = path == MEMORY
        self.path = MEMORY if self.in_memory else file_path(path)
        self.read_only = False
        self._process = os.getpid()
        self._timeout = timeout
        self._write_lock = threading.Lock()
        self._read_lock = self._write_lock if self.in_memory else threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        with translate_errors(self.path):
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    def _open(self) -> None:
        try:
            self._writer = self._connect()
            if schema.is_new(self._writer, self.path):  # refuses files of other programs before any change
                self._writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            self._set_durable()
            schema.upgrade(self._writer, self.path)
            self._reader = self._writer if self.in_memory else self._connect()
        except sqlite3.OperationalError as error:
            if _primary_code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) or self.in_memory:
                raise
            self._close_all()
            self._open_read_only(error)

    def _open_read_only(self, reason: sqlite3.OperationalError) -> None:
        """Open a file that this process cannot write.

        SQLite reads a file with a write-ahead log only if it can write, or find, two files next to it. Without these
        nobody has the file open, and its content is in the file itself.
        """
        self.read_only = True
        options = "mode=ro"
        for _ in range(2):
            try:
                self._writer = self._connect(options)
                if schema.is_new(self._writer, self.path):
                    raise reason
                schema.require_current(self._writer, self.path)
                self._reader = self._connect(options)
                return
            except sqlite3.OperationalError as error:
                self._close_all()
                if _primary_code(error) != sqlite3.SQLITE_CANTOPEN or not Path(self.path).exists():
                    raise reason from error
                if Path(f"{self.path}-wal").exists() and Path(f"{self.path}-wal").stat().st_size:
                    raise StoreError(
                        f"{self.path} is read-only and was not closed: changes are still in its file {self.path}-wal. "
                        "Open it once with write access, or copy both files to a place that can be written"
                    ) from error
                options = "mode=ro&immutable=1"
        raise reason

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A read transaction; it sees one state of the file."""
        return self._transaction(self._read_lock, self._reader, "BEGIN")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, durable when the block ends and rolled back if it raises."""
        with self._transaction(self._write_lock, self._writer, "BEGIN IMMEDIATE") as connection:
            yield connection
        self._truncate_log()

    def rolled_back(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that is always rolled back; a write transaction, unless the file is read-only."""
        begin = "BEGIN" if self.read_only else "BEGIN IMMEDIATE"
        return self._transaction(self._write_lock, self._writer, begin, "ROLLBACK")

    @contextmanager
    def whole(self) -> Iterator[sqlite3.Connection]:
        """A connection for a backup, which does not block others except in memory; SQLite errors are not translated."""
        self._require_process()
        if self.in_memory or self.read_only:
            with self._write_lock:
                self._require_open()
                yield self._writer
            return
        self._require_open()
        with closing(sqlite3.connect(self.path, timeout=self._timeout)) as connection:
            yield connection

    def compact(self) -> int:
        """Rewrite the file without unused space; return by how many bytes it shrank."""
        with self.writing() as connection:
            before = _size(connection)
            keyword_index.optimize(connection)
        with self._write_lock, translate_errors(self.path):
            self._require_open()
            self._writer.execute("VACUUM")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # readers may delay it: no error
            return max(0, before - _size(self._writer))

    def _truncate_log(self) -> None:
        """Move a long write-ahead log into the file; what others are reading stays for the next transaction."""
        try:
            if Path(f"{self.path}-wal").stat().st_size <= LOG_BYTES:
                return
        except OSError:  # there is none
            return
        with self._write_lock, suppress(sqlite3.Error):  # what was committed is stored in any case
            if not self._connections:
                return
            try:
                self._writer.execute("PRAGMA busy_timeout = 0")
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {int(1000 * self._timeout)}")

    def close(self) -> None:
        """Close the file after the running transactions of other threads."""
        if os.getpid() != self._process:
            return  # closing connections of the parent process would release its locks
        with self._write_lock:
            if self._read_lock is self._write_lock:
                self._close_all()
            else:
                with self._read_lock:
                    self._close_all()

    def _close_all(self) -> None:
        while self._connections:
            self._connections.pop().close()

    def _connect(self, options: str = "") -> sqlite3.Connection:
        """Open the file; what its tables refer to, such as functions in a trigger, is not trusted.

        Args:
            options: of an SQLite URI.
        """
        how: dict[str, Any] = {"timeout": self._timeout, "isolation_level": None, "check_same_thread": False}
        name = self.path
        if options:
            name, how["uri"] = f"{Path(self.path).as_uri()}?{options}", True
        connection: sqlite3.Connection = sqlite3.connect(name, **how)
        self._connections.append(connection)
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", f"journal_size_limit = {LOG_BYTES}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    def _set_durable(self) -> None:
        """Use a write-ahead log if the file system supports it (network folders often do not); sync every commit."""
        mode = self._write_ahead(time.monotonic() + self._timeout)
        if mode != "wal" and not self.in_memory:
            _LOGGER.warning(
                "%s: no write-ahead log here (%s); readers wait while something is written", self.path, mode
            )
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("PRAGMA fullfsync = ON")  # without it macOS does not sync to the drive

    def _write_ahead(self, deadline: float) -> str:
        """Enable the write-ahead log; SQLite itself does not wait here while another process opens the file."""
        while True:
            try:
                return str(self._writer.execute("PRAGMA journal_mode = WAL").fetchone()[0])
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _require_process(self) -> None:
        """Refuse a child process; it may never get a lock that a thread of its parent held when it was forked."""
        if os.getpid() != self._process:
            raise StoreError(
                f"{self.path} was opened in process {self._process} and cannot be used in its child {os.getpid()}. "
                "Open the store in each process"
            )

    def _require_open(self) -> None:
        if not self._connections:
            raise StoreError(f"the store on {self.path} is closed. Open it again")

    @contextmanager
    def _transaction(
        self, lock: threading.Lock, connection: sqlite3.Connection, begin: str, end: str = "COMMIT"
    ) -> Iterator[sqlite3.Connection]:
        self._require_process()
        with lock:
            self._require_open()
            try:
                if connection.in_transaction:  # Ctrl-C ended the last one while it was ending
                    connection.execute("ROLLBACK")
                connection.execute(begin)
                yield connection
                connection.execute(end)
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise _store_error(self.path, error) from error
                raise


@contextmanager
def translate_errors(path: str) -> Iterator[None]:
    """Raise SQLite errors as `StoreError`, with a remedy if there is one."""
    try:
        yield
    except sqlite3.Error as error:
        raise _store_error(path, error) from error


def _store_error(path: str, error: sqlite3.Error) -> StoreError:
    remedy = _REMEDIES.get(_primary_code(error))
    return StoreError(f"{path}: {remedy} ({error})" if remedy else f"{path}: {error}")


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def file_path(path: Any) -> str:
    """The absolute path of a file; its folder is created if needed.

    Raises:
        TypeError: not a path.
        StoreError: the path cannot be used as a file.
    """
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise InvalidTypeError(f"path is a file name or {MEMORY!r}, got {path!r}")
    try:
        full = Path(path).expanduser().absolute()
        if "\0" in str(full):
            raise InvalidValueError("a NUL in the name")
        if full.is_dir():
            raise StoreError(f"{full} is a folder. Give the name of a file in it, such as {full / 'index.db'}")
        if full.exists() and not full.is_file():  # opening a pipe would block
            raise StoreError(f"{full} is a pipe, a socket or a device. Choose another path")
        full.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # no access, no home for `~`
        raise StoreError(f"{str(path)[:200]!r} cannot be a store: {error}. Choose another path") from error
    return str(full)
