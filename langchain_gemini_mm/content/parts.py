"""Conversion of user input of any supported type into a tuple of frozen `Part`s.

Only this module inspects the type of user input. Only files that the caller gives as a `Path` or a `Blob` are opened; a
path, URL or id inside a text is text.
"""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.messages import BaseMessage

from langchain_gemini_mm.content.blocks import InlineMedia, read_block
from langchain_gemini_mm.content.mime_types import (
    HEAD_BYTES,
    SVG_REMEDY,
    canonical_mime_type,
    is_svg,
    modality_of,
    require_prose,
    sniff,
)
from langchain_gemini_mm.errors import ContentError, InvalidTypeError, MediaLimitError, MissingMediaError
from langchain_gemini_mm.interfaces import Content, MediaSource, Modality
from langchain_gemini_mm.references import SCHEME, MediaRef, TornReference, scan_references

Unresolved = Literal["error", "text"]
"""How to treat a reference that the store does not know, or that is truncated: raise, or keep it as text."""

ACCEPTED = (
    "str, pathlib.Path, bytes, MediaRef, LangChain Blob, Document, message or content block, PIL image, "
    "google-genai Part or Content, or a list or tuple of these"
)

_TEXT_FILE_BYTES = 1_000_000
_FOREIGN_SCHEMES = ("http://", "https://", "gs://", "s3://", "data:", "ftp://", "file:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A text, or media with exactly one place to read them from."""

    modality: Modality
    text: str | None = None
    """The text of a text part, never empty."""
    mime_type: str | None = None
    """MIME type of media, by content."""
    size: int = 0
    """Size of media in bytes; 0 for a text and for a file at the service."""
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    ref: MediaRef | None = None
    uri: str | None = None
    """Address of a file that the service has already: of the Files API, or `gs://`."""
    label: str | None = None
    """Name for messages, where the path is a temporary file."""
    sha256: str | None = None
    """Hash of the file at `path` when it was prepared; other bytes are not taken for it later."""

    @property
    def name(self) -> str:
        """A short name for messages, which contains nothing of the content."""
        if self.label is not None:
            return self.label
        if self.path is not None:
            return repr(self.path.name)
        if self.ref is not None:
            return str(self.ref)
        if self.uri is not None:
            return repr(self.uri)
        return "a text" if self.text is not None else f"{self.mime_type} of {self.size:,} bytes"

    def open(self, media: MediaSource | None) -> BinaryIO:
        """Open the media for reading; the caller closes it.

        Raises:
            MissingMediaError: the media are gone.
        """
        if self.data is not None:
            return io.BytesIO(self.data)
        if self.path is not None:
            return _open_file(self.path)
        if self.ref is not None and media is not None:
            return media.open(self.ref)
        raise MissingMediaError(f"{self.name} has no bytes here")

    def read(self, media: MediaSource | None) -> bytes:
        """Read all bytes of the media.

        Raises:
            MissingMediaError: the media are gone.
        """
        if self.data is not None:
            return self.data
        if self.ref is not None and media is not None:
            return media.get(self.ref)
        with self.open(media) as file:
            data = file.read()
        self._require(hashlib.sha256(data).hexdigest() if self.sha256 is not None else None)
        return data

    def require_unchanged(self, file: BinaryIO) -> None:
        """Refuse a file that was written since it was prepared.

        Args:
            file: the media, open; read again from its beginning where its hash is known.

        Raises:
            MissingMediaError: it holds other bytes.
        """
        if self.sha256 is not None:
            file.seek(0)
            self._require(hashlib.file_digest(cast("io.BufferedIOBase", file), "sha256").hexdigest())

    def _require(self, found: str | None) -> None:
        if found != self.sha256:
            raise MissingMediaError(f"{self.name} was changed while it was being embedded. Embed it again")

    def digest(self, media: MediaSource | None) -> str:
        """Digest of the content; equal for equal content, whatever type it was given as."""
        if self.text is not None:
            return hashlib.sha256(self.text.encode()).hexdigest()
        if self.uri is not None:
            return hashlib.sha256(self.uri.encode()).hexdigest()
        if self.sha256 is not None:
            return self.sha256
        if self.ref is not None:
            return self.ref.uri.removeprefix("mm://sha256-")
        with self.open(media) as file:
            return hashlib.file_digest(cast("io.BufferedIOBase", file), "sha256").hexdigest()


def to_parts(
    content: Content, media: MediaSource | None = None, *, unresolved: Unresolved = "error"
) -> tuple[Part, ...]:
    """Turn content into parts, in order.

    ```python
    from langchain_gemini_mm.content.parts import to_parts

    (part,) = to_parts("a plain text")
    assert part.modality == "text"
    ```

    Args:
        content: one content of a supported type, or a list or tuple of them that are embedded together.
        media: resolves `mm://` references.
        unresolved: `"text"` keeps a reference that `media` does not know, or that is truncated, as plain text.

    Raises:
        ContentError: nothing to embed, an unsupported type, or bytes of an unknown media type.
        MissingMediaError: a reference or a file that does not exist.
    """
    reader = _Reader(media, unresolved)
    if isinstance(content, list | tuple):
        pieces = [part for item in content for part in reader.item(item)]
    else:
        pieces = reader.item(content)
    parts = tuple(_merged(pieces))
    if not parts:
        if isinstance(content, str):
            raise ContentError("there is nothing to embed: the text is empty or has only white space. Leave it out")
        raise ContentError(
            f"there is nothing to embed in {_type_name(content)}: it is empty, or contains only white space, reasoning "
            "or tool calls. Leave it out"
        )
    return parts


def uris_to_contents(uris: Sequence[str | Path]) -> list[Path | MediaRef]:
    """Turn strings that the caller declares to be paths into paths and references; elsewhere a string is text.

    Raises:
        TypeError: a single string.
        ContentError: a URL.
    """
    if isinstance(uris, str | Path):
        raise InvalidTypeError(f"expected a list of paths, got one {type(uris).__name__}; put it in a list")
    contents: list[Path | MediaRef] = []
    for uri in uris:
        if not isinstance(uri, str | Path):
            raise InvalidTypeError(f"expected a path as str or Path, got {type(uri).__name__}")
        scheme = next((known for known in _FOREIGN_SCHEMES if str(uri).lower().startswith(known)), None)
        if scheme is not None and isinstance(uri, str):
            raise ContentError(
                f"a URL that starts with {scheme!r} is not fetched; give the path of a local file"
            ).about_input(len(contents))
        contents.append(MediaRef.parse(uri) if isinstance(uri, str) and uri.startswith(SCHEME) else Path(uri))
    return contents


@dataclass(frozen=True)
class _Reader:
    media: MediaSource | None
    unresolved: Unresolved

    def item(self, item: object) -> list[Part]:
        for accepted, read in _READERS:
            if isinstance(item, accepted):
                return read(self, item)
        foreign = _FOREIGN.get(type(item).__module__.partition(".")[0])
        if foreign is not None:
            return foreign(self, item)
        if isinstance(item, Sequence):
            raise ContentError(
                f"got {_type_name(item)} inside a list: contents nest one level deep; each inner list is one vector"
            )
        raise ContentError(f"cannot embed {_type_name(item)}. Give {ACCEPTED}")

    def text(self, text: str) -> list[Part]:
        pieces = scan_references(text)
        mixed = len(pieces) > 1
        parts: list[Part] = []
        for piece in pieces:
            if isinstance(piece, str):
                parts += literal_text(piece.strip() if mixed else piece)
            elif isinstance(piece, MediaRef):
                parts += self.reference(piece)
            else:
                parts += self.torn(piece)
        return parts

    def torn(self, piece: TornReference) -> list[Part]:
        if self.unresolved == "text":
            return literal_text(piece.text)
        raise ContentError(piece.reason)

    def reference(self, ref: MediaRef) -> list[Part]:
        try:
            if self.media is None:
                raise MissingMediaError(
                    f"{ref} cannot be resolved without a media store: give GeminiEmbeddings(media=MediaStore(...)), or "
                    "unresolved='text' to embed references as text"
                )
            info = self.media.info(ref)
        except MissingMediaError:
            if self.unresolved == "text":
                return literal_text(ref.markdown)
            raise
        modality: Modality = "audio" if ref.track else _media_modality(info.mime_type, ref)
        return [Part(modality=modality, mime_type=info.mime_type, size=info.size, ref=ref)]

    def path(self, path: Path) -> list[Part]:
        size = _file_size(path)
        with _open_file(path) as file:
            mime_type = sniff(file.read(HEAD_BYTES))
        if mime_type is None:
            try:
                require_prose(path.suffix)
            except ContentError as error:
                raise ContentError(f"cannot embed {path.name!r}: {error}") from None
            return literal_text(_text_file(path, size))
        modality = _media_modality(mime_type, repr(path.name))
        return [Part(modality=modality, mime_type=mime_type, size=size, path=path)]

    def bytes(self, data: bytes | bytearray | memoryview, declared: str | None = None) -> list[Part]:
        data = bytes(data)
        if not data:
            raise ContentError("got 0 bytes; an empty file has nothing to embed")
        mime_type = sniff(data[:HEAD_BYTES])
        if mime_type is None:
            if is_svg(data[:HEAD_BYTES]):
                raise ContentError(f"cannot embed {len(data):,} bytes: {SVG_REMEDY}")
            if declared and declared.startswith("text/"):
                return literal_text(_decode(data, declared))
            said = f" although it is declared as {declared!r}" if declared else ""
            raise ContentError(
                f"cannot tell what {len(data):,} bytes are{said}: they do not start like an image, audio, video or "
                "PDF file. Decode text to str first"
            )
        modality = _media_modality(mime_type, f"{len(data):,} bytes")
        return [Part(modality=modality, mime_type=mime_type, size=len(data), data=data)]

    def blob(self, blob: Blob) -> list[Part]:
        if isinstance(blob.data, bytes):
            return self.bytes(blob.data, blob.mimetype)
        if isinstance(blob.data, str):
            return self.text(blob.data)
        if blob.path is None:
            raise ContentError("a Blob without data or path has nothing to embed")
        return self.path(Path(blob.path))

    def block(self, block: Mapping[str, Any]) -> list[Part]:
        try:
            payloads = read_block(block)
        except RecursionError:
            raise ContentError("a content block is nested too deeply") from None
        parts: list[Part] = []
        for payload in payloads:
            if isinstance(payload, InlineMedia):
                parts += self.bytes(payload.read(), payload.mime_type)
            elif isinstance(payload, MediaRef):
                parts += self.reference(payload)
            else:
                parts += self.text(payload)
        return parts

    def message(self, message: BaseMessage) -> list[Part]:
        items = [message.content] if isinstance(message.content, str) else message.content
        return [part for item in items for part in self.item(item)]

    def pillow(self, image: Any) -> list[Part]:
        if not hasattr(image, "save"):
            raise ContentError(f"cannot embed {_type_name(image)}; give a PIL.Image.Image")
        return self.bytes(_image_file(image))

    def genai(self, item: Any) -> list[Part]:
        if hasattr(item, "parts"):
            return [part for piece in item.parts or () for part in self.genai(piece)]
        if getattr(item, "text", None):
            return literal_text(item.text)
        if getattr(item, "video_metadata", None):
            raise ContentError(
                "video_metadata of a Part is not supported: name a segment with MediaRef.segment, and set video_fps of "
                "GeminiEmbeddings"
            )
        inline = getattr(item, "inline_data", None)
        if inline is not None and inline.data:
            return self.bytes(inline.data, inline.mime_type)
        file = getattr(item, "file_data", None)
        uri = getattr(file, "file_uri", None) or getattr(item, "uri", None)
        mime_type = getattr(file, "mime_type", None) or getattr(item, "mime_type", None)
        if not uri or not mime_type:
            raise ContentError(
                f"cannot embed {_type_name(item)}: it has no text, no bytes, and no address with a MIME type"
            )
        mime_type = canonical_mime_type(mime_type)
        return [Part(modality=_media_modality(mime_type, repr(uri)), mime_type=mime_type, uri=uri)]


_READERS: tuple[tuple[type | tuple[type, ...], Callable[[_Reader, Any], list[Part]]], ...] = (
    (str, _Reader.text),
    (Path, _Reader.path),
    (Document, lambda reader, document: reader.text(document.page_content)),
    (Blob, _Reader.blob),
    (MediaRef, _Reader.reference),
    ((bytes, bytearray, memoryview), _Reader.bytes),
    (Mapping, _Reader.block),
    (BaseMessage, _Reader.message),
)
_FOREIGN: dict[str, Callable[[_Reader, Any], list[Part]]] = {
    "PIL": _Reader.pillow,
    "google": _Reader.genai,
}


def literal_text(text: str) -> list[Part]:
    """Return one text part, or none for white space."""
    if not text.strip():
        return []
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ContentError(
            f"the text holds a lone surrogate at position {error.start}, which is not valid Unicode; decode its source "
            "with the right encoding"
        ) from None
    return [Part(modality="text", text=text)]


def _merged(pieces: Iterable[Part]) -> list[Part]:
    """Join adjacent texts, so that equal content gives equal parts."""
    parts: list[Part] = []
    for piece in pieces:
        if parts and piece.text is not None and parts[-1].text is not None:
            parts[-1] = Part(modality="text", text=f"{parts[-1].text}\n{piece.text}")
        else:
            parts.append(piece)
    return parts


_PNG_MODES = frozenset({"RGB", "RGBA", "L", "LA", "1", "P"})
_TIFF_MODES = frozenset({"I;16", "I;16L", "I;16B", "I", "F", "CMYK", "LAB"})


def _image_file(image: Any) -> bytes:
    """Write a PIL image as a lossless file with its rotation and colours; it is then converted like any other file.

    An image that was opened and not decoded yet gives the bytes of its own file.
    """
    if 0 in image.size:
        raise ContentError(f"the image has no pixels ({image.size[0]} x {image.size[1]}); there is nothing to embed")
    file: Any = getattr(image, "fp", None)
    if getattr(image, "tile", None) and file is not None and image.tell() == 0:
        position = file.tell()
        file.seek(0)
        data = bytes(file.read())
        file.seek(position)
        return data
    if image.mode in _TIFF_MODES:
        kept, form = image, "TIFF"
    else:
        plain = "RGBA" if image.mode.upper().endswith("A") else "RGB"
        kept, form = (image if image.mode in _PNG_MODES else image.convert(plain)), "PNG"
    buffer = io.BytesIO()
    kept.save(buffer, format=form, exif=image.getexif(), icc_profile=kept.info.get("icc_profile"))
    return buffer.getvalue()


def _media_modality(mime_type: str, name: object) -> Modality:
    modality = modality_of(mime_type)
    if modality is None or modality == "text":
        raise ContentError(f"{name} is {mime_type}, which is not an image, audio, video or PDF file")
    return modality


def _file_size(path: Path) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise MissingMediaError(f"cannot read the file {str(path)!r}: {_reason(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ContentError(f"{str(path)!r} is not a file; load a folder with MediaLoader")
    if status.st_size == 0:
        raise ContentError(f"{path.name!r} is empty (0 bytes)")
    return status.st_size


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise MissingMediaError(f"cannot read the file {str(path)!r}: {_reason(error)}") from error


def _text_file(path: Path, size: int) -> str:
    if size > _TEXT_FILE_BYTES:
        raise MediaLimitError(
            f"{path.name!r} is {size:,} bytes of no known media type; as a text at most {_TEXT_FILE_BYTES:,} bytes are "
            "taken. Split it with MediaLoader"
        )
    with _open_file(path) as file:
        data = file.read()
    if is_svg(data[:HEAD_BYTES]):
        raise ContentError(f"cannot embed {path.name!r}: {SVG_REMEDY}")
    with suppress(UnicodeDecodeError):
        if b"\x00" not in data:
            return data.decode("utf-8-sig")
    raise ContentError(f"{path.name!r} is neither UTF-8 text nor an image, audio, video or PDF file by its first bytes")


def _decode(data: bytes, declared: str) -> str:
    charset = declared.partition("charset=")[2].strip(" \"'") or "utf-8-sig"
    try:
        return data.decode(charset)
    except (UnicodeDecodeError, LookupError) as error:
        raise ContentError(f"bytes declared as {declared!r} are not text in that encoding") from error


def _type_name(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}".removeprefix("builtins.")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
