"""PDF documents opened with pypdfium2, with all calls under one lock."""

from __future__ import annotations

import ctypes
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from langchain_gemini_mm.errors import ContentError, MissingExtraError
from langchain_gemini_mm.media.facts import Measures

PDFIUM = threading.RLock()
"""PDFium is not thread-safe: this lock allows one call at a time in the process, including the emulator."""

_PASSWORD_ERROR, _SECURITY_ERROR = 4, 5
_SMALL_BYTES = 8_000_000
"""Smaller files are read at once, which is faster than the small reads of PDFium."""

_KEPT_BYTES = 48_000_000
"""About how much of a document PDFium may keep in memory."""


def count_pages(file: BinaryIO, name: str) -> Measures:
    """Count the pages of a PDF.

    Raises:
        ContentError: damaged, cut off, locked with a password, or without pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    with opened_document(file, name) as document, calling(document, name):
        document.pdfium[0].close()
        return Measures(pages=document.pages)


class Blocks:
    """A file with PDFium's callback for reading; an exception is stored, because none can pass through PDFium."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        self.failure: Exception | None = None

    def whole(self) -> bytes:
        """All of it."""
        self._file.seek(0)
        return self._read(self.size)

    def place(self) -> bytes | None:
        """A path by which PDFium can open the same open file, which takes a fifth less time; on Linux only."""
        if type(self._file) is io.BufferedReader and isinstance(self._file.raw, io.FileIO):
            place = Path(f"/proc/self/fd/{self._file.fileno()}")
            return bytes(place) if place.exists() else None
        return None

    def __call__(self, _param: object, place: int, block: object, size: int) -> int:
        """Copy bytes from offset `place` into a buffer of PDFium; 1 on success."""
        try:
            self._file.seek(place)
            data = self._read(size)
        except Exception as error:  # noqa: BLE001  it is raised again behind PDFium
            self.failure = error
            return 0
        if len(data) < size:
            return 0
        ctypes.memmove(block, data, size)  # type: ignore[arg-type]
        return 1

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        while len(data) < size and (more := self._file.read(size - len(data))):
            data += more
        return data


class Document:
    """An open PDF: its handle, and how many pages it has."""

    def __init__(self, blocks: Blocks, name: str) -> None:
        self.blocks = blocks
        self.closed = False
        self._name = name
        self._kept = 0.0
        self.pdfium, self._held = _loaded(blocks, name)
        self.pages = len(self.pdfium)
        self.has_form = bool(self.pdfium.get_formtype())
        if not self.pages:
            self.close()
            raise ContentError(f"{name} is a PDF without pages")

    def visit(self, pages: int) -> None:
        """Open the document again when it uses much memory: PDFium keeps what it read until a document is closed."""
        if self._kept > _KEPT_BYTES:
            self.close()
            self.pdfium, self._held = _loaded(self.blocks, self._name)
            self._kept = 0.0
        self._kept += pages * self.blocks.size / self.pages

    def close(self) -> None:
        """Close the handle; the file stays open."""
        self.pdfium.close()


def _loaded(blocks: Blocks, name: str) -> tuple[Any, Any]:
    """A handle, and the object that must live as long as it does."""
    from pypdfium2 import PdfDocument, raw

    held: Any = None
    if blocks.size <= _SMALL_BYTES:
        held = blocks.whole()
        handle = raw.FPDF_LoadMemDocument64(held, len(held), None)
    elif place := blocks.place():
        handle = raw.FPDF_LoadDocument(place, None)
    else:
        held = raw.FPDF_FILEACCESS(m_FileLen=blocks.size)
        held.m_GetBlock = type(held.m_GetBlock)(blocks)
        handle = raw.FPDF_LoadCustomDocument(held, None)
    if not handle:
        raise ContentError(_refusal(name, raw.FPDF_GetLastError()))
    return PdfDocument(handle), held


@contextmanager
def opened_document(file: BinaryIO, name: str) -> Iterator[Document]:
    """Open a PDF and close it again; the file is left open.

    Raises:
        ContentError: damaged, cut off, locked with a password, or without pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    try:
        import pypdfium2  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"opening {name}", package="pypdfium2", extra="media") from error
    blocks = Blocks(file)
    with _reading(blocks, name):
        document = Document(blocks, name)
    try:
        yield document
    finally:
        document.closed = True
        with PDFIUM:
            document.close()


@contextmanager
def calling(document: Document, name: str, pages: int = 1) -> Iterator[None]:
    """Hold the lock during calls of PDFium, and translate its errors.

    Args:
        document: open.
        name: for messages.
        pages: that these calls read.

    Raises:
        ContentError: damaged, or it can no longer be read.
        ValueError: the document was closed.
    """
    if document.closed:
        raise ValueError(f"{name} was closed; ask within the `with` block that opened it")
    with _reading(document.blocks, name):
        document.visit(pages)
        yield


@contextmanager
def _reading(blocks: Blocks, name: str) -> Iterator[None]:
    import pypdfium2

    try:
        with PDFIUM:
            yield
    except MemoryError as error:
        raise ContentError(f"{name} does not fit into memory when it is opened") from error
    except (pypdfium2.PdfiumError, OSError, ContentError) as error:
        cause = blocks.failure or (error if isinstance(error, OSError) else None)
        if cause:
            raise ContentError(f"cannot read {name}: {getattr(cause, 'strerror', None) or cause}") from cause
        if isinstance(error, ContentError):
            raise
        raise ContentError(_refusal(name)) from error


def _refusal(name: str, code: int | None = None) -> str:
    if code == _PASSWORD_ERROR:
        return f"{name} is locked with a password; save it without one"
    if code == _SECURITY_ERROR:
        return f"{name} is encrypted in a way that is not known; save it without encryption"
    return f"{name} is a damaged or cut-off PDF. Export or copy it again"
