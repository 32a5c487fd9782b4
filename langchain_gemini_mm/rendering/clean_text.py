"""The text of a document without media references."""

from __future__ import annotations

import re
from typing import TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import COMPANION_TEXT, HitLike
from langchain_gemini_mm.references import MediaRef, TornReference, scan_references

DocumentOrHit: TypeAlias = Document | HitLike
"""What can be rendered: a Document, or a hit of a search."""

MAX_CHARACTERS = 20_000
"""Longer companion text is cut off: the document of a book may carry the text of the whole book."""

_GAP = re.compile(r"\s*\x00[\s\x00]*")
_MEDIA = frozenset({"image", "audio", "video", "pdf"})


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
        document: a Document or a hit.
        companion: add companion text, at most 20,000 characters of it.

    Raises:
        TypeError: `document` is neither a Document nor a hit.
    """
    document = document_of(document)
    pieces = pieces_of(document.page_content)
    text = joined(pieces)
    return with_companion(text, companion_of(document, pieces)) if companion else text


def document_of(item: DocumentOrHit) -> Document:
    """Return the Document of a hit, or the Document itself.

    Raises:
        TypeError: `item` is neither of them.
    """
    found = getattr(item, "document", item)
    if not isinstance(found, Document):
        raise TypeError(f"expected a Document or a hit, got {type(item).__name__}")
    return found


def pieces_of(text: str) -> list[str | MediaRef]:
    """Split text into literal text and references, in order; a truncated reference is left out without an error."""
    return [piece for piece in scan_references(text) if not isinstance(piece, TornReference)]


def joined(pieces: list[str | MediaRef]) -> str:
    """Join the text in `pieces`, with one space or blank line in the place of a reference."""
    text = "".join("\0" if isinstance(piece, MediaRef) else piece.replace("\0", " ") for piece in pieces)
    return _GAP.sub(lambda gap: "\n\n" if "\n" in gap[0] else " ", text).strip()


def companion_of(document: Document, pieces: list[str | MediaRef]) -> str:
    """Return the companion text of a document's media; empty if there is none."""
    companion = document.metadata.get(COMPANION_TEXT)
    has_media = any(isinstance(piece, MediaRef) for piece in pieces) or document.metadata.get("modality") in _MEDIA
    if not has_media or not isinstance(companion, str):
        return ""
    text = joined(pieces_of(companion))
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS].rstrip()} …"


def with_companion(text: str, companion: str) -> str:
    """Join a text and companion text, without repeating a text that the other one contains."""
    if not text or companion.startswith(text):
        return companion or text
    return text if not companion or companion in text else f"{text}\n\n{companion}"
