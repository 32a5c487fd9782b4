"""Documents as content blocks that reference their media instead of containing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_gemini_mm.errors import ContentError, GeminiMMError
from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.references import SCHEME, MediaRef
from langchain_gemini_mm.rendering.citations import citation
from langchain_gemini_mm.rendering.clean_text import (
    DocumentOrHit,
    companion_of,
    document_of,
    joined,
    pieces_of,
    with_companion,
)

if TYPE_CHECKING:
    from langchain_core.documents import Document

Block: TypeAlias = dict[str, Any]
"""A LangChain content block."""

_UNKNOWN = "application/octet-stream"
_TYPES = frozenset({"image", "file", "audio", "video", "image_url"})
_MEDIA = ("image/", "audio/", "video/", "application/pdf")


def reference_blocks(
    documents: Iterable[DocumentOrHit], *, cite: bool = True, media: MediaSource | None = None
) -> list[dict[str, Any]]:
    """Turn documents into small content blocks for checkpoints and traces; `expand_blocks` adds the media.

    Each document becomes a text block with its citation, its text and its companion text, followed by a block
    `{"type": "image", "url": "mm://sha256-…", "mime_type": …}` for each of its media. The type is `image` for images
    and `file` for other media, because LangChain accepts no other types in the result of a tool.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm.references import MediaRef
    from langchain_gemini_mm.rendering import reference_blocks

    talk = MediaRef("0" * 64).segment(30, 60)
    found = Document(talk.markdown, metadata={"source": "talk.mp4", "mime_type": "video/mp4", "modality": "video"})
    text, clip = reference_blocks([found])
    assert text == {"type": "text", "text": "[talk.mp4 0:30-1:00]"}
    assert (clip["type"], clip["url"]) == ("file", talk.uri)
    ```

    Args:
        documents: Documents or hits, the most relevant first.
        cite: start each document with its citation.
        media: the store that knows the MIME types of media whose metadata do not have them.

    Raises:
        TypeError: an item is neither a Document nor a hit.
    """
    blocks: list[Block] = []
    for item in documents:
        blocks += _blocks_of(document_of(item), cite=cite, media=media or getattr(item, "media", None))
    return blocks


@dataclass(frozen=True, slots=True)
class Reference:
    """What a reference block contains."""

    ref: MediaRef | None
    """None if the reference is malformed."""
    citation: str
    """Empty if the block has none."""


def read_reference(block: object) -> Reference | None:
    """Parse a reference block; returns None for any other block."""
    if not isinstance(block, Mapping) or block.get("type") not in _TYPES:
        return None
    url = block.get("url")
    if block["type"] == "image_url":
        inner = block.get("image_url")
        url = inner.get("url") if isinstance(inner, Mapping) else inner
    if not isinstance(url, str) or not url.startswith(SCHEME):
        return None
    extras = block.get("extras")
    cited = extras.get("citation") if isinstance(extras, Mapping) else None
    cited = cited if isinstance(cited, str) else ""
    try:
        return Reference(MediaRef.parse(url), cited)
    except ContentError:
        return Reference(None, cited)


def text_block(text: str) -> Block:
    """Make a text block."""
    return {"type": "text", "text": text}


def _blocks_of(document: Document, *, cite: bool, media: MediaSource | None) -> list[Block]:
    pieces = pieces_of(document.page_content)
    cited = citation(document)
    companion = companion_of(document, pieces)
    text = joined(pieces)
    if companion and with_companion(text, companion) == companion:
        pieces = [piece for piece in pieces if isinstance(piece, MediaRef)]
    first = next((position for position, piece in enumerate(pieces) if isinstance(piece, MediaRef)), len(pieces))
    lead = joined(pieces[:first])
    if companion and companion not in text:
        lead = with_companion(lead, companion)
    head = "\n".join(filter(None, (cited if cite else "", lead)))
    blocks = [text_block(head)] if head else []
    for piece in pieces[first:]:
        if isinstance(piece, MediaRef):
            blocks.append(_reference_block(piece, document, cited, media))
        elif piece.strip():
            blocks.append(text_block(piece.strip()))
    return blocks


def _reference_block(ref: MediaRef, document: Document, cited: str, media: MediaSource | None) -> Block:
    mime_type = _mime_type(ref, document, media)
    block_type = "image" if mime_type.startswith("image/") else "file"
    return {"type": block_type, "url": ref.uri, "mime_type": mime_type, "extras": {"citation": cited}}


def _mime_type(ref: MediaRef, document: Document, media: MediaSource | None) -> str:
    """The MIME type of a reference: by its fragment, else by the metadata, else by the media store."""
    if ref.track == "audio":
        return "audio/mp3"
    if ref.first_page is not None:
        return "application/pdf"
    declared = document.metadata.get("mime_type")
    known = isinstance(declared, str) and declared.startswith(_MEDIA)
    if known and document.metadata.get("media_sha256", ref.sha256) == ref.sha256:
        return str(declared)
    if media is not None:
        try:
            return media.info(ref).mime_type
        except GeminiMMError:
            return _UNKNOWN
    return _UNKNOWN
