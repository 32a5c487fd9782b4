"""What a retriever is asked: its own settings and those of one call, checked, as one value."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.ranking.modalities import checked_modalities
from langchain_gemini_mm.ranking.search import checked_confidence
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import MultimodalVectorStore, Query

SEARCH_TYPES = ("similarity", "mmr", "hybrid", "keyword")
"""How a retriever searches; the words are those of `store.search(search_type=...)`."""

_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The settings of one search."""

    store: VectorStore
    k: int
    search_type: str
    filter: Any
    modalities: tuple[str, ...] | None
    task_type: str | None
    score_threshold: float | None
    ranking: str | None
    min_confidence: float | None
    fetch_k: int | None
    lambda_mult: float | None
    alpha: float | None
    fusion: str | None
    query_properties: tuple[str, ...] | None

    def ours(self, what: str) -> MultimodalVectorStore:
        """The store, where it is one of this package.

        Raises:
            TypeError: it is another one, which lacks `what`.
        """
        if not isinstance(self.store, MultimodalVectorStore):
            raise TypeError(
                f"{what} needs LocalVectorStore or WeaviateVectorStore, and the store is a "
                f"{type(self.store).__name__}. Copy it with copy_store, or leave {what} out"
            )
        return self.store

    def options(self) -> dict[str, Any]:
        """The options of `store.search`, modalities within the filter."""
        given = {
            "search_type": self.search_type,
            "filter": narrowed(self.filter, self.modalities),
            "task_type": self.task_type,
            "score_threshold": self.score_threshold,
            "fetch_k": self.fetch_k,
            "lambda_mult": self.lambda_mult,
            "alpha": self.alpha,
            "fusion": self.fusion,
            "query_properties": self.query_properties,
        }
        return {name: value for name, value in given.items() if value is not None}


OVERRIDES = (*(field.name for field in fields(Ask) if field.name != "store"), "tenant")
"""What a call may say beside the query."""


def asked(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> Ask:
    """Put the settings of a call in the place of a retriever's own, and check them.

    Raises:
        TypeError: a setting does not exist or is of the wrong type.
        ValueError: a value is out of range, or two settings exclude each other.
    """
    for name in overrides:
        if name not in OVERRIDES:
            near = difflib.get_close_matches(name, OVERRIDES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"the retriever has no option {name!r}.{hint} Options: {', '.join(sorted(OVERRIDES))}")
    given = {**settings, **overrides}
    properties = given["query_properties"]
    ask = Ask(
        store=given["store"],
        k=positive_int("k", given["k"]),
        modalities=checked_modalities(given["modalities"]),
        query_properties=None if properties is None else tuple(properties),
        **{name: given[name] for name in _AS_GIVEN},
    )
    _require_sense(ask)
    return ask


_AS_GIVEN = (
    "search_type",
    "filter",
    "task_type",
    "score_threshold",
    "ranking",
    "min_confidence",
    "fetch_k",
    "lambda_mult",
    "alpha",
    "fusion",
)


def narrowed(given: Any, modalities: tuple[str, ...] | None) -> Any:
    """A filter for some modalities only."""
    if modalities is None:
        return given
    condition = {"modality": modalities[0] if len(modalities) == 1 else {"$in": list(modalities)}}
    if given is None:
        return condition
    if callable(given):
        keeps: Callable[[Document], bool] = given
        return lambda document: document.metadata.get("modality") in modalities and keeps(document)
    return {"$and": [given, condition]}


def traced(query: Content | Query) -> str:
    """A query as text, for callbacks and traces: its words, and the kinds of what is not words."""
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


def store_of_tenant(store: VectorStore, tenant: str) -> VectorStore:
    """The store for one tenant.

    Raises:
        TypeError: it has no tenants.
    """
    switch = getattr(store, "with_tenant", None)
    if switch is None:
        raise TypeError(f"tenant={tenant!r} needs a WeaviateVectorStore, and {type(store).__name__} has no tenants")
    found: VectorStore = switch(tenant)
    return found


def _require_sense(ask: Ask) -> None:
    if ask.search_type not in SEARCH_TYPES:
        raise ValueError(f"search_type must be one of {', '.join(map(repr, SEARCH_TYPES))}, got {ask.search_type!r}")
    checked_confidence(ask.min_confidence, ask.ranking)
    if ask.search_type != "similarity" and (ask.ranking not in (None, "raw") or ask.min_confidence is not None):
        raise ValueError(
            f"ranking and min_confidence are of search_type='similarity', got search_type={ask.search_type!r}"
        )
