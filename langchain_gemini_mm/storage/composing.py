"""A Document of texts and media, as `MediaStore.document` makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from langchain_gemini_mm.content.parts import Part, to_parts
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Content, Modality
from langchain_gemini_mm.references import escape_references

if TYPE_CHECKING:
    from langchain_gemini_mm.storage.store import MediaStore


_WEIGHTIEST: tuple[Modality, ...] = ("video", "audio", "pdf", "image")


def compose(store: MediaStore, content: Sequence[Content], metadata: Mapping[str, Any], id_: str | None) -> Document:
    """Put the media among `content` into `store` and write everything down, in order."""
    if not content:
        raise ContentError("document() needs at least one text or media")
    parts = [part for item in content for part in to_parts(item, store)]
    text = " ".join(_word(store, part) for part in parts)
    return Document(page_content=text, metadata={"modality": modality_of(parts), **metadata}, id=id_)


def modality_of(parts: Sequence[Part]) -> Modality:
    """What a content is as a whole: the kind of its media, text when it has none."""
    kinds = {part.modality for part in parts}
    return next((kind for kind in _WEIGHTIEST if kind in kinds), "text")


def _word(store: MediaStore, part: Part) -> str:
    if part.text is not None:
        return escape_references(part.text)
    if part.ref is not None:
        return part.ref.markdown
    if part.path is not None:
        return store.put_file(part.path).markdown
    if part.data is not None:
        return store.put(part.data).markdown
    raise ContentError(f"{part.name} is a file that the service keeps for two days; put its bytes into the store")
