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
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.embedding_space import require_dimensions, require_space
from langchain_gemini_mm.vectorstores.records import Record, plain_json, plain_text
from langchain_gemini_mm.vectorstores.write import Progress

DOCUMENTS, VECTORS, MANIFEST = "documents.jsonl", "vectors.npy", "manifest.json"
FORMAT = 1
"""The format of the folder; newer formats are refused."""

_PARTIAL = f"{MANIFEST}.partial"
_FLOAT = np.dtype("<f4")
_HEADER_BYTES = 128
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
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            others = {path.name for path in self.folder.iterdir()} - {DOCUMENTS, VECTORS, _PARTIAL}
            if others:
                raise StoreError(f"{self.folder} is not empty ({min(others)!r}). An export needs a folder of its own")
            self._documents = (self.folder / DOCUMENTS).open("wb")
            self._vectors = (self.folder / VECTORS).open("wb")
        self._vectors.write(bytes(_HEADER_BYTES))

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
            manifest = Manifest(
                self._count,
                self._dimensions or 0,
                fingerprint,
                _sha256(self.folder / DOCUMENTS),
                _sha256(self.folder / VECTORS),
            )
            with (self.folder / _PARTIAL).open("wb") as last:
                last.write(json.dumps(asdict(manifest), indent=2, ensure_ascii=False).encode())
                last.flush()
                os.fsync(last.fileno())
            (self.folder / _PARTIAL).replace(self.folder / MANIFEST)
        return self._count

    def close(self) -> None:
        """Close the files."""
        for file in (self._documents, self._vectors):
            try:
                file.close()
            except OSError:  # a full disk again; `add` or `finish` has raised already
                continue


def checked_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of a folder and compare the hashes of both files with it.

    Raises:
        StoreError: the export is incomplete, was changed, or has a newer format.
    """
    path = Path(folder).expanduser()
    try:
        stored = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if stored.get("format", 0) > FORMAT:
            raise StoreError(
                f"{path} has format {stored['format']}, this version of langchain-gemini-mm reads up to {FORMAT}. "
                "Upgrade langchain-gemini-mm"
            )
        manifest = Manifest(**stored)
        expected = {DOCUMENTS: manifest.documents_sha256, VECTORS: manifest.vectors_sha256}
        for name, digest in expected.items():
            if _sha256(path / name) != digest:
                raise StoreError(f"{path / name} was changed or cut after the export. Export again")
        with (path / VECTORS).open("rb") as file:
            if _shape(file) != (manifest.count, manifest.dimensions):
                raise StoreError(f"{path / VECTORS} does not hold what {MANIFEST} says. Export again")
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise StoreError(f"{path} is not a whole export: {name} is missing. Export again") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is not an export that can be read: {error}. Export again") from error
    return manifest


def records_in(folder: str | os.PathLike[str], size: int) -> Generator[list[Record], None, None]:
    """Read the documents with their vectors, `size` at a time.

    Raises:
        StoreError: a line or a vector is damaged.
    """
    path = Path(folder).expanduser()
    with (path / DOCUMENTS).open(encoding="utf-8", newline="\n") as lines, (path / VECTORS).open("rb") as vectors:
        _, dimensions = _shape(vectors)
        while stored := list(islice(lines, size)):
            try:
                block = vectors.read(len(stored) * dimensions * _FLOAT.itemsize)
                rows = np.frombuffer(block, dtype=_FLOAT).reshape(len(stored), dimensions)
                if (np.abs(np.einsum("ij,ij->i", rows, rows) - 1) > _LENGTH_TOLERANCE).any():
                    raise ValueError("a vector is not of unit length")
                records = [_record(line, row) for line, row in zip(stored, rows, strict=True)]
            except (ValueError, TypeError, KeyError) as error:
                raise StoreError(f"{path} is not an export that can be read: {error}. Export again") from error
            yield records


def _record(line: str, row: Vector) -> Record:
    stored = json.loads(line)
    id_, text = plain_text(stored["id"], "an id"), plain_text(stored["text"], f"the text of {stored['id']!r}")
    return Record(id_, text, plain_json(stored["metadata"], f"the metadata of {id_!r}"), row)


def _header(count: int, dimensions: int) -> bytes:
    """The header of an `npy` file of version 1.0; its length is fixed, so that it can be written last."""
    stored = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {dimensions}), }}"
    magic = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return magic + stored.ljust(_HEADER_BYTES - 11).encode() + b"\n"


def _shape(file: BinaryIO) -> tuple[int, ...]:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("vectors.npy is of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype != _FLOAT or len(shape) != 2:
        raise ValueError(f"vectors.npy holds {dtype} of shape {shape}, not (n, d) float32")
    return tuple(shape)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error}. Make room or choose another folder, and export again"
        ) from error


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
    manifest = yield blocking(checked_manifest, folder)
    if not manifest.count:
        return 0
    name = f"the export {os.fspath(folder)!r}"
    fingerprint = backend.space.fingerprint
    require_space(name, manifest.fingerprint, fingerprint)
    stored = yield from backend.read_info("dimensions")
    require_dimensions(name, manifest.dimensions, stored or manifest.dimensions)
    batches = records_in(folder, batch_size)
    count = 0
    try:
        while records := (yield blocking(next, batches, None)):
            yield from backend.upsert(records, fingerprint)
            count += len(records)
            if progress is not None:
                progress(count)
    finally:
        batches.close()
    return count
