"""An online copy of a local store's file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.vectorstores.local.database import Database, file_path, in_our_words
from langchain_gemini_mm.vectorstores.local.schema import is_new


def back_up(database: Database, path: Any) -> None:
    """Copy to a temporary file beside `path`, sync it, and rename it.

    Raises:
        StoreError: see `LocalUpkeep.backup`.
    """
    target = Path(file_path(path))
    _require_free(database, target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        with in_our_words(str(target)):
            _copy(database, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error}. Choose another path, or make room") from error
    finally:
        partial.unlink(missing_ok=True)


def _require_free(database: Database, target: Path) -> None:
    if not target.exists():
        return
    if not database.in_memory and target.samefile(database.path):
        raise StoreError(f"{target} is the store itself. Choose another path for the copy")
    beside = [name for name in (f"{target.name}-wal", f"{target.name}-journal") if target.with_name(name).exists()]
    if beside:
        raise StoreError(
            f"{target} is open somewhere, or was not closed: {beside[0]} is beside it. Close it, or choose another path"
        )
    with in_our_words(str(target)), closing(sqlite3.connect(f"{target.as_uri()}?mode=ro", uri=True)) as connection:
        is_new(connection, str(target))  # refuses what is not one of ours


def _copy(database: Database, partial: Path) -> None:
    with database.whole() as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)  # in one step, so that writers of other processes do not make it start over
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without companions


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
