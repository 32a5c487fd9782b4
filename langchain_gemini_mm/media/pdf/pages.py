"""Pages of a PDF: cut out as PDFs of their own, as text and as images."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.media.images.transform import JPEG, PNG, PreparedImage, encoded_image
from langchain_gemini_mm.media.pdf.document import Document, calling, opened_document
from langchain_gemini_mm.media.pdf.text import clean
from langchain_gemini_mm.media.source import Source, name_of, opened

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_DATE = re.compile(rb"/CreationDate\(D:([0-9+'Z-]{14,24})\)")
_IDENTITY = re.compile(rb"/ID\[<([0-9A-F]+)><([0-9A-F]+)>\]")
_HEAD_BYTES = 1024
_POINTS_PER_INCH = 72
MAX_CHARACTERS = 200_000
"""Text of a page with more characters is not read."""
_ROUNDING = 1e-4
"""PDFium rounds up."""
_MAX_DPI = 600
"""Small pages are not rendered with a higher resolution."""


class PdfPages:
    """An open PDF; pages are counted from 1. Safe to use from many threads, one call at a time.

    ```python
    import io

    from langchain_gemini_mm.media.pdf.pages import opened_pdf
    from langchain_gemini_mm.testing import pdf

    with opened_pdf(io.BytesIO(pdf(("one", "two", "three")))) as paper:
        assert paper.pages == 3 and paper.cut(2, 3).startswith(b"%PDF")
        assert paper.text(2) == "two"
    ```
    """

    def __init__(self, document: Document, name: str) -> None:
        self._document = document
        self._name = name

    @property
    def pages(self) -> int:
        """Number of pages."""
        return self._document.pages

    def cut(self, first: int, last: int, *, max_bytes: int | None = None) -> bytes:
        """Cut out pages as a PDF of their own, with the values of form fields; equal pages give equal bytes.

        Args:
            first: first page, 1-based.
            last: last page, inclusive.
            max_bytes: largest size of the result.

        Raises:
            ContentError: a page is damaged or does not exist.
            MediaLimitError: the result is over `max_bytes`.
        """
        file = _Capped(max_bytes)
        with self._copied(first, last) as new:
            new.save(file)
        data = file.steady()
        if data is None:
            remedy = "Allow more, or use its image" if first == last else "Take fewer pages"
            raise MediaLimitError(
                f"{self._which(first, last)}: {file.length:,} bytes as a PDF; at most {max_bytes:,} are allowed. "
                f"{remedy}"
            )
        return data

    def text(self, page: int, *, limit: int = MAX_CHARACTERS) -> str:
        """The text of a page; empty where it has none that can be read, such as on a scan.

        Args:
            page: 1-based.
            limit: most characters.

        Raises:
            MediaLimitError: the page has more characters; nothing was read.
            ContentError: the page is damaged or does not exist.
        """
        with self._shown(page) as pdfium, closing(pdfium.get_textpage()) as text:
            if text.count_chars() > limit:
                raise MediaLimitError(f"page {page} has {text.count_chars():,} characters; at most {limit:,} are read")
            # Text outside of the visible page is ignored.
            return clean(text.get_text_bounded())

    def image(self, page: int, max_edge: int = 1536, *, mime_type: str = JPEG) -> PreparedImage:
        """Render a page on white.

        Args:
            page: 1-based.
            max_edge: pixels of the longer side.
            mime_type: `"image/jpeg"` or `"image/png"`.

        Raises:
            ContentError: the page is damaged, has no size, or does not exist.
        """
        if max_edge < 1:
            raise ValueError(f"max_edge must be at least 1, got {max_edge!r}")
        if mime_type not in (JPEG, PNG):
            raise ValueError(f"pages are rendered as {JPEG} or {PNG}, got {mime_type!r}")
        with self._shown(page) as pdfium:
            longest = max(pdfium.get_size())
            if not longest > 0:
                raise ContentError(f"page {page} of {self._name} has no size")
            scale = min((max_edge - _ROUNDING) / longest, _MAX_DPI / _POINTS_PER_INCH)
            with closing(pdfium.render(scale=scale, limit_image_cache=True)) as bitmap:
                image = bitmap.to_pil().convert("RGB")
        return encoded_image(image, mime_type)

    @contextmanager
    def _copied(self, first: int, last: int) -> Iterator[PdfDocument]:
        from pypdfium2 import PdfDocument, raw

        self._check_pages(first, last)
        with calling(self._document, self._which(first, last), last - first + 1), closing(PdfDocument.new()) as new:
            if self._document.has_form:
                for number in range(first - 1, last):
                    # Loading a page draws the fields that have no appearance.
                    self._document.pdfium[number].close()
            new.import_pages(self._document.pdfium, list(range(first - 1, last)))
            for number in range(len(new)) if self._document.has_form else ():
                # The import leaves forms and their values behind.
                with closing(new[number]) as page:
                    raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
            yield new

    @contextmanager
    def _shown(self, page: int) -> Iterator[Any]:
        """A loaded page, with the values of its form fields."""
        with ExitStack() as stack:
            if self._document.has_form:
                source = stack.enter_context(self._copied(page, page))
                yield stack.enter_context(closing(source[0]))
                return
            self._check_pages(page, page)
            stack.enter_context(calling(self._document, self._which(page, page)))
            yield stack.enter_context(closing(self._document.pdfium[page - 1]))

    def _which(self, first: int, last: int) -> str:
        return f"pages {first} to {last} of {self._name}" if first != last else f"page {first} of {self._name}"

    def _check_pages(self, first: int, last: int) -> None:
        if not 1 <= first <= last:
            raise ValueError(f"pages are counted from 1 and in order, got {first!r} to {last!r}")
        if last > self.pages:
            raise ContentError(f"{self._name} has {self.pages:,} pages; there is no page {last:,}")


@contextmanager
def opened_pdf(source: Source, *, name: str | None = None) -> Iterator[PdfPages]:
    """Open a PDF; a large one is not read completely.

    Args:
        source: a path, bytes, or an open seekable binary file.
        name: for messages.

    Raises:
        ContentError: damaged, cut off, locked with a password, or without pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    name = name or name_of(source, "PDF")
    with opened(source) as file, opened_document(file, name) as document:
        yield PdfPages(document, name)


def windows(pages: int, size: int = 1, overlap: int = 0) -> Iterator[tuple[int, int]]:
    """Cover a document with windows; yields their first and last pages, 1-based and inclusive.

    ```python
    from langchain_gemini_mm.media.pdf.pages import windows

    assert list(windows(7, 3, overlap=1)) == [(1, 3), (3, 5), (5, 7)]
    ```

    Args:
        pages: of the document.
        size: pages of a window.
        overlap: pages that adjacent windows share.

    Raises:
        ValueError: no pages in a window, or an overlap that is not smaller.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"a window needs at least one page and a smaller overlap, got {size!r} and {overlap!r}")
    if pages > 0:
        for first in range(1, max(pages - overlap, 1) + 1, size - overlap):
            yield first, min(first + size - 1, pages)


class _Capped:
    """A file in memory that stores nothing above its limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._buffer = io.BytesIO()
        self.length = 0

    def write(self, block: Any) -> int:
        """Store a block if the limit is not reached."""
        length = len(block)
        self.length += length
        if self._fits:
            self._buffer.write(block)
        return length

    @property
    def _fits(self) -> bool:
        return self._limit is None or self.length <= self._limit

    def steady(self) -> bytes | None:
        """The content without its creation time and random id; None where it is over the limit."""
        if not self._fits:
            return None
        with self._buffer.getbuffer() as view:
            _blank(view, 0, _DATE, lambda date: b"20000101000000" + bytes(date[14:]))
            _blank(view, max(0, len(view) - _HEAD_BYTES), _IDENTITY, lambda number: b"0" * len(number))
        return self._buffer.getvalue()


def _blank(view: memoryview, start: int, pattern: re.Pattern[bytes], instead: Callable[[bytes], bytes]) -> None:
    if found := pattern.search(bytes(view[start : start + _HEAD_BYTES])):
        for group in range(1, pattern.groups + 1):
            view[start + found.start(group) : start + found.end(group)] = instead(found[group])
