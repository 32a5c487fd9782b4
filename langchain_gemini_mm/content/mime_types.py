"""MIME types by the first bytes of a file; opening the file later verifies the type.

The name of a file is used only to refuse text files that hold no prose.
"""

from __future__ import annotations

import re

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Modality

HEAD_BYTES = 4096
"""How many of the first bytes of a file `sniff` needs."""

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"fLaC", "audio/flac"),
    (b"ID3\x02", "audio/mp3"),
    (b"ID3\x03", "audio/mp3"),
    (b"ID3\x04", "audio/mp3"),
    (b"#!AMR", "audio/amr"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"FLV\x01", "video/x-flv"),
    (b"0&\xb2u\x8ef\xcf\x11", "video/x-ms-asf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_FORM = {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"}
_BRANDS = {
    b"heic": "image/heic", b"heix": "image/heic", b"heim": "image/heic", b"heis": "image/heic",
    b"hevc": "image/heic", b"mif1": "image/heif", b"msf1": "image/heif", b"avif": "image/avif", b"avis": "image/avif",
    b"qt  ": "video/quicktime", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"F4A ": "audio/mp4",
}  # fmt: skip
# Layers II and III; with layer I the byte order mark of UTF-16 text would be taken for audio.
_MPEG_SYNC = re.compile(rb"\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd][\x10-\xeb]")
# After other bytes only at the start of a line: text that mentions PDFs is not a PDF.
_PDF = re.compile(rb"(?:\A|[^\t -~])%PDF-[0-9]")
_ADTS_SYNC = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
_MODALITIES: dict[str, Modality] = {"image": "image", "audio": "audio", "video": "video", "text": "text"}
_ALIASES = {
    "audio/mpeg": "audio/mp3", "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/vnd.wave": "audio/wav",
    "audio/x-mp3": "audio/mp3", "audio/mpeg3": "audio/mp3", "image/jpg": "image/jpeg", "video/mov": "video/quicktime",
}  # fmt: skip


SVG_REMEDY = "it is a drawing written as XML; export it as PNG"
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*+(?:<\?xml[^>]*+>\s*+)?(?:<!--(?:[^-]|-(?!->))*+-->\s*+|<!DOCTYPE[^>]*+>\s*+)*+<svg[\s/>]"
)
_NOT_PROSE = {
    ".svg": SVG_REMEDY,
    ".xmp": "it holds settings of an image editor",
    ".aae": "it holds settings of an image editor",
    ".rtf": "rich text is not read; save it as PDF, Markdown or plain text, or load it with docling or unstructured",
    ".ps": "PostScript is not read; convert it to PDF",
    ".eps": "PostScript is not read; convert it to PDF or PNG",
    ".ipynb": "notebooks hold outputs as base64; export it as Markdown",
}


def is_svg(head: bytes) -> bool:
    """Whether a file is an SVG drawing, by its first bytes."""
    return _SVG.match(head) is not None


def require_prose(suffix: str) -> None:
    """Refuse text files that are not meant to be read, such as SVG.

    Raises:
        ContentError: the message says what to do.
    """
    if suffix.lower() in _NOT_PROSE:
        raise ContentError(_NOT_PROSE[suffix.lower()])


def sniff(head: bytes) -> str | None:
    """Return the MIME type of a file by its first bytes; None for no known media type.

    ```python
    from langchain_gemini_mm.content.mime_types import sniff

    assert sniff(b"%PDF-1.7 ...") == "application/pdf"
    assert sniff("just text".encode()) is None
    ```
    """
    for prefix, mime_type in _PREFIXES:
        if head.startswith(prefix):
            return mime_type
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM":
        return _FORM.get(head[8:12])
    if head[4:8] == b"ftyp" and head[:1] == b"\x00":
        return _by_brand(head)
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free") and not head[:1].strip(b"\x00"):
        return "video/quicktime"
    return _by_container(head)


def modality_of(mime_type: str) -> Modality | None:
    """Return the modality of a MIME type; None for other types."""
    if mime_type == "application/pdf":
        return "pdf"
    return _MODALITIES.get(mime_type.partition("/")[0])


def canonical_mime_type(mime_type: str) -> str:
    """Return one spelling of a MIME type without parameters, such as `audio/mp3` for `audio/mpeg`."""
    plain = mime_type.partition(";")[0].strip().lower()
    return _ALIASES.get(plain, plain)


def _by_brand(head: bytes) -> str:
    """Return the type of an ISO media file by its major brand, else by the first known compatible brand."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12]] + [head[i : i + 4] for i in range(16, size, 4)]
    major = _BRANDS.get(brands[0])
    if major in ("image/heif", None):
        listed = [_BRANDS[brand] for brand in brands[1:] if brand in _BRANDS]
        images = [mime_type for mime_type in listed if mime_type in ("image/heic", "image/avif")]
        if images and (major or brands[0] not in (b"isom", b"mp42", b"mp41", b"iso2")):
            return images[0]
    return major or "video/mp4"


def _by_container(head: bytes) -> str | None:
    if head[:4] == b"\x1aE\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:5] == b"OggS\x00":
        return "video/ogg" if b"\x80theora" in head[:128] else "audio/ogg"
    if _PDF.search(head[:1024]):
        return "application/pdf"
    if head[:2] == b"BM" and len(head) > 18 and head[6:10] == b"\x00\x00\x00\x00":
        return "image/bmp"
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return "video/mp2t"
    if _ADTS_SYNC.match(head):
        return "audio/aac"
    return "audio/mp3" if _MPEG_SYNC.match(head) else None
