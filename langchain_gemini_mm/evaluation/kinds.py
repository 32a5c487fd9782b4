"""Of which kind a query or a document is, for tables by pairs of kinds."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.content.parts import to_parts
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.retrievers.search_options import traced
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
    text = " ".join(traced(query).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
