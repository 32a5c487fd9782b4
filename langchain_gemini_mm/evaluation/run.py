"""From labelled queries to a report: asked in batches, answers named, kinds looked up."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.batching import slices
from langchain_gemini_mm.evaluation.kinds import document_kind, query_kind, shown
from langchain_gemini_mm.evaluation.metrics import checked_ks
from langchain_gemini_mm.evaluation.reports import QueryResult, Report
from langchain_gemini_mm.evaluation.targets import ask_with, documents_flow, media_of, names_of, store_of
from langchain_gemini_mm.flows import Flow, blocking
from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.vectorstores.write import Progress

TOGETHER = 64
"""Queries asked, and embedded, in one batch."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure, checked."""

    ks: tuple[int, ...]
    by: str | None
    kinds: Mapping[str, str] | None
    name: str | None
    confidence: float
    seed: int
    progress: Progress | None

    @classmethod
    def checked(
        cls,
        *,
        ks: Iterable[int],
        by: str | None,
        kinds: Mapping[str, str] | None,
        name: str | None,
        confidence: float,
        seed: int,
        progress: Progress | None,
    ) -> Settings:
        """Check what a caller gave.

        Raises:
            TypeError: something is of the wrong type.
            ValueError: something is out of range.
        """
        if by is not None and not isinstance(by, str):
            raise TypeError(f"by is a metadata key, got {by!r}")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is between 0 and 1, such as 0.95, got {confidence!r}")
        return cls(checked_ks(ks), by, kinds, name, float(confidence), operator.index(seed), progress)


def checked_queries(labelled: Iterable[LabelledQuery]) -> list[LabelledQuery]:
    """Labelled queries as a list.

    Raises:
        TypeError: something else is among them.
        ValueError: there is none.
    """
    if isinstance(labelled, LabelledQuery):
        raise TypeError("labelled is a list of LabelledQuery, got one; write [query]")
    queries = list(labelled)
    for position, query in enumerate(queries):
        if not isinstance(query, LabelledQuery):
            raise TypeError(f"labelled[{position}] is a {type(query).__name__}; give LabelledQuery(query, relevant)")
    if not queries:
        raise ValueError("there are no labelled queries to measure with")
    return queries


def evaluation_flow(
    target: Any, queries: Sequence[LabelledQuery], settings: Settings, concurrency: int, options: Mapping[str, Any]
) -> Flow[Report]:
    """Ask a target with all queries."""
    ask = ask_with(target, settings.ks[-1], options, concurrency)
    found: list[tuple[str, ...]] = []
    for some in slices(queries, TOGETHER):
        answers = yield ask([query.query for query in some])
        found += [names_of(answer, settings.ks[-1], settings.by) for answer in answers]
        if settings.progress is not None:
            settings.progress(len(found))
    background = yield from background_flow(target, queries, settings)
    return background(settings.name or type(target).__name__, found)


def background_flow(
    target: Any, queries: Sequence[LabelledQuery], settings: Settings
) -> Flow[Callable[[str, Sequence[tuple[str, ...]]], Report]]:
    """Look up what reports on these queries have in common; what is returned makes one from a name and answers."""
    kinds: list[str] = yield blocking(_kinds, queries, media_of(target))
    modalities, unknown = yield from _modalities_flow(target, queries, settings)
    return partial(_report, queries, kinds, modalities, unknown, settings)


def _report(
    queries: Sequence[LabelledQuery],
    kinds: Sequence[str],
    modalities: Mapping[str, str],
    unknown: tuple[str, ...],
    settings: Settings,
    name: str,
    found: Sequence[tuple[str, ...]],
) -> Report:
    results = tuple(
        QueryResult(shown(query.query), kind, dict(query.relevant), names)
        for query, kind, names in zip(queries, kinds, found, strict=True)
    )
    return Report(name, settings.ks, results, modalities, unknown, settings.confidence, settings.seed)


def _kinds(queries: Sequence[LabelledQuery], media: MediaSource | None) -> list[str]:
    return [query_kind(query, media) for query in queries]


def _modalities_flow(
    target: Any, queries: Sequence[LabelledQuery], settings: Settings
) -> Flow[tuple[Mapping[str, str], tuple[str, ...]]]:
    """The kinds of the relevant documents by id, and those ids that are not stored."""
    relevant = list(dict.fromkeys(id_ for query in queries for id_ in query.relevant))
    given = settings.kinds or {}
    known = {id_: given[id_] for id_ in relevant if id_ in given}
    store = store_of(target)
    if store is None or settings.by is not None:
        return known, ()
    documents: list[Document] | None = yield from documents_flow(store, relevant)
    if documents is None:
        return known, ()
    stored = {document.id: document_kind(document) for document in documents if document.id is not None}
    return stored | known, tuple(id_ for id_ in relevant if id_ not in stored)
