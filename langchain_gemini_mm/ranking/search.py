"""Searching with a ranking that is fair to all kinds of documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Content, Vector
from langchain_gemini_mm.ranking.background import Background, background_flow, read_background_flow
from langchain_gemini_mm.ranking.calibration import Calibration, calibration_flow, is_readable, pair_of, stored_flow
from langchain_gemini_mm.ranking.modalities import (
    KINDS,
    checked_kinds,
    kind_of,
    kinds_node,
    narrowed,
    nearest_by_kind_flow,
    query_kind,
)
from langchain_gemini_mm.ranking.normalize import Levels, levels
from langchain_gemini_mm.vectorstores.backend import Scored
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.hits import Hit, ScoreKind
from langchain_gemini_mm.vectorstores.query import Query
from langchain_gemini_mm.vectorstores.search import (
    SearchPlan,
    hits_of,
    plan_search,
    query_vectors_flow,
    search_flow,
)

RANKINGS = ("raw", "normalized", "calibrated")
"""How documents of different modalities are put in one order."""

_REST = "rest"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document near a query, and what its place depends on."""

    scored: Scored
    kind: str
    deviation: float
    confidence: float
    """That nothing which does not match would deviate as much."""


def ranked_flow(
    store: MultimodalVectorStore,
    query: Content | Query,
    k: int,
    options: Mapping[str, Any],
    *,
    ranking: str | None,
    modalities: Iterable[str] | None = None,
    min_confidence: float | None = None,
) -> Flow[list[Hit]]:
    """Find the `k` best documents by one of `RANKINGS`.

    Hits carry their cosine similarity whatever the ranking, and a confidence except with `raw`.

    Args:
        store: one of ours.
        query: any content, or a `Query`.
        k: how many.
        options: `filter`, `task_type` and `score_threshold` (of the cosine similarity), as for `search`.
        ranking: `raw`, `normalized` or `calibrated`; None is what `default_ranking_flow` says.
        modalities: kinds to search: modalities, and `other` for documents that name none; None for all.
        min_confidence: leave out hits below it, from 0 to 1; an empty list says that nothing matches.

    Raises:
        ValueError: no such ranking or modality, `min_confidence` with `raw`, or nothing calibrated.
        SpaceMismatchError: calibrated in another embedding space.
    """
    least = checked_confidence(min_confidence, ranking)
    kinds = checked_kinds(modalities)
    plan = similarity_plan(store, k, options)
    asked = query if isinstance(query, Query) else Query(query)
    if ranking is None:
        ranking = yield from default_ranking_flow(store, modalities=kinds, min_confidence=least)
    if ranking == "raw":
        only = plan if kinds is None else replace(plan, filter=narrowed(plan.filter, kinds_node(kinds)))
        (hits,) = yield from search_flow([asked], only)
        return hits
    calibration = (yield from calibration_flow(store)) if ranking == "calibrated" else None
    (vector,) = yield from query_vectors_flow(store.backend, [asked], plan.task_type)
    candidates = yield from candidates_flow(store, vector, plan, kinds, asked.ids)
    judged = _by_calibration(calibration, query_kind(asked, store.space.media)) if calibration else _by_deviation
    return _hits(store, candidates, judged, plan.k, least)


def default_ranking_flow(
    store: MultimodalVectorStore, *, modalities: Iterable[str] | None = None, min_confidence: float | None = None
) -> Flow[str]:
    """The ranking to use when the user names none.

    Documents of one kind are ranked by cosine similarity, unless a confidence is asked for. Several kinds are ranked by
    the calibration of the collection where it has one of this embedding space, else normalized: docs/ranking.md has the
    evidence.
    """
    kinds = checked_kinds(modalities)
    if min_confidence is None:
        if kinds is not None and len(kinds) == 1:
            return "raw"
        background = yield from background_flow(store)
        if len([kind for kind in kinds or KINDS if kind in background.samples]) < 2:
            return "raw"
    stored = yield from stored_flow(store)
    fits = is_readable(stored) and stored["fingerprint"] == store.space.fingerprint
    return "calibrated" if fits else "normalized"


def by_modality_flow(
    store: MultimodalVectorStore,
    query: Content | Query,
    k: int,
    options: Mapping[str, Any],
    *,
    modalities: Iterable[str] | None = None,
) -> Flow[dict[str, list[Hit]]]:
    """Find the `k` nearest documents of each kind, by cosine similarity.

    Args:
        store: one of ours.
        query: any content, or a `Query`.
        k: how many of each.
        options: as for `ranked_flow`.
        modalities: kinds to search; each is then in the answer, even without hits. None for all that have hits.

    Returns:
        Hits by kind, in the order of `KINDS` or of `modalities`; the ranks of each begin with 1.
    """
    kinds = checked_kinds(modalities)
    plan = similarity_plan(store, k, options)
    asked = query if isinstance(query, Query) else Query(query)
    (vector,) = yield from query_vectors_flow(store.backend, [asked], plan.task_type)
    nodes = {kind: kinds_node([kind]) for kind in kinds or KINDS}
    lists = yield from nearest_by_kind_flow(store, vector, plan, nodes, asked.ids)
    return {kind: hits_of(found, "cosine", store.space.media) for kind, found in lists.items() if found or kinds}


def checked_confidence(min_confidence: Any, ranking: Any) -> float | None:
    """Check ranking and confidence.

    Raises:
        ValueError: no such ranking, a confidence out of range, or one with `raw`.
        TypeError: the confidence is not a number.
    """
    if ranking is not None and ranking not in RANKINGS:
        raise ValueError(f"ranking must be one of {', '.join(map(repr, RANKINGS))}, got {ranking!r}")
    if min_confidence is None:
        return None
    if isinstance(min_confidence, bool) or not isinstance(min_confidence, int | float):
        raise TypeError(f"min_confidence must be a number from 0 to 1, got {min_confidence!r}")
    if math.isnan(min_confidence) or not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence must be from 0 to 1, got {min_confidence!r}")
    if ranking == "raw":
        raise ValueError(
            "min_confidence does not go with ranking='raw', whose scores do not tell how sure a match is. Use "
            "score_threshold, or ranking='normalized' or 'calibrated'"
        )
    return float(min_confidence)


def similarity_plan(store: MultimodalVectorStore, k: int, options: Mapping[str, Any]) -> SearchPlan:
    """Check the options of a ranked search.

    Raises:
        ValueError: another search type than `similarity`.
    """
    if options.get("search_type", "similarity") != "similarity":
        raise ValueError(f"rankings go with search_type='similarity', got search_type={options['search_type']!r}")
    if options.get("tenant") is not None:
        raise ValueError(f"rankings search the store of one tenant; use store.with_tenant({options['tenant']!r})")
    return plan_search(store.backend, k, **options)


def candidates_flow(
    store: MultimodalVectorStore, vector: Vector, plan: SearchPlan, kinds: Sequence[str] | None, excluded: Sequence[str]
) -> Flow[list[Candidate]]:
    """The nearest documents of each kind, and how far they stand out."""
    background = yield from background_flow(store)
    lists = yield from _lists_flow(store, vector, plan, kinds, excluded, background)
    known = {kind for kind, sample in background.samples.items() if sample.ids}
    if any(found and kind not in known for kind, found in lists.items()):  # kinds that are new here
        background = yield from read_background_flow(store)
        lists = yield from _lists_flow(store, vector, plan, kinds, excluded, background)
    compared = levels(background, vector)
    return [
        _candidate(scored, kind, compared, background)
        for name, found in lists.items()
        for scored in found
        for kind in [kind_of(scored.record.document) if name == _REST else name]
    ]


def _lists_flow(
    store: MultimodalVectorStore,
    vector: Vector,
    plan: SearchPlan,
    kinds: Sequence[str] | None,
    excluded: Sequence[str],
    background: Background,
) -> Flow[dict[str, list[Scored]]]:
    """The nearest of each kind that is asked for, or that there is; what came lately is looked for together."""
    nodes = {kind: kinds_node([kind]) for kind in kinds or background.samples}
    rest = [kind for kind in KINDS if kind not in nodes]
    if kinds is None and rest:
        nodes[_REST] = kinds_node(rest)
    return (yield from nearest_by_kind_flow(store, vector, plan, nodes, excluded))


def _candidate(scored: Scored, kind: str, compared: Levels, background: Background) -> Candidate:
    level = compared.of.get(kind)
    if level is None:  # came between two looks
        return Candidate(scored, kind, 0.0, 0.0)
    is_sampled = scored.record.id in background.samples[kind].ids
    deviation = level.deviation(scored.score, is_sampled=is_sampled)
    return Candidate(scored, kind, deviation, compared.confidence(deviation))


_Judge = Callable[[Candidate], tuple[float, ScoreKind, float]]
"""Score, what the score means, and confidence of a candidate."""


def _by_deviation(candidate: Candidate) -> tuple[float, ScoreKind, float]:
    return candidate.deviation, "deviation", candidate.confidence


def _by_calibration(calibration: Calibration, asked: str) -> _Judge:
    def judged(candidate: Candidate) -> tuple[float, ScoreKind, float]:
        logit = calibration.logit(pair_of(asked, candidate.kind), candidate.scored.score, candidate.deviation)
        return calibration.probability(logit), "probability", calibration.confidence(logit)

    return judged


def _hits(
    store: MultimodalVectorStore, candidates: Iterable[Candidate], judged: _Judge, k: int, least: float | None
) -> list[Hit]:
    found = [(candidate, *judged(candidate)) for candidate in candidates]
    sure = [entry for entry in found if least is None or entry[3] >= least]
    sure.sort(key=lambda entry: -entry[1])
    return [
        Hit(
            candidate.scored.record.document,
            score,
            kind,
            rank,
            cosine=candidate.scored.score,
            confidence=confidence,
            media=store.space.media,
        )
        for rank, (candidate, score, kind, confidence) in enumerate(sure[:k], start=1)
    ]
