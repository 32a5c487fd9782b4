"""The interface of media backends, and a backend in memory."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from langchain_gemini_mm.errors import MissingMediaError
from langchain_gemini_mm.storage.hash_cache import FileTable

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry of a backend's listing."""

    sha256: str
    """64 hex digits."""
    size: int
    """Bytes."""
    stored_at: float
    """When it was last put or touched, in seconds since 1970."""


class MediaWriter(Protocol):
    """One upload. Nothing of it is visible before `commit` returns."""

    def write(self, chunk: bytes) -> object:
        """Add the next bytes. Raises `StoreError` if they cannot be stored."""

    def commit(self, sha256: str) -> None:
        """Store all bytes durably and make them visible under their hash."""

    def discard(self) -> None:
        """Abort the upload and remove its bytes; does nothing after `commit`."""


class MediaBackend(Protocol):
    """Storage of bytes by their hash, used by `MediaStore`. Implement it to store media elsewhere.

    Keys are always 64 hex digits. `MediaStore` computes and checks the hashes; a backend only stores bytes. It must be
    thread-safe.
    """

    kind: str
    """A word for the repr, such as `"folder"`."""
    path: Path | None
    """The folder of this backend, if any; loaders do not load files in it."""
    files: FileTable | None
    """Hashes of known files; with None, files are hashed each time."""
    in_place: bool
    """Whether files are linked through `files` rather than copied."""

    def writer(self) -> MediaWriter:
        """Begin an upload."""

    def size(self, sha256: str) -> int:
        """The size in bytes. Raises `MissingMediaError`."""

    def open(self, sha256: str) -> BinaryIO:
        """Open a seekable file for reading, without loading it into memory. Raises `MissingMediaError`."""

    def touch(self, sha256: str, *, within: float = 0.0) -> bool:
        """Set the time of these bytes to now, so that a sweep keeps them; False if they are not stored.

        A time of the last `within` seconds may be left as it is, unless a sweep has begun since.
        """

    def begin_sweep(self) -> float:
        """The time at which a sweep begins, by the clock that sets the times of stored bytes."""

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the bytes if their time is earlier than `before`; False if nothing was removed.

        A concurrent `touch` must either prevent this or return False.
        """

    def stored(self) -> Iterator[Stored]:
        """List everything that is stored, in any order."""

    def tidy(self, before: float, *, dry_run: bool) -> int:
        """Remove unfinished uploads that are older than `before`; returns their number."""


def missing(sha256: str, reason: str) -> MissingMediaError:
    """The error for media that cannot be read."""
    return MissingMediaError(f"media mm://sha256-{sha256[:12]}… {reason}")


UNKNOWN = "is not in this media store. Put the file again, or use the store that the reference was made with"
DAMAGED = "is damaged in the store: its bytes no longer have this hash. Put the original file again"


class MemoryBackend:
    """Stores media in this process; forks and pickles contain a copy."""

    kind = "memory"
    path: Path | None = None
    files: FileTable | None = None
    in_place = False

    def __init__(self) -> None:
        self._entries: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def writer(self) -> MediaWriter:
        """Begin an upload."""
        return _MemoryWriter(self._keep)

    def size(self, sha256: str) -> int:
        """The size in bytes."""
        return len(self._get(sha256))

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading; the bytes are shared, not copied."""
        return io.BytesIO(self._get(sha256))

    def touch(self, sha256: str, *, within: float = 0.0) -> bool:  # noqa: ARG002
        """Set the time of these bytes to now."""
        with self._lock:
            entry = self._entries.get(sha256)
            if entry:
                self._entries[sha256] = (entry[0], time.time())
        return entry is not None

    def begin_sweep(self) -> float:
        """The time now."""
        return time.time()

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the bytes if their time is earlier than `before`."""
        with self._lock:
            entry = self._entries.get(sha256)
            if entry is None or (before is not None and entry[1] >= before):
                return False
            del self._entries[sha256]
        return True

    def stored(self) -> Iterator[Stored]:
        """List everything that is stored."""
        with self._lock:
            entries = list(self._entries.items())
        return (Stored(sha256, len(data), at) for sha256, (data, at) in entries)

    def tidy(self, before: float, *, dry_run: bool) -> int:  # noqa: ARG002
        """Nothing to remove: unfinished uploads are not stored."""
        return 0

    def __getstate__(self) -> dict[str, object]:
        """The state without the lock."""
        return {"_entries": dict(self._entries)}

    def __setstate__(self, state: dict[str, dict[str, tuple[bytes, float]]]) -> None:
        """Restore the state with a new lock."""
        self._entries = state["_entries"]
        self._lock = threading.Lock()

    def _keep(self, sha256: str, data: bytes) -> None:
        with self._lock:
            self._entries[sha256] = (data, time.time())

    def _get(self, sha256: str) -> bytes:
        entry = self._entries.get(sha256)
        if entry is None:
            raise missing(sha256, UNKNOWN)
        return entry[0]


class _MemoryWriter:
    def __init__(self, keep: Callable[[str, bytes], None]) -> None:
        self._keep = keep
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def commit(self, sha256: str) -> None:
        self._keep(sha256, b"".join(self._chunks))
        self._chunks = []

    def discard(self) -> None:
        self._chunks = []
