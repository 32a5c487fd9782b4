"""Measuring media files by opening them, which also proves that they can be read.

PNG, JPEG and WAV are measured by their headers and ends, without a library, which is enough to recognise truncated
files. Other images are decoded with Pillow, audio and video opened with PyAV, PDFs with pypdfium2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from langchain_gemini_mm.content.mime_types import canonical_mime_type, modality_of
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.media import headers
from langchain_gemini_mm.media.facts import Measures, MediaFacts
from langchain_gemini_mm.media.images.decode import MAX_PIXELS, check_pixels, decode
from langchain_gemini_mm.media.source import opened, shown

__all__ = ["MAX_PIXELS", "MediaFacts", "probe"]


def probe(file: Path | BinaryIO, mime_type: str, *, name: str | None = None) -> MediaFacts:
    """Open a file whose type `sniff` found and measure it; it is read in pieces.

    A video container that holds audio alone, as browsers and phones record it, is audio.

    ```python
    import io

    from langchain_gemini_mm.media.probe import probe
    from langchain_gemini_mm.testing import png

    assert probe(io.BytesIO(png()), "image/png").width
    ```

    Args:
        file: a path, or an open seekable binary file (left open, at any position).
        mime_type: of the file, by its content.
        name: for messages; the path's last part by default.

    Raises:
        ContentError: damaged, truncated, locked with a password, or of another type than its first bytes declare.
        MediaLimitError: more than `MAX_PIXELS` pixels.
        MissingExtraError: the library that opens this type is not installed.
    """
    mime_type = canonical_mime_type(mime_type)
    modality = modality_of(mime_type)
    if modality is None or modality == "text":
        raise ContentError(f"{name or 'the file'} is {mime_type}, which is not an image, audio, video or PDF file")
    name = name or (shown(file.name) if isinstance(file, Path) else f"the {modality} file")
    with opened(file) as source:
        size = source.seek(0, 2)
        source.seek(0)
        if size == 0:
            raise ContentError(f"{name} is empty")
        measures = _measure(source, mime_type, modality, size, name)
    if modality == "video" and "width" not in measures:
        modality = "audio"
    if modality == "image":
        check_pixels(measures["width"], measures["height"], name)
    return MediaFacts(mime_type=mime_type, modality=modality, size=size, **measures)


def _measure(file: BinaryIO, mime_type: str, modality: Modality, size: int, name: str) -> Measures:
    if mime_type in _BY_HEADER and (measures := _BY_HEADER[mime_type](file, size, name)):
        return measures
    if modality == "image":
        return decode(file, name)
    if modality == "pdf":
        from langchain_gemini_mm.media.pdf.document import count_pages

        return count_pages(file, name)
    from langchain_gemini_mm.media.av.clip import measure

    return measure(file, modality, name)


_BY_HEADER: dict[str, Callable[[BinaryIO, int, str], Measures | None]] = {
    "image/png": headers.read_png,
    "image/jpeg": headers.read_jpeg,
    "audio/wav": headers.read_wav,
}
