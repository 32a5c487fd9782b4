"""Media in any LangChain `BaseStore[str, bytes]`: files in pieces, and a manifest that is written last.

```
media/<sha256>                    manifest: size, and the upload with the pieces
media-pieces/<upload>/<number>    bytes
media-uploads/<upload>            exists as long as the upload may have pieces
media-wanted/<sha256>             when it was last put or used
media-sweep/begun                 when the last sweep began
```
"""

from __future__ import annotations

import io
import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from langchain_gemini_mm.errors import GeminiMMError, InvalidValueError, MediaLimitError, StoreError
from langchain_gemini_mm.storage.backend import DAMAGED, UNKNOWN, MediaWriter, Stored, missing
from langchain_gemini_mm.storage.hash_cache import FileTable

if TYPE_CHECKING:
    from pathlib import Path

PIECE_BYTES = 1 << 20
"""Size of one value in the byte store."""

PIECES = "media-pieces/"
"""Prefix of the keys of pieces; all other values are small."""

_MANIFESTS = "media/"
_UPLOADS = "media-uploads/"
_WANTED = "media-wanted/"
_SWEEP = "media-sweep/begun"
_SETTLED_SECONDS = 10.0
_PAUSES = (0.02, 0.1, 0.4, 1.0)
"""Seconds between attempts to read a manifest that a sweep may be about to restore."""
_READ_AT_ONCE = 100


class ByteStore(Protocol):
    """The methods that are used of a LangChain byte store."""

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read values; None for an absent key."""

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Write values."""

    def mdelete(self, keys: Sequence[str]) -> None:
        """Remove keys."""

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """List keys."""


class ByteStoreBackend:
    """Media in a byte store; the keys of pieces contain the name of an upload, so unfinished uploads are never visible.

    Args:
        values: the byte store.
        kind: for the repr.
        max_bytes: largest file; None for no limit.
    """

    path: Path | None = None
    files: FileTable | None = None
    in_place = False

    def __init__(self, values: ByteStore, *, kind: str = "byte store", max_bytes: int | None = None) -> None:
        self._values = values
        self.kind = kind
        self.max_bytes = max_bytes

    def writer(self) -> MediaWriter:
        """Begin an upload."""
        return _PiecesWriter(self)

    def size(self, sha256: str) -> int:
        """The size in bytes."""
        return int(self._manifest(sha256)["size"])

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading, piece by piece."""
        raw = _PiecesReader(self, sha256, self._manifest(sha256))
        return io.BufferedReader(raw, buffer_size=1 << 16)

    def touch(self, sha256: str, *, within: float = 0.0) -> bool:
        """Set the time of these bytes to now."""
        found = self._find([sha256])[0]
        if found is None:
            return False
        began = self._sweep_began()
        if found["at"] >= max(time.time() - within, began):
            return True
        self._want(sha256, max(time.time(), began))
        return self._find([sha256])[0] is not None

    def begin_sweep(self) -> float:
        """The time now; it is stored, so that users with slower clocks set no earlier times."""
        began = time.time()
        self.call("mset", [(_SWEEP, _dumped({"at": began}))])
        return began

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the manifest, then the pieces.

        A sweep (`before`) removes the manifest and then reads the time; putting and `touch` write the time and then
        read the manifest. In any interleaving, one of them sees the other.
        """
        found = self._find([sha256])[0]
        if found is None or (before is not None and found["at"] >= before):
            return False
        self.call("mdelete", [f"{_MANIFESTS}{sha256}"])
        if before is not None and self._touched_at([sha256])[0] >= before:
            if self._find([sha256])[0] is None:
                self._keep(sha256, found)
            return False
        self.call("mdelete", [*_piece_keys(found), f"{_WANTED}{sha256}"])
        self.call("mdelete", [_upload_key(found["pieces"])])
        return True

    def stored(self) -> Iterator[Stored]:
        """List everything that is stored."""
        digests = [key.removeprefix(_MANIFESTS) for key in self._keys(_MANIFESTS)]
        for sha256, found in self._found(digests):
            yield Stored(sha256, int(found["size"]), float(found["at"]))

    def tidy(self, before: float, *, dry_run: bool) -> int:
        """Remove the pieces of uploads that are older than `before` and in no manifest.

        This removes the marks of uploads and then reads the manifests; completing an upload writes its manifest and
        then reads its mark. In any interleaving, one of them sees the other.
        """
        begun = {key.removeprefix(_UPLOADS) for key in self._keys(_UPLOADS) if _began(key) < before}
        # Read after the uploads, so that one which is completed meanwhile is included.
        left = sorted(begun - self._completed()) if begun else []
        if dry_run or not left:
            return len(left)
        self.call("mdelete", [f"{_UPLOADS}{upload}" for upload in left])
        completed = self._completed()
        for upload in left:
            if upload in completed:
                self.call("mset", [(f"{_UPLOADS}{upload}", b"{}")])
            else:
                self.call("mdelete", self._keys(f"{PIECES}{upload}/"))
        return len(left)

    def _completed(self) -> set[str]:
        """The uploads that are in manifests."""
        digests = [key.removeprefix(_MANIFESTS) for key in self._keys(_MANIFESTS)]
        return {found["pieces"].removeprefix(PIECES) for _, found in self._found(digests)}

    def call(self, method: str, argument: Any) -> Any:
        """Call the byte store; its errors become `StoreError`."""
        with _failures(method):
            return getattr(self._values, method)(argument)

    def keep_manifest(self, sha256: str, size: int, pieces: str) -> None:
        """Make an upload visible.

        Args:
            sha256: of the file, as 64 hex digits.
            size: of the file, in bytes.
            pieces: prefix of the keys of its pieces.

        Raises:
            StoreError: a sweep has removed its pieces, because it took longer than the grace period.
        """
        at = max(time.time(), self._sweep_began())
        self._want(sha256, at)
        manifest = {"size": size, "piece_bytes": PIECE_BYTES, "pieces": pieces, "at": at}
        self._keep(sha256, manifest)
        if self._find([sha256])[0] is None:
            # A sweep that looked at the former manifest has removed this one, and sees the time from now on.
            self._keep(sha256, manifest)
        if self.call("mget", [_upload_key(pieces)])[0] is None:
            self.call("mdelete", [f"{_MANIFESTS}{sha256}"])
            raise StoreError("a sweep removed these media before they were stored completely. Put them again")

    def _keep(self, sha256: str, manifest: dict[str, Any]) -> None:
        self.call("mset", [(f"{_MANIFESTS}{sha256}", _dumped(manifest))])

    def _want(self, sha256: str, at: float) -> None:
        self.call("mset", [(f"{_WANTED}{sha256}", _dumped({"at": at}))])

    def _sweep_began(self) -> float:
        return float(_parsed(self.call("mget", [_SWEEP])[0]).get("at", 0))

    def _find(self, digests: list[str]) -> list[dict[str, Any] | None]:
        """List the manifests; `at` is the time at which each was last written or touched."""
        found: list[dict[str, Any] | None] = []
        values = self.call("mget", [f"{_MANIFESTS}{sha256}" for sha256 in digests])
        for value, touched_at in zip(values, self._touched_at(digests), strict=True):
            said = _parsed(value)
            found.append({**said, "at": max(said["at"], touched_at)} if said and "pieces" in said else None)
        return found

    def _touched_at(self, digests: list[str]) -> list[float]:
        values = self.call("mget", [f"{_WANTED}{sha256}" for sha256 in digests])
        return [float(_parsed(value).get("at", 0)) for value in values]

    def _found(self, digests: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        for start in range(0, len(digests), _READ_AT_ONCE):
            some = digests[start : start + _READ_AT_ONCE]
            yield from ((sha256, said) for sha256, said in zip(some, self._find(some), strict=True) if said)

    def _manifest(self, sha256: str) -> dict[str, Any]:
        for pause in (*_PAUSES, 0.0):
            found = _parsed(self.call("mget", [f"{_MANIFESTS}{sha256}"])[0])
            if "pieces" in found:
                return found
            if time.time() - self._touched_at([sha256])[0] > _SETTLED_SECONDS:
                break
            time.sleep(pause)
        raise missing(sha256, UNKNOWN)

    def _keys(self, prefix: str) -> list[str]:
        with _failures("yield_keys"):
            return [key for key in self._values.yield_keys(prefix=prefix) if key.startswith(prefix)]


class _PiecesWriter:
    def __init__(self, backend: ByteStoreBackend) -> None:
        self._backend = backend
        self._pieces = f"{PIECES}{time.time():.6f}-{uuid.uuid4().hex}"
        self._buffer = bytearray()
        self._count = 0
        self._size = 0
        self._done = False

    def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        limit = self._backend.max_bytes
        if limit is not None and self._size > limit:
            raise MediaLimitError(
                f"these media have more than {limit:,} bytes, which is the limit of this media store. Raise "
                'max_bytes, or keep large files in a folder: MediaStore("library/media")'
            )
        self._buffer += chunk
        while len(self._buffer) >= PIECE_BYTES:
            self._send(PIECE_BYTES)

    def commit(self, sha256: str) -> None:
        if self._buffer:
            self._send(len(self._buffer))
        self._backend.keep_manifest(sha256, self._size, self._pieces)
        self._done = True

    def discard(self) -> None:
        if not self._done and self._count:
            with suppress(StoreError):  # a sweep will do it
                self._backend.call("mdelete", [f"{self._pieces}/{n:08d}" for n in range(self._count)])
                self._backend.call("mdelete", [_upload_key(self._pieces)])
            self._count = 0

    def _send(self, length: int) -> None:
        piece = (f"{self._pieces}/{self._count:08d}", bytes(self._buffer[:length]))
        first = [(_upload_key(self._pieces), b"{}")] if self._count == 0 else []
        # Counted before it is sent, because a request that fails may have been executed.
        self._count += 1
        self._backend.call("mset", [*first, piece])
        del self._buffer[:length]


class _PiecesReader(io.RawIOBase):
    """A seekable file over pieces; one piece is in memory at a time."""

    def __init__(self, backend: ByteStoreBackend, sha256: str, manifest: dict[str, Any]) -> None:
        self._backend = backend
        self._sha256 = sha256
        self._size = int(manifest["size"])
        self._piece_bytes = int(manifest["piece_bytes"])
        self._keys = _piece_keys(manifest)
        self._position = 0
        self._held: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise InvalidValueError(f"cannot seek to {position}, before the start")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        number, offset = divmod(self._position, self._piece_bytes)
        part = self._piece(number)[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _piece(self, number: int) -> bytes:
        if self._held[0] != number:
            value = self._backend.call("mget", [self._keys[number]])[0]
            if value is None or len(value) != min(self._piece_bytes, self._size - number * self._piece_bytes):
                raise missing(self._sha256, DAMAGED)
            self._held = (number, value)
        return self._held[1]


def _piece_keys(manifest: dict[str, Any]) -> list[str]:
    count = -(-int(manifest["size"]) // int(manifest["piece_bytes"]))
    return [f"{manifest['pieces']}/{number:08d}" for number in range(count)]


def _upload_key(pieces: str) -> str:
    return _UPLOADS + pieces.removeprefix(PIECES)


def _dumped(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _parsed(value: bytes | None) -> dict[str, Any]:
    """A stored JSON object; empty if it is absent or incomplete."""
    try:
        found = json.loads(value or b"")
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _began(key: str) -> float:
    seconds = key.removeprefix(_UPLOADS).partition("-")[0]
    return float(seconds) if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", seconds) else float("inf")


@contextmanager
def _failures(method: str) -> Iterator[None]:
    try:
        yield
    except GeminiMMError:
        raise
    except Exception as error:
        raise StoreError(f"the byte store failed in {method}: {type(error).__name__}: {error}") from error
