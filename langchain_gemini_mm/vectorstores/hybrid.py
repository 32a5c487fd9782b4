"""Searching by words, and by words and vectors together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.types import Content
from langchain_gemini_mm.vectorstores.primitives import Matching, Primitives, Scored
from langchain_gemini_mm.vectorstores.queries import Hit, Query
from langchain_gemini_mm.vectorstores.searching import SearchPlan, search_flow
from langchain_gemini_mm.vectorstores.words import has_words, mentions, readable_text, terms

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
    return [Hit(scored.record.document, scored.score, "bm25", rank) for rank, scored in enumerate(found, start=1)]


def hybrid_flow(store: Primitives, query: Content | Query, plan: SearchPlan) -> Flow[list[Hit]]:
    """Fuse the neighbours of the query's vector with the documents that have its words, by their ranks."""
    asked = query if isinstance(query, Query) else Query(query)
    depth = max(plan.k, MIN_CANDIDATES)
    near = yield from search_flow(store, asked, replace(plan, mode="similarity", k=depth, fetch_k=depth))
    text = readable_text(asked.content)
    worded = (yield from _matching(store, text, plan, depth, asked.ids)) if text else []
    documents = [scored.record.document for scored in worded]
    return fused([hit.document for hit in near], documents, plan.k, words=terms(text or ""))


def fused(near: Sequence[Document], worded: Sequence[Document], k: int, *, words: Sequence[str] = ()) -> list[Hit]:
    """Reciprocal rank fusion: each document scores the sum of 1 / (60 + rank) over the two rankings.

    A document of media alone has no words to be found by. What it misses is made up for by the chance that a text
    near the query has of holding its words, so that it is neither drowned by those that do nor put before all others.

    Args:
        near: ranked by vector; of equal sums the one that comes first here is first.
        worded: ranked by words.
        k: how many hits to make.
        words: what was looked for, which more documents may have than were ranked.
    """
    documents = {str(document.id): document for document in (*near, *worded)}
    scores = dict.fromkeys(documents, 0.0)
    found = {str(document.id) for document in worded}
    wordless = {str(document.id) for document in near if not has_words(document.page_content)} - found
    texts = [id_ for document in near if (id_ := str(document.id)) not in wordless]
    chance = sum(id_ in found or mentions(documents[id_].page_content, words) for id_ in texts) / max(1, len(texts))
    for ranking in (near, worded):
        for rank, document in enumerate(ranking, start=1):
            worth = 1 / (RANK_CONSTANT + rank)
            scores[str(document.id)] += worth * (1 + chance) if document.id in wordless else worth
    best = sorted(scores, key=lambda id_: -scores[id_])[:k]
    return [Hit(documents[id_], scores[id_], "rank", rank) for rank, id_ in enumerate(best, start=1)]


def _matching(store: Primitives, text: str, plan: SearchPlan, k: int, exclude: Sequence[str]) -> Flow[list[Scored]]:
    request = Matching(text=text, k=k + len(exclude), filter=plan.filter, score_threshold=plan.score_threshold)
    found: list[Scored] = yield Call(store._matching, store._amatching, (request,))
    return [scored for scored in found if scored.record.id not in exclude][:k]
