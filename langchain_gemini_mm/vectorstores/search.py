"""Searching: checked options, the vector of a query, and the hits."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from langchain_gemini_mm.batching import positive
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.interfaces import Content, Filter, MediaSource, Vector
from langchain_gemini_mm.vectors import maximal_marginal_relevance
from langchain_gemini_mm.vectorstores.backend import Nearest, Predicate, Primitives, Scored
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_dimensions
from langchain_gemini_mm.vectorstores.filters import Node, parse_filter
from langchain_gemini_mm.vectorstores.hits import Hit, Query, ScoreKind

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


def plan_search(store: Primitives, k: int, options: Mapping[str, Any]) -> SearchPlan:
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
    return _plan(store, positive("k", k), **options)


def _plan(
    store: Primitives,
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
    if mode not in store.modes:
        has = ", ".join(map(repr, store.modes))
        raise ValueError(f"mode {mode!r} is not among those of {type(store).__name__}: {has}")
    if mode != "mmr" and (fetch_k, lambda_mult) != (None, None):
        raise ValueError(f"fetch_k and lambda_mult are options of mode='mmr', got mode={mode!r}")
    if score_threshold is not None and mode == "hybrid":
        raise ValueError(
            "score_threshold does not go with mode='hybrid', whose scores are ranks; use mode='similarity' or 'keyword'"
        )
    if task is not None and not isinstance(task, str):
        raise TypeError(f"task must be a str, got {task!r}")
    candidates = (max(k, FETCH_K) if fetch_k is None else positive("fetch_k", fetch_k)) if mode == "mmr" else k
    if candidates < k:
        raise ValueError(f"fetch_k={candidates} is smaller than k={k}; mmr chooses k of fetch_k candidates")
    return SearchPlan(
        k=k,
        mode=mode,
        filter=checked_filter(store, filter),
        task=task,
        score_threshold=None if score_threshold is None else _threshold(score_threshold, mode),
        fetch_k=candidates,
        lambda_mult=0.5 if lambda_mult is None else _within("lambda_mult", lambda_mult, 0.0, 1.0),
        alpha=0.5 if alpha is None else _within("alpha", alpha, 0.0, 1.0),
        fusion=_fusion(fusion, alpha, mode),
        query_properties=_properties(query_properties, mode),
    )


def checked_filter(store: Primitives, given: Filter | Predicate | None) -> Node | Predicate | None:
    """Parse a filter; a function passes where the store can call it.

    Raises:
        FilterError: it is malformed.
        TypeError: a function for a store that cannot call one.
    """
    if given is None:
        return None
    if callable(given):
        if store.calls_predicates:
            return given
        raise TypeError(f"{type(store).__name__} takes a filter as a dict, not as a function")
    node = parse_filter(given)
    store._check_filter(node)
    return node


def search_flow(store: Primitives, query: Content | Query, plan: SearchPlan) -> Flow[list[Hit]]:
    """Turn the query into a vector and find its neighbours."""
    (hits,) = yield from search_many_flow(store, [query], plan)
    return hits


def search_many_flow(store: Primitives, queries: Sequence[Content | Query], plan: SearchPlan) -> Flow[list[list[Hit]]]:
    """Turn queries into vectors, with one call of the embedding, and find the neighbours of each."""
    asked = [query if isinstance(query, Query) else Query(query) for query in queries]
    if plan.task is not None and not all(query.content for query in asked):
        raise ValueError(f"task={plan.task!r} says how to embed content, but the query names only stored ids")
    fingerprint = store.space.fingerprint
    vectors = yield from query_vectors_flow(store, asked, plan.task)
    excluded = [query.ids for query in asked]
    return (yield from nearest_many_flow(store, vectors, plan, fingerprint=fingerprint, excluded=excluded))


def nearest_flow(store: Primitives, vector: Vector, plan: SearchPlan) -> Flow[list[Hit]]:
    """Find the neighbours of a vector."""
    (hits,) = yield from nearest_many_flow(store, [vector], plan, fingerprint=None, excluded=[()])
    return hits


def nearest_many_flow(
    store: Primitives,
    vectors: Sequence[Vector],
    plan: SearchPlan,
    *,
    fingerprint: Fingerprint | None,
    excluded: Sequence[Sequence[str]],
) -> Flow[list[list[Hit]]]:
    """Find the neighbours of vectors, each without its own excluded ids."""
    requests = [_request(store, vector, plan, ids, fingerprint) for vector, ids in zip(vectors, excluded, strict=True)]
    answers: list[list[Scored]]
    if len(requests) == 1:
        answers = [(yield Call(store._nearest, store._anearest, (requests[0],)))]
    else:
        answers = yield Call(store._nearest_many, store._anearest_many, (requests,))
    return [
        _hits(request, [scored for scored in found if scored.record.id not in ids], plan, store.space.media)
        for request, ids, found in zip(requests, excluded, answers, strict=True)
    ]


def _request(
    store: Primitives, vector: Vector, plan: SearchPlan, excluded: Sequence[str], fingerprint: Fingerprint | None
) -> Nearest:
    """What is asked of the store; it may pick by itself where nothing that it chooses from is left out."""
    picks = plan.mode == "mmr" and not excluded and plan.score_threshold is None and store._picks
    return Nearest(
        vector=vector,
        k=plan.fetch_k + len(excluded),
        filter=plan.filter,
        score_threshold=plan.score_threshold,
        with_vectors=plan.mode == "mmr" and not picks,
        fingerprint=fingerprint,
        pick=(plan.k, plan.lambda_mult) if picks else None,
    )


def _hits(request: Nearest, found: list[Scored], plan: SearchPlan, media: MediaSource | None) -> list[Hit]:
    found = found[: plan.fetch_k]
    if plan.mode == "mmr" and found and request.pick is None:
        rows = np.stack([_vector_of(scored) for scored in found])
        order = maximal_marginal_relevance(request.vector, rows, plan.k, plan.lambda_mult)
        found = [found[i] for i in order]
    return hits_of(found, "cosine", media)


def hits_of(found: Sequence[Scored], kind: ScoreKind, media: MediaSource | None) -> list[Hit]:
    """Number what was found, best first."""
    return [
        Hit(scored.record.document, scored.score, kind, rank, media=media) for rank, scored in enumerate(found, start=1)
    ]


def query_vectors_flow(store: Primitives, queries: Sequence[Query], task: str | None) -> Flow[list[Vector]]:
    """The weighted sum of the terms of each query, at unit length."""
    contents = [whole for query in queries for whole in query.wholes]
    embedded: Iterator[Vector] = iter(())
    if contents:
        answer = yield store.space.queries(contents, task)
        embedded = iter(store.space.rows(answer, len(contents)))
    ids = list(dict.fromkeys(id_ for query in queries for id_ in query.ids))
    stored: dict[str, Vector] = {}
    if ids:
        records = yield Call(store._fetch, store._afetch, (ids, True))
        stored = {record.id: record.vector for record in records}
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
