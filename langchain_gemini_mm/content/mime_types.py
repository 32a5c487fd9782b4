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
    (b"II+\x00\x08\x00", "image/tiff"),
    (b"MM\x00+\x00\x08", "image/tiff"),
    (b"\xff\x4f\xff\x51", "image/jp2"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"fLaC", "audio/flac"),
    (b"ID3\x02", "audio/mp3"),
    (b"ID3\x03", "audio/mp3"),
    (b"ID3\x04", "audio/mp3"),
    (b"#!AMR", "audio/amr"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"FLV\x01", "video/x-flv"),
    (b".RMF\x00", "video/x-realmedia"),
    (b"DKIF\x00\x00", "video/x-ivf"),
    (b"\x06\x0e+4\x02\x05\x01\x01\r\x01\x02\x01\x01\x02", "video/x-mxf"),
    (b"nut/multimedia container\x00", "video/x-nut"),
    (b"\x1f\x07\x00", "video/x-dv"),
    (b"caff\x00\x01", "audio/x-caf"),
    (b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\x00\x00", "audio/x-w64"),
    (b"wvpk", "audio/x-wavpack"),
    (b"TTA1\x01\x00", "audio/x-tta"),
    (b"MPCKSH", "audio/x-musepack"),
    (b"MP+\x07", "audio/x-musepack"),
    (b"MP+\x17", "audio/x-musepack"),
    (b"tBaK", "audio/x-tak"),
    (b"DSD \x1c\x00", "audio/x-dsf"),
    (b".snd\x00\x00", "audio/basic"),
    (b"Creative Voice File\x1a", "audio/x-voc"),
    (b"\x7f\xfe\x80\x01", "audio/vnd.dts"),
    (b"0&\xb2u\x8ef\xcf\x11", "video/x-ms-asf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_CHUNKED = {
    b"RIFF": _RIFF,
    b"RIFX": {b"WAVE": "audio/x-rifx"},
    b"RF64": {b"WAVE": "audio/x-rf64"},
    b"FORM": {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"},
}
"""Types by the first four bytes and those after the length."""
_BRANDS = {
    b"heic": "image/heic", b"heix": "image/heic", b"heim": "image/heic", b"heis": "image/heic",
    b"hevc": "image/heic", b"mif1": "image/heif", b"msf1": "image/heif", b"avif": "image/avif", b"avis": "image/avif",
    b"qt  ": "video/quicktime", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4", b"F4A ": "audio/mp4",
}  # fmt: skip
_APE = re.compile(rb"MAC .[\x0e\x0f]", re.DOTALL)
_DSDIFF = re.compile(rb"FRM8.{8}DSD ", re.DOTALL)
# Layers II and III; with layer I the byte order mark of UTF-16 text would be taken for audio.
_MPEG_SYNC = re.compile(rb"\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd][\x10-\xeb]")
# After other bytes only at the start of a line: text that mentions PDFs is not a PDF.
_PDF = re.compile(rb"(?:\A|[^\t -~])%PDF-[0-9]")
_AC3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_MP3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_LOW_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_ADTS_SYNC = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
_MODALITIES: dict[str, Modality] = {"image": "image", "audio": "audio", "video": "video", "text": "text"}
_ALIASES = {
    "audio/mpeg": "audio/mp3", "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/vnd.wave": "audio/wav",
    "audio/x-mp3": "audio/mp3", "audio/mpeg3": "audio/mp3", "image/jpg": "image/jpeg", "video/mov": "video/quicktime",
}  # fmt: skip


DRAWN_AS_TEXT = "images that are written as text are not read: convert it to PNG"
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
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm", ".p7", ".xpm", ".xbm"), DRAWN_AS_TEXT),
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
    if head[:4] in _CHUNKED:
        return _CHUNKED[head[:4]].get(head[8:12])
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
    if _APE.match(head):
        return "audio/x-ape"
    if _DSDIFF.match(head):
        return "audio/x-dff"
    if _is_transport_stream(head, 0, 188) or _is_transport_stream(head, 4, 192):
        return "video/mp2t"
    if _ADTS_SYNC.match(head):
        return "audio/aac"
    if head[:2] == b"\x0bw":
        return _dolby(head)
    return "audio/mp3" if _MPEG_SYNC.match(head) or _holds_mp3_frames(head) else None


def _is_transport_stream(head: bytes, first: int, step: int) -> bool:
    """Whether MPEG transport packets follow each other; a single sync byte is the letter G of a text."""
    starts = range(first, len(head) - 3, step)
    return len(starts) >= 3 and all(
        head[at] == 0x47 and not head[at + 1] & 0x80 and bool(head[at + 3] & 0x30) for at in starts
    )


def _dolby(head: bytes) -> str | None:
    """AC-3 or E-AC-3, if the frame is followed by another one."""
    if len(head) < 6:
        return None
    version = head[5] >> 3
    if version > 10:
        size, mime_type = ((head[2] & 7) << 8 | head[3]) * 2 + 2, "audio/eac3"
    else:
        rate, code = head[4] >> 6, head[4] & 63
        if rate == 3 or code >> 1 >= len(_AC3_KBPS):
            return None
        words = _AC3_KBPS[code >> 1] * 96_000 // (48_000, 44_100, 32_000)[rate] + (code & 1 if rate == 1 else 0)
        size, mime_type = words * 2, "audio/ac3"
    return mime_type if version <= 16 and head[size : size + 2] in (b"\x0bw", b"") else None


def _holds_mp3_frames(head: bytes) -> bool:
    """Whether MPEG audio frames of equal format follow each other after other bytes."""
    for match in _MPEG_SYNC.finditer(head):
        following = match.start()
        for _ in range(3):
            size = _mpeg_frame_bytes(head[following : following + 4])
            following += size
            if not size or head[following : following + 2] != match[0][:2]:
                break
        else:
            return True
    return False


def _mpeg_frame_bytes(header: bytes) -> int:
    """Length of a frame of MPEG audio layer III; 0 for others."""
    if len(header) < 4:
        return 0
    version, layer, rate, kbps = header[1] >> 3 & 3, header[1] >> 1 & 3, header[2] >> 2 & 3, header[2] >> 4
    if layer != 1 or rate == 3 or version == 1 or not 0 < kbps < 15:
        return 0
    samples_per_second = (44_100, 48_000, 32_000)[rate] >> (3 - version + 1) // 2
    bits = (_MP3_KBPS if version == 3 else _MP3_LOW_KBPS)[kbps - 1] * 1000
    return (144 if version == 3 else 72) * bits // samples_per_second + (header[2] >> 1 & 1)
