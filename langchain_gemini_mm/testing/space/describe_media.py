"""Facts about media bytes: type, duration, pages, size, and words that describe the content.

The words come from metadata in the file (PNG text, EXIF, XMP, ID3, RIFF INFO, MP4 tags, PDF title), page text, texts
encoded as tones (`speech`), and names of the colours of an image.
"""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, modality_of, sniff
from langchain_gemini_mm.errors import MissingExtraError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.media.av.container import reading_options
from langchain_gemini_mm.media.pdf.document import PDFIUM
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.testing.samples.speech import heard_in
from langchain_gemini_mm.testing.space.concepts import COLOURS, Meaning, Word, words_of

_CACHED = 4096
_MODALITY_WORD = {"image": "picture", "audio": "sound", "video": "video", "pdf": "document", "text": "text"}
_MODALITY_WEIGHT = 0.15
_COLOUR_BESIDE_WORDS = 0.25
_THUMBNAIL = 24
_IMAGE_DESCRIPTION, _XP_TITLE, _XP_COMMENT, _XP_KEYWORDS, _USER_COMMENT = 0x010E, 0x9C9B, 0x9C9C, 0x9C9E, 0x9286
_PAGES_READ = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Facts about one file."""

    mime_type: str
    """Detected from the bytes."""
    modality: Modality
    meaning: Meaning
    seconds: float = 0.0
    pages: int = 0
    characters: int = 0
    """Length of the text of a PDF."""
    has_audio: bool = False
    """Whether a video has an audio track."""
    side: int = 0
    """Longer side of an image, in pixels."""


class UnreadableMediaError(Exception):
    """The bytes are not a complete file of a known type."""


class Prober:
    """Probes files, with a cache by SHA-256."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Probe] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, data: bytes, sha256: str) -> Probe:
        """Probe a file.

        Args:
            data: the bytes.
            sha256: their hash, 64 hex digits.

        Raises:
            UnreadableMediaError: the bytes cannot be opened.
            MissingExtraError: the libraries that open media are not installed.
        """
        with self._lock:
            if sha256 in self._known:
                self._known.move_to_end(sha256)
                return self._known[sha256]
        probe = _probe(data)
        with self._lock:
            self._known[sha256] = probe
            if len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return probe


def _probe(data: bytes) -> Probe:
    mime_type = sniff(data[:HEAD_BYTES])
    modality = modality_of(mime_type) if mime_type else None
    read = _READERS.get(modality or "text")
    if mime_type is None or modality is None or read is None:
        raise UnreadableMediaError("the bytes are of no known media type")
    try:
        return read(data, mime_type)
    except ImportError as error:
        raise MissingExtraError("opening media in the emulator", package=str(error.name), extra="testing") from error
    except UnreadableMediaError:
        raise
    except Exception as error:
        raise UnreadableMediaError(f"{type(error).__name__} while reading {mime_type}") from error


def _probe_image(data: bytes, mime_type: str) -> Probe:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        side = max(image.size)
        image.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
        image.load()
        words = words_of(" ".join(_image_texts(image)))
        pixels = np.asarray(image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.NEAREST).convert("RGB"))
    return Probe(mime_type=mime_type, modality="image", side=side, meaning=_meaning(words, "image", pixels))


def _image_texts(image: Any) -> Iterable[str]:
    for key, value in image.info.items():
        if isinstance(value, str) and str(key).lower() not in ("software", "date:create", "date:modify", "xmp"):
            yield value
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if xmp:
        yield re.sub(r"<[^>]*>", " ", xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp))
    exif = image.getexif()
    for tag in (_IMAGE_DESCRIPTION, _XP_TITLE, _XP_COMMENT, _XP_KEYWORDS, _USER_COMMENT):
        value = exif.get(tag)
        if isinstance(value, bytes):
            value = value.decode("utf-16-le" if tag in (_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS) else "utf-8", "replace")
        if value:
            yield str(value)


def _probe_audio(data: bytes, mime_type: str) -> Probe:
    import av

    with av.open(io.BytesIO(data), "r", **reading_options(data)) as container:
        if not container.streams.audio:
            raise UnreadableMediaError("the file has no audio")
        seconds = _duration(data, mime_type)
        frames = container.decode(audio=0)
        first = next(frames)
        words = words_of(" ".join((*_tags(container), *heard_in(chain([first], frames)))))
    return Probe(mime_type=mime_type, modality="audio", seconds=seconds, meaning=_meaning(words, "audio"))


def _probe_video(data: bytes, mime_type: str) -> Probe:
    import av

    with av.open(io.BytesIO(data), "r", **reading_options(data)) as container:
        if not container.streams.video:
            raise UnreadableMediaError("the file has no video")
        seconds = _duration(data, mime_type)
        words = words_of(" ".join(_tags(container)))
        frame = next(container.decode(video=0))
        pixels = frame.reformat(width=_THUMBNAIL, height=_THUMBNAIL, format="rgb24").to_ndarray().astype(np.uint8)
        heard = bool(container.streams.audio)
    meaning = _meaning(words, "video", pixels)
    return Probe(mime_type=mime_type, modality="video", seconds=seconds, has_audio=heard, meaning=meaning)


def _duration(data: bytes, mime_type: str) -> float:
    """Seconds, measured from the packets, because headers of MP3 and WebM often declare others."""
    return probe(io.BytesIO(data), mime_type).seconds or 0.0


def _tags(container: Any) -> Iterable[str]:
    for key in ("title", "comment", "description", "synopsis", "keywords", "genre", "album", "TIT2", "COMM"):
        value = container.metadata.get(key) or container.metadata.get(key.upper())
        if value:
            yield value.encode("utf-8", "ignore").decode()


def _probe_pdf(data: bytes, mime_type: str) -> Probe:
    import pypdfium2 as pdfium

    with PDFIUM:
        document = pdfium.PdfDocument(data)
        try:
            pages = len(document)
            info = document.get_metadata_dict(skip_empty=True)
            texts = [_page_text(document, n) for n in range(min(pages, _PAGES_READ))]
        finally:
            document.close()
    if not pages:
        raise UnreadableMediaError("the document has no pages")
    described = " ".join(info[key] for key in ("Title", "Subject", "Keywords") if key in info)
    words = words_of(described) + words_of(" ".join(texts), 0.6)
    characters = sum(len(text) for text in texts)
    return Probe(
        mime_type=mime_type, modality="pdf", pages=pages, characters=characters, meaning=_meaning(words, "pdf")
    )


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    text_page = page.get_textpage()
    try:
        return str(text_page.get_text_bounded())
    finally:
        text_page.close()
        page.close()


def _meaning(words: tuple[Word, ...], modality: Modality, pixels: NDArray[np.uint8] | None = None) -> Meaning:
    found = words
    if pixels is not None:
        scale = _COLOUR_BESIDE_WORDS if words else 1.0
        found += tuple(Word(name, scale * share) for name, share in colours_of(pixels))
    return Meaning((*found, Word(_MODALITY_WORD[modality], _MODALITY_WEIGHT)))


def colours_of(pixels: NDArray[np.uint8]) -> list[tuple[str, float]]:
    """The names of at most four colours of an image with their shares, the largest first.

    Args:
        pixels: `(height, width, 3)` uint8, RGB.
    """
    coarse = (pixels >> 4).astype(np.intp)
    names = _colour_table()[coarse[..., 0], coarse[..., 1], coarse[..., 2]].ravel()
    shares = np.bincount(names, minlength=len(COLOURS)) / len(names)
    strongest = np.argsort(-shares, kind="stable")[:4]
    return [(COLOURS[name], float(shares[name])) for name in strongest if shares[name] >= 0.05]


@lru_cache(maxsize=1)
def _colour_table() -> NDArray[np.intp]:
    """`(16, 16, 16)` positions in `COLOURS`, by the upper four bits of red, green and blue."""
    steps = np.arange(16) * 17
    red, green, blue = np.meshgrid(steps, steps, steps, indexing="ij")
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    chroma = high - low
    spread = np.maximum(chroma, 1)
    by_green = np.where(high == green, (blue - red) / spread + 2, (red - green) / spread + 4)
    hue = 60 * np.where(high == red, ((green - blue) / spread) % 6, by_green)
    grey = chroma < 32
    cases = [
        ("black", high < 48), ("white", grey & (high > 208)), ("grey", grey),
        ("brown", (hue >= 10) & (hue < 50) & (high < 160)), ("red", hue < 15), ("orange", hue < 43),
        ("yellow", hue < 68), ("green", hue < 165), ("cyan", hue < 195), ("blue", hue < 262),
        ("purple", (hue < 295) | ((hue < 315) & (high < 176))), ("pink", hue < 340),
    ]  # fmt: skip
    numbers = [np.intp(COLOURS.index(name)) for name, _ in cases]
    return np.asarray(np.select([case for _, case in cases], numbers, default=COLOURS.index("red")), dtype=np.intp)


_READERS: dict[str, Callable[[bytes, str], Probe]] = {
    "image": _probe_image,
    "audio": _probe_audio,
    "video": _probe_video,
    "pdf": _probe_pdf,
}
