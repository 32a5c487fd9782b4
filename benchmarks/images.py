"""Prepare images and cut PDFs, compared with optimized code that uses Pillow and pypdfium2 directly."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
from PIL import Image

from benchmarks.report import Row, interleaved, speed
from langchain_gemini_mm.media.images.transform import prepared
from langchain_gemini_mm.media.pdf.pages import opened_pdf, windows

PICTURE_AIM = 1.0
PDF_AIM = 0.9
ACCEPTED = frozenset({"image/png", "image/jpeg"})
EDGE = 1536
WINDOW = 6
_SIDES = (4000, 3000)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Number of images of each type and of pages, and of rounds."""

    images: int
    pages: int
    rounds: int
    sides: tuple[int, int] = _SIDES
    """Width and height of an image, in pixels."""


FULL = Size(images=4, pages=200, rounds=7)
QUICK = Size(images=1, pages=60, rounds=3)

_TURNED = Image.Exif()
_TURNED[0x0112] = 6
MADE_SMALL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "photographs (JPEG)": ("JPEG", "RGB", {"quality": 90}),
    "photographs turned by EXIF (JPEG)": ("JPEG", "RGB", {"quality": 90, "exif": _TURNED}),
    "drawings with transparency (PNG)": ("PNG", "RGBA", {"compress_level": 1}),
    "images (WebP)": ("WEBP", "RGB", {"quality": 80, "method": 0}),
}


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure images by type, then windows of a PDF."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (form, mode, options) in MADE_SMALL.items():
            paths = _images(Path(folder), size, form, mode, options)
            yield _row(
                f"{len(paths)} {name} of {size.sides[0] * size.sides[1] / 1e6:g} MP into {EDGE} pixels", paths, size
            )
        for side in (120, 300):
            paper = Path(folder) / f"paper-{side}.pdf"
            _write_pdf(paper, size.pages, side)
            yield _cutting(paper, size)


def _row(name: str, paths: list[Path], size: Size) -> Row:
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: [prepared(path, accepted=ACCEPTED, max_edge=EDGE).data for path in paths],
        "bare": lambda: [barely(path) for path in paths],
    }
    return _compared(name, "Pillow: draft, resize, white, JPEG", contenders, size.rounds, PICTURE_AIM)


def barely(path: Path) -> bytes:
    """Scale an image with Pillow alone: rotated, on white, as JPEG, with the fastest draft mode."""
    with Image.open(path) as image:
        scale = min(1.0, EDGE / max(image.size))
        fitted = (round(image.width * scale), round(image.height * scale))
        image.draft(None, fitted)
        shown: Image.Image = image
        if image.has_transparency_data:
            shown = Image.new("RGB", image.size, "white")
            clear = image.convert("RGBA")
            shown.paste(clear, mask=clear.getchannel("A"))
        small = shown.convert("RGB").resize(fitted, Image.Resampling.BICUBIC, reducing_gap=2.0)
        orientation = image.getexif().get(0x0112, 1) if image.format == "JPEG" else 1
        if orientation == 6:
            small = small.transpose(Image.Transpose.ROTATE_270)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _cutting(paper: Path, size: Size) -> Row:
    contenders: dict[str, Callable[[], object]] = {"ours": lambda: _cut(paper), "bare": lambda: cut_barely(paper)}
    assert _cut(paper) == cut_barely(paper)
    megabytes = paper.stat().st_size / 1e6
    name = f"cutting a PDF of {size.pages} pages, {megabytes:.0f} MB, into windows of {WINDOW}"
    return _compared(name, "pypdfium2 alone", contenders, size.rounds, PDF_AIM)


def _cut(paper: Path) -> int:
    with opened_pdf(paper) as pages:
        return sum(len(pages.cut(*window, max_bytes=20_000_000)) for window in windows(pages.pages, WINDOW))


def cut_barely(paper: Path) -> int:
    """Cut the same windows with pypdfium2 alone; return the sum of their sizes."""
    total = 0
    with pypdfium2.PdfDocument(paper) as document:
        for first in range(0, len(document), WINDOW):
            with pypdfium2.PdfDocument.new() as window:
                window.import_pages(document, list(range(first, min(first + WINDOW, len(document)))))
                buffer = io.BytesIO()
                window.save(buffer)
                total += len(buffer.getvalue())
    return total


def _compared(name: str, against: str, contenders: dict[str, Callable[[], object]], rounds: int, aim: float) -> Row:
    for contender in contenders.values():
        contender()
    turns = interleaved(contenders, rounds)
    # Both use one processor, and no other program's time is in this.
    ours, bare = ([turn.cpu for turn in turns[which]] for which in ("ours", "bare"))
    return speed(name, against, ours, bare, aim=aim, note="by processor time")


def _images(folder: Path, size: Size, form: str, mode: str, options: dict[str, Any]) -> list[Path]:
    """Write image files of clouds, which are neither flat nor noise, like photographs."""
    rng = np.random.default_rng(5)
    paths = []
    for number in range(size.images):
        cells = rng.integers(0, 256, (size.sides[1] // 50, size.sides[0] // 50, len(mode)), dtype=np.uint8)
        image = Image.fromarray(cells).resize(size.sides, Image.Resampling.BICUBIC)
        path = folder / f"{form}-{number}-{len(options)}.{form.lower()}"
        image.save(path, form, **options)
        paths.append(path)
    return paths


def _write_pdf(path: Path, pages: int, side: int) -> None:
    """Return a PDF with a different image on each page, with `side` pixels per side."""
    rng = np.random.default_rng(6)
    with pypdfium2.PdfDocument.new() as document:
        for _ in range(pages):
            page = document.new_page(420, 595)
            image = pypdfium2.PdfImage.new(document)
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=90)
            image.load_jpeg(buffer, inline=True)
            image.set_matrix(pypdfium2.PdfMatrix().scale(300, 300))
            page.insert_obj(image)
            page.gen_content()
            page.close()
        document.save(path)
