"""Hits by what they belong to: the best files, each with its best moments or pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.interfaces import Content, Vector
from langchain_gemini_mm.vectorstores.backend import Predicate, Primitives
from langchain_gemini_mm.vectorstores.filters import And, In, Node, matches
from langchain_gemini_mm.vectorstores.hits import Group, Hit, Query
from langchain_gemini_mm.vectorstores.search import SearchPlan, nearest_many_flow, query_vectors_flow

MOST_CANDIDATES = 10_000
"""Nearest documents looked at, at most, to find enough groups."""

_FIRST_CANDIDATES = 50


def groups_flow(
    store: Primitives, query: Content | Query, plan: SearchPlan, by: str, per_group: int
) -> Flow[list[Group]]:
    """The `plan.k` groups with the nearest hits, each with its `per_group` nearest.

    The query is embedded once. More and more of the nearest documents are read until there are groups enough; then the
    groups that may have more than was read are asked for by name.
    """
    if plan.mode != "similarity":
        raise ValueError(f"groups are made of mode='similarity', got mode={plan.mode!r}")
    asked = query if isinstance(query, Query) else Query(query)
    (vector,) = yield from query_vectors_flow(store, [asked], plan.task)
    wanted, most = plan.k, MOST_CANDIDATES - len(asked.ids)
    depth = min(max(3 * plan.k * per_group, _FIRST_CANDIDATES), most)
    while True:
        hits = yield from _nearest(store, vector, replace(plan, k=depth, fetch_k=depth), asked)
        groups = _grouped(hits, by)
        is_all = len(hits) < depth
        if is_all or len(groups) >= wanted or depth >= most:
            break
        depth = min(4 * depth, most)
    found = []
    for value, members in groups[:wanted]:
        is_whole = is_all or value is None or len(members) >= per_group
        only = replace(plan, k=per_group, fetch_k=per_group, filter=_within(plan.filter, In(by, (value,))))
        best = members if is_whole else (yield from _nearest(store, vector, only, asked))
        if best:  # else all were deleted meanwhile
            found.append(Group(value, tuple(best[:per_group])))
    return found


def _nearest(store: Primitives, vector: Vector, plan: SearchPlan, query: Query) -> Flow[list[Hit]]:
    fingerprint = store.space.fingerprint
    (hits,) = yield from nearest_many_flow(store, [vector], plan, fingerprint=fingerprint, excluded=[query.ids])
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


def _within(given: Node | Predicate | None, group: In) -> Node | Predicate:
    if given is None:
        return group
    if callable(given):
        return lambda document: given(document) and matches(group, document.metadata)
    return And((given, group))
