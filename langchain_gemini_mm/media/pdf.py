"""PDFs, opened with pypdfium2: read from where they are, every call under one lock, every failure a named error."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.errors import ContentError, GeminiMMError, MissingExtraError
from langchain_gemini_mm.media.facts import Measures

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

PDFIUM = threading.RLock()
"""PDFium is not thread-safe: one call at a time in the whole process, the emulator's included."""

_PASSWORD_ERROR, _SECURITY_ERROR = 4, 5
_SMALL_BYTES = 8_000_000
"""A smaller file is read at once, which is faster than PDFium's many small reads."""


def count_pages(file: BinaryIO, size: int, name: str) -> Measures:
    """Count the pages of a PDF.

    Raises:
        ContentError: damaged, cut off, locked with a password, or without pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    del size
    with opened_document(file, name) as document, calling(document, name):
        document.pdfium[0].close()
        return Measures(pages=document.pages)


class Document:
    """An open PDF: its handle, how many pages it has, and where it is read from."""

    def __init__(self, pdfium: PdfDocument, blocks: Blocks) -> None:
        self.pdfium = pdfium
        self.blocks = blocks
        self.pages = len(pdfium)
        self.has_form = bool(pdfium.get_formtype())
        self.closed = False


class Blocks:
    """A file as PDFium reads it. A failure is kept, because no exception can pass through PDFium."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._place = 0
        self.failure: Exception | None = None

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Note the place; only the end is looked for at once, before PDFium runs."""
        self._place = self._file.seek(place, whence) if whence else place
        return self._place

    def tell(self) -> int:
        """The noted place."""
        return self._place

    def read(self, length: int = -1) -> bytes:
        """Bytes from the noted place, fewer only at the end."""
        self._file.seek(self._place)
        found = bytearray()
        while length < 0 or len(found) < length:
            piece = self._file.read(length - len(found) if length >= 0 else -1)
            if not piece:
                break
            found += piece
        self._place += len(found)
        return bytes(found)

    def readinto(self, block: bytearray) -> int:
        """Fill `block`; less than all of it where that fails."""
        try:
            view = memoryview(block).cast("B")
            data = self.read(len(view))
            view[: len(data)] = data
        except Exception as error:  # noqa: BLE001  it is raised again behind PDFium
            self.failure = error
            return 0
        return len(data)


@contextmanager
def opened_document(file: BinaryIO, name: str) -> Iterator[Document]:
    """Open a PDF and close it again; the file is left open.

    Raises:
        ContentError: damaged, cut off, locked with a password, or without pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingExtraError(f"opening {name}", package="pypdfium2", extra="media") from error
    blocks = Blocks(file)
    small = blocks.seek(0, io.SEEK_END) <= _SMALL_BYTES
    blocks.seek(0)
    with _reading(blocks, name):
        # A PDF without pages would be told by the error of whatever was opened before it.
        pypdfium2.raw.FPDF_LoadMemDocument64(b"", 0, None)
        document = Document(pypdfium2.PdfDocument(blocks.read() if small else blocks, autoclose=False), blocks)
    try:
        yield document
    finally:
        document.closed = True
        with PDFIUM:
            document.pdfium.close()


@contextmanager
def calling(document: Document, name: str) -> Iterator[None]:
    """Hold the lock, and turn what PDFium says into errors of ours.

    Raises:
        ContentError: damaged, or it cannot be read any more.
        ValueError: the document was closed.
    """
    if document.closed:
        raise ValueError(f"{name} was closed; ask within the `with` block that opened it")
    with _reading(document.blocks, name):
        yield


@contextmanager
def _reading(blocks: Blocks, name: str) -> Iterator[None]:
    import pypdfium2

    try:
        with PDFIUM:
            yield
    except GeminiMMError:
        raise
    except MemoryError as error:
        raise ContentError(f"{name} does not fit into memory when it is opened") from error
    except (pypdfium2.PdfiumError, OSError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        cause = blocks.failure or (error if isinstance(error, OSError) else None)
        if cause:
            raise ContentError(f"cannot read {name}: {getattr(cause, 'strerror', None) or cause}") from cause
        raise ContentError(_refusal(name, getattr(error, "err_code", None))) from error


def _refusal(name: str, code: int | None) -> str:
    if code == _PASSWORD_ERROR:
        return f"{name} is locked with a password; save it without one"
    if code == _SECURITY_ERROR:
        return f"{name} is encrypted in a way that is not known; save it without encryption"
    return f"{name} is a damaged or cut-off PDF, or one without pages. Export or copy it again"
