"""An evaluation run: queries in batches, answers as ids, and the modalities of queries and documents."""

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
from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError
from langchain_gemini_mm.evaluation.metrics import checked_confidence
from langchain_gemini_mm.evaluation.reports import QueryResult, Report, summary
from langchain_gemini_mm.flows import Call, Flow, blocking
from langchain_gemini_mm.interfaces import Content, MediaSource
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.ranking.modalities import document_modality, query_modality
from langchain_gemini_mm.validation import did_you_mean
from langchain_gemini_mm.vectorstores import Hit, MultimodalVectorStore
from langchain_gemini_mm.vectorstores.write import Progress

BATCH_SIZE = 64
"""Queries that are embedded and searched in one batch."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """The options of an evaluation, checked."""

    ks: tuple[int, ...]
    """Depths of the metrics, ascending."""
    by: str | None = None
    """The metadata key whose values are labelled; None where ids are labelled."""
    modalities: Mapping[str, str] | None = None
    """Modalities of relevant documents by id, as far as the caller knows them."""
    name: str | None = None
    """Name of the report; None for the class of the target."""
    confidence: float = 0.95
    seed: int = 0
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.by is not None and not isinstance(self.by, str):
            raise InvalidTypeError(f"by must be a metadata key, got {self.by!r}")
        checked_confidence(self.confidence)
        object.__setattr__(self, "seed", operator.index(self.seed))


def checked_queries(labelled: Iterable[LabelledQuery]) -> list[LabelledQuery]:
    """Check labelled queries, and return them as a list.

    Raises:
        TypeError: an item is not a LabelledQuery.
        ValueError: there are no queries.
    """
    if isinstance(labelled, LabelledQuery):
        raise InvalidTypeError("labelled must be a list of LabelledQuery, got one; write [query]")
    queries = list(labelled)
    for position, query in enumerate(queries):
        if not isinstance(query, LabelledQuery):
            raise InvalidTypeError(
                f"labelled[{position}] is a {type(query).__name__}; write LabelledQuery(query, relevant)"
            )
    if not queries:
        raise InvalidValueError("labelled is empty; an evaluation needs at least one LabelledQuery")
    return queries


def evaluation_flow(
    target: Any,
    queries: Sequence[LabelledQuery],
    settings: EvaluationSettings,
    concurrency: int,
    options: Mapping[str, Any],
) -> Flow[Report]:
    """Search for all queries, and make the report.

    Args:
        target: a vector store, a retriever, or a function from a query to ids, documents or hits.
        queries: at least one.
        settings: the options of the evaluation.
        concurrency: queries in flight, where the target takes one query at a time.
        options: passed on with each search.
    """
    ask, aask = _searches(target, settings.ks[-1], options, concurrency)
    found: list[tuple[str, ...]] = []
    for some in slices(queries, BATCH_SIZE):
        answers = yield Call(ask, aask, ([query.query for query in some],))
        found += [names_of(answer, settings.ks[-1], settings.by) for answer in answers]
        if settings.progress is not None:
            settings.progress(len(found))
    make_report = yield from report_maker_flow(target, queries, settings)
    return make_report(settings.name or type(target).__name__, found)


def report_maker_flow(
    target: Any, queries: Sequence[LabelledQuery], settings: EvaluationSettings
) -> Flow[Callable[[str, Sequence[tuple[str, ...]]], Report]]:
    """Look up the modalities of queries and documents.

    Args:
        target: the target of the evaluation.
        queries: at least one.
        settings: the options of the evaluation.

    Returns:
        A function that makes a report from a name and the ids found by each query.
    """
    query_modalities: list[str] = yield blocking(_query_modalities, queries, media_of(target))
    modalities, unknown = yield from _modalities_flow(target, queries, settings)

    def report(name: str, found: Sequence[tuple[str, ...]]) -> Report:
        results = tuple(
            QueryResult(summary(query.query), modality, dict(query.relevant), names)
            for query, modality, names in zip(queries, query_modalities, found, strict=True)
        )
        return Report(name, settings.ks, results, modalities, unknown, settings.confidence, settings.seed)

    return report


def _query_modalities(queries: Sequence[LabelledQuery], media: MediaSource | None) -> list[str]:
    return [one.modality or query_modality(one.query, media) for one in queries]


def _modalities_flow(
    target: Any, queries: Sequence[LabelledQuery], settings: EvaluationSettings
) -> Flow[tuple[Mapping[str, str], tuple[str, ...]]]:
    """The modalities of relevant documents by id, and the relevant ids that are not stored."""
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


_IDS_PER_READ = 500


_Search: TypeAlias = Callable[..., Any]


def _searches(
    target: Any, k: int, options: Mapping[str, Any], concurrency: int
) -> tuple[_Search, Callable[..., Awaitable[Any]]]:
    """Functions, sync and async, that search a target for several queries.

    Raises:
        TypeError: the target is not a store, a retriever or a function.
    """
    if isinstance(target, MultimodalVectorStore):
        return partial(target.search_many, k=k, **options), partial(target.asearch_many, k=k, **options)
    depth: dict[str, Any] = {"k": k}
    one: _Search
    aone: Callable[..., Awaitable[Any]]
    if isinstance(target, VectorStore):
        one, aone = target.similarity_search, target.asimilarity_search
    elif hasattr(target, "search") and hasattr(target, "asearch"):
        one, aone = target.search, target.asearch
    elif isinstance(target, BaseRetriever):
        one, aone = target.invoke, target.ainvoke
        depth = depth if isinstance(target, VectorStoreRetriever) else {}
    elif not callable(target):
        raise InvalidTypeError(
            "target must be a vector store, a retriever, or a function from a query to ids, got "
            f"{type(target).__name__}"
        )
    elif options:
        raise InvalidTypeError(f"a function takes only the query, got the option {next(iter(options))!r}")
    else:
        one, aone, depth = partial(_called, target), partial(_acalled, target), {}
    one, aone = partial(one, **depth, **options), partial(aone, **depth, **options)
    return partial(_each, one), partial(gathered_map, aone, concurrency=concurrency)


def _called(function: Callable[[Content], Any], query: Content) -> Any:
    answer = function(query)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise InvalidTypeError("the function is asynchronous; use the async twin, as in await aevaluate(...)")
    return answer


async def _acalled(function: Callable[[Content], Any], query: Content) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return await function(query)
    answer = await asyncio.to_thread(function, query)
    return await answer if inspect.isawaitable(answer) else answer


def _each(one: Callable[[Content], Any], queries: Sequence[Content]) -> list[Any]:
    return [one(query) for query in queries]


def names_of(answer: Any, k: int, by: str | None) -> tuple[str, ...]:
    """The ids in an answer, or the values of a metadata key, each once and at most `k`.

    Args:
        answer: ids, documents or hits, best first.
        k: most ids to return.
        by: the metadata key; None for ids.

    Raises:
        TypeError: the answer is not a list of ids, documents or hits.
        ContentError: its documents have no ids.
        ValueError: `by` is misspelt.
    """
    if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
        raise InvalidTypeError(f"an answer must be a list of ids, documents or hits, got one {type(answer).__name__}")
    items = list(answer)
    names = tuple(dict.fromkeys(_name(item, by) for item in items))[:k]
    if by is not None and items:
        keys = [(item.document if isinstance(item, Hit) else item).metadata.keys() for item in items]
        hint = "" if any(by in one for one in keys) else did_you_mean(by, {key for one in keys for key in one})
        if hint:
            raise InvalidValueError(f"no document of the answer has the metadata key {by!r}{hint}")
    return names


def _name(item: Any, by: str | None) -> str:
    if isinstance(item, str):
        if by is not None:
            raise InvalidTypeError(f"by={by!r} needs documents with metadata, and the answer contains ids")
        return item
    document = item.document if isinstance(item, Hit) else item
    if not isinstance(document, Document):
        raise InvalidTypeError(f"an answer must contain ids, documents or hits, got a {type(item).__name__}")
    if by is None:
        if document.id is None:
            raise ContentError(
                "the documents of the answer have no ids. Label values of a metadata key and pass by='source', or wrap "
                "the retriever in a function from a query to ids"
            )
        return document.id
    value = document.metadata.get(by)
    return f"(no {by}: {document.id})" if value is None else str(value)


def store_of(target: Any) -> Any:
    """The store of a target; None if it has none."""
    if isinstance(target, VectorStore):
        return target
    found = getattr(target, "store", None) or getattr(target, "vectorstore", None)
    return found if isinstance(found, VectorStore) else None


def media_of(target: Any) -> MediaSource | None:
    """The media store of a target; None if it has none."""
    store = store_of(target)
    space = getattr(store, "space", None)
    return getattr(target, "media", None) or getattr(space, "media", None)


def documents_flow(store: Any, ids: Sequence[str]) -> Flow[list[Document] | None]:
    """Read documents by id, in batches; None if the store cannot do that."""
    found: list[Document] = []
    try:
        for some in slices(ids, _IDS_PER_READ):
            found += yield Call(store.get_by_ids, store.aget_by_ids, (list(some),))
    except NotImplementedError:
        return None
    return found
