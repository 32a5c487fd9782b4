"""Searching: checked options, the vectors of queries, and the hits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, get_args

import numpy as np

from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError, PartialEmbeddingError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Content, Filter, MediaSource, Vector, Vectors
from langchain_gemini_mm.validation import did_you_mean, number_in, one_of, positive_int, unknown_option
from langchain_gemini_mm.vectors import maximal_marginal_relevance
from langchain_gemini_mm.vectorstores.backend import Backend, KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint, require_dimensions
from langchain_gemini_mm.vectorstores.filters import Exists, In, Node, Predicate, allows, both, parse_filter
from langchain_gemini_mm.vectorstores.hits import Group, Hit, Hits, ScoreKind
from langchain_gemini_mm.vectorstores.query import OPTIONS_OF_OTHERS, Fusion, Query, SearchType, StoreSearchOptions

FETCH_K = 20
"""Default number of candidates of `search_type="mmr"`, if `k` is not larger."""

_SEARCH_TYPES_OF = {
    "fetch_k": ("mmr",),
    "lambda_mult": ("mmr",),
    "alpha": ("hybrid",),
    "fusion": ("hybrid",),
    "query_properties": ("keyword", "hybrid"),
    "score_threshold": ("similarity", "mmr", "keyword"),  # scores of hybrid are ranks
    "auto_limit": ("similarity", "keyword"),
}
"""The search types that accept an option; options not listed here are accepted by all."""

WORD_SEARCHES = ("keyword", "hybrid")
"""Search types that use the words of a query; their scores are no cosine similarities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """The options of one search, checked."""

    backend: Backend
    """Where to search: the backend of the tenant, if the options name one."""
    k: int
    """How many hits, including the `offset` that are left out in the end."""
    search_type: SearchType = "similarity"
    filter: Node | Predicate | None = None
    bound: Node | Predicate | None = None
    """What documents that a query names by their ids must match; others count as not stored."""
    task_type: str | None = None
    score_threshold: float | None = None
    fetch_k: int
    """Number of candidates to fetch; `k`, except for mmr."""
    lambda_mult: float = 0.5
    alpha: float = 0.5
    fusion: Fusion = "ranks"
    query_properties: tuple[str, ...] | None = None
    offset: int = 0
    return_vectors: bool = False
    auto_limit: int | None = None


def plan_search(backend: Backend, /, k: int = 4, **options: Any) -> SearchPlan:
    """Check the options of a search.

    Args:
        backend: of the store.
        k: how many hits, at least 1.
        options: those of `StoreSearchOptions`.

    Raises:
        TypeError: an option does not exist, or is of the wrong type.
        ValueError: a value is out of range, or the store lacks the search type.
        FilterError: the filter is malformed.
    """
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in StoreSearchOptions.__optional_keys__:
            if name in OPTIONS_OF_OTHERS:
                raise InvalidTypeError(f"search has no option {name!r}: {OPTIONS_OF_OTHERS[name]}")
            raise unknown_option(name, {"k", *StoreSearchOptions.__optional_keys__}, "search")
        if value is not None:
            given[name] = value
    if "tenant" in given:
        backend = backend.for_tenant(given.pop("tenant"))
    search_type = given.get("search_type", "similarity")
    if search_type not in backend.search_types:
        listed = ", ".join(map(repr, backend.search_types))
        hint = did_you_mean(search_type, backend.search_types)
        raise InvalidValueError(f"search_type {search_type!r} is not among those of {backend.store}: {listed}{hint}")
    k = positive_int("k", k) + _offset("offset", given.get("offset", 0))
    plan: dict[str, Any] = {"backend": backend, "k": k, "fetch_k": k}
    if given:
        plan |= _checked(backend, k, search_type, given)
    return SearchPlan(**plan)


def _checked(backend: Backend, k: int, search_type: str, given: dict[str, Any]) -> dict[str, Any]:
    for name, search_types in _SEARCH_TYPES_OF.items():
        if name in given and search_type not in search_types:
            listed = " or ".join(f"search_type={allowed!r}" for allowed in search_types)
            raise InvalidValueError(f"{name} is an option of {listed}, got search_type={search_type!r}")
    for name, check in _CHECKS.items():
        if name in given:
            given[name] = check(name, given[name])
    if "auto_limit" in given and not backend.supports_auto_limit:
        raise InvalidValueError(
            f"auto_limit is an option of Weaviate, and {backend.store} has none; give score_threshold="
        )
    if "filter" in given:
        given["filter"] = checked_filter(backend, given["filter"])
    if "score_threshold" in given:
        low, high = (0, 1e9) if search_type == "keyword" else (-1, 1)
        given["score_threshold"] = number_in("score_threshold", given["score_threshold"], low, high)
    if search_type == "mmr":
        given["k"] = min(k, given.setdefault("fetch_k", max(k, FETCH_K)))  # as in other LangChain stores
    return given


def _offset(name: str, value: Any) -> int:
    if value == 0 and not isinstance(value, bool):
        return 0
    return positive_int(name, value)


def _task_type(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidTypeError(f"{name} must be a str, got {value!r}")
    return value


def _properties(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not value or not all(isinstance(item, str) for item in value):
        raise InvalidTypeError(f"{name} is a list such as ['text', 'title^2'], got {value!r}")
    return tuple(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "task_type": _task_type,
    "fetch_k": positive_int,
    "lambda_mult": partial(number_in, low=0, high=1),
    "alpha": partial(number_in, low=0, high=1),
    "fusion": partial(one_of, allowed=get_args(Fusion)),
    "query_properties": _properties,
    "return_vectors": partial(one_of, allowed=(True, False)),
    "auto_limit": positive_int,
}
"""The checks of single options, called with name and value; each returns the checked value."""


def checked_filter(backend: Backend, given: Filter | Predicate) -> Node | Predicate:
    """Parse a filter; a function is accepted if the store can call it.

    Raises:
        FilterError: it is malformed.
        TypeError: a function for a store that cannot call one.
    """
    if callable(given):
        if backend.calls_predicates:
            return given
        raise InvalidTypeError(f"{backend.store} takes a filter as a dict, not as a function")
    node = parse_filter(given)
    backend.check_filter(node)
    return node


def search_flow(queries: Iterable[Content | Query], plan: SearchPlan) -> Flow[list[Hits]]:
    """Find the hits of each query; all contents are embedded in one call.

    Raises:
        ContentError: a query cannot be embedded, names ids that are not stored, or has no text for a keyword search.
        ValueError: a `task_type` where nothing is embedded.
    """
    asked = [query if isinstance(query, Query) else Query(query) for query in queries]
    answers: list[Hits] = []
    if plan.search_type not in WORD_SEARCHES:
        answers = (yield from _similar_flow(asked, plan)) if asked else []
    else:
        for query in asked:
            answers += [(yield from (_keyword_flow if plan.search_type == "keyword" else _hybrid_flow)(query, plan))]
    return (yield from returned_flow(answers, plan))


def returned_flow(answers: Sequence[Hits], plan: SearchPlan) -> Flow[list[Hits]]:
    """The hits that a caller gets: without those of the offset, and with vectors if they are wanted."""
    shown = [Hits(hits[plan.offset :]) if plan.offset else hits for hits in answers]
    if not plan.return_vectors:
        return shown
    ids = dict.fromkeys(str(hit.document.id) for hits in shown for hit in hits)
    records = (yield from plan.backend.fetch(list(ids), with_vectors=True)) if ids else []
    vectors = {record.id: record.vector for record in records}
    return [Hits(hit.with_vector(vectors.get(str(hit.document.id))) for hit in hits) for hits in shown]


def _similar_flow(queries: Sequence[Query], plan: SearchPlan) -> Flow[list[Hits]]:
    if plan.task_type is not None and not all(query.content for query in queries):
        raise InvalidValueError(
            f"task_type={plan.task_type!r} says how to embed content, but the query names only stored ids"
        )
    fingerprint = plan.backend.space.fingerprint
    vectors = yield from query_vectors_flow(plan.backend, queries, plan.task_type, plan.bound)
    return (yield from neighbours_flow(vectors, plan, fingerprint, [query.ids for query in queries]))


def neighbours_flow(
    vectors: Sequence[Vector] | Vectors,
    plan: SearchPlan,
    fingerprint: Fingerprint | None,
    excluded: Sequence[Sequence[str]],
) -> Flow[list[Hits]]:
    """Find the neighbours of vectors.

    Args:
        vectors: each `(d,)` float32, unit length.
        plan: the options.
        fingerprint: the space of the vectors; None where a caller gave them.
        excluded: for each vector the ids that are left out of its hits.
    """
    backend, is_mmr = plan.backend, plan.search_type == "mmr"
    requests = []
    for vector, ids in zip(vectors, excluded, strict=True):
        # The server's MMR is only right if no candidate is removed afterwards.
        native = is_mmr and not ids and plan.score_threshold is None and backend.supports_mmr
        request = VectorRequest(
            vector=vector,
            k=plan.fetch_k + len(ids),
            filter=plan.filter,
            score_threshold=plan.score_threshold,
            with_vectors=is_mmr and not native,
            fingerprint=fingerprint,
            mmr=(plan.k, plan.lambda_mult) if native else None,
            auto_limit=plan.auto_limit,
        )
        requests.append(request)
    answers = []
    for request, ids, found in zip(requests, excluded, (yield from backend.search_vectors_many(requests)), strict=True):
        kept = [scored for scored in found if scored.record.id not in ids] if ids else found
        if request.with_vectors and kept:
            kept = _most_relevant(request.vector, kept[: plan.fetch_k], plan)
        answers.append(hits_of(kept[: plan.fetch_k], "cosine", backend.space.media))
    return answers


def _most_relevant(vector: Vector, found: Sequence[Scored], plan: SearchPlan) -> list[Scored]:
    rows = np.stack([scored.record.vector for scored in found if scored.record.vector is not None])
    return [found[i] for i in maximal_marginal_relevance(vector, rows, plan.k, plan.lambda_mult)]


def hits_of(found: Iterable[Scored], kind: ScoreKind, media: MediaSource | None) -> Hits:
    """The hits of scored records, best first, with their ranks.

    Args:
        found: records with their scores, best first.
        kind: the meaning of the scores.
        media: the media store that resolves references of the documents.
    """
    return Hits(
        Hit(scored.record.document, scored.score, kind, rank, media=media) for rank, scored in enumerate(found, start=1)
    )


def query_vectors_flow(
    backend: Backend, queries: Sequence[Query], task_type: str | None, bound: Node | Predicate | None = None
) -> Flow[list[Vector]]:
    """The vector of each query: the weighted sum of its terms, at unit length.

    Args:
        backend: where stored vectors are read.
        queries: what is searched for.
        task_type: what the queries are for; None for searching.
        bound: what documents that a query names must match; others count as not stored.

    Returns:
        One `(d,)` float32 vector per query.

    Raises:
        ContentError: a query cannot be embedded, or names ids that are not stored.
    """
    contents: list[tuple[Content, ...]] = []
    ids: dict[str, None] = {}
    for query in queries:
        contents += query.wholes
        ids |= dict.fromkeys(query.ids)
    embedded: Iterator[Vector] = iter(())
    if contents:
        try:
            answer = yield backend.space.embed_queries(contents, task_type)
        except PartialEmbeddingError as error:
            # A search needs all of its vectors.
            raise error.failed[min(error.failed)] from error
        embedded = iter(backend.space.checked_rows(answer, len(contents)))
    stored: dict[str, Vector] = {}
    if ids:
        records = yield from backend.fetch(list(ids), with_vectors=True)
        stored = {
            record.id: record.vector
            for record in records
            if record.vector is not None and allows(bound, record.document)
        }
        unknown = [repr(id_) for id_ in ids if id_ not in stored]
        if unknown:
            raise ContentError(f"the query names ids that are not stored: {', '.join(unknown[:10])}")
    vectors = []
    for query in queries:
        parts = list(islice(embedded, len(query.wholes)))
        if query.ids or len(parts) > 1:
            vectors.append(_weighted(query, [*parts, *(stored[id_] for id_ in query.ids)]))
        else:
            vectors += parts
    return vectors


def _weighted(query: Query, terms: Sequence[Vector]) -> Vector:
    require_dimensions("the store", len(terms[-1]), len(terms[0]))
    signs = np.ones(len(terms))
    signs[len(terms) - len(query.unlike) :] = -1
    total = (signs * np.array(query.weights)) @ np.stack(terms).astype(np.float64)
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise ContentError("the parts of the query cancel each other out; change like, unlike or weights")
    unit: Vector = (total / length).astype(np.float32)
    return unit


RANK_CONSTANT = 60
"""The constant of reciprocal rank fusion: a hit of rank r adds 1 / (60 + r), as in the paper on the method."""
MIN_CANDIDATES = 50
"""How many hits of each list are fused, if `k` is not larger."""


def _keyword_flow(query: Query, plan: SearchPlan) -> Flow[Hits]:
    """Find documents by the words of the query; nothing is embedded."""
    if plan.task_type is not None:
        raise InvalidValueError(
            f"task_type={plan.task_type!r} says how to embed content; search_type='keyword' embeds nothing"
        )
    from langchain_gemini_mm.vectorstores.tokenizer import readable_text

    text = readable_text(query.content)
    if text is None:
        raise ContentError(
            "search_type='keyword' looks for words, and the query has no text. Use search_type='similarity'"
        )
    return (yield from _documents_with_words(text, plan, plan.k, query.ids))


def _hybrid_flow(query: Query, plan: SearchPlan) -> Flow[Hits]:
    """Fuse the hits of a similarity search with those of a keyword search."""
    from langchain_gemini_mm.vectorstores.tokenizer import readable_text, terms

    depth = max(plan.k, MIN_CANDIDATES)
    (near,) = yield from _similar_flow([query], replace(plan, search_type="similarity", k=depth, fetch_k=depth))
    text = readable_text(query.content)
    worded = (yield from _documents_with_words(text, plan, depth, query.ids)) if text else []
    return fused(near, worded, plan.k, words=terms(text or ""), alpha=plan.alpha, fusion=plan.fusion)


def _documents_with_words(text: str, plan: SearchPlan, k: int, excluded: Sequence[str]) -> Flow[Hits]:
    request = KeywordRequest(
        text=text,
        k=k + len(excluded),
        filter=plan.filter,
        score_threshold=plan.score_threshold,
        properties=plan.query_properties,
        auto_limit=plan.auto_limit,
    )
    found = yield from plan.backend.search_keywords(request)
    kept = [scored for scored in found if scored.record.id not in excluded][:k]
    return hits_of(kept, "bm25", plan.backend.space.media)


def fused(
    near: Sequence[Hit],
    worded: Sequence[Hit],
    k: int,
    *,
    words: Sequence[str] = (),
    alpha: float = 0.5,
    fusion: Fusion = "ranks",
) -> Hits:
    """Fuse two rankings: the score of a document is the sum of its scores in both lists.

    With `ranks` its score in a list is 1 / (60 + rank), with `scores` its own score, scaled so that the list, and the
    sum, range from 0 to 1. A list without weight adds no documents.

    A document without words, such as an image, cannot be in the keyword list. Its score is increased by the share that
    it would gain on average: the probability that a nearby text contains words of the query.

    Args:
        near: hits of the similarity search; of equal sums the first in this list comes first.
        worded: hits of the keyword search.
        k: how many hits to return.
        words: the words of the query.
        alpha: the weight of the vectors, from 0 to 1.
        fusion: `ranks` or `scores`.
    """
    from langchain_gemini_mm.vectorstores.tokenizer import has_words, mentions, searched_text

    near, worded = near if alpha > 0 else (), worded if alpha < 1 else ()
    hits: dict[str, Hit] = {}
    for hit in (*near, *worded):
        hits.setdefault(str(hit.document.id), hit)
    scores = dict.fromkeys(hits, 0.0)
    found = {str(hit.document.id) for hit in worded}
    readable = {id_: searched_text(hit.document.page_content, hit.document.metadata) for id_, hit in hits.items()}
    near_ids = [str(hit.document.id) for hit in near]
    wordless = {id_ for id_ in near_ids if id_ not in found and not has_words(readable[id_])}
    texts = [id_ for id_ in near_ids if id_ not in wordless] if wordless else []
    chance = sum(id_ in found or mentions(readable[id_], words) for id_ in texts) / max(1, len(texts))
    total = 2 if fusion == "ranks" else 1
    shares = (total * alpha, total * (1 - alpha))
    for ranking, share in zip((near, worded), shares, strict=True):
        for hit, worth in zip(ranking, _worths(ranking, fusion), strict=True):
            lost = chance * shares[1] / share if hit.document.id in wordless else 0.0
            scores[str(hit.document.id)] += worth * share * (1 + lost)
    best = sorted(scores, key=lambda id_: -scores[id_])[:k]
    kind: ScoreKind = "rank" if fusion == "ranks" else "fused"
    return Hits(
        replace(hits[id_], score=scores[id_], score_kind=kind, rank=rank) for rank, id_ in enumerate(best, start=1)
    )


def _worths(ranking: Sequence[Hit], fusion: Fusion) -> list[float]:
    if fusion == "ranks":
        return [1 / (RANK_CONSTANT + rank) for rank in range(1, len(ranking) + 1)]
    scores = [hit.score for hit in ranking]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


MOST_CANDIDATES = 10_000
"""Maximum number of nearest documents that are read to find enough groups."""

_FIRST_CANDIDATES = 50


def groups_flow(query: Content | Query, plan: SearchPlan, by: str, per_source: int) -> Flow[list[Group]]:
    """The `plan.k` groups with the nearest hits, each with its `per_source` nearest.

    The query is embedded once. A growing number of nearest documents is read until there are enough groups; then the
    missing hits of each group are searched with a filter.

    Args:
        query: any content, or a `Query`.
        plan: the options of a similarity search.
        by: the metadata key whose value makes a group.
        per_source: how many hits of each group, at most.

    Raises:
        TypeError: `by` is not a str.
        ValueError: another search type, or `per_source` is below 1.
    """
    if plan.offset:
        raise InvalidValueError(f"groups have no offset, got offset={plan.offset}; ask for more groups")
    if plan.search_type != "similarity":
        raise InvalidValueError(f"groups are made of search_type='similarity', got search_type={plan.search_type!r}")
    if not isinstance(by, str):
        raise InvalidTypeError(f"by is the metadata key of the groups, got {by!r}")
    positive_int("per_source", per_source)
    plan.backend.check_filter(Exists(by))
    asked = query if isinstance(query, Query) else Query(query)
    fingerprint = plan.backend.space.fingerprint
    vectors = yield from query_vectors_flow(plan.backend, [asked], plan.task_type, plan.bound)
    limit, most = plan.k, MOST_CANDIDATES - len(asked.ids)
    depth = min(max(3 * plan.k * per_source, _FIRST_CANDIDATES), most)
    while True:
        deep = replace(plan, k=depth, fetch_k=depth)
        (hits,) = yield from neighbours_flow(vectors, deep, fingerprint, [asked.ids])
        groups = _grouped(hits, by)
        is_all = len(hits) < depth
        if is_all or len(groups) >= limit or depth >= most:
            break
        depth = min(4 * depth, most)
    yield from require_key_flow(plan.backend, by, hits)
    found = []
    for value, members in groups[:limit]:
        best = members
        if not (is_all or value is None or len(members) >= per_source):
            only = replace(plan, k=per_source, fetch_k=per_source, filter=both(plan.filter, In(by, (value,))))
            (best,) = yield from neighbours_flow(vectors, only, fingerprint, [asked.ids])
        if best:  # else all were deleted meanwhile
            found.append(Group(value, tuple(best[:per_source])))
    return found


def require_key_flow(backend: Backend, key: str, hits: Sequence[Hit]) -> Flow[None]:
    """Refuse a metadata key that no document has, where the hits have one with a similar name.

    Args:
        backend: where the hits were found.
        key: by which they are grouped.
        hits: of a search.

    Raises:
        ValueError: the key is misspelt.
    """
    if any(hit.metadata.get(key) is not None for hit in hits):
        return
    hint = did_you_mean(key, {name for hit in hits for name in hit.metadata})
    if hint and not (yield from backend.count(Exists(key))):
        raise InvalidValueError(f"no document has the metadata key {key!r}{hint}")


def _grouped(hits: Sequence[Hit], by: str) -> list[tuple[Any, list[Hit]]]:
    """Groups in the order of their best hits; a hit without a value is a group of its own."""
    groups: dict[Any, tuple[Any, list[Hit]]] = {}
    for hit in hits:
        value = hit.document.metadata.get(by)
        if isinstance(value, str | int | float):
            groups.setdefault((isinstance(value, bool), value), (value, []))[1].append(hit)
        else:
            groups["alone", hit.document.id] = (None, [hit])
    return list(groups.values())
