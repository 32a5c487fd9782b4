"""Filters that the server answers with too many documents: results are checked here, and more are read if needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectors import maximal_marginal_relevance
from langchain_gemini_mm.vectorstores.backend import Backend, KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.filters import Node, matches

_PAGE = 1000
_FIRST, _GROWTH = 100, 4
"""The least number of results that are read at first, and the factor by which it grows."""

Request = TypeVar("Request", VectorRequest, KeywordRequest)


def search_rechecked_flow(
    search: Callable[[Request], Flow[list[Scored]]], request: Request, rest: Node, most: int
) -> Flow[list[Scored]]:
    """Search until `request.k` results match a filter that the server does not answer.

    Args:
        search: answers a request.
        request: with the filter for the server.
        rest: what results have to match in addition.
        most: how many results are read at most.

    Raises:
        FilterError: fewer than `request.k` of the first `most` results match, and there are more.
    """
    depth = min(max(request.k, _FIRST), most)
    while True:
        found = yield from search(replace(request, k=depth))
        kept = [scored for scored in found if matches(rest, scored.record.metadata)][: request.k]
        if len(kept) == request.k or len(found) < depth:
            return kept
        if depth == most:
            raise FilterError(
                f"Weaviate does not answer a part of the filter exactly, and of the first {most:,} results only "
                f"{len(kept)} match it. Filter on a field with an index in addition, or write it as a Filter of "
                "weaviate-client, with the meaning that the server gives to it"
            )
        depth = min(depth * _GROWTH, most)


def nearest_rechecked_flow(
    search: Callable[[VectorRequest], Flow[list[Scored]]], request: VectorRequest, rest: Node, most: int
) -> Flow[list[Scored]]:
    """As `search_rechecked_flow`; maximal marginal relevance selects from the results that match.

    Args:
        search: answers a request.
        request: with the filter for the server.
        rest: what results have to match in addition.
        most: how many results are read at most.
    """
    if request.mmr is None:
        return (yield from search_rechecked_flow(search, request, rest, most))
    wide = replace(request, mmr=None, with_vectors=True)
    found = yield from search_rechecked_flow(search, wide, rest, most)
    having = [scored for scored in found if scored.record.vector is not None]
    rows = [scored.record.vector for scored in having if scored.record.vector is not None]
    if not rows:
        return []
    return [having[i] for i in maximal_marginal_relevance(request.vector, np.stack(rows), *request.mmr)]


def count_rechecked_flow(backend: Backend, node: Node | None) -> Flow[int]:
    """Count the documents that match a filter by reading those that may match."""
    total, after = 0, None
    while records := (yield from backend.page(after, _PAGE, node)):
        total += len(records)
        after = records[-1].id
    return total


def delete_rechecked_flow(backend: Backend, node: Node | None) -> Flow[None]:
    """Delete the documents that match a filter by reading those that may match."""
    after = None
    while records := (yield from backend.page(after, _PAGE, node)):
        after = records[-1].id
        yield from backend.delete([record.id for record in records], None)
