"""Text embedded in media files: titles and captions, subtitles and chapters, the text of PDF pages."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from langchain_gemini_mm.errors import GeminiMMError, MissingExtraError
from langchain_gemini_mm.media.av.container import opened, origin_s, packets_of
from langchain_gemini_mm.media.images.decode import is_decoding_error, opened_image
from langchain_gemini_mm.media.pdf.document import calling, entry_of, opened_document
from langchain_gemini_mm.media.pdf.pages import PdfPages
from langchain_gemini_mm.media.pdf.text import clean
from langchain_gemini_mm.media.text_encoding import decoded

if TYPE_CHECKING:
    from av.container import InputContainer
    from PIL.ImageFile import ImageFile

    from langchain_gemini_mm.media.facts import MediaFacts


_TAGS = ("title", "artist", "album", "show", "comment", "description", "synopsis", "lyrics")
_ENTRIES = ("Title", "Subject", "Author", "Keywords")
_MAX_CHARACTERS = 5_000
_PAGE_CHARACTERS = 50_000
_ALL_CHARACTERS = 50_000_000
_MAX_CUES = 100_000
_PLAIN = {"subrip", "srt", "webvtt", "text"}
_STYLED = {"ass", "ssa"}
_MARKUP = re.compile(r"<[^<>\n]{0,200}>|\{[^{}\n]{0,200}\}")


class Cue(NamedTuple):
    """A subtitle or chapter title and when it is shown, in seconds from the beginning."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedText:
    """The text found in a media file."""

    texts: tuple[str, ...] = ()
    """Titles, captions and comments about the whole file."""
    cues: tuple[Cue, ...] = ()
    """Subtitles and chapters, in order."""
    pages: tuple[str, ...] = ()
    """The text of each page of a PDF, empty where it has none that can be read."""
    unread: tuple[str, ...] = ()
    """What could not be read, such as the text of a page."""


def read_embedded_text(file: BinaryIO, facts: MediaFacts, *, name: str) -> EmbeddedText:
    """Read the text in a media file that `probe` accepted; text that cannot be read is listed in `unread`.

    ```python
    import io

    from langchain_gemini_mm.media.embedded_text import read_embedded_text
    from langchain_gemini_mm.media.probe import probe
    from langchain_gemini_mm.testing import pdf

    paper = io.BytesIO(pdf(("one", "two"), title="Numbers"))
    found = read_embedded_text(paper, probe(paper, "application/pdf"), name="'numbers.pdf'")
    assert (found.texts, found.pages) == (("Numbers",), ("one", "two"))
    ```

    Args:
        file: an open seekable binary file (left open, at any position).
        facts: the result of `probe` for this file.
        name: of the file, for messages.
    """
    # The file itself is not damaged, and is loaded without its text.
    try:
        if facts.modality == "image":
            return EmbeddedText(texts=distinct(_image_texts(file, facts.mime_type, name)))
        return _pdf(file, name) if facts.modality == "pdf" else _recording(file, name)
    except MissingExtraError:
        return EmbeddedText()
    except GeminiMMError as error:
        return EmbeddedText(unread=(f"the text in it is not read: {error}",))


def unstyled(text: str) -> str:
    """The text of a subtitle without its styles."""
    return tidy(_MARKUP.sub("", text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")))


def tidy(text: str) -> str:
    """A caption without invisible characters, cut off at 5,000 characters."""
    return clean(text[:_MAX_CHARACTERS])


def distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Remove empty texts and repetitions (ignoring case): a comment often repeats the title."""
    found: dict[str, str] = {}
    for text in map(tidy, texts):
        if text:
            found.setdefault(text.casefold(), text)
    return tuple(found.values())


def _recording(file: BinaryIO, name: str) -> EmbeddedText:
    with opened(file, name) as container:
        texts = distinct(_tags(container))
        cues = [*_chapters(container), *_subtitles(container)][:_MAX_CUES]
    return EmbeddedText(texts=texts, cues=tuple(sorted(cues)))


def _tags(container: InputContainer) -> Iterator[str]:
    """Titles, comments and the like, also where ID3 appends a language to the key."""
    given = {key.lower(): value for key, value in container.metadata.items()}
    for tag in _TAGS:
        yield from (_plain(value) for key, value in given.items() if key == tag or key.startswith(f"{tag}-"))


def _plain(value: str) -> str:
    """A tag without bytes that are not UTF-8: PyAV 19 returns them as surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "ignore")


def _chapters(container: InputContainer) -> Iterator[Cue]:
    for chapter in container.chapters() if hasattr(container, "chapters") else ():
        title = tidy(_plain(str((chapter.get("metadata") or {}).get("title", ""))))
        tick = float(chapter.get("time_base") or 0)
        start, end = float(chapter["start"] or 0) * tick, float(chapter["end"] or 0) * tick
        if title and 0 <= start < end:
            yield Cue(round(start, 3), round(end, 3), title)


def _subtitles(container: InputContainer) -> Iterator[Cue]:
    """The first subtitle stream of text; others contain images."""
    known = _PLAIN | _STYLED | {"mov_text"}
    tracks = [(stream, stream.codec_context.name) for stream in container.streams.subtitles]
    stream, codec = next(((stream, codec) for stream, codec in tracks if codec in known), (None, ""))
    if stream is None:
        return
    origin, tick = origin_s(container), float(stream.time_base or 0)
    for packet in packets_of(container, [stream]):
        if packet.pts is None or not packet.size:
            continue
        start = packet.pts * tick - origin
        text = _text_of(bytes(packet), codec)
        if text and start >= 0:
            yield Cue(round(start, 3), round(start + (packet.duration or 0) * tick, 3), text)


def _text_of(data: bytes, codec: str) -> str:
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = data.decode("utf-8", "replace")
    if codec in _STYLED:
        text = text.split(",", 8)[-1]
    return unstyled(text)


def _pdf(file: BinaryIO, name: str) -> EmbeddedText:
    pages: list[str] = []
    unread: list[str] = []
    left = _ALL_CHARACTERS
    with opened_document(file, name) as document:
        with calling(document, name):
            texts = distinct(entry_of(document.pdfium, entry) for entry in _ENTRIES)
        paper = PdfPages(document, name)
        for page in range(1, paper.pages + 1):
            text = ""
            try:
                text = paper.text(page) if left else ""
            except GeminiMMError as error:
                unread.append(f"the text of page {page} is not read: {error}")
            kept = text[: min(left, _PAGE_CHARACTERS)]
            if len(kept) < len(text) or not left:
                unread.append(f"the text of page {page} is read up to {len(kept):,} characters")
            pages.append(kept)
            left -= len(kept)
    return EmbeddedText(texts=texts, pages=tuple(pages), unread=tuple(unread))


_DESCRIPTION, _XP_TITLE, _XP_COMMENT, _XP_SUBJECT, _XP_KEYWORDS = 0x010E, 0x9C9B, 0x9C9C, 0x9C9F, 0x9C9E
_EXIF_PART, _USER_COMMENT = 0x8769, 0x9286
_IPTC = ((2, 5), (2, 105), (2, 120), (2, 25))
"""Title, headline, caption and keywords."""
_TAG_BYTES = 20_000
_PNG = ("title", "description", "caption", "comment", "headline")
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
"""Values that programs and cameras write by default."""
_CHARSETS = {b"ASCII\0\0\0": None, b"UNICODE\0": "utf-16", b"\0" * 8: None, b"JIS\0\0\0\0\0": "iso-2022-jp"}
_IPTC_CHARSET, _IPTC_UTF8 = (1, 90), b"\x1b%G"


def _image_texts(file: BinaryIO, mime_type: str, name: str) -> Iterator[str]:
    """Titles, captions and keywords in the order of the standards; the image is not decoded."""
    with opened_image(file, mime_type, name) as image:
        # PNG text after the pixels would only be found by decoding them.
        known = {str(key).lower(): value for key, value in image.info.items()}
        texts = [value for key in _PNG if isinstance(value := known.get(key), str)]
        for tags in (_exif, _iptc, _xmp):
            texts += tags(image)
    for text in texts:
        printable = text.replace("\0", "")
        if not _BY_CAMERAS.fullmatch(printable.strip()):
            yield printable


def _exif(image: ImageFile) -> Iterator[str]:
    if image.format == "PNG" and "exif" not in image.info:
        return
    try:
        exif = image.getexif()
        inner = exif.get_ifd(_EXIF_PART)
    except Exception as error:
        if not is_decoding_error(error):
            raise
        return
    for tag in (_DESCRIPTION, _XP_TITLE, _XP_SUBJECT, _XP_COMMENT, _XP_KEYWORDS):
        value = exif.get(tag)
        if isinstance(value, bytes):
            yield value.decode("utf-16-le", "replace")
        elif isinstance(value, str):
            # Pillow takes these bytes for Latin-1, and they are in any encoding.
            yield decoded(value.encode("latin-1", "replace"))
    comment = inner.get(_USER_COMMENT)
    if isinstance(comment, bytes) and comment[:8] in _CHARSETS:
        yield _comment(comment[8:], _CHARSETS[comment[:8]], exif.endian)


def _iptc(image: ImageFile) -> Iterator[str]:
    from PIL.IptcImagePlugin import getiptcinfo

    try:
        found: dict[Any, Any] = getiptcinfo(image) or {}
    except Exception as error:
        if not is_decoding_error(error):
            raise
        return
    declared = "utf-8" if found.get(_IPTC_CHARSET) == _IPTC_UTF8 else None
    for key in _IPTC:
        value = found.get(key)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bytes):
                yield decoded(one[:_TAG_BYTES], declared)


def _xmp(image: ImageFile) -> Iterator[str]:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    text = text[:_XMP_BYTES]
    for match in _XMP.finditer(text):
        items = _XMP_ITEM.findall(match[2])
        yield from map(html.unescape, items or ([match[2]] if "<" not in match[2] else []))
    yield from map(html.unescape, _XMP_ATTRIBUTE.findall(text))


def _comment(data: bytes, charset: str | None, endian: str | None) -> str:
    data = data[:_TAG_BYTES]
    if charset == "utf-16" and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        # In the byte order of the EXIF data by the standard, and of the program in fact.
        zeros = data[::2].count(0) - data[1::2].count(0)
        order = "be" if zeros > 0 or (zeros == 0 and endian == ">") else "le"
        return data.decode(f"utf-16-{order}", "replace")
    return data.decode("utf-16", "replace") if charset == "utf-16" else decoded(data.rstrip(b"\0 "), charset)
