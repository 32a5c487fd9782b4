"""Searching by words, and by words and vectors together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.vectorstores.backend import Matching, Primitives, Scored
from langchain_gemini_mm.vectorstores.hits import Hit, Query
from langchain_gemini_mm.vectorstores.search import FUSIONS, SearchPlan, hits_of, search_flow
from langchain_gemini_mm.vectorstores.tokenizer import has_words, mentions, readable_text, searched_text, terms

RANK_CONSTANT = 60
"""How little the first ranks stand out: a hit of rank r is worth 1 / (60 + r), as in the paper on the method."""
MIN_CANDIDATES = 50
"""How many of each list are fused, when k is not larger."""


def keyword_flow(store: Primitives, query: Content | Query, plan: SearchPlan) -> Flow[list[Hit]]:
    """Find documents by the words of the query; nothing is embedded.

    Raises:
        ValueError: a task is given, which only an embedding knows.
        ContentError: the query has no text.
    """
    asked = query if isinstance(query, Query) else Query(query)
    if plan.task is not None:
        raise ValueError(f"task={plan.task!r} says how to embed content; mode='keyword' embeds nothing")
    text = readable_text(asked.content)
    if text is None:
        raise ContentError("mode='keyword' looks for words, and the query has no text. Use mode='similarity'")
    found = yield from _matching(store, text, plan, plan.k, asked.ids)
    return hits_of(found, "bm25", store.space.media)


def hybrid_flow(store: Primitives, query: Content | Query, plan: SearchPlan) -> Flow[list[Hit]]:
    """Fuse the neighbours of the query's vector with the documents that have its words, by their ranks."""
    asked = query if isinstance(query, Query) else Query(query)
    depth = max(plan.k, MIN_CANDIDATES)
    near = yield from search_flow(store, asked, replace(plan, mode="similarity", k=depth, fetch_k=depth))
    text = readable_text(asked.content)
    found = (yield from _matching(store, text, plan, depth, asked.ids)) if text else []
    worded = hits_of(found, "bm25", store.space.media)
    return fused(near, worded, plan.k, words=terms(text or ""), alpha=plan.alpha, fusion=plan.fusion)


def fused(
    near: Sequence[Hit],
    worded: Sequence[Hit],
    k: int,
    *,
    words: Sequence[str] = (),
    alpha: float = 0.5,
    fusion: str = FUSIONS[0],
) -> list[Hit]:
    """Put two rankings together: each document is worth the sum of what it is worth in either.

    By ranks it is worth 1 / (60 + rank); by scores its score, stretched so that the list goes from 0 to 1.

    A document of media alone has no words to be found by. What it misses is made up for by the chance that a text
    near the query has of holding its words, so that it is neither drowned by those that do nor put before all others.

    Args:
        near: ranked by vector; of equal sums the one that comes first here is first.
        worded: ranked by words.
        k: how many hits to make.
        words: what was looked for, which more documents may have than were ranked.
        alpha: the share of the vectors, from 0 to 1.
        fusion: `ranks` or `scores`.
    """
    hits: dict[str, Hit] = {}
    for hit in (*near, *worded):
        hits.setdefault(str(hit.document.id), hit)
    scores = dict.fromkeys(hits, 0.0)
    found = {str(hit.document.id) for hit in worded}
    readable = {id_: searched_text(hit.document.page_content, hit.document.metadata) for id_, hit in hits.items()}
    wordless = {str(hit.document.id) for hit in near if not has_words(readable[str(hit.document.id)])} - found
    texts = [id_ for hit in near if (id_ := str(hit.document.id)) not in wordless]
    chance = sum(id_ in found or mentions(readable[id_], words) for id_ in texts) / max(1, len(texts))
    shares = (2 * alpha, 2 * (1 - alpha))
    for ranking, share in zip((near, worded), shares, strict=True):
        for hit, worth in zip(ranking, _worths(ranking, fusion), strict=True):
            lost = chance * shares[1] / share if hit.document.id in wordless and share else 0.0
            scores[str(hit.document.id)] += worth * share * (1 + lost)
    best = sorted(scores, key=lambda id_: -scores[id_])[:k]
    return [
        replace(hits[id_], score=scores[id_], score_kind="rank", rank=rank) for rank, id_ in enumerate(best, start=1)
    ]


def _worths(ranking: Sequence[Hit], fusion: str) -> list[float]:
    if fusion == "ranks":
        return [1 / (RANK_CONSTANT + rank) for rank in range(1, len(ranking) + 1)]
    scores = [hit.score for hit in ranking]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _matching(store: Primitives, text: str, plan: SearchPlan, k: int, exclude: Sequence[str]) -> Flow[list[Scored]]:
    request = Matching(
        text=text,
        k=k + len(exclude),
        filter=plan.filter,
        score_threshold=plan.score_threshold,
        properties=plan.query_properties,
    )
    found: list[Scored] = yield Call(store._matching, store._amatching, (request,))
    return [scored for scored in found if scored.record.id not in exclude][:k]
