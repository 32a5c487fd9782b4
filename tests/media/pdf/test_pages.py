"""PDFs: windows that cover every page, cut into separate files, with their text and their images."""

from __future__ import annotations

import io
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError
from langchain_gemini_mm.media.pdf.pages import opened_pdf, windows
from langchain_gemini_mm.media.pdf.text import clean
from langchain_gemini_mm.testing import pdf
from tests.media.generate import form_pdf, locked_pdf, noise_pdf, pdf_objects, pdf_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_gemini_mm.media.images.transform import PreparedImage
    from langchain_gemini_mm.media.source import Source

TWENTY = pdf([f"This is page {number}." for number in range(1, 21)])


def cut(source: Source, first: int, last: int) -> bytes:
    """Pages of a PDF as a separate PDF."""
    with opened_pdf(source) as paper:
        return paper.cut(first, last)


def page_text(source: Source, page: int) -> str:
    """The text of a page."""
    with opened_pdf(source) as paper:
        return paper.text(page)


def page_image(source: Source, page: int, max_edge: int, mime_type: str = "image/jpeg") -> PreparedImage:
    """An image of a page."""
    with opened_pdf(source) as paper:
        return paper.image(page, max_edge, mime_type=mime_type)


def texts(data: bytes) -> list[str]:
    """The text of every page."""
    with opened_pdf(data) as paper:
        return [paper.text(number) for number in range(1, paper.pages + 1)]


WINDOWS = {
    "page by page": ((3, 1, 0), [(1, 1), (2, 2), (3, 3)]),
    "six per window": ((13, 6, 0), [(1, 6), (7, 12), (13, 13)]),
    "with overlap": ((7, 3, 1), [(1, 3), (3, 5), (5, 7)]),
    "no window within the previous one": ((6, 3, 2), [(1, 3), (2, 4), (3, 5), (4, 6)]),
    "fewer pages than a window": ((2, 6, 3), [(1, 2)]),
    "no pages": ((0, 6, 0), []),
}


@pytest.mark.parametrize(("arguments", "expected"), WINDOWS.values(), ids=WINDOWS)
def test_windows(arguments: tuple[int, int, int], expected: list[tuple[int, int]]) -> None:
    """Windows are given by their first and last page, counted from 1."""
    assert list(windows(*arguments)) == expected


@given(st.integers(1, 400), st.integers(1, 30), st.data())
def test_windows_cover_every_page(pages: int, size: int, data: st.DataObject) -> None:
    """Every page is covered, none is added, and adjacent windows overlap as asked."""
    overlap = data.draw(st.integers(0, size - 1))
    found = list(windows(pages, size, overlap))
    assert (found[0][0], found[-1][1]) == (1, pages)
    assert all(1 <= last - first + 1 <= size for first, last in found)
    assert all(before[1] - after[0] + 1 == overlap and after[1] > before[1] for before, after in pairwise(found))


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (-1, 0), (3, 3), (3, -1)])
def test_invalid_windows(size: int, overlap: int) -> None:
    """A window has at least one page, and each one advances."""
    with pytest.raises(ValueError, match="at least one page and a smaller overlap"):
        list(windows(9, size, overlap))


def test_a_cut_contains_its_pages() -> None:
    """A cut is a PDF of the selected pages only."""
    assert texts(cut(TWENTY, 3, 5)) == ["This is page 3.", "This is page 4.", "This is page 5."]
    assert texts(cut(TWENTY, 1, 20)) == texts(TWENTY)


def test_a_document_is_cut_into_windows() -> None:
    """The windows of an open document contain their pages."""
    with opened_pdf(TWENTY) as paper:
        for first, last in windows(paper.pages, 6, 2):
            assert texts(paper.cut(first, last)) == [f"This is page {page}." for page in range(first, last + 1)]


def test_a_page_over_the_limit_is_an_error() -> None:
    """A single page cannot be split: the error contains its number, size and limit, and the remedy."""
    with opened_pdf(noise_pdf(20, 400), name="'scan.pdf'") as paper:
        with pytest.raises(MediaLimitError, match=r"page 2 of 'scan\.pdf': [0-9,]+ bytes .* at most 9,000 .* image"):
            paper.cut(2, 2, max_bytes=9000)
        with pytest.raises(MediaLimitError, match=r"pages 1 to 2 of .* at most 9,000 .* fewer pages"):
            paper.cut(1, 2, max_bytes=9000)


def test_output_is_deterministic() -> None:
    """A cut contains no time and no random number, because embeddings are cached by content."""
    data = cut(TWENTY, 2, 7)
    assert b"CreationDate(D:20000101000000" in data
    assert all(cut(TWENTY, 2, 7) == data for _ in range(3))


def test_form_values_are_kept() -> None:
    """The values of form fields are in the text, the image and the cut of a page."""
    form = form_pdf("Ada Lovelace")
    assert page_text(form, 1) == "Name of applicant\nAda Lovelace"
    assert texts(cut(form, 1, 1)) == ["Name of applicant\nAda Lovelace"]
    empty, filled = (page_image(form_pdf(value), 1, 600, mime_type="image/png").data for value in ("", "Ada"))
    assert empty != filled


def test_page_images() -> None:
    """A page is rendered upright on white, to the requested edge, as JPEG or PNG."""
    for mime_type in ("image/jpeg", "image/png"):
        made = page_image(TWENTY, 2, 800, mime_type=mime_type)
        image = Image.open(io.BytesIO(made.data))
        assert (made.mime_type, image.get_format_mimetype(), max(image.size)) == (mime_type, mime_type, 800)
        assert image.size == (made.width, made.height) == (565, 800)
        grey = image.convert("L")
        assert grey.getpixel((3, 3)) == 255
        assert min(grey.tobytes()) < 90


BOXES = {
    "giant": (b"[0 0 1000000 500000]", (400, 200)),
    "very wide": (b"[0 0 9000 1]", (400, 1)),
    "very small": (b"[0 0 2 2]", (17, 17)),
    "nothing": (b"[0 0 0 0]", None),
    "upside down": (b"[420 595 0 0]", (283, 400)),
    "no box": (b"[1 2]", None),
    "out of range": (b"[0 0 1e30 9e30]", None),
}


@pytest.mark.parametrize(("box", "size"), BOXES.values(), ids=BOXES)
def test_pages_of_any_size_are_rendered(box: bytes, size: tuple[int, int] | None) -> None:
    """However large a page declares itself, its image has the requested size."""
    made = page_image(TWENTY.replace(b"[0 0 420 595]", box), 1, 400)
    assert max(made.width, made.height) <= 400
    assert size is None or (made.width, made.height) == size


def test_text_outside_the_page_is_ignored() -> None:
    """Text outside the page box is not part of the text of the page."""
    content = b"BT /F1 12 Tf 20 50 Td (seen) Tj ET BT /F1 12 Tf 900 50 Td (beside) Tj ET"
    fonts = b"/Resources << /Font << /F1 5 0 R >> >>"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Contents 4 0 R %s >>" % fonts
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    tree = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    data = pdf_objects(b"<< /Type /Catalog /Pages 2 0 R >>", tree, page, pdf_stream(content), font)
    assert page_text(data, 1) == "seen"
    assert page_text(noise_pdf(30), 1) == ""


TEXTS = {
    "lines": ("one \r\n two\r\rthree\n\n\n\n\nfour ", "one\ntwo\n\nthree\n\nfour"),
    "hyphenated words": ("exam\ufffe\r\nple, mul\x02\r\nti", "example, multi"),
    "ligatures": ("o\ufb03ce \ufb01sh x\u00b2", "office fish x²"),
    "spaces": ("a\xa0\u2003 b\tc", "a b c"),
    "soft hyphens": ("Donau\xaddampf", "Donaudampf"),
    "invisible characters": ("a\u200bb\ufeffc\u2060d\x00e\u202ef", "abcdef"),
    "joining characters": ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    "accents": ("e\u0301te\u0301", "\xe9t\xe9"),
    "private-use characters": ("\ue001\ue002\ue003 \x01\x03 ok", ""),
    "some private-use characters": ("All of these words \ue001 can be read", "All of these words can be read"),
    "other scripts": ("日本語 العربية हिन्दी", "日本語 العربية हिन्दी"),
    "nothing": (" \r\n\x00 ", ""),
}


@pytest.mark.parametrize(("raw", "expected"), TEXTS.values(), ids=TEXTS)
def test_text_is_cleaned(raw: str, expected: str) -> None:
    """Text is extracted as a viewer copies it; the output of fonts without character mapping is dropped."""
    assert clean(raw) == expected


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "locked": (locked_pdf, "'my file' is locked with a password"),
    "truncated": (lambda: TWENTY[: len(TWENTY) // 2], "'my file' is a damaged or cut-off PDF"),
    "junk": (lambda: b"%PDF-1.7\njunk", "damaged or cut-off"),
    "empty": (lambda: b"", "damaged or cut-off"),
    "no pages": (
        lambda: pdf_objects(b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"),
        "is a PDF without pages",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_files_that_cannot_be_opened(make: Callable[[], bytes], message: str) -> None:
    """Passwords, damage and empty documents have separate messages, which name the file."""
    with pytest.raises(ContentError, match=message), opened_pdf(make(), name="'my file'"):
        pass


def test_missing_pages() -> None:
    """A page after the last is an error of the reference; counting from 0 is an invalid argument."""
    with opened_pdf(TWENTY, name="'talk.pdf'") as paper:
        with pytest.raises(ContentError, match=r"'talk\.pdf' has 20 pages; there is no page 21"):
            paper.cut(19, 21)
        with pytest.raises(ContentError, match="there is no page 99"):
            paper.text(99)
        for first, last in ((0, 1), (3, 2)):
            with pytest.raises(ValueError, match="counted from 1 and in order"):
                paper.cut(first, last)
        with pytest.raises(ValueError, match="max_edge must be at least 1"):
            paper.image(1, 0)
        with pytest.raises(ValueError, match="image/jpeg or image/png, got 'image/webp'"):
            paper.image(1, mime_type="image/webp")


def test_a_damaged_page_is_named() -> None:
    """One damaged page does not affect the others."""
    data = pdf_objects(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>",
        b"(no page)",
    )
    with opened_pdf(data, name="'it'") as paper:
        assert paper.pages == 2
        assert paper.text(1) == ""
        with pytest.raises(ContentError, match="page 2 of 'it' is a damaged"):
            paper.text(2)


def test_declared_page_counts_are_verified() -> None:
    """A document that declares millions of pages has those that exist."""
    for promised in (b"/Count 9999999", b"/Count -5"):
        assert len(texts(TWENTY.replace(b"/Count 20", promised))) == 20


def test_flipped_bits_raise_only_content_errors() -> None:
    """Flipped bits give pages or an error of the package."""
    rng = random.Random(3)
    whole = noise_pdf(20, 20) + form_pdf("x")
    for _ in range(150):
        damaged = bytearray(rng.choice((TWENTY, whole, form_pdf("value"))))
        for _ in range(rng.choice((1, 5, 50))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            with opened_pdf(bytes(damaged)) as paper:
                for first, last in windows(paper.pages, 3):
                    assert paper.cut(first, last).startswith(b"%PDF")
                assert isinstance(paper.text(1), str)
                assert paper.image(1, 50).data
        except GeminiMMError:
            continue


def test_sources(tmp_path: Path) -> None:
    """A path, bytes and an open file give the same pages; a file that is passed open stays open."""
    path = tmp_path / "twenty.pdf"
    path.write_bytes(TWENTY)
    with path.open("rb") as file:
        file.seek(99)
        assert page_text(path, 4) == page_text(file, 4) == page_text(TWENTY, 4) == "This is page 4."
        assert not file.closed
    path.unlink()
    with pytest.raises(ContentError, match=r"cannot read .*twenty\.pdf"):
        page_text(path, 1)
    with pytest.raises(TypeError, match="got str"):
        page_text(str(path), 1)  # type: ignore[arg-type]


def test_closed_documents() -> None:
    """Using a document after the `with` block is an invalid call, not damage."""
    with opened_pdf(TWENTY) as paper:
        paper.cut(1, 2)
    with pytest.raises(ValueError, match="was closed"):
        paper.text(1)
    with pytest.raises(ValueError, match="was closed"):
        paper.cut(3, 4)


def test_many_threads() -> None:
    """Threads can read windows, texts and images of one or many documents at once."""
    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        papers = [stack.enter_context(opened_pdf(TWENTY)) for _ in range(3)]
        started = threading.Barrier(8)

        def ask(number: int) -> str:
            if number < 8:
                started.wait(timeout=30)
            paper = papers[number % 3]
            page = number % 20 + 1
            assert paper.image(page, 60).data
            assert texts(paper.cut(page, page)) == [paper.text(page)]
            return paper.text(page)

        assert list(pool.map(ask, range(120))) == [f"This is page {number % 20 + 1}." for number in range(120)]
