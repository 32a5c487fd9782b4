"""Media as files `ab/cd/<sha256>` in one folder; the default backend."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.storage.backend import DAMAGED, UNKNOWN, MediaWriter, Stored, missing
from langchain_gemini_mm.storage.hash_cache import FileTable
from langchain_gemini_mm.storage.regular_files import open_regular, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

_INCOMING = "incoming"
_CLOCK = "sweep"
"""An empty file in `incoming`; its time is when the last sweep began, by the clock of the file system."""
_HEX = set("0123456789abcdef")
_ATTEMPTS = 5


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
        return self._reading(sha256, lambda: self._file(sha256).lstat().st_size)

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading."""
        return self._reading(sha256, lambda: self._opened(sha256))

    def stamp(self, sha256: str) -> tuple[int, ...]:
        """What changes when the file is written again or replaced: equal stamps are of equal bytes."""
        status = self._reading(sha256, self._file(sha256).lstat)
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

    def touch(self, sha256: str, *, within: float = 0.0) -> bool:  # noqa: ARG002
        """Set the file's time to now."""
        path = self._file(sha256)
        try:
            self._rescuing(sha256, lambda: os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks))
        except FileNotFoundError:
            return False
        except OSError:
            return path.exists()
        return True

    def begin_sweep(self) -> float:
        """The time of the file system, which may differ from that of this machine."""
        clock = self._root / _INCOMING / _CLOCK
        with _writing(self._root):
            _make_incoming(self._root)
            clock.touch()
            return clock.stat().st_mtime

    def sweep_began(self) -> float:
        """When the last sweep began; 0 if there was none."""
        with suppress(OSError):
            return (self._root / _INCOMING / _CLOCK).stat().st_mtime
        return 0.0

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the file if its time is earlier than `before`.

        It is renamed first. A concurrent use has updated its time before that, and the file is renamed back; or it does
        not find the file, and renames it back itself. Only one of that and the removal can succeed.
        """
        aside = self._aside(sha256)
        with _writing(self._root):
            _make_incoming(self._root)
            try:
                if before is not None and self._file(sha256).lstat().st_mtime >= before:
                    return False
                self._file(sha256).replace(aside)
                if before is not None and aside.lstat().st_mtime >= before:
                    aside.replace(self._file(sha256))
                    return False
                aside.unlink()
            except FileNotFoundError:
                return False
        return True

    def stored(self) -> Iterator[Stored]:
        """List everything that is stored; other files in the folder are ignored."""
        for first in self._names(self._root, 2):
            for second in self._names(self._root / first, 2):
                for name in self._names(self._root / first / second, 64):
                    with suppress(FileNotFoundError):
                        status = self._file(name).lstat()
                        yield Stored(name, status.st_size, status.st_mtime)

    def tidy(self, before: float, *, dry_run: bool) -> int:
        """Remove temporary files that were last written earlier than `before`."""
        count = 0
        incoming = self._root / _INCOMING
        with _writing(self._root):
            for path in sorted(incoming.iterdir()) if _is_folder(incoming) else ():
                with suppress(FileNotFoundError):
                    if path.suffix in (".part", ".gone") and path.lstat().st_mtime < before:
                        count += 1
                        if not dry_run:
                            path.unlink()
        return count

    def _file(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256[2:4] / sha256

    def _aside(self, sha256: str) -> Path:
        return self._root / _INCOMING / f"{sha256}.gone"

    def _opened(self, sha256: str) -> BinaryIO:
        """Open a regular file inside of the folder; a link or pipe in its place is damage."""
        path = self._file(sha256)
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or any(folder.is_symlink() for folder in path.parents[:2]):
            raise missing(sha256, DAMAGED)
        return open_regular(path)

    def _rescuing(self, sha256: str, operation: Callable[[], T]) -> T:
        """Run an operation on a file; a file that a sweep has set aside is renamed back for it.

        A file that is found neither in its place nor aside may just be renamed; twice in a row, it is not stored.
        """
        is_missing = False
        for _ in range(_ATTEMPTS):
            try:
                return operation()
            except FileNotFoundError as error:
                try:
                    self._aside(sha256).replace(self._file(sha256))
                except OSError:
                    if is_missing:
                        raise error from None
                    is_missing = True
                else:
                    is_missing = False
        return operation()

    def _reading(self, sha256: str, operation: Callable[[], T]) -> T:
        try:
            return self._rescuing(sha256, operation)
        except FileNotFoundError as error:
            raise missing(sha256, UNKNOWN) from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> StoreError:
        return StoreError(f"cannot read the media store {str(self._root)!r}: {error.strerror or error}")

    def _names(self, folder: Path, length: int) -> list[str]:
        try:
            return sorted(
                name for path in folder.iterdir() if len(name := path.name) == length and _HEX.issuperset(name)
            )
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._unreadable(error) from error


class _FolderWriter:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._part = root / _INCOMING / f"{uuid.uuid4().hex}.part"
        with _writing(root):
            _make_incoming(root)
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
            sync_folder(target.parent)

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


def _make_incoming(root: Path) -> None:
    incoming = root / _INCOMING
    incoming.mkdir(parents=True, exist_ok=True)
    if not _is_folder(incoming):
        raise StoreError(f"{_INCOMING!r} in the media store {str(root)!r} is a symbolic link; remove it")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _make_folder(folder: Path) -> None:
    """Create a folder durably."""
    made = [path for path in (folder.parent, folder) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        sync_folder(path.parent)
