"""What a query may name: documents and media that the retriever itself finds.

The text of a query, its content blocks and the ids of a `Query` often come from users or from a chat model. Where a
retriever has a filter or a tenant, they name nothing outside of these: an id or a reference that is hidden
is treated exactly as one that does not exist. Objects that only a program makes (`MediaRef`, `Path`, bytes, Documents)
are not restricted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_gemini_mm.content.blocks import read_block
from langchain_gemini_mm.errors import ContentError, MissingMediaError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.references import MediaRef, scan_references
from langchain_gemini_mm.vectorstores import Query
from langchain_gemini_mm.vectorstores.backend import Backend
from langchain_gemini_mm.vectorstores.filters import And, In, Node, Predicate, allows, parse_filter

_PAGE = 1000


def bound_of(given: Any) -> Node | Predicate | None:
    """The filter for all that a retriever finds; None if that is everything.

    Args:
        given: the retriever's filter: a dict, a function of a Document, a filter of another store, or None.
    """
    return given if given is None or callable(given) else parse_filter(given)


def named_references(query: Content | Query) -> Iterator[MediaRef]:
    """The references in the texts and content blocks of a query."""
    if isinstance(query, str):
        if "mm:" in query:
            yield from (piece for piece in scan_references(query) if isinstance(piece, MediaRef))
    elif isinstance(query, Mapping):
        for payload in _payloads(query):
            yield from [payload] if isinstance(payload, MediaRef) else named_references(payload)
    else:
        inner = query.content if isinstance(query, Query | BaseMessage) else query
        if isinstance(inner, str | list | tuple):
            for part in [inner] if isinstance(inner, str) else inner:
                yield from named_references(part)


def _payloads(block: Mapping[str, Any]) -> list[Any]:
    """The media and texts of a content block; none of a malformed one, which is refused when it is embedded."""
    try:
        return [payload for payload in read_block(block) if isinstance(payload, MediaRef | str)]
    except (ContentError, RecursionError):
        return []


def require_known_flow(
    backend: Backend, bound: Node | Predicate | None, queries: Sequence[Content | Query]
) -> Flow[None]:
    """Refuse queries whose texts and blocks name media that are in no document within the bound.

    Args:
        backend: of the tenant.
        bound: what the retriever finds.
        queries: each any content, or a `Query`.

    Raises:
        MissingMediaError: a reference names other media, whether they exist or not.
    """
    for query in queries:
        for ref in named_references(query):
            if not (yield from is_known_flow(backend, bound, ref)):
                raise MissingMediaError(
                    f"{ref} is in no document that this retriever finds. Give another file as a Path, as bytes or as a "
                    "MediaRef"
                )


def is_known_flow(backend: Backend, bound: Node | Predicate | None, ref: MediaRef) -> Flow[bool]:
    """Whether a document within the bound has these media, according to its `media_sha256`.

    Args:
        backend: of the tenant.
        bound: what the retriever finds.
        ref: of the media, or of a part of them.
    """
    return _has_flow(backend, bound, In("media_sha256", (ref.sha256,)))


def has_source_flow(backend: Backend, bound: Node | Predicate | None, source: str) -> Flow[bool]:
    """Whether a document within the bound has this source.

    Args:
        backend: of the tenant.
        bound: what the retriever finds.
        source: as in the metadata.
    """
    return _has_flow(backend, bound, In("source", (source,)))


def _has_flow(backend: Backend, bound: Node | Predicate | None, node: Node) -> Flow[bool]:
    if bound is None or not callable(bound):
        count = yield from backend.count(node if bound is None else And((bound, node)))
        return count > 0
    last: str | None = None
    while records := (yield from backend.page(last, _PAGE, node)):
        if any(allows(bound, record.document) for record in records):
            return True
        last = records[-1].id
    return False
