"""What a place for media must offer, and the simplest one: memory."""

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
    """When it was last put, in seconds since 1970."""


class MediaWriter(Protocol):
    """One upload. Nothing of it is visible before `commit` returns."""

    def write(self, chunk: bytes) -> object:
        """Take the next bytes. Raises `StoreError` when they cannot be kept."""

    def commit(self, sha256: str) -> None:
        """Make all bytes written so far visible, durably, under their hash."""

    def discard(self) -> None:
        """Give up and clean up; does nothing after `commit`."""


class MediaBackend(Protocol):
    """Where a `MediaStore` keeps bytes. Implement this to keep them somewhere new.

    Keys are always 64 hex digits, so none can leave its place. The store computes and checks the hashes; a backend only
    keeps bytes. Several threads call one backend at once.
    """

    kind: str
    """One word for the repr, such as `"folder"`."""
    path: Path | None
    """The folder this backend owns on this machine; a loader does not look for media in there."""
    files: FileTable | None
    """Remembers hashes of files on this machine between runs; None hashes each file each time."""
    in_place: bool
    """Files are linked through `files` rather than copied."""

    def writer(self) -> MediaWriter:
        """Begin an upload."""

    def size(self, sha256: str) -> int:
        """Tell the size in bytes. Raises `MissingMediaError`."""

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading, seekable, without reading it whole. Raises `MissingMediaError`."""

    def touch(self, sha256: str) -> bool:
        """Note that these bytes are wanted now, so that a sweep leaves them; False when they are not stored."""

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the bytes if they were last put `before` then; False when nothing was removed."""

    def stored(self) -> Iterator[Stored]:
        """List everything that is stored, in any order."""

    def tidy(self, before: float, *, dry_run: bool) -> int:
        """Remove what uploads that were cut off `before` then have left; tell how many."""


def missing(sha256: str, reason: str) -> MissingMediaError:
    """The error for media that cannot be given."""
    return MissingMediaError(f"media mm://sha256-{sha256[:12]}… {reason}")


UNKNOWN = "is not in this media store. Put the file again, or use the store that the reference was made with"
DAMAGED = "is damaged in the store: its bytes no longer have this hash. Put the original file again"


class MemoryBackend:
    """Keeps media in this process; a fork or a pickle takes a copy along."""

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
        """Tell the size in bytes."""
        return len(self._get(sha256))

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading; the bytes are shared, not copied."""
        return io.BytesIO(self._get(sha256))

    def touch(self, sha256: str) -> bool:
        """Note that these bytes are wanted now."""
        with self._lock:
            entry = self._entries.get(sha256)
            if entry:
                self._entries[sha256] = (entry[0], time.time())
        return entry is not None

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the bytes if they were last put `before` then."""
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
        """Find nothing: an upload that was cut off leaves no trace here."""
        return 0

    def __getstate__(self) -> dict[str, object]:
        """Leave the lock behind."""
        return {"_entries": dict(self._entries)}

    def __setstate__(self, state: dict[str, dict[str, tuple[bytes, float]]]) -> None:
        """Take a lock of its own."""
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
