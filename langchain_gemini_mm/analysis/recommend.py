"""Recommendations: documents that are similar to several stored documents, across modalities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from langchain_gemini_mm.analysis.stored_vectors import narrowed
from langchain_gemini_mm.flows import Flow, asynchronous, synchronous
from langchain_gemini_mm.interfaces import Filter
from langchain_gemini_mm.vectorstores import Hits, MultimodalVectorStore, Query
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.search import groups_flow, plan_search, search_flow


@synchronous
def recommend(
    store: MultimodalVectorStore,
    like: Sequence[str],
    unlike: Sequence[str] = (),
    *,
    weights: Sequence[float] | None = None,
    k: int = 4,
    filter: Filter | None = None,  # noqa: A002 - LangChain's word
    modalities: Iterable[str] | None = None,
    by: str | None = None,
    new_sources: bool = False,
) -> Flow[Hits]:
    """Find documents that are similar to liked stored documents; nothing is embedded.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.analysis import recommend

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["a cat", "a dog", "a fox"], ids=["cat", "dog", "fox"])
    assert {hit.document.id for hit in recommend(store, ["cat"], unlike=["dog"])} == {"fox"}
    ```

    Args:
        store: a store of this package.
        like: ids of stored documents of any modality; they are excluded from the hits.
        unlike: ids of stored documents to move away from; they are excluded as well.
        weights: one number >= 0 for each id of `like`, then for each of `unlike`; all 1 by default.
        k: number of hits.
        filter: a metadata filter for the hits.
        modalities: modalities of the hits; None for all. Similarities differ between modalities: to get hits of each
            modality, call this once for each.
        by: only the best of those that share a value of this metadata key, such as `"source"`.
        new_sources: exclude documents with the same `source` as a document in `like` or `unlike`, such as the other
            segments of a liked film.

    Raises:
        ContentError: an id is not stored, or the weighted vectors sum to zero.
        TypeError: `like` or `unlike` is one id instead of a list.
    """
    query = Query(like=like, unlike=unlike, weights=weights)
    given = narrowed(filter, modalities)
    if new_sources:
        records: list[Record] = yield from store.backend.fetch(query.ids)
        found = {record.document.metadata.get("source") for record in records}
        sources = sorted(source for source in found if isinstance(source, str))
        given = narrowed(given, None, {"source": {"$nin": sources}}) if sources else given
    plan = plan_search(store.backend, k, filter=given)
    if by is None:
        (hits,) = yield from search_flow([query], plan)
        return hits
    groups = yield from groups_flow(query, plan, by, per_source=1)
    return Hits(replace(group.hits[0], rank=rank) for rank, group in enumerate(groups, start=1))


arecommend = asynchronous(recommend)
