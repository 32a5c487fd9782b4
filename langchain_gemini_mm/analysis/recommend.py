"""Recommending: what is near to several stored documents at once, across kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.analysis.stored_vectors import narrowed
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.interfaces import Filter
from langchain_gemini_mm.vectorstores import Hit, Hits, MultimodalVectorStore, Query


def recommend(
    store: MultimodalVectorStore,
    like: Sequence[str],
    unlike: Sequence[str] = (),
    *,
    weights: Sequence[float] | None = None,
    k: int = 4,
    filter: Filter | None = None,  # noqa: A002 - LangChain's word
    modalities: Iterable[str] | None = None,
    one_per: str | None = None,
    new_sources: bool = False,
) -> Hits:
    """Find what is near to stored documents that somebody likes; nothing is embedded.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore, recommend

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["a cat", "a dog", "a fox"], ids=["cat", "dog", "fox"])
    assert {hit.document.id for hit in recommend(store, ["cat"], unlike=["dog"])} == {"fox"}
    ```

    Args:
        store: a store of this package.
        like: ids of stored documents of any kind. They are not among the answers.
        unlike: ids to be far from; not among the answers either.
        weights: one number >= 0 for each of `like`, then of `unlike`; all 1 by default.
        k: how many.
        filter: only documents that match.
        modalities: only documents of these kinds. Similarities of different kinds are at different levels: to get each
            kind, ask for each alone.
        one_per: only the best of those that share this metadata key, such as `"source"`.
        new_sources: leave out what is of the same `source` as a document in `like` or `unlike`, such as the other
            segments of a film that was liked.

    Raises:
        ContentError: an id is not stored, or the parts cancel each other out.
        TypeError: one id where a list is meant.
    """
    query = Query(like=like, unlike=unlike, weights=weights)
    return run(_flow(store, query, k, narrowed(filter, modalities), one_per, new_sources=new_sources))


async def arecommend(
    store: MultimodalVectorStore,
    like: Sequence[str],
    unlike: Sequence[str] = (),
    *,
    weights: Sequence[float] | None = None,
    k: int = 4,
    filter: Filter | None = None,  # noqa: A002
    modalities: Iterable[str] | None = None,
    one_per: str | None = None,
    new_sources: bool = False,
) -> Hits:
    """Async twin of `recommend`."""
    query = Query(like=like, unlike=unlike, weights=weights)
    return await arun(_flow(store, query, k, narrowed(filter, modalities), one_per, new_sources=new_sources))


def _flow(
    store: MultimodalVectorStore,
    query: Query,
    k: int,
    given: Filter | None,
    one_per: str | None,
    *,
    new_sources: bool,
) -> Flow[Hits]:
    if new_sources:
        documents: list[Document] = yield Call(store.get_by_ids, store.aget_by_ids, (query.ids,))
        known = sorted({source for source in map(_source, documents) if source is not None})
        given = narrowed(given, None, {"source": {"$nin": known}}) if known else given
    if one_per is None:
        found: Hits = yield Call(store.search, store.asearch, (query, k), {"filter": given})
        return found
    options: dict[str, Any] = {"by": one_per, "per_source": 1, "filter": given}
    groups = yield Call(store.search_groups, store.asearch_groups, (query, k), options)
    best: list[Hit] = [group.hits[0] for group in groups]
    return Hits(replace(hit, rank=rank) for rank, hit in enumerate(best, start=1))


def _source(document: Document) -> str | None:
    source = document.metadata.get("source")
    return source if isinstance(source, str) else None
