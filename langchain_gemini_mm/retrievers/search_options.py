"""The options of a retriever's searches, and how a query is shown in traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import Content, Modality
from langchain_gemini_mm.ranking import Ranking
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.vectorstores.query import Query, SharedSearchOptions

_SHOWN = 200


class SearchOptions(SharedSearchOptions, total=False):
    """The options of a retriever's searches: those of a store's `search`, and those of its rankings.

    Each is also a field of `MultimodalRetriever`, which is the default of every call.
    """

    modalities: Sequence[Modality] | None
    """Only these modalities; None for all."""
    ranking: Ranking | None
    """`raw`, `normalized` or `calibrated`: see `docs/ranking.md`. None is `raw` where one modality is searched."""
    min_confidence: float | None
    """From 0 to 1: hits below it are left out, so that there may be none. Not with `raw`."""


OPTIONS = frozenset({"k"} | SearchOptions.__optional_keys__)
"""What a call may set."""


def traced(query: Content | Query) -> str:
    """Return a query as text for callbacks and traces: its words, and the type of anything else."""
    if isinstance(query, str):
        return query
    if isinstance(query, Query):
        parts = [traced(part) for part in query.content]
        parts += [f"like {id_!r}" for id_ in query.like] + [f"unlike {id_!r}" for id_ in query.unlike]
        return ", ".join(parts)
    if isinstance(query, list | tuple):
        return ", ".join(map(traced, query))
    if isinstance(query, Mapping):
        text = query.get("text")
        return text[:_SHOWN] if isinstance(text, str) else f"<{query.get('type', 'block')}>"
    if isinstance(query, Path):
        return f"<{query.name}>"
    if isinstance(query, MediaRef):
        return query.uri
    if isinstance(query, Document):
        return query.page_content
    inner = getattr(query, "content", None)
    if getattr(query, "type", None) == "human" and isinstance(inner, str | list):
        return traced(inner)
    return f"<{type(query).__name__}>"
