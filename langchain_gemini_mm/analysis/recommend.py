"""Recommending: what is near to several stored documents at once, across kinds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from langchain_gemini_mm.analysis.stored_vectors import narrowed
from langchain_gemini_mm.flows import Flow, synchronous
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
    """Find what is near to stored documents that somebody likes; nothing is embedded.

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
        like: ids of stored documents of any kind. They are not among the answers.
        unlike: ids to be far from; not among the answers either.
        weights: one number >= 0 for each of `like`, then of `unlike`; all 1 by default.
        k: how many.
        filter: only documents that match.
        modalities: only documents of these kinds. Similarities of different kinds are at different levels: to get each
            kind, ask for each alone.
        by: only the best of those that share a value of this metadata key, such as `"source"`.
        new_sources: leave out what is of the same `source` as a document in `like` or `unlike`, such as the other
            segments of a film that was liked.

    Raises:
        ContentError: an id is not stored, or the parts cancel each other out.
        TypeError: one id where a list is meant.
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


arecommend = recommend.asynchronous
