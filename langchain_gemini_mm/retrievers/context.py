"""The documents before and after a hit in its own file."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.rendering.citations import citation
from langchain_gemini_mm.vectorstores import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.filters import And, Node, Predicate, allows, parse_filter

_SAME = ("source", "modality", "track")
_ORDER = ("start_s", "first_page", "position")
_PAGE = 1000


def has_neighbours(store: VectorStore, document: Document) -> bool:
    """Whether the store can find the documents around one, and the document names its place in a file."""
    named = isinstance(document.metadata.get("source"), str)
    return isinstance(store, MultimodalVectorStore) and named and _order_of(document) is not None


def neighbours_flow(
    backend: Backend, document: Document, before: int, after: int, bound: Node | Predicate | None = None
) -> Flow[list[Document]]:
    """Read the documents around one, itself among them, in the order of the file.

    Args:
        backend: of the store.
        document: a stored document.
        before: number of documents before it.
        after: number of documents after it.
        bound: what the retriever finds; other documents are not read.

    Raises:
        ContentError: the document names no file, or no place in it, or is not stored any more.
    """
    metadata = document.metadata
    if not isinstance(metadata.get("source"), str):
        raise ContentError(f"document {_name(document)} has no 'source' in its metadata, so its neighbours are unknown")
    key = _order_of(document)
    if key is None:
        raise ContentError(f"document {_name(document)} does not say where in {metadata['source']!r} it is")
    node = parse_filter({name: metadata[name] for name in _SAME if metadata.get(name) is not None})
    if bound is not None and not callable(bound):
        node, bound = And((node, bound)), None
    found: list[Document] = []
    last: str | None = None
    while records := (yield from backend.page(last, _PAGE, node)):
        read = (record.document for record in records if _is_number(record.document.metadata.get(key)))
        found += [other for other in read if allows(bound, other)]
        last = records[-1].id
    found.sort(key=lambda other: other.metadata[key])
    at = next((i for i, other in enumerate(found) if _is_same(other, document)), None)
    if at is None:
        raise ContentError(f"document {_name(document)} is not in the store any more")
    return found[max(0, at - before) : at + after + 1]


def _is_same(stored: Document, document: Document) -> bool:
    """Whether a document is the stored one; a copy without an id has the same place in the file."""
    if document.id is not None:
        return stored.id == document.id
    return all(stored.metadata.get(name) == document.metadata.get(name) for name in _ORDER)


def _name(document: Document) -> str:
    return citation(document) if document.id is None else repr(document.id)


def _order_of(document: Document) -> str | None:
    """Return the metadata key that orders the documents of the file."""
    return next((name for name in _ORDER if _is_number(document.metadata.get(name))), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
