"""Carrying out what a retriever is asked, on our stores and on any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.interfaces import Content, MediaEmbeddings
from langchain_gemini_mm.ranking import by_modality_flow, default_ranking_flow, ranked_flow
from langchain_gemini_mm.retrievers.search_options import Ask, traced
from langchain_gemini_mm.retrievers.sources import Source, group_by_source
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import Hit, MultimodalVectorStore, Query

RANK_CONSTANT = 60
"""A hit of another store is worth 1 / (60 + rank): its own score may be a distance or a similarity of any scale."""

_DEEPER, _DEEPEST = 4, 2000
"""How many more hits are ranked than files and hits are wanted, to find files enough."""


def find_flow(ask: Ask, query: Content | Query) -> Flow[list[Hit]]:
    """The hits, best first."""
    if not isinstance(ask.store, MultimodalVectorStore):
        return (yield from _foreign_flow(ask, query))
    ranking = yield from _ranking(ask.store, ask)
    if ranking == "raw":
        return (yield from _searched(ask, query))
    options = {**ask.options(), "filter": ask.filter}
    del options["search_type"]
    return (
        yield from ranked_flow(
            ask.store,
            query,
            ask.k,
            options,
            ranking=ranking,
            modalities=ask.modalities,
            min_confidence=ask.min_confidence,
        )
    )


def _ranking(store: MultimodalVectorStore, ask: Ask) -> Flow[str]:
    """The ranking that is asked for, or the best one where none is named; searches by words know raw scores alone."""
    if ask.search_type != "similarity":
        return "raw"
    chosen: str = ask.ranking or (
        yield from default_ranking_flow(store, modalities=ask.modalities, min_confidence=ask.min_confidence)
    )
    return chosen


def _searched(ask: Ask, query: Content | Query) -> Flow[list[Hit]]:
    store: Any = ask.store
    hits: list[Hit] = yield Call(store.search, store.asearch, (query, ask.k), ask.options())
    return hits


def kinds_flow(ask: Ask, query: Content | Query) -> Flow[dict[str, list[Hit]]]:
    """The closest `k` of each modality."""
    store = ask.ours("by_modality")
    if ask.search_type != "similarity":
        raise ValueError(f"by_modality compares by similarity, got search_type={ask.search_type!r}")
    options = {**ask.options(), "filter": ask.filter}
    del options["search_type"]
    return (yield from by_modality_flow(store, query, ask.k, options, modalities=ask.modalities))


def many_flow(ask: Ask, queries: Sequence[Content | Query]) -> Flow[list[list[Hit]]]:
    """The hits of several queries, which share one call of the embedding where nothing but vectors decides."""
    if isinstance(ask.store, MultimodalVectorStore) and ask.search_type in ("similarity", "mmr"):
        ask = replace(ask, ranking=(yield from _ranking(ask.store, ask)))
    if isinstance(ask.store, MultimodalVectorStore) and ask.ranking == "raw":
        call = Call(ask.store.search_many, ask.store.asearch_many, (list(queries), ask.k), ask.options())
        together: list[list[Hit]] = yield call
        return together
    answers: list[list[Hit]] = []
    for query in queries:
        answers += [(yield from find_flow(ask, query))]
    return answers


def _foreign_flow(ask: Ask, query: Content | Query) -> Flow[list[Hit]]:
    """Search a store of another package, which knows texts and vectors only."""
    _require_similarity(ask)
    options = {"k": ask.k} | ({"filter": ask.filter} if ask.filter is not None else {})
    if isinstance(query, Query):
        if query.ids:
            ask.ours("Query(like=..., unlike=...)")
        query = query.content[0] if len(query.content) == 1 else list(query.content)
    store: Any = ask.store
    if isinstance(query, str) and ask.task_type is None:
        found: list[Document] = yield Call(store.similarity_search, store.asimilarity_search, (query,), options)
    else:
        vector = yield _embedded(store.embeddings, query, ask.task_type)
        by_vector, aby_vector = store.similarity_search_by_vector, store.asimilarity_search_by_vector
        found = yield Call(by_vector, aby_vector, (vector,), options)
    return [Hit(document, 1 / (RANK_CONSTANT + rank), "rank", rank) for rank, document in enumerate(found, start=1)]


def _require_similarity(ask: Ask) -> None:
    needs = {
        f"search_type={ask.search_type!r}": ask.search_type != "similarity",
        f"ranking={ask.ranking!r}": ask.ranking not in (None, "raw"),
        "modalities": ask.modalities is not None,
        "min_confidence": ask.min_confidence is not None,
        "score_threshold": ask.score_threshold is not None,
    }
    for what, is_asked in needs.items():
        if is_asked:
            ask.ours(what)


def _embedded(embeddings: Any, query: Content, task_type: str | None) -> Call:
    if not isinstance(embeddings, MediaEmbeddings):
        raise ContentError(
            f"the store embeds with {type(embeddings).__name__}, which takes one text, got {traced(query)[:60]!r} with "
            f"task_type={task_type!r}. Give the store GeminiEmbeddings"
        )
    given: Mapping[str, Any] = {"role": "query", "task_type": task_type}

    def embed() -> list[float]:
        vector: list[float] = embeddings.embed([query], **given)[0].tolist()
        return vector

    async def aembed() -> list[float]:
        vector: list[float] = (await embeddings.aembed([query], **given))[0].tolist()
        return vector

    return Call(embed, aembed)


def sources_flow(ask: Ask, query: Content | Query, by: str, per_source: int) -> Flow[list[Source]]:
    """The best files, each with its best hits."""
    store, wanted = ask.ours("sources"), positive_int("per_source", per_source)
    if not isinstance(by, str):
        raise TypeError(f"by is the metadata key that files have in common, got {by!r}")
    ranking = yield from _ranking(store, ask)
    if ask.search_type == "similarity" and ranking == "raw":
        options = {**ask.options(), "by": by, "per_source": wanted}
        groups = yield Call(store.search_groups, store.asearch_groups, (query, ask.k), options)
        return [source for group in groups for source in group_by_source(group.hits, by=by)]
    deep = replace(ask, ranking=ranking, k=min(_DEEPEST, _DEEPER * ask.k * wanted))
    hits = yield from find_flow(deep, query)
    return group_by_source(hits, by=by, per_source=wanted)[: ask.k]
