"""Media as files `ab/cd/<sha256>` in one folder; the default backend."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.storage.backend import UNKNOWN, MediaWriter, Stored, missing
from langchain_gemini_mm.storage.hash_cache import FileTable

if TYPE_CHECKING:
    from pathlib import Path

_INCOMING = "incoming"
_HEX = set("0123456789abcdef")


class FolderBackend:
    """Writes temporary files, syncs and renames them: a file is absent or complete, also after a crash."""

    kind = "folder"
    in_place = False

    def __init__(self, root: Path, *, files: FileTable | None = None) -> None:
        if root.exists() and not root.is_dir():
            raise StoreError(f"the media store {str(root)!r} is a file; give a folder (it is made when needed)")
        self.path: Path | None = root
        self.files = files
        self._root = root

    def writer(self) -> MediaWriter:
        """Begin an upload in a temporary file."""
        return _FolderWriter(self._root)

    def size(self, sha256: str) -> int:
        """The size in bytes."""
        with self._reading(sha256):
            return self._file(sha256).stat().st_size

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading."""
        with self._reading(sha256):
            return self._file(sha256).open("rb")

    def touch(self, sha256: str) -> bool:
        """Set the file's time to now."""
        try:
            os.utime(self._file(sha256))
        except FileNotFoundError:
            return False
        except OSError:
            return self._file(sha256).exists()
        return True

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the file if its time is earlier than `before`.

        It is renamed first: a concurrent put has either updated its time before that, and the file is renamed back, or
        it finds no file and writes it again.
        """
        aside = self._root / _INCOMING / f"{uuid.uuid4().hex}.gone"
        with _writing(self._root):
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file(sha256).replace(aside)
            except FileNotFoundError:
                return False
            if before is not None and aside.stat().st_mtime >= before:
                aside.replace(self._file(sha256))
                return False
            aside.unlink()
        return True

    def stored(self) -> Iterator[Stored]:
        """List everything that is stored; other files in the folder are ignored."""
        for first in _names(self._root, 2):
            for second in _names(self._root / first, 2):
                for name in _names(self._root / first / second, 64):
                    with suppress(FileNotFoundError):
                        status = self._file(name).stat()
                        yield Stored(name, status.st_size, status.st_mtime)

    def tidy(self, before: float, *, dry_run: bool) -> int:
        """Remove temporary files that were last written earlier than `before`."""
        count = 0
        incoming = self._root / _INCOMING
        for path in sorted(incoming.iterdir()) if incoming.is_dir() else ():
            with _writing(self._root), suppress(FileNotFoundError):
                if path.suffix in (".part", ".gone") and path.stat().st_mtime < before:
                    count += 1
                    if not dry_run:
                        path.unlink()
        return count

    def _file(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256[2:4] / sha256

    @contextmanager
    def _reading(self, sha256: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise missing(sha256, UNKNOWN) from error
        except OSError as error:
            raise StoreError(f"cannot read the media store {str(self._root)!r}: {error.strerror or error}") from error


class _FolderWriter:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._part = root / _INCOMING / f"{uuid.uuid4().hex}.part"
        with _writing(root):
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("xb", buffering=0)

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        with _writing(self._root):
            while rest:
                rest = rest[self._file.write(rest) :]

    def commit(self, sha256: str) -> None:
        target = self._root / sha256[:2] / sha256[2:4] / sha256
        with _writing(self._root):
            os.fsync(self._file.fileno())
            self._file.close()
            _make_folder(target.parent)
            try:
                self._part.replace(target)
            except PermissionError:
                # Windows: another process is reading the same content, so it is stored already.
                if target.stat().st_size != self._part.stat().st_size:
                    raise
            _sync_folder(target.parent)

    def discard(self) -> None:
        self._file.close()
        with suppress(OSError):
            self._part.unlink()


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to the media store {str(root)!r}: {error.strerror or error}") from error


def _names(folder: Path, length: int) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(name for path in folder.iterdir() if len(name := path.name) == length and _HEX.issuperset(name))
    return []


def _make_folder(folder: Path) -> None:
    """Create a folder durably."""
    made = [path for path in (folder.parent, folder) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder durable where the system allows it."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
