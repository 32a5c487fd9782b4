"""Media in any LangChain `BaseStore[str, bytes]`: values in pieces, and a list of the pieces written last."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from langchain_gemini_mm.errors import GeminiMMError, StoreError
from langchain_gemini_mm.storage.backends import DAMAGED, UNKNOWN, MediaWriter, Stored, missing
from langchain_gemini_mm.storage.file_table import FileTable

if TYPE_CHECKING:
    from pathlib import Path

PIECE_BYTES = 1 << 20
"""Size of one value in the byte store."""

_MANIFESTS = "media/"
_PIECES = "media-pieces/"
_TOUCH_SECONDS = 600


class ByteStore(Protocol):
    """What is used of a LangChain byte store."""

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read values; None for an absent key."""

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Write values."""

    def mdelete(self, keys: Sequence[str]) -> None:
        """Remove keys."""

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """List keys."""


class ByteStoreBackend:
    """`media/<sha256>` lists the pieces; pieces go by an upload's own name, so a torn upload is never seen."""

    kind = "byte store"
    path: Path | None = None
    files: FileTable | None = None
    in_place = False

    def __init__(self, values: ByteStore) -> None:
        self._values = values

    def writer(self) -> MediaWriter:
        """Begin an upload."""
        return _PiecesWriter(self)

    def size(self, sha256: str) -> int:
        """Tell the size in bytes."""
        return int(self._manifest(sha256)["size"])

    def open(self, sha256: str) -> BinaryIO:
        """Open for reading, piece by piece."""
        raw = _PiecesReader(self, sha256, self._manifest(sha256))
        return io.BufferedReader(raw, buffer_size=1 << 16)

    def touch(self, sha256: str) -> bool:
        """Write a new time into the list of pieces, when the one there is not recent."""
        found = self._find(sha256)
        if found is not None and time.time() - found["at"] > _TOUCH_SECONDS:
            self._keep(sha256, {**found, "at": time.time()})
        return found is not None

    def delete(self, sha256: str, *, before: float | None = None) -> bool:
        """Remove the list of pieces, then the pieces."""
        found = self._find(sha256)
        if found is None or (before is not None and found["at"] >= before):
            return False
        self.call("mdelete", [f"{_MANIFESTS}{sha256}"])
        self.call("mdelete", _piece_keys(found))
        return True

    def stored(self) -> Iterator[Stored]:
        """List everything that is stored."""
        for key in self._keys(_MANIFESTS):
            sha256 = key.removeprefix(_MANIFESTS)
            found = self._find(sha256)
            if found is not None:
                yield Stored(sha256, int(found["size"]), float(found["at"]))

    def tidy(self, before: float, *, dry_run: bool) -> int:
        """Remove pieces of uploads begun `before` then that no list names."""
        named = {found["pieces"] for key in self._keys(_MANIFESTS) if (found := self._find(key[len(_MANIFESTS) :]))}
        left = [key for key in self._keys(_PIECES) if _began(key) < before and key.rpartition("/")[0] not in named]
        if left and not dry_run:
            self.call("mdelete", left)
        return len({key.rpartition("/")[0] for key in left})

    def call(self, method: str, argument: Any) -> Any:
        """Call the byte store; its failures become `StoreError`."""
        with _failures(method):
            return getattr(self._values, method)(argument)

    def keep_manifest(self, sha256: str, size: int, pieces: str) -> None:
        """Make an upload visible."""
        self._keep(sha256, {"size": size, "piece_bytes": PIECE_BYTES, "pieces": pieces, "at": time.time()})

    def _keep(self, sha256: str, manifest: dict[str, Any]) -> None:
        self.call("mset", [(f"{_MANIFESTS}{sha256}", json.dumps(manifest).encode())])

    def _find(self, sha256: str) -> dict[str, Any] | None:
        value = self.call("mget", [f"{_MANIFESTS}{sha256}"])[0]
        try:
            found = json.loads(value or b"")
        except ValueError:
            return None
        return cast("dict[str, Any]", found) if isinstance(found, dict) and "pieces" in found else None

    def _manifest(self, sha256: str) -> dict[str, Any]:
        found = self._find(sha256)
        if found is None:
            raise missing(sha256, UNKNOWN)
        return found

    def _keys(self, prefix: str) -> list[str]:
        with _failures("yield_keys"):
            return [key for key in self._values.yield_keys(prefix=prefix) if key.startswith(prefix)]


class _PiecesWriter:
    def __init__(self, backend: ByteStoreBackend) -> None:
        self._backend = backend
        self._pieces = f"{_PIECES}{int(time.time())}-{uuid.uuid4().hex}"
        self._buffer = bytearray()
        self._count = 0
        self._size = 0
        self._done = False

    def write(self, chunk: bytes) -> None:
        self._buffer += chunk
        self._size += len(chunk)
        while len(self._buffer) >= PIECE_BYTES:
            self._send(PIECE_BYTES)

    def commit(self, sha256: str) -> None:
        if self._buffer:
            self._send(len(self._buffer))
        self._backend.keep_manifest(sha256, self._size, self._pieces)
        self._done = True

    def discard(self) -> None:
        if not self._done and self._count:
            self._backend.call("mdelete", [f"{self._pieces}/{n:08d}" for n in range(self._count)])
            self._count = 0

    def _send(self, length: int) -> None:
        self._backend.call("mset", [(f"{self._pieces}/{self._count:08d}", bytes(self._buffer[:length]))])
        del self._buffer[:length]
        self._count += 1


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
            raise ValueError(f"cannot seek to {position}, before the start")
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


def _began(key: str) -> float:
    seconds = key.removeprefix(_PIECES).partition("-")[0]
    return float(seconds) if seconds.isdigit() else float("inf")


@contextmanager
def _failures(method: str) -> Iterator[None]:
    try:
        yield
    except GeminiMMError:
        raise
    except Exception as error:
        raise StoreError(f"the byte store failed in {method}: {type(error).__name__}: {error}") from error
