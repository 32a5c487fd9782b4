"""Content blocks with media in the place of references, within a number of bytes."""

from __future__ import annotations

import base64
import io
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, get_args

from langchain_gemini_mm.content.parts import Part, to_parts
from langchain_gemini_mm.errors import (
    ContentError,
    GeminiMMError,
    InvalidValueError,
    MediaLimitError,
    MissingExtraError,
    MissingMediaError,
)
from langchain_gemini_mm.interfaces import MediaSource, Modality
from langchain_gemini_mm.media.convert import ConversionRequest, ConvertedPart, MediaTarget, convert
from langchain_gemini_mm.rendering.citations import page_span, time_span
from langchain_gemini_mm.rendering.model_capabilities import Accepts, Place, accepts_of
from langchain_gemini_mm.rendering.reference_blocks import Block, Reference, read_reference, text_block
from langchain_gemini_mm.validation import one_of

if TYPE_CHECKING:
    from langchain_gemini_mm.media.pdf.pages import PdfPages

KEPT_BYTES = 200_000
"""Bytes that are reserved for each later medium, at most half of those left: enough for an image."""

_NOUNS: Mapping[Modality, str] = {"image": "image", "audio": "audio", "video": "video", "pdf": "PDF"}
_SHOWN_AS: Mapping[Modality, tuple[Modality, ...]] = {
    "image": ("image",),
    "audio": ("audio",),
    "video": ("video", "image", "audio"),
    "pdf": ("pdf", "image"),
}
"""The modalities that a medium can be converted to for a model."""
_ENDINGS = {"application/pdf": "pdf", "audio/mp3": "mp3", "audio/wav": "wav", "video/mp4": "mp4", "video/webm": "webm"}
_NOT_IN_NAMES = re.compile(r"[^\w .,()&+-]+")
_TARGET_TYPES: Mapping[Modality, frozenset[str]] = {
    "audio": frozenset({"audio/mp3", "audio/wav"}),
    "video": frozenset({"video/mp4"}),
}
"""Types that audio and video are converted to."""
_LOG = logging.getLogger(__name__)

STILLS = 4
"""Most stills that replace a video, or images of pages that replace a PDF."""
AUDIO_SECONDS = 1_800.0
"""Longer audio is not re-encoded, because re-encoding keeps it in memory."""
VIDEO_SECONDS = 300.0
"""Longer video is not re-encoded, because that takes minutes."""
VIDEO_BYTES_PER_SECOND = 8_000
"""With less than this many bytes per second, stills show more than a video."""
_VIDEO_EDGE = 640
"""Longer side, in pixels, of video that is re-encoded to fit."""
_STILL_EDGE = 1024
_PAGE_EDGE = 1536


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFitter:
    """Converts media to what one family of chat models takes, within a number of bytes."""

    accepts: Accepts
    media: MediaSource | None
    place: Place = "message"
    stills: int = STILLS
    """Most stills or pages of one medium."""
    quick: bool = False
    """Give stills of a video that would have to be re-encoded."""
    preview: bool = False
    """Keep only the keyframes of video that is re-encoded to fit, at half the size: that takes less than a second."""

    def fit(self, part: Part, max_bytes: int) -> list[ConvertedPart]:
        """Convert a medium so that its base64 fits into `max_bytes`; empty if its modality is not accepted.

        Raises:
            MissingMediaError: the media store does not have it.
            MediaLimitError: it does not fit.
            ContentError: the file is damaged, or has no such part.
            MissingExtraError: the library that opens it is not installed.
        """
        verify = getattr(self.media, "verify", None)
        if part.ref is not None and verify is not None:
            verify(part.ref)
        fit = {"image": self._image, "audio": self._audio, "video": self._video, "pdf": self._pages}[part.modality]
        return fit(ConversionRequest.of(part), max_bytes // 4 * 3)

    def _image(self, request: ConversionRequest, room: int) -> list[ConvertedPart]:
        part, accepted = request.part, self._types("image")
        if not accepted:
            return []
        try:
            with part.open(self.media) as file:
                return [self._scaled(request, file, room)]
        except MissingExtraError:
            if part.mime_type in accepted and part.size <= room:
                return [self._whole(request)]
            raise

    def _audio(self, request: ConversionRequest, room: int) -> list[ConvertedPart]:
        if not self._types("audio"):
            return []
        if self._fits_whole(request, room):
            return [self._whole(request)]
        with request.part.open(self.media) as file:
            return [self._cut(_bounded(request, file), file, room)]

    def _video(self, request: ConversionRequest, room: int) -> list[ConvertedPart]:
        if self._types("video"):
            if self._fits_whole(request, room):
                return [self._whole(request)]
            try:
                with request.part.open(self.media) as file:
                    converted = self._moving(_bounded(request, file), file, room)
                    return [converted] if self._types(converted.modality) else []
            except MediaLimitError:
                if not self._types("image"):
                    raise
        fitted = self._stills(request, room) if self._types("image") else []
        if self._types("audio"):
            left = room - sum(len(still.data) for still in fitted)
            try:
                with request.part.open(self.media) as file:
                    track = self._cut(_bounded(replace(request, track="audio"), file), file, left)
                fitted.append(replace(track, description="its audio"))
            except GeminiMMError:
                # Stills without audio are better than an error.
                if not fitted:
                    raise
        return fitted

    def _moving(self, request: ConversionRequest, file: BinaryIO, room: int) -> ConvertedPart:
        """A segment of video, scaled down where it does not fit otherwise."""
        from langchain_gemini_mm.media.av.clip import inspect

        part, length = request.part, (request.end_s or 0.0) - (request.start_s or 0.0)
        copied_bytes = part.size * length / max(inspect(file, name=part.name).duration_s, length, 0.001)
        fits = copied_bytes <= room
        if not fits and (self.quick or room < VIDEO_BYTES_PER_SECOND * length):
            raise MediaLimitError(f"{part.name} would have to be re-encoded, and the bytes left are too few for that")
        if fits:
            with suppress(MediaLimitError):
                return self._cut(request, file, room)
        return self._cut(request, file, room, max_edge=_VIDEO_EDGE // 2 if self.preview else _VIDEO_EDGE)

    def _stills(self, request: ConversionRequest, room: int) -> list[ConvertedPart]:
        from langchain_gemini_mm.media.av.stills import stills

        with request.part.open(self.media) as file:
            request = _bounded(request, file)
            start_s, end_s = request.start_s or 0.0, request.end_s or 0.0
            moments = [start_s + (end_s - start_s) * (number + 0.5) / self.stills for number in range(self.stills)]
            edge = min(self.accepts.image_edge, _STILL_EDGE)
            found = stills(file, moments, max_edge=edge, name=request.part.name)
        return [
            self._drawn(request, still.image.data, room // len(found), f"still at {time_span(still.time_s)}")
            for still in found
        ]

    def _pages(self, request: ConversionRequest, room: int) -> list[ConvertedPart]:
        from langchain_gemini_mm.media.pdf.pages import opened_pdf

        part = request.part
        if not self._types("pdf") and not self._types("image"):
            return []
        with part.open(self.media) as file, opened_pdf(file, name=part.name) as document:
            most = self.accepts.pdf_pages or document.pages
            if self._types("pdf"):
                if request.pages is None and part.size <= room and document.pages <= most:
                    return [self._whole(request)]
                # An estimate of the pages that fit, so that a book is not copied whole only to be too large.
                most = min(most, max(1, 2 * room * document.pages // max(part.size, 1)))
                try:
                    return [_first_pages(request, document, room, most)]
                except MediaLimitError:
                    if not self._types("image"):
                        raise
            return list(self._page_images(request, document, room))

    def _page_images(self, request: ConversionRequest, document: PdfPages, room: int) -> Iterator[ConvertedPart]:
        first, last = request.pages or (1, document.pages)
        shown = min(last, first + self.stills - 1)
        omitted = f" of {document.pages}, the others are not shown" if shown < last else ""
        for number in range(first, shown + 1):
            drawn = document.image(number, min(self.accepts.image_edge, _PAGE_EDGE))
            description = f"image of {page_span(number, number)}{omitted}"
            yield self._drawn(request, drawn.data, room // (shown - first + 1), description)

    def _drawn(self, request: ConversionRequest, jpeg: bytes, room: int, description: str) -> ConvertedPart:
        """A still or an image of a page, scaled down if it does not fit."""
        if len(jpeg) <= room and "image/jpeg" in self._types("image"):
            return ConvertedPart(request=request, data=jpeg, mime_type="image/jpeg", description=description)
        part = Part(modality="image", mime_type="image/jpeg", size=len(jpeg), data=jpeg, label=request.part.name)
        scaled = self._scaled(ConversionRequest(part=part), io.BytesIO(jpeg), room)
        return replace(scaled, request=request, description=description)

    def _scaled(self, request: ConversionRequest, file: BinaryIO, room: int) -> ConvertedPart:
        if self.accepts.image_bytes is not None:
            room = min(room, self.accepts.image_bytes // 4 * 3)
        return self._converted(request, file, room, max_edge=self.accepts.image_edge)

    def _cut(
        self, request: ConversionRequest, file: BinaryIO, room: int, *, max_edge: int | None = None
    ) -> ConvertedPart:
        length = (request.end_s or 0.0) - (request.start_s or 0.0)
        longest = AUDIO_SECONDS if request.track == "audio" else VIDEO_SECONDS
        if length > longest:
            raise MediaLimitError(
                f"{request.part.name} is {length:,.1f} s long; at most {longest:g} s are cut and converted"
            )
        return self._converted(request, file, room, max_edge=max_edge)

    def _converted(
        self, request: ConversionRequest, file: BinaryIO, room: int, *, max_edge: int | None
    ) -> ConvertedPart:
        if room < 1:
            raise MediaLimitError(f"{request.part.name} does not fit: no bytes are left")
        modality = request.modality
        types = self._types(modality) & _TARGET_TYPES.get(modality, self._types(modality))
        target = MediaTarget(
            mime_types=tuple(sorted(types)),
            max_bytes=room,
            max_edge=max_edge,
            keyframes_only=self.preview and modality == "video" and max_edge is not None,
        )
        (converted,) = convert([request], {modality: target}, file)
        return converted

    def _fits_whole(self, request: ConversionRequest, room: int) -> bool:
        """Whether a recording is given as it is; a damaged one would make the whole request fail."""
        from langchain_gemini_mm.media.probe import probe

        part = request.part
        if part.mime_type not in self._types(part.modality) or part.size > room or (part.ref and part.ref.is_part):
            return False
        with suppress(MissingExtraError), part.open(self.media) as file:
            redraw = probe(file, part.mime_type, name=part.name).needs_redraw
            # The codecs of audio that chat models take are those of its types; of video, one type may hold any.
            return not redraw or part.modality == "audio" or part.mime_type == "video/webm"
        return True

    def _whole(self, request: ConversionRequest) -> ConvertedPart:
        part = request.part
        return ConvertedPart(request=request, data=part.read(self.media), mime_type=part.mime_type or "", changed=False)

    def _types(self, modality: Modality) -> frozenset[str]:
        return self.accepts.types(modality, self.place)


def _bounded(request: ConversionRequest, file: BinaryIO) -> ConversionRequest:
    """The request with start and end; a whole recording goes from 0 to its duration."""
    from langchain_gemini_mm.media.av.clip import inspect

    if request.start_s is not None and request.end_s is not None:
        return request
    seconds = inspect(file, name=request.part.name).duration_s
    if seconds <= 0:
        raise ContentError(f"{request.part.name} has a duration of 0 s")
    return replace(request, start_s=0.0, end_s=math.ceil(seconds * 1000) / 1000)


def _first_pages(request: ConversionRequest, document: PdfPages, room: int, most: int) -> ConvertedPart:
    """The pages as a PDF; only the first of them if not all fit."""
    first, end = request.pages or (1, document.pages)
    last = min(end, first + most - 1)
    while True:
        try:
            data = document.cut(first, last, max_bytes=max(room, 1))
        except MediaLimitError:
            if first == last:
                raise
            last = first + (last - first) // 2
            continue
        omitted = f"{page_span(first, last)} of {document.pages}, the others are not shown" if last < end else ""
        return ConvertedPart(request=request, data=data, mime_type="application/pdf", description=omitted)


def expand_blocks(
    blocks: Sequence[Any],
    media: MediaSource | None,
    *,
    accepts: Any,
    place: Place = "message",
    max_bytes: int | None = None,
) -> list[Any]:
    """Replace reference blocks by blocks with the media, in formats that a chat model accepts.

    Segments and pages are cut out, images are scaled down, and other formats are converted. Earlier blocks get bytes
    first, with a reserve for later ones. For a model that does not accept video, a video becomes a few stills; for one
    that does not accept PDFs, a PDF becomes images of its pages. Media that are not accepted, do not fit, are missing
    or damaged become a text block that says so. Other blocks are kept, and their bytes count.

    ```python
    from langchain_gemini_mm import MediaStore
    from langchain_gemini_mm.rendering import expand_blocks
    from langchain_gemini_mm.testing import png

    media = MediaStore.memory()
    block = {"type": "image", "url": media.put(png()).uri, "mime_type": "image/png"}
    (shown,) = expand_blocks([block], media, accepts="anthropic")
    assert shown["base64"] and shown["mime_type"] == "image/png"
    (said,) = expand_blocks([block], media, accepts="text")
    assert said == {"type": "text", "text": "(Not shown: image. The model does not accept this type of media.)"}
    ```

    Args:
        blocks: content blocks, the most relevant first.
        media: the store that holds the referenced media.
        accepts: a chat model, an `Accepts`, or the name of a family, as in `accepts_of`.
        place: `"message"` for a message, `"tool"` for the result of a tool; LangChain accepts only `text`, `image` and
            `file` blocks there, and some models accept no media there.
        max_bytes: largest size of all media together, in bytes of base64; that of the model's family by default. With 0
            no media are shown.

    Raises:
        ValueError: the family or the place is unknown, or `max_bytes` is negative.
    """
    one_of("place", place, get_args(Place))
    if max_bytes is not None and max_bytes < 0:
        raise InvalidValueError(f"max_bytes must be at least 0, got {max_bytes!r}")
    family = accepts_of(accepts)
    left = (family.max_bytes if max_bytes is None else max_bytes) - sum(map(_bytes_in, blocks))
    references = [read_reference(block) for block in blocks]
    expansion = Expansion(MediaFitter(accepts=family, media=media, place=place), left, sum(map(bool, references)))
    expanded: list[Any] = []
    for block, reference in zip(blocks, references, strict=True):
        expanded += [block] if reference is None else expansion.of_reference(reference)
    expansion.report()
    return expanded


@dataclass
class Expansion:
    """The media of one message: the bytes left, and the references that are shown already."""

    fitter: MediaFitter
    left: int
    """Bytes of base64 left."""
    waiting: int
    """Number of media that are not expanded yet, including the current one."""
    _shown: set[str] = field(default_factory=set)
    _images: int = 0
    """Number of images so far."""
    _omitted: list[str] = field(default_factory=list)
    """What is left out, with the reason."""

    def report(self) -> None:
        """Log what was left out, by name; for models that take text alone this is expected."""
        if self._omitted:
            accepts = self.fitter.accepts
            level = logging.WARNING if accepts.max_bytes else logging.INFO
            _LOG.log(level, "not shown to the model (%s): %s", accepts.name, "; ".join(self._omitted))
            self._omitted = []

    def of_reference(self, reference: Reference) -> list[Block]:
        """The content blocks of a reference; there is at least one."""
        if reference.ref is None:
            self.waiting -= 1
            return [_not_shown("media", reference.citation, "The reference is malformed")]
        if reference.ref.uri in self._shown:
            self.waiting -= 1
            return [text_block(f"(Shown above{_of(reference.citation)}.)")]
        try:
            (part,) = to_parts(reference.ref, self.fitter.media)
        except Exception as error:  # noqa: BLE001  one damaged file does not affect the others
            self.waiting -= 1
            return [_failed(None, reference.citation, error)]
        blocks = self.of_part(part, reference.citation)
        if any(block["type"] != "text" for block in blocks):
            self._shown.add(reference.ref.uri)
        return blocks

    def of_part(self, part: Part, cited: str = "") -> list[Block]:
        """Blocks for a medium, at least one.

        Args:
            part: the medium.
            cited: its citation; empty if it has none.
        """
        self.waiting -= 1
        noun = _NOUNS[part.modality]
        allowed = self.left - min(self.waiting * KEPT_BYTES, self.left // 2)
        try:
            pieces = self.fitter.fit(part, max(allowed, 0)) if self._may_fit(part) else None
        except Exception as error:  # noqa: BLE001  as above
            return [_failed(part.modality, cited, error)]
        if pieces is None:
            return [self._left_out(noun, cited, "No bytes are left for it")]
        if not pieces:
            where = " in results of tools" if self.fitter.accepts.takes(part.modality) else ""
            return [self._left_out(noun, cited, f"The model does not accept this type of media{where}")]
        most = self.fitter.accepts.max_images
        images = sum(piece.modality == "image" for piece in pieces)
        if most is not None and self._images + images > most:
            pieces = [piece for piece in pieces if piece.modality != "image"] or pieces[: most - self._images]
            images = sum(piece.modality == "image" for piece in pieces)
        if not pieces:
            return [self._left_out(noun, cited, f"The model accepts at most {most} images")]
        self._images += images
        self.left -= sum(piece.base64_bytes for piece in pieces)
        blocks: list[Block] = []
        for piece in pieces:
            blocks += [text_block(f"({piece.description}{_of(cited)})")] if piece.description else []
            blocks.append(_media_block(piece, self.fitter.place, cited))
        return blocks

    def _left_out(self, noun: str, cited: str, reason: str) -> Block:
        self._omitted.append(f"{noun}{_of(cited)} ({reason})")
        return _not_shown(noun, cited, reason)

    def _may_fit(self, part: Part) -> bool:
        """Whether to open the medium: if bytes are left, or if it is refused because the model does not accept it."""
        accepts, place = self.fitter.accepts, self.fitter.place
        return self.left > 0 or not any(accepts.takes(modality, place) for modality in _SHOWN_AS[part.modality])


def _media_block(piece: ConvertedPart, place: Place, cited: str) -> Block:
    encoded = base64.b64encode(piece.data).decode("ascii")
    block: Block = {"type": piece.modality, "base64": encoded, "mime_type": piece.mime_type}
    if piece.modality == "pdf" or (place == "tool" and piece.modality != "image"):
        block |= {"type": "file", "extras": {"filename": _file_name(cited, piece.mime_type)}}
    return block


def _file_name(cited: str, mime_type: str) -> str:
    """A file name made from a citation: OpenAI requires one, and models repeat it."""
    name = _NOT_IN_NAMES.sub("_", cited.strip("[]").rpartition("/")[2]).strip(" ._") or "file"
    ending = f".{_ENDINGS.get(mime_type, mime_type.rpartition('/')[2])}"
    return name if name.lower().endswith(ending) else f"{name}{ending}"


def _failed(modality: Modality | None, cited: str, error: Exception) -> Block:
    """Describe an error in general terms, because its message may contain a path; the whole error is logged."""
    ours = isinstance(error, GeminiMMError)
    _LOG.warning("%s is not shown to the model: %s", cited or "a file", error, exc_info=None if ours else error)
    noun = "media" if modality is None else _NOUNS[modality]
    return _not_shown(noun, cited, next(reason for error_type, reason in _REASONS if isinstance(error, error_type)))


def _not_shown(noun: str, cited: str, reason: str) -> Block:
    return text_block(f"(Not shown: {noun}{_of(cited)}. {reason}.)")


def _of(cited: str) -> str:
    return f" of {cited}" if cited else ""


def _bytes_in(block: object) -> int:
    """Bytes of media that a block contains."""
    if not isinstance(block, Mapping):
        return 0
    data = (block.get("base64"), block.get("data"))
    inner = block.get("image_url")
    url = inner.get("url") if isinstance(inner, Mapping) else inner
    return sum(len(value) for value in (*data, url) if isinstance(value, str | bytes))


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (MissingMediaError, "The file is missing"),
    (MediaLimitError, "The file is too large"),
    (MissingExtraError, "The library that opens it is not installed"),
    (ContentError, "The file is damaged or has no such part"),
    (Exception, "The file cannot be read"),
)
