"""The text of a document without media references."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.interfaces import COMPANION_TEXT, HitLike
from langchain_gemini_mm.references import MediaRef, TornReference, scan_references

DocumentOrHit: TypeAlias = Document | HitLike | Mapping[str, Any]
"""What can be rendered: a Document, a hit of a search, or one of these as a dict, as read from a checkpoint or JSON."""

MAX_CHARACTERS = 20_000
"""Longer companion text is cut off: the document of a book may carry the text of the whole book."""

_WHITE_SPACE = re.compile(r"[\s\x00]+")
MEDIA = frozenset({"image", "audio", "video", "pdf"})


def clean_text(document: DocumentOrHit, *, companion: bool = True) -> str:
    r"""Return the text of a document for readers, prompts and rerankers.

    Media references are removed, and escaped references are unescaped. The companion text of media is added: the text
    of a page, subtitles, or a caption.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm.references import MediaRef
    from langchain_gemini_mm.rendering import clean_text

    photo = MediaRef("0" * 64).markdown
    assert clean_text(Document(f"our dog {photo} at home")) == "our dog at home"
    assert clean_text(Document(photo, metadata={"companion_text": "a puppy"})) == "a puppy"
    assert clean_text(Document(f"write \\{photo}")) == f"write {photo}"
    ```

    Args:
        document: a Document or a hit, also as a dict.
        companion: add companion text, at most 20,000 characters of it.

    Raises:
        TypeError: `document` is neither a Document nor a hit.
    """
    document = document_of(document)
    pieces = pieces_of(document.page_content)
    text = joined(pieces)
    return with_companion(text, companion_of(document, pieces)) if companion else text


def document_of(item: DocumentOrHit) -> Document:
    """Return the Document of a hit, or the Document itself; both may be dicts.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm.rendering.clean_text import document_of

    kept = Document("a note", metadata={"source": "notes.md"}).model_dump()
    assert document_of({"document": kept, "score": 0.5}) == Document("a note", metadata={"source": "notes.md"})
    ```

    Raises:
        TypeError: `item` is neither of them.
    """
    found = item.get("document", item) if isinstance(item, Mapping) else getattr(item, "document", item)
    if isinstance(found, Mapping):
        found = _document_from(found)
    if not isinstance(found, Document):
        raise InvalidTypeError(f"expected a Document or a hit, got {type(item).__name__}")
    return found


def _document_from(fields: Mapping[str, Any]) -> Document | None:
    """The Document of a dict of its fields, or of a dict that LangChain's `dumpd` made; None for others."""
    kwargs = fields.get("kwargs")
    given: Mapping[str, Any] = kwargs if fields.get("lc") is not None and isinstance(kwargs, Mapping) else fields
    text, metadata, id_ = given.get("page_content"), given.get("metadata") or {}, given.get("id")
    if not isinstance(text, str) or not isinstance(metadata, Mapping):
        return None
    return Document(page_content=text, metadata=dict(metadata), id=id_ if isinstance(id_, str) else None)


def pieces_of(text: str) -> list[str | MediaRef]:
    """Split text into literal text and references, in order; a truncated reference is left out without an error."""
    return [piece for piece in scan_references(text) if not isinstance(piece, TornReference)]


def joined(pieces: list[str | MediaRef]) -> str:
    """Join the text in `pieces`, with one space or blank line in the place of a reference."""
    text = "".join("\0" if isinstance(piece, MediaRef) else piece.replace("\0", " ") for piece in pieces)
    return _WHITE_SPACE.sub(_without_reference, text).strip()


def _without_reference(space: re.Match[str]) -> str:
    """White space as it is; around a reference, one space or blank line."""
    found = space[0]
    return found if "\0" not in found else "\n\n" if "\n" in found else " "


def companion_of(document: Document, pieces: list[str | MediaRef]) -> str:
    """Return the companion text of a document's media; empty if there is none."""
    companion = document.metadata.get(COMPANION_TEXT)
    has_media = any(isinstance(piece, MediaRef) for piece in pieces) or document.metadata.get("modality") in MEDIA
    if not has_media or not isinstance(companion, str):
        return ""
    text = joined(pieces_of(companion))
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS].rstrip()} …"


def with_companion(text: str, companion: str) -> str:
    """Join a text and companion text, without repeating a text that the other one contains."""
    if not text or companion.startswith(text):
        return companion or text
    return text if not companion or companion in text else f"{text}\n\n{companion}"
