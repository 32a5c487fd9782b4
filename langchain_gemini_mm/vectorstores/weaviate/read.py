"""Reading: neighbours, words, by id, in order, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weaviate.classes.query import Diversity, MetadataQuery

from langchain_gemini_mm.batching import Stop, gathered_map, slices, threaded_map
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.vectorstores.backend import KeywordRequest, Scored, VectorRequest
from langchain_gemini_mm.vectorstores.embedding_space import require_dimensions
from langchain_gemini_mm.vectorstores.filters import Node, matches
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import token_terms
from langchain_gemini_mm.vectorstores.weaviate.collection import Place
from langchain_gemini_mm.vectorstores.weaviate.filters import compiled
from langchain_gemini_mm.vectorstores.weaviate.objects import READ_PROPERTIES, record_of, uuid_of
from langchain_gemini_mm.vectorstores.weaviate.schema import VECTOR, Layout
from langchain_gemini_mm.weaviate_client.errors import AnswerTooLargeError, OutageError

MOST_RESULTS = 10_000
"""What a server gives in one answer, unless it is set up otherwise (`QUERY_MAXIMUM_RESULTS`)."""
IDS_AT_ONCE = 500
SEARCHES_AT_ONCE = 8

_ROUNDING = 1e-5


def nearest_flow(place: Place, request: VectorRequest, stop: Stop | None = None) -> Flow[list[Scored]]:
    """Find the nearest objects; with `request.mmr` the server chooses among them those unlike each other."""

    def search(collection: Any, layout: Layout) -> Any:
        require_dimensions(place.label, layout.dimensions, len(request.vector))
        threshold = request.score_threshold
        mmr = request.mmr
        return collection.query.near_vector(
            request.vector.tolist(),
            target_vector=VECTOR,
            limit=request.k,
            distance=None if threshold is None or threshold <= -1 else max(0.0, 1 - threshold + _ROUNDING),
            filters=_compiled(place, layout, request.filter),
            diversity_selection=None if mmr is None else Diversity.mmr(limit=mmr[0], balance=mmr[1]),
            include_vector=[VECTOR] if request.with_vectors else False,
            return_metadata=MetadataQuery(distance=True),
            return_properties=READ_PROPERTIES,
        )

    answer = yield from place.reading("searching", request.fingerprint, search, stop)
    if answer is None:
        return []
    most = request.k if request.mmr is None else request.mmr[0]
    found = [Scored(record_of(item), _cosine(item.metadata.distance)) for item in answer.objects[:most]]
    lowest = request.score_threshold
    return found if lowest is None else [scored for scored in found if scored.score >= lowest - _ROUNDING / 10]


def nearest_many_flow(place: Place, requests: Sequence[VectorRequest]) -> Flow[list[list[Scored]]]:
    """Answer several requests, some of them at once."""
    # The first finds the collection for all.
    first = yield from nearest_flow(place, requests[0])
    rest = requests[1:]

    def in_threads() -> list[list[Scored]]:
        return threaded_map(lambda request, stop: run(nearest_flow(place, request, stop)), rest, SEARCHES_AT_ONCE)

    async def gathered() -> list[list[Scored]]:
        return await gathered_map(lambda request: arun(nearest_flow(place, request)), rest, SEARCHES_AT_ONCE)

    others: list[list[Scored]] = (yield Call(in_threads, gathered)) if rest else []
    return [first, *others]


def matching_flow(place: Place, request: KeywordRequest) -> Flow[list[Scored]]:
    """Find the objects that have the words of a text."""
    words = " ".join(token_terms(request.text))
    if not words:
        return []

    def search(collection: Any, layout: Layout) -> Any:
        return collection.query.bm25(
            words,
            query_properties=_searched(layout, request.properties or ("text",)),
            limit=request.k,
            filters=_compiled(place, layout, request.filter),
            return_metadata=MetadataQuery(score=True),
            return_properties=READ_PROPERTIES,
        )

    answer = yield from place.reading("searching for words", None, search)
    if answer is None:
        return []
    lowest = request.score_threshold or 0.0
    return [
        Scored(record_of(item), float(item.metadata.score)) for item in answer.objects if item.metadata.score >= lowest
    ]


def fetch_flow(place: Place, ids: Sequence[str], with_vectors: bool) -> Flow[list[Record]]:
    """Read objects by id, each once, in the order asked."""
    keys = {str(uuid_of(id_)): id_ for id_ in ids}
    found = yield from _by_keys(place, list(keys), with_vectors)
    by_id = {record.id: record for record in found}
    return [by_id[id_] for id_ in keys.values() if id_ in by_id]


def page_flow(
    place: Place, after: str | None, limit: int, node: Node | None, with_vectors: bool, with_documents: bool
) -> Flow[list[Record]]:
    """Read the next objects in the order of their UUIDs.

    With a filter the ids of all matches are asked for first; where they are more than one answer holds, everything is
    read and filtered here, because the server's cursor takes no filter.
    """
    if node is None:
        return (yield from _next(place, after, min(limit, MOST_RESULTS), with_vectors, with_documents))
    keys = yield from _matching_keys(place, node)
    if keys is not None:
        start = "" if after is None else str(uuid_of(after))
        chosen = [key for key in sorted(keys) if key > start][:limit]
        return (yield from _by_keys(place, chosen, with_vectors))
    while records := (yield from _next(place, after, min(limit, MOST_RESULTS), with_vectors, True)):
        matching = [record for record in records if matches(node, record.metadata)]
        if matching:
            return matching
        after = records[-1].id
    return []


def tally_flow(place: Place, node: Node | None) -> Flow[int]:
    """Count the objects."""

    def count(collection: Any, layout: Layout) -> Any:
        return collection.aggregate.over_all(total_count=True, filters=_compiled(place, layout, node))

    # A cluster asks one replica of each shard, and waits in vain for one that has just died; the next time it knows.
    half = place.connection.timeout / 2
    try:
        answer = yield from place.reading("counting", None, count, timeout=half)
    except OutageError:
        answer = yield from place.reading("counting", None, count, timeout=half)
    return 0 if answer is None else int(answer.total_count or 0)


def _next(place: Place, after: str | None, limit: int, with_vectors: bool, with_documents: bool) -> Flow[list[Record]]:
    start = None if after is None else uuid_of(after)
    properties = READ_PROPERTIES if with_documents else ["doc_id"]
    while True:

        def read(collection: Any, _: Layout, limit: int = limit) -> Any:
            return collection.query.fetch_objects(
                limit=limit,
                after=start,
                include_vector=[VECTOR] if with_vectors else False,
                return_properties=properties,
            )

        try:
            answer = yield from place.reading("reading documents", None, read)
        except AnswerTooLargeError:
            if limit == 1:
                raise
            limit //= 2
            continue
        return [] if answer is None else [record_of(item) for item in answer.objects]


def _matching_keys(place: Place, node: Node) -> Flow[list[str] | None]:
    """UUIDs of all matches; None when they are too many for one answer."""

    def read(collection: Any, layout: Layout) -> Any:
        return collection.query.fetch_objects(
            filters=_compiled(place, layout, node), limit=MOST_RESULTS, return_properties=[]
        )

    answer = yield from place.reading("reading documents", None, read)
    keys = [] if answer is None else [str(item.uuid) for item in answer.objects]
    return keys if len(keys) < MOST_RESULTS else None


def _by_keys(place: Place, keys: Sequence[str], with_vectors: bool) -> Flow[list[Record]]:
    """Read objects by UUID, in the order of these; what does not fit into one answer is asked for in halves."""
    found: dict[str, Record] = {}
    pending = list(slices(keys, IDS_AT_ONCE))
    while pending:
        some = pending.pop()

        def read(collection: Any, _: Layout, some: Sequence[str] = some) -> Any:
            return collection.query.fetch_objects_by_ids(
                some,
                limit=len(some),
                include_vector=[VECTOR] if with_vectors else False,
                return_properties=READ_PROPERTIES,
            )

        try:
            answer = yield from place.reading("reading documents", None, read)
        except AnswerTooLargeError:
            if len(some) == 1:
                raise
            pending += slices(some, -(-len(some) // 2))
            continue
        found |= {str(item.uuid): record_of(item) for item in (answer.objects if answer else [])}
    return [found[key] for key in keys if key in found]


def _compiled(place: Place, layout: Layout, node: Any) -> Any:
    return compiled(node, layout.fields, place.connection.known_version)


def _searched(layout: Layout, wanted: Sequence[str]) -> list[str]:
    """The properties behind metadata keys such as `title^2`."""
    found = []
    for item in wanted:
        key, caret, weight = item.partition("^")
        if key not in layout.words:
            raise ValueError(
                f"{key[:60]!r} is not searched for words. There are: {', '.join(layout.words)}. Others are given as "
                "searchable=[...] when the collection is made"
            )
        found.append(f"{layout.words[key]}{caret}{weight}")
    return found


def _cosine(distance: float) -> float:
    return max(-1.0, min(1.0, 1.0 - distance))
