"""Conversion of user input of any supported type into a tuple of frozen `Part`s.

Only this module inspects the type of user input. Only files that the caller gives as a `Path` or a `Blob` are opened; a
path, URL or id inside a text is text.
"""

from __future__ import annotations

import base64
import binascii
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

from langchain_gemini_mm.content.blocks import block_payload
from langchain_gemini_mm.content.mime_types import HEAD_BYTES, canonical_mime_type, modality_of, sniff
from langchain_gemini_mm.errors import ContentError, MediaLimitError, MissingMediaError
from langchain_gemini_mm.interfaces import Content, MediaSource, Modality
from langchain_gemini_mm.references import MediaRef, split_references

Unresolved = Literal["error", "text"]
"""How to treat a reference that the store does not know: raise, or keep it as text."""

ACCEPTED = (
    "str, pathlib.Path, bytes, MediaRef, LangChain Blob, Document, HumanMessage or content block, PIL image, "
    "google-genai Part or Content, or a list or tuple of these"
)

_TEXT_FILE_BYTES = 1_000_000


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
        unresolved: `"text"` keeps a reference that `media` does not know as plain text.

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
        raise ContentError(
            f"there is nothing to embed in {_type_name(content)}: it is empty or contains only white space"
        )
    return parts


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
        # Every reference, also a truncated one, holds one of these; looking for them takes a tenth of the time.
        if "mm:" not in text and "://sha256-" not in text:
            return literal_text(text)
        pieces = split_references(text)
        mixed = len(pieces) > 1
        parts: list[Part] = []
        for piece in pieces:
            if isinstance(piece, str):
                parts += literal_text(piece.strip() if mixed else piece)
            else:
                parts += self.reference(piece)
        return parts

    def reference(self, ref: MediaRef) -> list[Part]:
        try:
            if self.media is None:
                raise MissingMediaError(
                    f"{ref} cannot be resolved without a media store: give GeminiEmbeddings(media=MediaStore(...))"
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
            return literal_text(_text_file(path, size))
        modality = _media_modality(mime_type, repr(path.name))
        return [Part(modality=modality, mime_type=mime_type, size=size, path=path)]

    def bytes(self, data: bytes | bytearray | memoryview, declared: str | None = None) -> list[Part]:
        data = bytes(data)
        if not data:
            raise ContentError("got 0 bytes; an empty file has nothing to embed")
        mime_type = sniff(data[:HEAD_BYTES])
        if mime_type is None:
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
        payload = block_payload(block)
        if isinstance(payload, str):
            return self.text(payload)
        if isinstance(payload, MediaRef):
            return self.reference(payload)
        return self.bytes(_base64(payload.base64, payload.block_type), payload.mime_type)

    def blocks(self, content: str | Iterable[Any]) -> list[Part]:
        items = [content] if isinstance(content, str) else content
        return [part for item in items for part in self.item(item)]

    def langchain(self, item: Any) -> list[Part]:
        if getattr(item, "type", None) == "human" and hasattr(item, "content"):
            return self.blocks(item.content)
        raise ContentError(
            f"cannot embed {_type_name(item)}; of messages only a HumanMessage is content. Give {ACCEPTED}"
        )

    def pillow(self, image: Any) -> list[Part]:
        if not hasattr(image, "save"):
            raise ContentError(f"cannot embed {_type_name(image)}; give a PIL.Image.Image")
        buffer = io.BytesIO()
        kept = image if image.mode in {"RGB", "RGBA", "L", "LA", "1", "P"} else image.convert("RGB")
        kept.save(buffer, format="PNG")
        return self.bytes(buffer.getvalue())

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
)
_FOREIGN: dict[str, Callable[[_Reader, Any], list[Part]]] = {
    "langchain_core": _Reader.langchain,
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


def _base64(text: str, block_type: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()).translate(_STANDARD_ALPHABET), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ContentError(f"the base64 of a content block of type {block_type!r} is not valid") from error


_STANDARD_ALPHABET = str.maketrans("-_", "+/")


def _type_name(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}".removeprefix("builtins.")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
