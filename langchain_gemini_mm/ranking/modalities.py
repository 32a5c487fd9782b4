"""Modalities of documents and queries: how they are named, checked and filtered by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, get_args

from langchain_core.documents import Document

from langchain_gemini_mm.content.parts import to_parts
from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError
from langchain_gemini_mm.interfaces import Content, Filter, MediaSource, Modality
from langchain_gemini_mm.references import scan_references
from langchain_gemini_mm.validation import did_you_mean
from langchain_gemini_mm.vectorstores.filters import In, Node, Not, Or, all_of
from langchain_gemini_mm.vectorstores.query import Query

KEY = "modality"
"""The metadata key that names the modality of a document, as `MediaLoader` writes it."""
MODALITIES: tuple[str, ...] = get_args(Modality)
OTHER = "other"
"""Modality of documents whose metadata name none, and of queries that cannot be read."""
GROUPS = (*MODALITIES, OTHER)
"""What documents are grouped by: the modalities, and `other`."""
STORED = "stored"
"""Modality of a query that only names stored documents."""


def query_modality(query: Content | Query, media: MediaSource | None) -> str:
    """Name the modality of a query: `image`, several joined as in `image+text`, `stored`, or `other`.

    Args:
        query: any content, or a `Query`.
        media: holds the media that references in the query name.

    Returns:
        `stored` if the query only names stored documents; `other` if its content cannot be read, so that this never
        makes a search fail.
    """
    if isinstance(query, Query):
        if not query.content:
            return STORED
        query = query.content[0] if len(query.content) == 1 else list(query.content)
    if isinstance(query, str) and "mm:" not in query:
        return "text"
    try:
        return "+".join(sorted({part.modality for part in to_parts(query, media)}))
    except ContentError:
        return OTHER


def document_modality(document: Document) -> str:
    """Name the modality of a document: the first in its metadata, else `text`, or `other` where it names media."""
    named = document.metadata.get(KEY)
    if isinstance(named, list | tuple):
        named = next((modality for modality in MODALITIES if modality in named), None)
    if isinstance(named, str):
        return named
    return OTHER if any(not isinstance(piece, str) for piece in scan_references(document.page_content)) else "text"


def checked_modalities(modalities: Iterable[str] | None, allowed: Sequence[str] = MODALITIES) -> tuple[str, ...] | None:
    """Check a choice of modalities, and return each once; None for all.

    Args:
        modalities: names, or None.
        allowed: the names that exist.

    Raises:
        TypeError: one string instead of a list.
        ValueError: the list is empty, or has an unknown name.
    """
    if modalities is None:
        return None
    if isinstance(modalities, str | bytes):
        raise InvalidTypeError(
            f"modalities is a list, got one {type(modalities).__name__}; write modalities=[{modalities!r}]"
        )
    found = tuple(dict.fromkeys(modalities))
    if not found:
        raise InvalidValueError(f"modalities is empty; name some of {', '.join(allowed)}, or leave it out for all")
    for name in found:
        if name not in allowed:
            hint = did_you_mean(name, allowed)
            raise InvalidValueError(f"there is no modality {name!r} (modalities: {', '.join(allowed)}){hint}")
    return found


@cache
def group_filter(groups: tuple[str, ...]) -> Node:
    """Make the filter that selects documents of some of `GROUPS`."""
    named = tuple(group for group in groups if group != OTHER)
    parts: list[Node] = [In(KEY, named)] if named else []
    if OTHER in groups:
        parts.append(Not(In(KEY, MODALITIES)))
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def filter_for_modalities(given: Any, modalities: Iterable[str] | None, *more: Filter) -> Any:
    """Narrow a filter to some modalities, and to further filters.

    ```python
    from langchain_gemini_mm.ranking.modalities import filter_for_modalities

    assert filter_for_modalities(None, None) is None
    narrowed = filter_for_modalities({"year": 2024}, ["image"])
    assert narrowed == {"$and": [{"year": 2024}, {"modality": {"$in": ["image"]}}]}
    ```

    Args:
        given: a dict, a function of a Document, or None.
        modalities: names; None for all.
        more: dicts that must match as well.

    Returns:
        A filter of the same form; None where nothing is required.

    Raises:
        TypeError: one string instead of a list of modalities.
        ValueError: there is no modality, or no such modality.
    """
    names = checked_modalities(modalities)
    own: list[Filter] = [{KEY: {"$in": list(names)}}] if names else []
    return all_of(given, [*own, *more])
