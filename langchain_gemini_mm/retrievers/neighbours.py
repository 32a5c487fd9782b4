"""What stands before and after a hit in its own file."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores import MultimodalVectorStore

_SAME = ("source", "modality", "track")
_ORDER = ("start_s", "first_page", "position")


def neighbours_flow(store: MultimodalVectorStore, document: Document, before: int, after: int) -> Flow[list[Document]]:
    """The documents around one, itself among them, in the order of the file.

    Raises:
        ContentError: the document does not say which file it is of, or where in it.
    """
    metadata = document.metadata
    if not isinstance(metadata.get("source"), str):
        raise ContentError(f"document {document.id!r} has no 'source' in its metadata, so nothing is known around it")
    key = next((name for name in _ORDER if isinstance(metadata.get(name), int | float)), None)
    if key is None:
        raise ContentError(f"document {document.id!r} does not say where in {metadata['source']!r} it stands")
    same = {name: metadata[name] for name in _SAME if metadata.get(name) is not None}
    found: list[Document] = yield Call(_all, _aall, (store, same))
    placed = sorted((other for other in found if _is_place(other.metadata.get(key))), key=lambda d: d.metadata[key])
    at = next((i for i, other in enumerate(placed) if other.id == document.id), None)
    if at is None:
        raise ContentError(f"document {document.id!r} is not in the store any more")
    return placed[max(0, at - before) : at + after + 1]


def _is_place(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _all(store: MultimodalVectorStore, where: dict[str, Any]) -> list[Document]:
    return list(store.iterate(filter=where))


async def _aall(store: MultimodalVectorStore, where: dict[str, Any]) -> list[Document]:
    return [document async for document in store.aiterate(filter=where)]
