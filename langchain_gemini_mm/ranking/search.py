"""Searches whose order is fair to all modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Content, Vector
from langchain_gemini_mm.ranking.background import REST, background_flow, read_background_flow
from langchain_gemini_mm.ranking.calibration import Calibration, calibration_flow, pair_of, stored_calibration_flow
from langchain_gemini_mm.ranking.modalities import (
    GROUPS,
    checked_modalities,
    document_modality,
    group_filter,
    query_modality,
)
from langchain_gemini_mm.ranking.normalize import compare
from langchain_gemini_mm.validation import number_in, one_of
from langchain_gemini_mm.vectorstores.backend import Backend, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.embedding_space import same_space
from langchain_gemini_mm.vectorstores.filters import Predicate, both
from langchain_gemini_mm.vectorstores.hits import Hit, Hits, ScoreKind
from langchain_gemini_mm.vectorstores.query import Query
from langchain_gemini_mm.vectorstores.search import (
    SearchPlan,
    hits_of,
    plan_search,
    query_vectors_flow,
    search_flow,
)

Ranking: TypeAlias = Literal["raw", "normalized", "calibrated"]
"""How documents of several modalities are put in one order: by cosine similarity, by its deviation from a background,
or by the probability of being relevant."""
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingPlan:
    """The options of one ranked search, checked."""

    search: SearchPlan
    ranking: Ranking | None = None
    """None is what `default_ranking_flow` chooses."""
    modalities: tuple[str, ...] | None = None
    """Some of `GROUPS`; None for all."""
    min_confidence: float | None = None
    """From 0 to 1: hits below it are left out."""

    @property
    def narrowed(self) -> SearchPlan:
        """The search, with the modalities as part of its filter."""
        if self.modalities is None:
            return self.search
        return replace(self.search, filter=both(self.search.filter, group_filter(self.modalities)))


class Candidate(NamedTuple):
    """A document near a query, with what its place depends on."""

    scored: Scored
    modality: str
    deviation: float
    confidence: float
    """Probability that no document that does not match has such a deviation."""


def plan_ranking(
    backend: Backend,
    /,
    k: int = 4,
    *,
    ranking: Ranking | None = None,
    modalities: Iterable[str] | None = None,
    min_confidence: float | None = None,
    **options: Any,
) -> RankingPlan:
    """Check the options of a ranked search.

    Args:
        backend: of the store.
        k: number of hits, at least 1.
        ranking: None is what `default_ranking_flow` chooses.
        modalities: some of `GROUPS`; None for all.
        min_confidence: from 0 to 1: hits below it are left out, so that there may be none.
        options: those of `StoreSearchOptions`.

    Raises:
        TypeError: an option does not exist, or is of the wrong type.
        ValueError: a value is out of range, or two options exclude each other.
        FilterError: the filter is malformed.
    """
    if ranking is not None:
        one_of("ranking", ranking, RANKINGS)
    if min_confidence is not None:
        min_confidence = number_in("min_confidence", min_confidence, 0, 1)
        if ranking == "raw":
            raise InvalidValueError(
                "min_confidence does not go with ranking='raw', whose scores do not tell how sure a match is. Use "
                "score_threshold, or ranking='normalized' or 'calibrated'"
            )
    search = plan_search(backend, k, **options)
    if search.search_type != "similarity" and (ranking not in (None, "raw") or min_confidence is not None):
        raise InvalidValueError(
            f"ranking and min_confidence are of search_type='similarity', got search_type={search.search_type!r}"
        )
    groups = None if modalities is None else checked_modalities(modalities, GROUPS)
    return RankingPlan(search=search, ranking=ranking, modalities=groups, min_confidence=min_confidence)


def ranked_flow(queries: Iterable[Content | Query], plan: RankingPlan) -> Flow[list[Hits]]:
    """Find the best documents for each query; contents are embedded together.

    Hits carry their cosine similarity whatever the ranking, and a confidence except with `raw`.

    Args:
        queries: each any content, or a `Query`.
        plan: the options.

    Raises:
        ContentError: a query cannot be embedded, or names ids that are not stored.
        ValueError: nothing was calibrated.
        SpaceMismatchError: calibrated in another embedding space.
    """
    search = plan.search
    asked = [query if isinstance(query, Query) else Query(query) for query in queries]
    ranking = plan.ranking or (yield from default_ranking_flow(plan))
    if ranking == "raw":
        return (yield from search_flow(asked, plan.narrowed))
    calibration = (yield from calibration_flow(search.backend)) if ranking == "calibrated" else None
    answers = []
    for query, vector in zip(asked, (yield from _vectors_flow(search, asked)), strict=True):
        candidates = yield from candidates_flow(vector, plan, query.ids)
        answers.append(_best(candidates, plan, query, calibration))
    return answers


def _vectors_flow(search: SearchPlan, queries: Sequence[Query]) -> Flow[list[Vector]]:
    return query_vectors_flow(search.backend, queries, search.task_type, search.bound)


def default_ranking_flow(plan: RankingPlan) -> Flow[Ranking]:
    """Choose the ranking for a search that names none.

    Documents of one modality are ranked by cosine similarity, unless a confidence is required. Several modalities are
    ranked calibrated if the collection has a calibration for its embedding space, and normalized otherwise; see
    docs/ranking.md for the evidence.
    """
    if plan.search.search_type != "similarity":
        return "raw"
    backend = plan.search.backend
    if plan.min_confidence is None:
        if plan.modalities is not None and len(plan.modalities) == 1:
            return "raw"
        samples = (yield from background_flow(backend)).samples
        if len(samples if plan.modalities is None else samples.keys() & set(plan.modalities)) < 2:
            return "raw"
    stored = yield from stored_calibration_flow(backend)
    fits = stored is not None and same_space(stored.fingerprint, backend.space.fingerprint)
    return "calibrated" if fits else "normalized"


def by_modality_flow(query: Content | Query, plan: RankingPlan) -> Flow[dict[str, Hits]]:
    """Find the nearest documents of each modality, by cosine similarity.

    Args:
        query: any content, or a `Query`.
        plan: the options; `k` is how many of each modality.

    Returns:
        Hits by modality, in the order of `GROUPS` or of the plan's modalities; ranks of each begin with 1. Modalities
        without hits are in it only where the plan names them.

    Raises:
        ValueError: another search type than `similarity`.
    """
    search = plan.search
    if search.search_type != "similarity":
        raise InvalidValueError(f"by_modality compares by similarity, got search_type={search.search_type!r}")
    asked = query if isinstance(query, Query) else Query(query)
    (vector,) = yield from _vectors_flow(search, [asked])
    groups = {group: (group,) for group in plan.modalities or GROUPS}
    found = yield from _nearest_flow(vector, search, groups, asked.ids)
    media = search.backend.space.media
    return {group: hits_of(hits, "cosine", media) for group, hits in found.items() if hits or plan.modalities}


def candidates_flow(vector: Vector, plan: RankingPlan, excluded: Sequence[str]) -> Flow[list[Candidate]]:
    """Find the nearest documents of each modality, and how far their scores deviate from the background.

    Args:
        vector: of the query, `(d,)` float32, unit length.
        plan: the options.
        excluded: ids that are left out.
    """
    backend = plan.search.backend
    chosen = None if plan.modalities is None else {group: (group,) for group in plan.modalities}
    background = yield from background_flow(backend)
    found = yield from _nearest_flow(vector, plan.search, chosen or background.groups, excluded)
    if any(nearest and group not in background.sampled for group, nearest in found.items()):
        # There are documents of a modality that is new in this collection.
        background = yield from read_background_flow(backend)
        found = yield from _nearest_flow(vector, plan.search, chosen or background.groups, excluded)
    compared = compare(background, vector)
    candidates = []
    for group, nearest in found.items():
        for scored in nearest:
            modality = document_modality(scored.record.document) if group == REST else group
            level = compared.levels.get(modality)
            if level is None:  # added after the background was read
                candidates.append(Candidate(scored, modality, 0.0, 0.0))
                continue
            is_sampled = scored.record.id in background.samples[modality].ids
            deviation = level.deviation(scored.score, is_sampled=is_sampled)
            candidates.append(Candidate(scored, modality, deviation, compared.confidence(deviation)))
    return candidates


def _nearest_flow(
    vector: Vector, search: SearchPlan, groups: Mapping[str, tuple[str, ...]], excluded: Sequence[str]
) -> Flow[dict[str, list[Scored]]]:
    """Find the `k` nearest documents of each group; a document of several groups is listed once, in the first.

    Args:
        vector: of the query, `(d,)` float32, unit length.
        search: the options.
        groups: the members of each group, some of `GROUPS`.
        excluded: ids that are left out.
    """
    backend = search.backend
    given = _called_once(search.filter) if callable(search.filter) else search.filter
    requests = [
        VectorRequest(
            vector=vector,
            k=search.k + len(excluded),
            filter=both(given, group_filter(members)),
            score_threshold=search.score_threshold,
            fingerprint=backend.space.fingerprint,
        )
        for members in groups.values()
    ]
    listed = set(excluded)
    nearest: dict[str, list[Scored]] = {}
    for group, found in zip(groups, (yield from backend.search_vectors_many(requests)), strict=True):
        kept = nearest[group] = []
        for scored in found:
            if scored.record.id not in listed and len(kept) < search.k:
                listed.add(scored.record.id)
                kept.append(scored)
    return nearest


def _called_once(given: Predicate) -> Predicate:
    """Return the same function, called once for each document, however many searches ask it."""
    answers: dict[str | None, bool] = {}

    def keeps(document: Any) -> bool:
        if document.id not in answers:
            answers[document.id] = bool(given(document))
        return answers[document.id]

    return keeps


def _best(candidates: Iterable[Candidate], plan: RankingPlan, query: Query, calibration: Calibration | None) -> Hits:
    """Return the best candidates, ranked by probability or by deviation."""
    media = plan.search.backend.space.media
    asked = "" if calibration is None else query_modality(query, media)
    scored: list[tuple[float, float, Candidate]] = []
    for candidate in candidates:
        score, confidence = candidate.deviation, candidate.confidence
        if calibration is not None:
            pair = pair_of(asked, candidate.modality)
            logit = calibration.logit(pair, candidate.scored.score, candidate.deviation)
            score, confidence = calibration.probability(logit), calibration.confidence(logit)
        if plan.min_confidence is None or confidence >= plan.min_confidence:
            scored.append((score, confidence, candidate))
    scored.sort(key=itemgetter(0), reverse=True)
    kind: ScoreKind = "deviation" if calibration is None else "probability"
    hits = Hits()
    for score, confidence, candidate in scored[: plan.search.k]:
        document, cosine = candidate.scored.record.document, candidate.scored.score
        hits.append(Hit(document, score, kind, len(hits) + 1, cosine=cosine, confidence=confidence, media=media))
    return hits
