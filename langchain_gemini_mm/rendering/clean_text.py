"""The words of a document, without what only machines read."""

from __future__ import annotations

import re
from typing import TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import COMPANION_TEXT, HitLike
from langchain_gemini_mm.references import MediaRef, split_references

Shown: TypeAlias = Document | HitLike
"""What is rendered: a Document, or a hit of a search."""

MOST_CHARACTERS = 20_000
"""Companion text of more is cut off: that of a whole book stands with its file."""

_TORN = re.compile(r"!\[\]\(mm:\S*|m{0,2}:?//sha256-\S*")
_GAP = re.compile(r"\s*\x00[\s\x00]*")
_MEDIA = frozenset({"image", "audio", "video", "pdf"})


def clean_text(document: Shown, *, companion: bool = True) -> str:
    r"""The text of a document for people, prompts and rerankers.

    References are taken out, escaped ones become what they were written for, and where there are media the words that
    came with them are added: the text of a page, subtitles, a caption.

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
        companion: add the words that came with the media, those beyond 20,000 characters left out.

    Raises:
        TypeError: neither a Document nor a hit.
    """
    document = document_of(document)
    pieces = pieces_of(document.page_content)
    text = joined(pieces)
    return with_companion(text, companion_of(document, pieces)) if companion else text


def document_of(item: Shown) -> Document:
    """The Document of a hit, or the Document itself.

    Raises:
        TypeError: neither of them.
    """
    found = getattr(item, "document", item)
    if not isinstance(found, Document):
        raise TypeError(f"a Document or a hit is rendered, got {type(item).__name__}")
    return found


def pieces_of(text: str) -> list[str | MediaRef]:
    """Literal text and references in their order; a torn reference is left out instead of being an error."""
    try:
        return split_references(text)
    except ContentError:
        return [piece for piece in _lenient(text) if piece != ""]


def joined(pieces: list[str | MediaRef]) -> str:
    """The text in the pieces, with one gap where a reference stood."""
    text = "".join("\0" if isinstance(piece, MediaRef) else piece.replace("\0", " ") for piece in pieces)
    return _GAP.sub(lambda gap: "\n\n" if "\n" in gap[0] else " ", text).strip()


def companion_of(document: Document, pieces: list[str | MediaRef]) -> str:
    """The words that came with the media of a document, empty where there are none."""
    words = document.metadata.get(COMPANION_TEXT)
    has_media = any(isinstance(piece, MediaRef) for piece in pieces) or document.metadata.get("modality") in _MEDIA
    if not has_media or not isinstance(words, str):
        return ""
    text = joined(pieces_of(words))
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS].rstrip()} …"


def with_companion(text: str, words: str) -> str:
    """Both texts, each once: a loader may have put the beginning of the words into the text."""
    if not text or words.startswith(text):
        return words or text
    return text if not words or words in text else f"{text}\n\n{words}"


def _lenient(text: str) -> list[str | MediaRef]:
    """Whole references that stand between torn ones are kept."""
    pieces: list[str | MediaRef] = []
    for word in re.split(r"(\s+)", text):
        try:
            pieces += split_references(word)
        except ContentError:
            pieces.append(_TORN.sub("", word))
    return pieces
