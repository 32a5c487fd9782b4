"""PDFs, opened with pypdfium2."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import BinaryIO

from langchain_gemini_mm.errors import ContentError, GeminiMMError, MissingExtraError
from langchain_gemini_mm.media.facts import Measures

PDFIUM = threading.Lock()
"""PDFium is not thread-safe: one call at a time in the whole process, the emulator's included."""

_PASSWORD_ERROR = 4


def count_pages(file: BinaryIO, size: int, name: str) -> Measures:
    """Count the pages of a PDF.

    Raises:
        ContentError: damaged, cut off, locked with a password, or without pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingExtraError(f"opening {name}", package="pypdfium2", extra="media") from error
    with PDFIUM:
        try:
            with closing(pypdfium2.PdfDocument(file, autoclose=False)) as document:
                pages = len(document)
                if pages:
                    document[0].close()
        except GeminiMMError:
            raise
        except (pypdfium2.PdfiumError, OSError, ValueError, RuntimeError) as error:
            if getattr(error, "err_code", None) == _PASSWORD_ERROR:
                raise ContentError(f"{name} is locked with a password; save it without one") from error
            raise ContentError(
                f"{name} ({size:,} bytes) is a damaged or cut-off PDF. Export or copy it again"
            ) from error
    if not pages:
        raise ContentError(f"{name} is a PDF without pages")
    return Measures(pages=pages)
