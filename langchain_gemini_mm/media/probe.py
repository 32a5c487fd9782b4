"""What a media file is, by opening it: size, length, pages. The proof that it can be read.

PNG, JPEG and WAV are read by their own headers and ends, without any library: enough to tell a cut-off file, without
decoding it. Other pictures are decoded with Pillow, sound and video opened with PyAV, PDFs with pypdfium2.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from langchain_gemini_mm.content.mime_types import canonical_mime_type, modality_of
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.media import headers
from langchain_gemini_mm.media.facts import Measures, MediaFacts
from langchain_gemini_mm.media.images.decode import MAX_PIXELS, check_pixels, decode
from langchain_gemini_mm.media.images.exif import looks_turned
from langchain_gemini_mm.media.source import open_source, shown

__all__ = ["MAX_PIXELS", "MediaFacts", "probe"]


def probe(file: Path | BinaryIO, mime_type: str, *, name: str | None = None) -> MediaFacts:
    """Open a file of a type that `sniffing.sniff` told and measure it; it is read in pieces.

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
        ContentError: damaged, cut off, locked with a password, or not what its first bytes promise.
        MediaLimitError: more pixels than anybody needs.
        MissingExtraError: the library that opens this type is not installed.
    """
    mime_type = canonical_mime_type(mime_type)
    modality = modality_of(mime_type)
    if modality is None or modality == "text":
        raise ContentError(f"{name or 'the file'} is {mime_type}, which is not a picture, sound, video or PDF")
    if isinstance(file, Path):
        with closing(open_source(file)[0]) as opened:
            return _probe(opened, mime_type, modality, name or shown(file.name))
    return _probe(file, mime_type, modality, name or f"the {modality} file")


def _probe(file: BinaryIO, mime_type: str, modality: Modality, name: str) -> MediaFacts:
    size = file.seek(0, 2)
    file.seek(0)
    if size == 0:
        raise ContentError(f"{name} is empty")
    measures = _PROBERS.get(mime_type, _BY_MODALITY[modality])(file, size, name)
    if modality == "image":
        check_pixels(measures["width"], measures["height"], name)
    redraw = modality == "image" and (mime_type not in _HEADER_TYPES or looks_turned(file, mime_type))
    return MediaFacts(mime_type=mime_type, modality=modality, size=size, needs_redraw=redraw, **measures)


def _image(file: BinaryIO, _size: int, name: str) -> Measures:
    return decode(file, name)


def _audio(file: BinaryIO, size: int, name: str) -> Measures:
    from langchain_gemini_mm.media.av.clip import measure_audio

    return measure_audio(file, size, name)


def _video(file: BinaryIO, size: int, name: str) -> Measures:
    from langchain_gemini_mm.media.av.clip import measure_video

    return measure_video(file, size, name)


def _pdf(file: BinaryIO, size: int, name: str) -> Measures:
    from langchain_gemini_mm.media.pdf.document import count_pages

    return count_pages(file, size, name)


_HEADER_TYPES = frozenset({"image/png", "image/jpeg"})
_Prober = Callable[[BinaryIO, int, str], Measures]
_PROBERS: dict[str, _Prober] = {
    "image/png": headers.read_png,
    "image/jpeg": headers.read_jpeg,
    "audio/wav": headers.read_wav,
}
_BY_MODALITY: dict[Modality, _Prober] = {"image": _image, "audio": _audio, "video": _video, "pdf": _pdf}
