"""PDF documents opened with pypdfium2, with all calls under one lock."""

from __future__ import annotations

import ctypes
import io
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
        return Measures(
            pages=document.pages,
            attachments=document.pdfium.count_attachments(),
            needs_redraw=document.has_form or document.is_encrypted,
        )


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
        self.is_encrypted = _is_encrypted(self.pdfium)
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
    document = PdfDocument(handle)
    if document.get_formtype():
        # With it, PDFium draws fields that have a value and no appearance, as viewers do.
        document.init_forms()
    return document, held


def _is_encrypted(pdfium: Any) -> bool:
    """Whether a PDF that opens without a password is encrypted, to forbid printing or copying."""
    from pypdfium2 import raw

    return bool(raw.FPDF_GetSecurityHandlerRevision(pdfium) >= 0)


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


_MAX_ATTACHMENTS = 1000
_MAX_ATTACHED_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class PdfAttachment:
    """A file inside of a PDF."""

    name: str
    data: bytes = field(default=b"", repr=False)
    unread: str = ""
    """Why it cannot be read, if so."""


def attachments_of(file: BinaryIO, name: str) -> Iterator[PdfAttachment]:
    """The files attached to a PDF, of a portfolio its documents.

    Raises:
        ContentError: damaged, locked with a password, or without pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    with opened_document(file, name) as document:
        count = document.pdfium.count_attachments()
        for number in range(min(count, _MAX_ATTACHMENTS)):
            with calling(document, name):
                found = _attachment(document.pdfium, number)
            yield found
        if count > _MAX_ATTACHMENTS:
            yield PdfAttachment(f"attachment {_MAX_ATTACHMENTS + 1}", unread=f"at most {_MAX_ATTACHMENTS:,} are read")


def _attachment(pdfium: Any, number: int) -> PdfAttachment:
    import pypdfium2
    from pypdfium2 import raw

    attached = pdfium.get_attachment(number)
    name = _wide_text(lambda *into: raw.FPDFAttachment_GetName(attached, *into)) or f"attachment {number + 1}"
    size = ctypes.c_ulong()
    raw.FPDFAttachment_GetFile(attached, None, 0, size)
    if size.value > _MAX_ATTACHED_BYTES:
        return PdfAttachment(name, unread=f"it has {size.value:,} bytes; attachments of up to 256 MiB are read")
    try:
        return PdfAttachment(name, bytes(attached.get_data()))
    except pypdfium2.PdfiumError:
        return PdfAttachment(name, unread="it is damaged or empty")


def entry_of(pdfium: Any, key: str) -> str:
    """A text of the information dictionary, such as the title; what cannot be decoded becomes U+FFFD."""
    from pypdfium2 import raw

    return _wide_text(lambda *into: raw.FPDF_GetMetaText(pdfium, key.encode() + b"\0", *into))


def _wide_text(read: Callable[[Any, int], int]) -> str:
    """A text that PDFium writes as UTF-16; `read` takes a buffer and its size, and returns the size needed."""
    size = min(read(None, 0), _MAX_TEXT_BYTES)
    buffer = ctypes.create_string_buffer(size + 2)
    written = min(read(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size), size)
    return buffer.raw[: max(written - 2, 0)].decode("utf-16-le", "replace")


_MAX_TEXT_BYTES = 1 << 20
_STREAM = re.compile(rb">>\s{0,9}stream\r?\n")
_DICTIONARY_BYTES = 4000
_NO_CONTENT = re.compile(
    rb"/(?:Image|EmbeddedFile|XRef|ObjStm|Metadata|Length[123]|FunctionType|ShadingType|Alternate)\b"
)
_DRAWS = re.compile(rb"/[^\s/]{1,99}\s{1,9}Do\b")
_READ_BYTES = 8 << 20
_SMALL_STREAM_BYTES = 2 << 20
_SAMPLED_BYTES = 1 << 18
_HIGH_RATIO = 60
_MANY_FORMS = 5


def is_heavy(file: BinaryIO) -> bool:
    """Whether opening a PDF may take much memory or time, to judge by its compressed contents.

    PDFium unpacks and parses the contents of a page whole: some kilobytes may become gigabytes.
    """
    file.seek(0)
    held, forms = b"", 0
    while block := file.read(_READ_BYTES):
        data = held + block
        for match in _STREAM.finditer(data):
            before = data[max(match.start() - _DICTIONARY_BYTES, 0) : match.start()]
            dictionary = before[before.rfind(b"obj") + 1 :]
            is_content = not _NO_CONTENT.search(dictionary)
            limit = _SMALL_STREAM_BYTES if is_content else _SAMPLED_BYTES
            unpacked, used = _inflated(data, match.end(), limit)
            forms += is_content and b"/Form" in dictionary and len(_DRAWS.findall(unpacked)) > 1
            ratio = len(unpacked) / max(used, 1)
            if (len(unpacked) >= limit and (is_content or ratio > _HIGH_RATIO)) or forms > _MANY_FORMS:
                return True
        held = data[-8000:] if len(block) == _READ_BYTES else b""
    return False


def _inflated(data: bytes, start: int, limit: int) -> tuple[bytes, int]:
    """The beginning of a compressed stream, and the length of what it was packed into."""
    unpacker = zlib.decompressobj()
    source = memoryview(data)[start : start + limit]
    try:
        unpacked = unpacker.decompress(source, limit)
    except zlib.error:
        end = data.find(b"endstream", start, start + limit)
        return bytes(source if end < 0 else source[: end - start]), limit
    return unpacked, len(source) - len(unpacker.unconsumed_tail) - len(unpacker.unused_data)
