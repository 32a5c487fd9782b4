"""Searching: checked options, the vector of a query, and the hits."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Content, Filter, MediaSource, Vector
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectors import maximal_marginal_relevance
from langchain_gemini_mm.vectorstores.backend import Backend, KeywordRequest, Predicate, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_dimensions
from langchain_gemini_mm.vectorstores.filters import And, In, Node, matches, parse_filter
from langchain_gemini_mm.vectorstores.hits import Group, Hit, Query, ScoreKind
from langchain_gemini_mm.vectorstores.tokenizer import has_words, mentions, readable_text, searched_text, terms

FETCH_K = 20
"""Candidates that `mode="mmr"` chooses from, when nothing is said and k is not larger."""

FUSIONS = ("ranks", "scores")
"""How `mode="hybrid"` puts two lists together: by the places in them, or by scores stretched from 0 to 1."""

OPTIONS = (
    "alpha",
    "fetch_k",
    "filter",
    "fusion",
    "lambda_mult",
    "mode",
    "query_properties",
    "score_threshold",
    "task",
)
"""What a search takes beside k."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """The options of one search, checked."""

    k: int
    mode: str
    filter: Node | Predicate | None
    task: str | None
    score_threshold: float | None
    fetch_k: int
    """How many candidates to fetch; k, except for mmr."""
    lambda_mult: float
    alpha: float
    """Of hybrid: the share of the vectors; that of the words is the rest."""
    fusion: str
    query_properties: tuple[str, ...] | None


def plan_search(backend: Backend, k: int, options: Mapping[str, Any]) -> SearchPlan:
    """Check the options of a search.

    Raises:
        TypeError: an option does not exist, or is of the wrong type.
        ValueError: a value is out of range, or the store lacks the mode.
        FilterError: the filter is malformed.
    """
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"search has no option {name!r}.{hint} Options: {', '.join(OPTIONS)}")
    return _plan(backend, positive_int("k", k), **options)


def _plan(
    backend: Backend,
    k: int,
    *,
    mode: str = "similarity",
    filter: Filter | Predicate | None = None,  # noqa: A002 - LangChain's word
    task: str | None = None,
    score_threshold: float | None = None,
    fetch_k: int | None = None,
    lambda_mult: float | None = None,
    alpha: float | None = None,
    fusion: str | None = None,
    query_properties: Sequence[str] | None = None,
) -> SearchPlan:
    if mode not in backend.search_types:
        has = ", ".join(map(repr, backend.search_types))
        raise ValueError(f"mode {mode!r} is not among those of {backend.store}: {has}")
    if mode != "mmr" and (fetch_k, lambda_mult) != (None, None):
        raise ValueError(f"fetch_k and lambda_mult are options of mode='mmr', got mode={mode!r}")
    if score_threshold is not None and mode == "hybrid":
        raise ValueError(
            "score_threshold does not go with mode='hybrid', whose scores are ranks; use mode='similarity' or 'keyword'"
        )
    if task is not None and not isinstance(task, str):
        raise TypeError(f"task must be a str, got {task!r}")
    candidates = (max(k, FETCH_K) if fetch_k is None else positive_int("fetch_k", fetch_k)) if mode == "mmr" else k
    if candidates < k:
        raise ValueError(f"fetch_k={candidates} is smaller than k={k}; mmr chooses k of fetch_k candidates")
    return SearchPlan(
        k=k,
        mode=mode,
        filter=checked_filter(backend, filter),
        task=task,
        score_threshold=None if score_threshold is None else _threshold(score_threshold, mode),
        fetch_k=candidates,
        lambda_mult=0.5 if lambda_mult is None else _within("lambda_mult", lambda_mult, 0.0, 1.0),
        alpha=0.5 if alpha is None else _within("alpha", alpha, 0.0, 1.0),
        fusion=_fusion(fusion, alpha, mode),
        query_properties=_properties(query_properties, mode),
    )


def checked_filter(backend: Backend, given: Filter | Predicate | None) -> Node | Predicate | None:
    """Parse a filter; a function passes where the store can call it.

    Raises:
        FilterError: it is malformed.
        TypeError: a function for a store that cannot call one.
    """
    if given is None:
        return None
    if callable(given):
        if backend.calls_predicates:
            return given
        raise TypeError(f"{backend.store} takes a filter as a dict, not as a function")
    node = parse_filter(given)
    backend.check_filter(node)
    return node


def search_flow(backend: Backend, query: Content | Query, plan: SearchPlan) -> Flow[list[Hit]]:
    """Turn the query into a vector and find its neighbours."""
    (hits,) = yield from search_many_flow(backend, [query], plan)
    return hits


def search_many_flow(backend: Backend, queries: Sequence[Content | Query], plan: SearchPlan) -> Flow[list[list[Hit]]]:
    """Turn queries into vectors, with one call of the embedding, and find the neighbours of each."""
    asked = [query if isinstance(query, Query) else Query(query) for query in queries]
    if plan.task is not None and not all(query.content for query in asked):
        raise ValueError(f"task={plan.task!r} says how to embed content, but the query names only stored ids")
    fingerprint = backend.space.fingerprint
    vectors = yield from query_vectors_flow(backend, asked, plan.task)
    excluded = [query.ids for query in asked]
    return (yield from nearest_many_flow(backend, vectors, plan, fingerprint=fingerprint, excluded=excluded))


def nearest_flow(backend: Backend, vector: Vector, plan: SearchPlan) -> Flow[list[Hit]]:
    """Find the neighbours of a vector."""
    (hits,) = yield from nearest_many_flow(backend, [vector], plan, fingerprint=None, excluded=[()])
    return hits


def nearest_many_flow(
    backend: Backend,
    vectors: Sequence[Vector],
    plan: SearchPlan,
    *,
    fingerprint: Fingerprint | None,
    excluded: Sequence[Sequence[str]],
) -> Flow[list[list[Hit]]]:
    """Find the neighbours of vectors, each without its own excluded ids."""
    requests = [
        _request(backend, vector, plan, ids, fingerprint) for vector, ids in zip(vectors, excluded, strict=True)
    ]
    answers: list[list[Scored]]
    if len(requests) == 1:
        answers = [(yield from backend.search_vectors(requests[0]))]
    else:
        answers = yield from backend.search_vectors_many(requests)
    return [
        _hits(request, [scored for scored in found if scored.record.id not in ids], plan, backend.space.media)
        for request, ids, found in zip(requests, excluded, answers, strict=True)
    ]


def _request(
    backend: Backend, vector: Vector, plan: SearchPlan, excluded: Sequence[str], fingerprint: Fingerprint | None
) -> VectorRequest:
    """What is asked of the store; it may pick by itself where nothing that it chooses from is left out."""
    picks = plan.mode == "mmr" and not excluded and plan.score_threshold is None and backend.supports_mmr
    return VectorRequest(
        vector=vector,
        k=plan.fetch_k + len(excluded),
        filter=plan.filter,
        score_threshold=plan.score_threshold,
        with_vectors=plan.mode == "mmr" and not picks,
        fingerprint=fingerprint,
        mmr=(plan.k, plan.lambda_mult) if picks else None,
    )


def _hits(request: VectorRequest, found: list[Scored], plan: SearchPlan, media: MediaSource | None) -> list[Hit]:
    found = found[: plan.fetch_k]
    if plan.mode == "mmr" and found and request.mmr is None:
        rows = np.stack([_vector_of(scored) for scored in found])
        order = maximal_marginal_relevance(request.vector, rows, plan.k, plan.lambda_mult)
        found = [found[i] for i in order]
    return hits_of(found, "cosine", media)


def hits_of(found: Sequence[Scored], kind: ScoreKind, media: MediaSource | None) -> list[Hit]:
    """Number what was found, best first."""
    return [
        Hit(scored.record.document, scored.score, kind, rank, media=media) for rank, scored in enumerate(found, start=1)
    ]


def query_vectors_flow(backend: Backend, queries: Sequence[Query], task: str | None) -> Flow[list[Vector]]:
    """The weighted sum of the terms of each query, at unit length."""
    contents = [whole for query in queries for whole in query.wholes]
    embedded: Iterator[Vector] = iter(())
    if contents:
        answer = yield backend.space.queries(contents, task)
        embedded = iter(backend.space.rows(answer, len(contents)))
    ids = list(dict.fromkeys(id_ for query in queries for id_ in query.ids))
    stored: dict[str, Vector] = {}
    if ids:
        records = yield from backend.fetch(ids, with_vectors=True)
        stored = {record.id: record.vector for record in records if record.vector is not None}
    unknown = [id_ for id_ in ids if id_ not in stored]
    if unknown:
        raise ContentError(f"the query names ids that are not stored: {', '.join(map(repr, unknown[:10]))}")
    return [
        _weighted(query, [*(next(embedded) for _ in query.wholes), *(stored[id_] for id_ in query.ids)])
        for query in queries
    ]


def _weighted(query: Query, terms: Sequence[Vector]) -> Vector:
    if len(terms) == 1 and not query.ids:
        return terms[0]
    require_dimensions("the store", len(terms[-1]), len(terms[0]))
    signs = np.ones(len(terms))
    signs[len(terms) - len(query.unlike) :] = -1
    total = (signs * np.array(query.weights)) @ np.stack(terms).astype(np.float64)
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise ContentError("the parts of the query cancel each other out; change like, unlike or weights")
    unit: Vector = (total / length).astype(np.float32)
    return unit


def _vector_of(scored: Scored) -> Vector:
    if scored.record.vector is None:
        raise AssertionError("a store must return vectors when asked to")
    return scored.record.vector


def _threshold(value: Any, mode: str) -> float:
    low, high = (0.0, 1e9) if mode == "keyword" else (-1.0, 1.0)
    return _within("score_threshold", value, low, high)


def _fusion(fusion: Any, alpha: Any, mode: str) -> str:
    if mode != "hybrid" and (alpha, fusion) != (None, None):
        raise ValueError(f"alpha and fusion are options of mode='hybrid', got mode={mode!r}")
    if fusion not in (None, *FUSIONS):
        raise ValueError(f"fusion must be one of {', '.join(map(repr, FUSIONS))}, got {fusion!r}")
    return fusion or FUSIONS[0]


def _properties(value: Any, mode: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if mode not in ("keyword", "hybrid"):
        raise ValueError(f"query_properties is an option of mode='keyword' and 'hybrid', got mode={mode!r}")
    if isinstance(value, str) or not all(isinstance(item, str) for item in value) or not value:
        raise TypeError(f"query_properties is a list such as ['text', 'title^2'], got {value!r}")
    return tuple(value)


def _within(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise TypeError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    if math.isnan(value) or not low <= value <= high:
        raise ValueError(f"{name} must be from {low:g} to {high:g}, got {value!r}")
    return float(value)


RANK_CONSTANT = 60
"""How little the first ranks stand out: a hit of rank r is worth 1 / (60 + r), as in the paper on the method."""
MIN_CANDIDATES = 50
"""How many of each list are fused, when k is not larger."""


def keyword_flow(backend: Backend, query: Content | Query, plan: SearchPlan) -> Flow[list[Hit]]:
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
    found = yield from _keyword_search(backend, text, plan, plan.k, asked.ids)
    return hits_of(found, "bm25", backend.space.media)


def hybrid_flow(backend: Backend, query: Content | Query, plan: SearchPlan) -> Flow[list[Hit]]:
    """Fuse the neighbours of the query's vector with the documents that have its words, by their ranks."""
    asked = query if isinstance(query, Query) else Query(query)
    depth = max(plan.k, MIN_CANDIDATES)
    near = yield from search_flow(backend, asked, replace(plan, mode="similarity", k=depth, fetch_k=depth))
    text = readable_text(asked.content)
    found = (yield from _keyword_search(backend, text, plan, depth, asked.ids)) if text else []
    worded = hits_of(found, "bm25", backend.space.media)
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


def _keyword_search(
    backend: Backend, text: str, plan: SearchPlan, k: int, exclude: Sequence[str]
) -> Flow[list[Scored]]:
    request = KeywordRequest(
        text=text,
        k=k + len(exclude),
        filter=plan.filter,
        score_threshold=plan.score_threshold,
        properties=plan.query_properties,
    )
    found = yield from backend.search_keywords(request)
    return [scored for scored in found if scored.record.id not in exclude][:k]


MOST_CANDIDATES = 10_000
"""Nearest documents looked at, at most, to find enough groups."""

_FIRST_CANDIDATES = 50


def groups_flow(
    backend: Backend, query: Content | Query, plan: SearchPlan, by: str, per_group: int
) -> Flow[list[Group]]:
    """The `plan.k` groups with the nearest hits, each with its `per_group` nearest.

    The query is embedded once. More and more of the nearest documents are read until there are groups enough; then the
    groups that may have more than was read are asked for by name.
    """
    if plan.mode != "similarity":
        raise ValueError(f"groups are made of mode='similarity', got mode={plan.mode!r}")
    asked = query if isinstance(query, Query) else Query(query)
    (vector,) = yield from query_vectors_flow(backend, [asked], plan.task)
    wanted, most = plan.k, MOST_CANDIDATES - len(asked.ids)
    depth = min(max(3 * plan.k * per_group, _FIRST_CANDIDATES), most)
    while True:
        hits = yield from _nearest(backend, vector, replace(plan, k=depth, fetch_k=depth), asked)
        groups = _grouped(hits, by)
        is_all = len(hits) < depth
        if is_all or len(groups) >= wanted or depth >= most:
            break
        depth = min(4 * depth, most)
    found = []
    for value, members in groups[:wanted]:
        is_whole = is_all or value is None or len(members) >= per_group
        only = replace(plan, k=per_group, fetch_k=per_group, filter=_in_group(plan.filter, In(by, (value,))))
        best = members if is_whole else (yield from _nearest(backend, vector, only, asked))
        if best:  # else all were deleted meanwhile
            found.append(Group(value, tuple(best[:per_group])))
    return found


def _nearest(backend: Backend, vector: Vector, plan: SearchPlan, query: Query) -> Flow[list[Hit]]:
    fingerprint = backend.space.fingerprint
    (hits,) = yield from nearest_many_flow(backend, [vector], plan, fingerprint=fingerprint, excluded=[query.ids])
    return hits


def _grouped(hits: Sequence[Hit], by: str) -> list[tuple[Any, list[Hit]]]:
    """Groups in the order of their best hits; a document without a value is a group of its own."""
    groups: dict[Any, tuple[Any, list[Hit]]] = {}
    for hit in hits:
        value = hit.document.metadata.get(by)
        if isinstance(value, str | int | float):
            groups.setdefault((isinstance(value, bool), value), (value, []))[1].append(hit)
        else:
            groups["alone", hit.document.id] = (None, [hit])
    return list(groups.values())


def _in_group(given: Node | Predicate | None, group: In) -> Node | Predicate:
    if given is None:
        return group
    if callable(given):
        return lambda document: given(document) and matches(group, document.metadata)
    return And((given, group))
