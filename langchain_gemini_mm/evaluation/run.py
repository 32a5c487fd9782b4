"""From labelled queries to a report: asked in batches, answers named, kinds looked up."""

from __future__ import annotations

import asyncio
import inspect
import operator
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langchain_gemini_mm.batching import gathered_map, slices
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.evaluation.metrics import checked_confidence
from langchain_gemini_mm.evaluation.reports import QueryResult, Report, shown
from langchain_gemini_mm.flows import Call, Flow, blocking
from langchain_gemini_mm.interfaces import Content, MediaSource
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.ranking.modalities import document_modality, query_modality
from langchain_gemini_mm.vectorstores import Hit, MultimodalVectorStore
from langchain_gemini_mm.vectorstores.write import Progress

TOGETHER = 64
"""Queries asked, and embedded, in one batch."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure, checked."""

    ks: tuple[int, ...]
    """Depths, ascending; from `checked_ks`."""
    by: str | None = None
    """The metadata key that labels name; None where labels are ids."""
    modalities: Mapping[str, str] | None = None
    """Of the relevant documents, by id."""
    name: str | None = None
    """Of the report; the class of the target where None."""
    confidence: float = 0.95
    seed: int = 0
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.by is not None and not isinstance(self.by, str):
            raise TypeError(f"by is a metadata key, got {self.by!r}")
        checked_confidence(self.confidence)
        operator.index(self.seed)


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
    ask, aask = _questions(target, settings.ks[-1], options, concurrency)
    found: list[tuple[str, ...]] = []
    for some in slices(queries, TOGETHER):
        answers = yield Call(ask, aask, ([query.query for query in some],))
        found += [names_of(answer, settings.ks[-1], settings.by) for answer in answers]
        if settings.progress is not None:
            settings.progress(len(found))
    background = yield from background_flow(target, queries, settings)
    return background(settings.name or type(target).__name__, found)


def background_flow(
    target: Any, queries: Sequence[LabelledQuery], settings: Settings
) -> Flow[Callable[[str, Sequence[tuple[str, ...]]], Report]]:
    """Look up what reports on these queries have in common; what is returned makes one from a name and answers."""
    query_modalities: list[str] = yield blocking(_query_modalities, queries, media_of(target))
    modalities, unknown = yield from _modalities_flow(target, queries, settings)

    def report(name: str, found: Sequence[tuple[str, ...]]) -> Report:
        results = tuple(
            QueryResult(shown(query.query), modality, dict(query.relevant), names)
            for query, modality, names in zip(queries, query_modalities, found, strict=True)
        )
        return Report(name, settings.ks, results, modalities, unknown, settings.confidence, settings.seed)

    return report


def _query_modalities(queries: Sequence[LabelledQuery], media: MediaSource | None) -> list[str]:
    return [one.modality or query_modality(one.query, media) for one in queries]


def _modalities_flow(
    target: Any, queries: Sequence[LabelledQuery], settings: Settings
) -> Flow[tuple[Mapping[str, str], tuple[str, ...]]]:
    """The modalities of the relevant documents by id, and those ids that are not stored."""
    relevant = list(dict.fromkeys(id_ for query in queries for id_ in query.relevant))
    given = settings.modalities or {}
    known = {id_: given[id_] for id_ in relevant if id_ in given}
    store = store_of(target)
    if store is None or settings.by is not None:
        return known, ()
    documents: list[Document] | None = yield from documents_flow(store, relevant)
    if documents is None:
        return known, ()
    stored = {document.id: document_modality(document) for document in documents if document.id is not None}
    return stored | known, tuple(id_ for id_ in relevant if id_ not in stored)


_LOOKED_UP = 500


_Question: TypeAlias = Callable[..., Any]


def _questions(
    target: Any, k: int, options: Mapping[str, Any], concurrency: int
) -> tuple[_Question, Callable[..., Awaitable[Any]]]:
    """Functions, sync and async, that ask a target several queries.

    Raises:
        TypeError: it is nothing that can be asked.
    """
    if isinstance(target, MultimodalVectorStore):
        return partial(target.search_many, k=k, **options), partial(target.asearch_many, k=k, **options)
    depth: dict[str, Any] = {"k": k}
    one: _Question
    aone: Callable[..., Awaitable[Any]]
    if isinstance(target, VectorStore):
        one, aone = target.similarity_search, target.asimilarity_search
    elif hasattr(target, "search") and hasattr(target, "asearch"):
        one, aone = target.search, target.asearch
    elif isinstance(target, BaseRetriever):
        one, aone = target.invoke, target.ainvoke
        depth = depth if isinstance(target, VectorStoreRetriever) else {}
    elif not callable(target):
        raise TypeError(
            "only a vector store, a retriever or a function from a query to ids can be measured, got "
            f"{type(target).__name__}"
        )
    elif options:
        raise TypeError(f"a function is asked with the query alone, but the option {next(iter(options))!r} is given")
    else:
        one, aone, depth = partial(_called, target), partial(_acalled, target), {}
    one, aone = partial(one, **depth, **options), partial(aone, **depth, **options)
    return partial(_each, one), partial(gathered_map, aone, concurrency=concurrency)


def _called(function: Callable[[Content], Any], query: Content) -> Any:
    answer = function(query)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError("the function is asynchronous; measure it with the async twin, as in await aevaluate(...)")
    return answer


async def _acalled(function: Callable[[Content], Any], query: Content) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(query)
    answer = await asyncio.to_thread(function, query)
    return await answer if inspect.isawaitable(answer) else answer


def _each(one: Callable[[Content], Any], queries: Sequence[Content]) -> list[Any]:
    return [one(query) for query in queries]


def names_of(answer: Any, k: int, by: str | None) -> tuple[str, ...]:
    """What an answer found, each once, at most `k`: ids, or the values under a metadata key.

    Raises:
        TypeError: the answer is not a list of ids, documents or hits.
        ContentError: its documents have no ids.
    """
    if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
        raise TypeError(f"an answer is a list of ids, documents or hits, got one {type(answer).__name__}")
    return tuple(dict.fromkeys(_name(item, by) for item in answer))[:k]


def _name(item: Any, by: str | None) -> str:
    if isinstance(item, str):
        if by is not None:
            raise TypeError(f"by={by!r} looks into the metadata of documents, but the answer holds ids alone")
        return item
    document = item.document if isinstance(item, Hit) else item
    if not isinstance(document, Document):
        raise TypeError(f"an answer holds ids, documents or hits, got a {type(item).__name__}")
    if by is None:
        if document.id is None:
            raise ContentError(
                "the documents of the answer have no ids. Label by a metadata key and say by='source', or wrap the "
                "retriever in a function from a query to ids"
            )
        return document.id
    value = document.metadata.get(by)
    return f"(no {by}: {document.id})" if value is None else str(value)


def store_of(target: Any) -> Any:
    """The store behind a target, where there is one."""
    if isinstance(target, VectorStore):
        return target
    found = getattr(target, "store", None) or getattr(target, "vectorstore", None)
    return found if isinstance(found, VectorStore) else None


def media_of(target: Any) -> MediaSource | None:
    """Where the media of a target are, if it says so."""
    store = store_of(target)
    space = getattr(store, "space", None)
    return getattr(target, "media", None) or getattr(space, "media", None)


def documents_flow(store: Any, ids: Sequence[str]) -> Flow[list[Document] | None]:
    """Read documents by id, in batches; None from a store that cannot."""
    found: list[Document] = []
    try:
        for some in slices(ids, _LOOKED_UP):
            found += yield Call(store.get_by_ids, store.aget_by_ids, (list(some),))
    except NotImplementedError:
        return None
    return found
