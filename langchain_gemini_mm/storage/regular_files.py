"""Regular files: opened without following links, and replaced only by complete files."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY", "O_NOFOLLOW"))
"""Without O_NONBLOCK, opening a pipe that has replaced a file would block."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; the caller closes it.

    Raises:
        OSError: there is none, it cannot be read, or it is a link, a pipe, a device or a folder.
    """
    require_regular(path)
    file = path.open("rb") if os.name == "nt" else open(path, "rb", opener=_opened)  # noqa: SIM115 - the opener
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
    except BaseException:
        file.close()
        raise
    return file


def create_regular(path: Path) -> BinaryIO:
    """Create a file for writing in the place of a regular file or of nothing; the caller closes it.

    Raises:
        OSError: the file cannot be created, or what has its name is not a regular file.
    """
    if os.path.lexists(path):
        require_regular(path)
        path.unlink()
    return path.open("xb")


def require_regular(path: Path) -> None:
    """Refuse links, pipes, devices and folders.

    Raises:
        OSError: there is no file, or it is not a regular one.
    """
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
        raise OSError(errno.EINVAL, f"it is {what}", str(path))


@contextmanager
def replacing(path: Path, is_ours: Callable[[Path], object]) -> Iterator[Path]:
    """The path of a temporary file, which replaces `path` when the block ends, and is removed if the block raises.

    ```python
    from pathlib import Path

    from langchain_gemini_mm.storage.regular_files import replacing

    with replacing(Path("numbers.txt"), lambda path: None) as partial:
        partial.write_text("1 2 3")
    assert Path("numbers.txt").read_text() == "1 2 3"
    ```

    Args:
        path: the file to create or replace.
        is_ours: called with an existing regular file; raises if it must not be replaced.

    Raises:
        OSError: what has the name is not a regular file, or the file cannot be written.
    """
    if os.path.lexists(path):
        require_regular(path)
        is_ours(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        if os.path.lexists(path):
            require_regular(path)
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable where the system allows it."""
    if os.name == "nt":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | _FLAGS)
