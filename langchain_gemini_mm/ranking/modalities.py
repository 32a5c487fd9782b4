"""Kinds of documents that are ranked apart: the modalities, and whatever names none of them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

from langchain_core.documents import Document

from langchain_gemini_mm.content.parts import to_parts
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import MediaSource, Modality, Vector
from langchain_gemini_mm.vectorstores.backend import Scored, VectorRequest
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.filters import And, In, Node, Not, Or, Predicate, matches
from langchain_gemini_mm.vectorstores.query import Query
from langchain_gemini_mm.vectorstores.search import SearchPlan

KEY = "modality"
"""The metadata key that tells the kind of a document, as `MediaLoader` writes it."""
OTHER = "other"
"""The kind of documents whose metadata name no modality."""
KINDS: tuple[str, ...] = (*get_args(Modality), OTHER)
"""All kinds, in the order in which they are looked through."""

MIXED = "mixed"
"""The kind of a query of several modalities."""
STORED = "stored"
"""The kind of a query that only names stored documents."""


def checked_kinds(modalities: Iterable[str] | None) -> tuple[str, ...] | None:
    """As `checked_modalities`; `other` for documents that name no modality is among them."""
    return checked_modalities(modalities, known=KINDS)


def checked_modalities(
    modalities: Iterable[str] | None, *, known: Sequence[str] = KINDS[:-1]
) -> tuple[str, ...] | None:
    """The modalities to search, each once; None for all.

    Raises:
        TypeError: one string where a list is meant.
        ValueError: there is none, or no such modality.
    """
    if modalities is None:
        return None
    if isinstance(modalities, str | bytes):
        raise TypeError(f"modalities is a list, got one {type(modalities).__name__}; write modalities=[{modalities!r}]")
    found = tuple(dict.fromkeys(modalities))
    if not found:
        raise ValueError(f"modalities is empty; name some of {', '.join(known)}, or leave it out for all")
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"there is no modality {name!r}.{hint} Modalities: {', '.join(known)}")
    return found


def kinds_node(kinds: Sequence[str]) -> Node:
    """The filter that keeps documents of these kinds."""
    named = tuple(kind for kind in kinds if kind != OTHER)
    parts: list[Node] = [In(KEY, named)] if named else []
    if OTHER in kinds:
        parts.append(Not(In(KEY, KINDS[:-1])))
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def kind_of(document: Document) -> str:
    """The kind of a document: the first that its metadata name."""
    return next((kind for kind in KINDS[:-1] if matches(In(KEY, (kind,)), document.metadata)), OTHER)


def narrowed(given: Node | Predicate | None, node: Node) -> Node | Predicate:
    """A filter that keeps what both keep."""
    if given is None:
        return node
    if callable(given):
        return lambda document: matches(node, document.metadata) and given(document)
    return And((given, node))


def nearest_by_kind_flow(
    store: MultimodalVectorStore, vector: Vector, plan: SearchPlan, nodes: Mapping[str, Node], excluded: Sequence[str]
) -> Flow[dict[str, list[Scored]]]:
    """The `plan.k` nearest documents behind each of several filters; a document is told once, under the first."""
    given = _asked_once(plan.filter) if callable(plan.filter) else plan.filter
    fingerprint = store.space.fingerprint
    requests = [
        VectorRequest(
            vector=vector,
            k=plan.k + len(excluded),
            filter=narrowed(given, node),
            score_threshold=plan.score_threshold,
            fingerprint=fingerprint,
        )
        for node in nodes.values()
    ]
    answers: list[list[Scored]] = yield from store.backend.search_vectors_many(requests)
    told = set(excluded)
    lists: dict[str, list[Scored]] = {}
    for name, found in zip(nodes, answers, strict=True):
        lists[name] = [scored for scored in found if scored.record.id not in told][: plan.k]
        told.update(scored.record.id for scored in lists[name])
    return lists


def query_kind(query: Query, media: MediaSource | None) -> str:
    """What a query is to the model: a modality, `mixed`, or `stored` where it only names documents.

    What cannot be told counts as text, so that the kind never makes a search fail that would do without it.
    """
    if not query.content:
        return STORED
    if all(isinstance(part, str) and "mm:" not in part for part in query.content):
        return "text"
    try:
        whole = query.content[0] if len(query.content) == 1 else list(query.content)
        found = {part.modality for part in to_parts(whole, media, unresolved="text")}
    except ContentError:
        return "text"
    return found.pop() if len(found) == 1 else MIXED


def _asked_once(given: Predicate) -> Callable[[Document], bool]:
    """The same function, asked once for each document however many searches it takes part in."""
    answers: dict[str | None, bool] = {}

    def kept(document: Document) -> bool:
        if document.id not in answers:
            answers[document.id] = bool(given(document))
        return answers[document.id]

    return kept
