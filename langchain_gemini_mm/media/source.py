"""Reading files of the user: only regular files, in chunks, and not while they are being written."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, modality_of, sniff
from langchain_gemini_mm.errors import ContentError, MissingMediaError

CHUNK_BYTES = 1 << 20
"""Size of a chunk."""

_MTIME_GRAIN_NS = 2_000_000_000
"""FAT stores times to two seconds: a file changed that shortly before it was hashed may have changed again since."""
_CTIME_GRAIN_NS = 100_000_000
"""Resolution of the time of the last status change, where the system has one."""
_SHOWN = 120
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPECIAL_FILES = (
    (stat.S_ISDIR, "a folder; load a folder with MediaLoader"),
    (stat.S_ISFIFO, "a named pipe, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Size and times of a file, by which it is recognised as unchanged without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of a file's status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def settled(self, hashed_ns: int) -> bool:
        """Whether the last change was long enough before hashing that a later one would show in the times."""
        return hashed_ns - self.mtime_ns > _MTIME_GRAIN_NS and hashed_ns - self.ctime_ns > _CTIME_GRAIN_NS

    def same_content(self, other: Stamp) -> bool:
        """Whether the file was not written between the two stamps; renaming and linking do not count."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """A file that is open for reading, on disk or in memory."""

    file: BinaryIO
    """Seekable."""
    path: Path | None = None
    """None in memory."""
    stamp: Stamp | None = None
    """The status of a file on disk when it was opened."""


def open_source(path: Path) -> tuple[BinaryIO, Stamp]:
    """Open a regular file; returns the open file, which the caller closes, and its stamp.

    Raises:
        ContentError: there is no such file, it cannot be read, or it is a folder, pipe, socket or device.
    """
    try:
        _refuse_special(path, path.stat())
        # Without O_NONBLOCK, opening a pipe that has replaced the file would block.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(path, flags), "rb")
    except ContentError:
        raise
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
        raise unreadable(path, error) from error
    try:
        status = os.fstat(file.fileno())
        _refuse_special(path, status)
    except BaseException:
        file.close()
        raise
    return file, Stamp.of(status)


def chunks_of(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Read `stream` to its end in chunks; the first one is long enough for `sniff`.

    Raises:
        ContentError: it cannot be read.
    """
    while chunk := _read(stream, CHUNK_BYTES, name):
        while len(chunk) < HEAD_BYTES and (more := _read(stream, CHUNK_BYTES, name)):
            chunk += more
        yield chunk


def hash_of(stream: BinaryIO, name: str) -> str:
    """The sha256 of the rest of `stream`, as 64 hex digits."""
    digest = hashlib.sha256()
    for chunk in chunks_of(stream, name):
        digest.update(chunk)
    return digest.hexdigest()


def media_type(head: bytes, name: str) -> str:
    """The MIME type of a file, detected from its first bytes.

    Raises:
        ContentError: the file is empty, or is not an image, audio, video or PDF file.
    """
    if not head:
        raise ContentError(f"{name} is empty")
    mime_type = sniff(head[:HEAD_BYTES])
    if mime_type is None or modality_of(mime_type) is None:
        found = f" ({mime_type})" if mime_type else ""
        raise ContentError(
            f"{name} is no image, audio, video or PDF file by its content{found}; "
            "text goes into a Document as text, other files must be converted first"
        )
    return mime_type


def shown(path: Path | str) -> str:
    """A path for a message: quoted, shortened and printable."""
    text = ascii(str(path)) if _SURROGATE.search(str(path)) else repr(str(path))
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"


def unreadable(path: Path, error: Exception) -> ContentError:
    """The error for a file that the system does not let us read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ContentError(f"cannot read {shown(path)}: {reason}")


def _refuse_special(path: Path, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    description = next((text for test, text in _SPECIAL_FILES if test(status.st_mode)), "not a regular file")
    raise ContentError(f"{shown(path)} is {description}")


def _read(stream: BinaryIO, length: int, name: str) -> bytes:
    try:
        chunk = stream.read(length)
    except (OSError, io.UnsupportedOperation) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ContentError(f"cannot read {name}: {reason}") from error
    if not isinstance(chunk, bytes):
        raise TypeError(f"{name} must be opened in binary mode; its read() gave {type(chunk).__name__}")
    return chunk


Source: TypeAlias = "Path | bytes | BinaryIO"
"""A path, bytes, or an open seekable binary file, which is left open and read from its beginning."""


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Open a source; an open file is left open.

    Raises:
        ContentError: no regular file, or it cannot be read.
    """
    if isinstance(source, Path):
        with closing(open_source(source)[0]) as file:
            yield file
    elif isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif callable(getattr(source, "read", None)) and callable(getattr(source, "seek", None)):
        yield source
    else:
        raise TypeError(f"media are given as Path, bytes or an open binary file, got {type(source).__name__}")


def name_of(source: Source, noun: str) -> str:
    """The name of a source in messages: that of a file, or `the <noun>`."""
    return shown(source.name) if isinstance(source, Path) else f"the {noun}"


def printable(name: str) -> str:
    """A file name as text, in composed Unicode (macOS uses the decomposed form) and with invalid bytes as escapes."""
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def file_of(source: object, roots: Iterable[Path]) -> Path:
    """The file that a `source` names, as it is now; of one inside of another file, such as an attachment, that file.

    ```python
    from pathlib import Path

    from langchain_gemini_mm.media.source import file_of

    Path("notes").mkdir()
    Path("notes/a.txt").write_text("about a cat")
    assert file_of("notes/a.txt", [Path("notes")]) == Path("notes/a.txt")
    ```

    Args:
        source: `<library>/<path>`, from the metadata of a Document; it is not trusted.
        roots: folders of the library; the first that has the file is used.

    Raises:
        ContentError: it names no file, or one outside of the folder.
        MissingMediaError: the file is not there.
    """
    parts = source.split("/")[1:] if isinstance(source, str) else []
    if not parts:
        raise ContentError(f"{source!r} names no file of a library; only Documents of files have one")
    if not all(map(_is_name, parts)):
        raise ContentError(f"{source!r} is no path in a library")
    for root in roots:
        with suppress(OSError):
            path = _below(root, parts)
            if path is None:
                continue
            if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
                raise ContentError(f"{source!r} is a link that leads out of the library")
            return path
    raise MissingMediaError(f"the file of {source!r} is not there any more")


def _is_name(part: str) -> bool:
    return part not in {"", ".", ".."} and "\0" not in part and Path(part).parts == (part,)


def _below(root: Path, parts: list[str]) -> Path | None:
    """A file below a folder, whose names may be spelled otherwise on this system; None if it is not there."""
    path = root
    for part in parts:
        if path.is_file():
            break
        exact = path / part
        if not os.path.lexists(exact):
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if printable(entry.name) == part]
            if not names:
                return None
            exact = path / min(names)
        path = exact
    return path if path.is_file() else None
