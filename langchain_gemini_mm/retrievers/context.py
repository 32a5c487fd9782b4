"""What stands before and after a hit in its own file."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores import MultimodalVectorStore

_SAME = ("source", "modality", "track")
_ORDER = ("start_s", "first_page", "position")


def has_neighbours(store: VectorStore, document: Document) -> bool:
    """Whether the store can tell what stands around a document, and the document where it stands."""
    named = isinstance(document.metadata.get("source"), str)
    return isinstance(store, MultimodalVectorStore) and named and _order_of(document) is not None


def neighbours_flow(store: MultimodalVectorStore, document: Document, before: int, after: int) -> Flow[list[Document]]:
    """The documents around one, itself among them, in the order of the file.

    Raises:
        ContentError: the document does not say which file it is of, or where in it.
    """
    metadata = document.metadata
    if not isinstance(metadata.get("source"), str):
        raise ContentError(f"document {document.id!r} has no 'source' in its metadata, so nothing is known around it")
    key = _order_of(document)
    if key is None:
        raise ContentError(f"document {document.id!r} does not say where in {metadata['source']!r} it stands")
    same = {name: metadata[name] for name in _SAME if metadata.get(name) is not None}
    found: list[Document] = yield Call(_all, _aall, (store, same))
    placed = sorted((other for other in found if _is_place(other.metadata.get(key))), key=lambda d: d.metadata[key])
    at = next((i for i, other in enumerate(placed) if other.id == document.id), None)
    if at is None:
        raise ContentError(f"document {document.id!r} is not in the store any more")
    return placed[max(0, at - before) : at + after + 1]


def _order_of(document: Document) -> str | None:
    """By which of its metadata the documents of its file are in order."""
    return next((name for name in _ORDER if _is_place(document.metadata.get(name))), None)


def _is_place(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all(store: MultimodalVectorStore, where: dict[str, Any]) -> list[Document]:
    return list(store.iterate(filter=where))


async def _aall(store: MultimodalVectorStore, where: dict[str, Any]) -> list[Document]:
    return [document async for document in store.aiterate(filter=where)]
