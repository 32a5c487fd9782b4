"""Small PDF files, written without a PDF library."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH, _HEIGHT = 420, 595
_LINE = 18


def pdf(
    pages: int | Sequence[str] = 1, *, title: str | None = None, subject: str | None = None, keywords: str | None = None
) -> bytes:
    """Make a PDF file of A5 pages with text in Helvetica.

    ```python
    from langchain_gemini_mm.testing import pdf

    assert pdf(["first page", "second page"], title="Two pages").startswith(b"%PDF-1.4")
    ```

    Args:
        pages: the number of pages, or the text of each page with newlines; Latin letters only.
        title: in the metadata.
        subject: in the metadata.
        keywords: in the metadata.
    """
    texts = [f"Page {n + 1}" for n in range(pages)] if isinstance(pages, int) else list(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(texts)))
    information = {"Title": title, "Subject": subject, "Keywords": keywords}
    entries = " ".join(f"/{name} {_string(value)}" for name, value in information.items() if value)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for n, text in enumerate(texts):
        content = _page(text)
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_WIDTH} {_HEIGHT}] /Contents {5 + 2 * n} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    objects.append(f"<< {entries} >>")
    return _file(objects)


def _page(text: str) -> str:
    lines = " ".join(f"{_string(line)} Tj T*" for line in text.split("\n"))
    return f"BT /F1 12 Tf {_LINE} TL 36 {_HEIGHT - 60} Td {lines} ET"


def _file(objects: Sequence[str]) -> bytes:
    """The objects, the cross-reference table and the trailer; the last object is the metadata."""
    body = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode("cp1252")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = (
        f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n"
        f"<< /Size {size} /Root 1 0 R /Info {len(objects)} 0 R >>\n"
        f"startxref\n{len(body)}\n%%EOF\n"
    )
    return body + trailer.encode()


def _string(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"({escaped})"
