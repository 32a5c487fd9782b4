"""The words in a picture file: EXIF, IPTC, XMP and the text of PNGs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from langchain_gemini_mm.media.images.decode import opened_picture

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_DESCRIPTION, _XP_TITLE, _XP_COMMENT, _XP_SUBJECT, _XP_KEYWORDS = 0x010E, 0x9C9B, 0x9C9C, 0x9C9F, 0x9C9E
_EXIF_PART, _USER_COMMENT = 0x8769, 0x9286
_IPTC = ((2, 5), (2, 105), (2, 120), (2, 25))
"""Title, headline, caption and keywords."""
_PNG = ("title", "description", "caption", "comment", "headline")
_XMP_KEYS = ("xmp", "XML:com.adobe.xmp")
_XMP_BYTES = 200_000
_XMP = re.compile(
    r"<(dc:title|dc:description|photoshop:Headline|dc:subject)(?:\s[^<>]{0,500})?>(.{0,5000}?)</\1>", re.DOTALL
)
_XMP_ITEM = re.compile(r"<rdf:li(?:\s[^<>]{0,500})?>([^<>]{0,5000})</rdf:li>")
_XMP_ATTRIBUTE = re.compile(r'\bphotoshop:Headline="([^"<>]{1,5000})"')
_BY_CAMERAS = re.compile(
    r"(?:olympus|minolta|sony|samsung|kodak|konica|nikon|canon)?\s*(?:digital camera|dsc|dcim|picture|image)?\s*"
    r"|screenshot|created with gimp|processed with .{0,40}|file written by adobe photoshop.{0,20}|asc",
    re.IGNORECASE,
)
"""What programs and cameras write there themselves."""
_CHARSETS = {b"ASCII\0\0\0": "utf-8", b"UNICODE\0": "utf-16", b"\0" * 8: "utf-8"}


def words_of_picture(file: BinaryIO, mime_type: str, name: str) -> Iterator[str]:
    """Titles, captions and keywords, as they are written; the picture is not decoded.

    Raises:
        ContentError: damaged.
        MissingExtraError: Pillow is not installed.
    """
    with opened_picture(file, mime_type, name) as picture:
        found = [*_png(picture), *_exif(picture), *_iptc(picture), *_xmp(picture)]
    yield from (text for text in found if not _BY_CAMERAS.fullmatch(text.strip()))


def _png(picture: ImageFile) -> Iterator[str]:
    # Text behind the pixels is only known when they are decoded, and they are not.
    known = {str(key).lower(): value for key, value in picture.info.items() if isinstance(value, str)}
    yield from (known[key] for key in _PNG if key in known)


def _exif(picture: ImageFile) -> Iterator[str]:
    if picture.format == "PNG" and "exif" not in picture.info:
        return
    try:
        exif = picture.getexif()
        inner = exif.get_ifd(_EXIF_PART)
    except Exception:  # noqa: BLE001  broken EXIF says nothing
        return
    for tag in (_DESCRIPTION, _XP_TITLE, _XP_SUBJECT, _XP_COMMENT, _XP_KEYWORDS):
        yield from _text(exif.get(tag), "utf-16-le")
    comment = inner.get(_USER_COMMENT)
    if isinstance(comment, bytes) and comment[:8] in _CHARSETS:
        yield from _text(comment[8:], _CHARSETS[comment[:8]])


def _iptc(picture: ImageFile) -> Iterator[str]:
    from PIL.IptcImagePlugin import getiptcinfo

    try:
        found: dict[Any, Any] = getiptcinfo(picture) or {}
    except Exception:  # noqa: BLE001  broken IPTC says nothing
        return
    for key in _IPTC:
        value = found.get(key)
        yield from (text for one in (value if isinstance(value, list) else [value]) for text in _text(one, "utf-8"))


def _xmp(picture: ImageFile) -> Iterator[str]:
    packet = next((picture.info[key] for key in _XMP_KEYS if key in picture.info), b"")
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    text = text[:_XMP_BYTES]
    for match in _XMP.finditer(text):
        items = _XMP_ITEM.findall(match[2])
        yield from map(html.unescape, items or ([match[2]] if "<" not in match[2] else []))
    yield from map(html.unescape, _XMP_ATTRIBUTE.findall(text))


def _text(value: Any, charset: str) -> Iterator[str]:
    if isinstance(value, bytes):
        value = value.decode(charset, "replace")
    if isinstance(value, str) and value.strip("\0 \n"):
        yield value.replace("\0", "")
