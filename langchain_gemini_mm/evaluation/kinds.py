"""Of which kind a query or a document is, for tables by pairs of kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.content import to_parts
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.labels import LabelledQuery
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.types import MediaSource
from langchain_gemini_mm.vectorstores import Query

OTHER = "other"
"""A kind that nobody could tell."""
STORED = "stored"
"""The kind of a query that names stored documents alone."""

_SHOWN = 80


def query_kind(labelled: LabelledQuery, media: MediaSource | None) -> str:
    """The modality that was labelled, else what the content is; several are joined, such as `image+text`."""
    if labelled.modality is not None:
        return labelled.modality
    query: Any = labelled.query
    if isinstance(query, Query):
        query = list(query.content)
        if not query:
            return STORED
    try:
        return "+".join(sorted({part.modality for part in to_parts(query, media)}))
    except ContentError:
        return OTHER


def document_kind(document: Document) -> str:
    """The modality in the metadata; a document that has none and names no media is a text."""
    modality = document.metadata.get("modality")
    if isinstance(modality, str):
        return modality
    return OTHER if "mm://" in document.page_content else "text"


def shown(query: Any) -> str:
    """A query in a few words, without its bytes."""
    if isinstance(query, Query):
        parts = [*map(shown, query.content), *(f"like {id_}" for id_ in query.like)]
        return _short(" + ".join([*parts, *(f"unlike {id_}" for id_ in query.unlike)]))
    if isinstance(query, list | tuple):
        return _short(" + ".join(map(shown, query)))
    if isinstance(query, Document):
        return shown(query.page_content)
    if isinstance(query, str | MediaRef):
        return _short(" ".join(str(query).split()))
    return query.name if isinstance(query, Path) else f"<{type(query).__name__}>"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
