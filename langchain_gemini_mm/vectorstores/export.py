"""A collection as a plain folder, written and read with constant memory.

```
documents.jsonl   one JSON object a line: id, text, metadata
vectors.npy       (n, d) little-endian float32, row i belongs to line i
manifest.json     format, count, dimensions, fingerprint, SHA-256 of the two others; written last
```

Media are not exported: texts contain references, and the media store is backed up separately.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError, StoreError
from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.storage.regular_files import create_regular, open_regular
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.embedding_space import require_dimensions, require_space
from langchain_gemini_mm.vectorstores.records import Record, plain_json, plain_text
from langchain_gemini_mm.vectorstores.write import Progress

DOCUMENTS, VECTORS, MANIFEST = "documents.jsonl", "vectors.npy", "manifest.json"
FORMAT = 1
"""The format of the folder; newer formats are refused."""

MAX_LINE_BYTES = 256_000_000
"""Longest line of `documents.jsonl` that is read."""

_PARTIAL = f"{MANIFEST}.partial"
_MAX_MANIFEST_BYTES = 1_000_000
_CHUNK_BYTES = 1_000_000
_MAX_DIMENSIONS = 1_000_000
_FLOAT = np.dtype("<f4")
_HEADER_BYTES = 128
_BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    DOCUMENTS: (b'{"id": ',),
    VECTORS: (b"\x93NUMPY", bytes(_HEADER_BYTES)),
    _PARTIAL: (b"{",),
}
"""How the files of an export begin; the header of the vectors is written last."""
_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of an export."""

    count: int
    dimensions: int
    fingerprint: dict[str, Any] | None
    documents_sha256: str
    vectors_sha256: str
    format: int = FORMAT


class Writer:
    """Writes an export; it is complete after `finish`.

    Raises:
        StoreError: the folder contains other files, or cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._count = 0
        self._dimensions: int | None = None
        self._files = ExitStack()
        with _writing(self.folder), self._files:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._require_own()
            self._documents = self._files.enter_context(create_regular(self.folder / DOCUMENTS))
            self._vectors = self._files.enter_context(create_regular(self.folder / VECTORS))
            self._vectors.write(bytes(_HEADER_BYTES))
            self._files = self._files.pop_all()

    def _require_own(self) -> None:
        """Refuse a folder with anything but the files of an unfinished export."""
        others = {path.name for path in self.folder.iterdir()} - {DOCUMENTS, VECTORS, _PARTIAL}
        if others:
            raise StoreError(f"{self.folder} is not empty ({min(others)!r}). An export needs a folder of its own")
        for name, beginnings in _BEGINNINGS.items():
            path = self.folder / name
            if os.path.lexists(path):
                with open_regular(path) as file:
                    start = file.read(_HEADER_BYTES)
                if start and not start.startswith(beginnings):
                    raise StoreError(f"{path} is not part of an export. An export needs a folder of its own")

    def add(self, records: list[Record]) -> None:
        """Append records with their vectors.

        Raises:
            StoreError: the folder cannot be written, or the length of the vectors changed.
        """
        rows = np.stack([record.vector for record in records if record.vector is not None])
        if self._dimensions not in (None, rows.shape[1]):
            raise StoreError("the collection was emptied and filled with other vectors during the export. Start again")
        self._dimensions = rows.shape[1]
        with _writing(self.folder):
            for record in records:
                line = {"id": record.id, "text": record.text, "metadata": record.metadata}
                self._documents.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            self._vectors.write(rows.astype(_FLOAT, copy=False).tobytes())
        self._count += len(records)

    def finish(self, fingerprint: Any) -> int:
        """Complete the export and return the number of documents.

        Raises:
            StoreError: the folder cannot be written.
        """
        with _writing(self.folder):
            self._vectors.seek(0)
            self._vectors.write(_header(self._count, self._dimensions or 0))
            for file in (self._documents, self._vectors):
                file.flush()
                os.fsync(file.fileno())
                file.close()
            digests = {}
            for name in (DOCUMENTS, VECTORS):
                with open_regular(self.folder / name) as written:
                    digests[name] = _sha256(written)
            manifest = Manifest(
                self._count,
                self._dimensions or 0,
                fingerprint,
                digests[DOCUMENTS],
                digests[VECTORS],
            )
            with create_regular(self.folder / _PARTIAL) as last:
                last.write(json.dumps(asdict(manifest), indent=2, ensure_ascii=False).encode())
                last.flush()
                os.fsync(last.fileno())
            (self.folder / _PARTIAL).replace(self.folder / MANIFEST)
        return self._count

    def close(self) -> None:
        """Close the files."""
        with suppress(OSError):  # a full disk again; `add` or `finish` has raised already
            self._files.close()


class Reader:
    """The files of an export, open until `close`; they are the same files in every pass.

    Raises:
        StoreError: the export is incomplete, has a newer format, or contains links or special files.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._files = ExitStack()
        with _reading(self.folder), self._files:
            with open_regular(self.folder / MANIFEST) as file:
                self.manifest = _manifest(file.read(_MAX_MANIFEST_BYTES + 1), self.folder)
            self._documents = self._files.enter_context(open_regular(self.folder / DOCUMENTS))
            self._vectors = self._files.enter_context(open_regular(self.folder / VECTORS))
            self._require_array(self.manifest.count, self.manifest.dimensions)
            self._files = self._files.pop_all()

    def _require_array(self, count: int, dimensions: int) -> None:
        """Compare header and size with those that `Writer` and `numpy.save` write; a header is never interpreted."""
        if self._vectors.read(_HEADER_BYTES) != _header(count, dimensions):
            raise StoreError(f"{self.folder / VECTORS} does not hold what {MANIFEST} says. Export again")
        size = os.fstat(self._vectors.fileno()).st_size
        if size != _HEADER_BYTES + count * dimensions * _FLOAT.itemsize:
            raise StoreError(f"{self.folder / VECTORS} was changed or cut after the export. Export again")

    def verify(self, size: int) -> None:
        """Read everything, `size` documents at a time, as `records` will, and compare hashes and counts.

        Raises:
            StoreError: a file was changed, or a line or a vector is damaged.
        """
        with _reading(self.folder):
            documents, vectors = self.manifest.documents_sha256, self.manifest.vectors_sha256
            for name, file, digest in ((DOCUMENTS, self._documents, documents), (VECTORS, self._vectors, vectors)):
                if _sha256(file) != digest:
                    raise StoreError(f"{self.folder / name} was changed or cut after the export. Export again")
        hashes = bytearray()  # 8 bytes per document, because the ids may be many
        for records in self.records(size):
            for record in records:
                hashes += hashlib.blake2b(record.id.encode(), digest_size=8).digest()
        if len(np.unique(np.frombuffer(hashes, dtype=np.uint64))) < self.manifest.count:
            raise StoreError(f"{self.folder} has two documents with the same id. Export again")

    def records(self, size: int) -> Generator[list[Record], None, None]:
        """Read the documents with their vectors, `size` at a time.

        Raises:
            StoreError: a line or a vector is damaged.
        """
        width, count = self.manifest.dimensions, 0
        self._documents.seek(0)
        self._vectors.seek(_HEADER_BYTES)
        while True:
            with _reading(self.folder):
                lines = list(islice(iter(self._line, b""), size))
                count += len(lines)
                if count > self.manifest.count or (len(lines) < size and count < self.manifest.count):
                    raise InvalidValueError(
                        f"{DOCUMENTS} does not have the {self.manifest.count} lines that {MANIFEST} says"
                    )
                block = self._vectors.read(len(lines) * width * _FLOAT.itemsize)
                rows = np.frombuffer(block, dtype=_FLOAT).reshape(len(lines), width)
                lengths = np.einsum("ij,ij->i", rows, rows)
                if not (np.abs(lengths - 1) <= _LENGTH_TOLERANCE).all():  # also false for NaN
                    raise InvalidValueError("a vector is not of unit length")
                found = [_record(line, row) for line, row in zip(lines, rows, strict=True)]
            if not found:
                return
            yield found

    def _line(self) -> bytes:
        line = self._documents.readline(MAX_LINE_BYTES + 1)
        if len(line) > MAX_LINE_BYTES:
            raise InvalidValueError(f"a line of {DOCUMENTS} is longer than {MAX_LINE_BYTES:,} bytes")
        return line

    def close(self) -> None:
        """Close the files."""
        self._files.close()


def _manifest(content: bytes, folder: Path) -> Manifest:
    if len(content) > _MAX_MANIFEST_BYTES:
        raise InvalidValueError(f"{MANIFEST} is longer than {_MAX_MANIFEST_BYTES:,} bytes")
    stored = json.loads(content.decode())
    if not isinstance(stored, dict):
        raise InvalidTypeError(f"{MANIFEST} is not an object")
    if isinstance(stored.get("format"), int) and stored["format"] > FORMAT:
        raise StoreError(
            f"{folder} has format {stored['format']}, this version of langchain-gemini-mm reads up to {FORMAT}. "
            "Upgrade langchain-gemini-mm"
        )
    manifest = Manifest(**stored)
    expected = {"count": 2**53, "dimensions": _MAX_DIMENSIONS, "format": FORMAT}
    for name, limit in expected.items():
        value = getattr(manifest, name)
        if type(value) is not int or not 0 <= value <= limit:
            raise InvalidValueError(f"{name} in {MANIFEST} is {str(value)[:60]!r}")
    if manifest.count and not manifest.dimensions:
        raise InvalidValueError(f"dimensions in {MANIFEST} is 0")
    if not isinstance(manifest.fingerprint, dict | None):
        raise InvalidTypeError(f"fingerprint in {MANIFEST} is not an object")
    return manifest


def _record(line: bytes, row: Vector) -> Record:
    stored = json.loads(line.decode())
    if not isinstance(stored, dict) or not isinstance(stored["id"], str) or not isinstance(stored["text"], str):
        raise InvalidTypeError("a line is not an object with an id and a text")
    if not stored["id"]:
        raise InvalidValueError("an id is empty")
    id_, text = plain_text(stored["id"], "an id"), plain_text(stored["text"], f"the text of {stored['id'][:60]!r}")
    metadata = plain_json(stored["metadata"], f"the metadata of {id_[:60]!r}")
    if not isinstance(metadata, dict):
        raise InvalidTypeError(f"the metadata of {id_[:60]!r} is not an object")
    return Record(id_, text, metadata, row)


def _header(count: int, dimensions: int) -> bytes:
    """The header of an `npy` file of version 1.0; its length is fixed, so that it can be written last."""
    stored = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {dimensions}), }}"
    magic = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return magic + stored.ljust(_HEADER_BYTES - 11).encode() + b"\n"


def _sha256(file: BinaryIO) -> str:
    """The hash of a file from its beginning."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error}. Make room or choose another folder, and export again"
        ) from error


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Raise what decoders raise as `StoreError`."""
    try:
        yield
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise StoreError(f"{folder} is not a whole export: {name} is missing. Export again") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(f"{folder} is not an export that can be read: {str(error)[:300]}. Export again") from error


_PAGE_SIZE = 1000


def export_flow(backend: Backend, folder: str | os.PathLike[str]) -> Flow[int]:
    """Export all documents to a folder and return their number."""
    fingerprint = yield from backend.read_info("fingerprint")
    writer: Writer = yield blocking(Writer, folder)
    try:
        after: str | None = None
        while records := (yield from backend.page(after, _PAGE_SIZE, columns="all")):
            yield blocking(writer.add, records)
            after = records[-1].id
        count: int = yield blocking(writer.finish, fingerprint)
    finally:
        writer.close()
    return count


def import_flow(
    backend: Backend, folder: str | os.PathLike[str], batch_size: int, progress: Progress | None
) -> Flow[int]:
    """Store all documents of an export and return their number.

    Args:
        backend: where to store.
        folder: a complete export.
        batch_size: how many documents are stored together.
        progress: called after each batch with the number of documents stored so far.
    """
    positive_int("batch_size", batch_size)
    reader: Reader = yield blocking(Reader, folder)
    count = 0
    try:
        manifest, fingerprint = reader.manifest, backend.space.fingerprint
        if manifest.count:
            name = f"the export {os.fspath(folder)!r}"
            require_space(name, manifest.fingerprint, fingerprint)
            stored = yield from backend.read_info("dimensions")
            require_dimensions(name, manifest.dimensions, stored or manifest.dimensions)
        yield blocking(reader.verify, batch_size)
        batches = reader.records(batch_size)
        while records := (yield blocking(next, batches, None)):
            yield from backend.upsert(records, fingerprint)
            count += len(records)
            if progress is not None:
                progress(count)
    finally:
        reader.close()
    return count
