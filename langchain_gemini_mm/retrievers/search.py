"""Searches of a retriever: in a store of another package, and for files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_gemini_mm.errors import ContentError, InvalidTypeError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.interfaces import Content, MediaEmbeddings
from langchain_gemini_mm.ranking.search import RankingPlan, default_ranking_flow, ranked_flow
from langchain_gemini_mm.retrievers.search_options import traced
from langchain_gemini_mm.retrievers.sources import Source, group_by_source
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores import Hit, Hits, MultimodalVectorStore, Query
from langchain_gemini_mm.vectorstores.filters import Exists, In, Not, both
from langchain_gemini_mm.vectorstores.search import RANK_CONSTANT, groups_flow, require_key_flow

_DEPTH, _MAX_DEPTH = 4, 2000
"""Hits that are ranked to find enough files, per file and hit, and in all."""


def require_own_store(store: VectorStore, what: str) -> MultimodalVectorStore:
    """Return the store, which must be one of this package.

    Raises:
        TypeError: it is another one, which lacks `what`.
    """
    if not isinstance(store, MultimodalVectorStore):
        raise InvalidTypeError(
            f"{what} needs LocalVectorStore or WeaviateVectorStore, and the store is a {type(store).__name__}. "
            f"Copy it with copy_store, or leave {what} out"
        )
    return store


def foreign_flow(
    store: Any,
    queries: Iterable[Content | Query],
    *,
    k: int,
    filter: Any = None,  # noqa: A002 - LangChain's word
    task_type: str | None = None,
    **options: Any,
) -> Flow[list[Hits]]:
    """Search a store of another package, which knows texts and vectors only.

    The score of a hit is 1 / (60 + rank): scores of other stores may be distances or similarities of any scale.

    Args:
        store: a LangChain vector store.
        queries: each any content, or a `Query` without ids.
        k: number of hits, at least 1.
        filter: in the form of the store.
        task_type: what the queries are for, for embeddings that know tasks.
        options: other options of `SearchOptions`, all at their defaults: other stores lack them.

    Raises:
        TypeError: an option is set that the store lacks.
        ValueError: `k` is below 1.
    """
    for name, value in options.items():
        if value is not None and (name, value) not in (("search_type", "similarity"), ("ranking", "raw")):
            require_own_store(store, f"{name}={value!r}" if isinstance(value, str) else name)
    asked = {"k": positive_int("k", k)} | ({} if filter is None else {"filter": filter})
    return _foreign_flow(store, queries, asked, task_type)


def _foreign_flow(
    store: Any, queries: Iterable[Content | Query], asked: Mapping[str, Any], task_type: str | None
) -> Flow[list[Hits]]:
    """Carry out `foreign_flow`, whose arguments are checked before the first search."""
    answers = []
    for query in queries:
        content = query
        if isinstance(query, Query):
            if query.ids:
                require_own_store(store, "Query(like=..., unlike=...)")
            content = query.content[0] if len(query.content) == 1 else list(query.content)
        found: list[Document]
        if isinstance(content, str) and task_type is None:
            found = yield Call(store.similarity_search, store.asimilarity_search, (content,), asked)
        else:
            embeddings = store.embeddings
            if not isinstance(embeddings, MediaEmbeddings):
                raise ContentError(
                    f"the store embeds with {type(embeddings).__name__}, which takes one text, got "
                    f"{traced(content)[:60]!r} with task_type={task_type!r}. Give the store GeminiEmbeddings"
                )
            how = {"role": "query", "task_type": task_type}
            (vector,) = yield Call(embeddings.embed, embeddings.aembed, ([content],), how)
            by_vector, aby_vector = store.similarity_search_by_vector, store.asimilarity_search_by_vector
            found = yield Call(by_vector, aby_vector, (vector.tolist(),), asked)
        hits = (Hit(document, 1 / (RANK_CONSTANT + rank), "rank", rank) for rank, document in enumerate(found, 1))
        answers.append(Hits(hits))
    return answers


def sources_flow(query: Content | Query, plan: RankingPlan, by: str, per_source: int) -> Flow[list[Source]]:
    """Find the best files, each with its best hits.

    Args:
        query: any content, or a `Query`.
        plan: the options; `k` is how many files.
        by: the metadata key that files have in common.
        per_source: number of hits of each file.

    Raises:
        TypeError: `by` is not a str.
        ValueError: `per_source` is below 1, or no document has the key and there is a similar one.
    """
    positive_int("per_source", per_source)
    if not isinstance(by, str):
        raise InvalidTypeError(f"by is the metadata key that files have in common, got {by!r}")
    ranking = plan.ranking or (yield from default_ranking_flow(plan))
    search = plan.search
    search.backend.check_filter(Exists(by))
    if search.search_type == "similarity" and ranking == "raw":
        groups = yield from groups_flow(query, plan.narrowed, by, per_source)
        return [source for group in groups for source in group_by_source(group.hits, by=by)]
    depth = min(_MAX_DEPTH, _DEPTH * search.k * per_source)
    deep = replace(search, k=depth, fetch_k=max(depth, search.fetch_k))
    found: dict[str | None, Hit] = {}
    while True:
        (hits,) = yield from ranked_flow([query], replace(plan, ranking=ranking, search=deep))
        new = [hit for hit in hits if hit.document.id not in found]
        found |= {hit.document.id: replace(hit, rank=rank) for rank, hit in enumerate(new, len(found) + 1)}
        sources = group_by_source(found.values(), by=by, per_source=per_source)
        if len(sources) >= search.k or len(hits) < depth or not new:
            yield from require_key_flow(search.backend, by, list(found.values()))
            return sources[: search.k]
        # A few files have all of these hits: search without them.
        values = {
            value for hit in found.values() if isinstance(value := hit.document.metadata.get(by), str | int | float)
        }
        deep = replace(deep, filter=both(search.filter, Not(In(by, tuple(values)))))
