"""Storing objects: in chunks, several at once, each object accounted for."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from weaviate.classes.query import Filter
from weaviate.exceptions import WeaviateInsertManyAllFailedError

from langchain_gemini_mm._weaviate.failures import (
    AnswerTooLargeError,
    CollectionGoneError,
    OutageError,
    TenantGoneError,
    is_retriable,
    shortened,
    with_remedy,
    words_of,
)
from langchain_gemini_mm.batching import Stop, gathered_map, threaded_map
from langchain_gemini_mm.errors import PartialWriteError, StoreError
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.spaces import Fingerprint
from langchain_gemini_mm.vectorstores.weaviate.objects import Sized, chunks, sized
from langchain_gemini_mm.vectorstores.weaviate.place import Place
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout

logger = logging.getLogger("langchain_gemini_mm")

T = TypeVar("T")

CONCURRENCY = 4
"""Chunks on their way at once."""

_FIRST_SHARE = 1 / 6
"""Of the time for a chunk, what the first attempt gets; each one after it twice as much.

A node that dies with a chunk in its hands leaves it unanswered for good, and the next attempt goes past it.
"""
_NOBODY = uuid.UUID(int=0)
_PAUSE = 0.25
_LONGEST_PAUSE = 2.0
_ATTEMPTS = 3
_UNCLEAR = "the server's answer names objects that were not sent, so it is not known what is stored"


def store_flow(place: Place, records: Sequence[Record], fingerprint: Fingerprint) -> Flow[None]:
    """Store records; what is stored when this returns is on the server's disk.

    Raises:
        PartialWriteError: some objects could not be stored; both lists are given.
        StoreError: none could be stored.
        SpaceMismatchError: the collection is of another space.
    """
    if not records:
        return
    dimensions = len(records[0].vector) if records[0].vector is not None else 0
    for _ in range(_ATTEMPTS):
        layout = yield from _patiently(place, lambda: place.claimed(fingerprint, dimensions))
        yield from place.require_known_tenant(layout)
        try:
            failed = yield from _sent(place, layout, [sized(record, layout) for record in records])
        except CollectionGoneError:
            place.forget()
            continue
        if len(failed) == len(records):
            return _require_stored(records, failed)
        yield from _settled(place, layout)
        now = yield from _patiently(place, lambda: place.located(fingerprint, fresh=True))
        if now is None or now.physical == layout.physical:  # else the alias was switched: store there, too
            return _require_stored(records, failed)
    raise StoreError(f"{place.label} is made, switched and dropped by others all the time; this was not stored in time")


def _settled(place: Place, layout: Layout) -> Flow[None]:
    """Make the server write what the batch did to the vector index to its disk.

    A server that is killed keeps every object, but comes back with an index that does not know the last batch (1.39.0:
    of 100 documents near_vector found 40 or none). The log of the index is flushed with the next write, and a deletion
    that matches nothing is one, on every shard and replica.
    """

    def delete_nothing(client: Any) -> Any:
        return place.handle(client, layout).data.delete_many(Filter.by_id().equal(_NOBODY))

    try:
        yield place.connection.call("settling the index", delete_nothing)
    except StoreError as error:
        logger.warning("what was stored last may be missing from the index if the server dies now: %s", error)


def _patiently(place: Place, ask: Callable[[], Flow[T]]) -> Flow[T]:
    """Ask about the schema; a server that was there before and starts again, or has no leader, is waited for."""
    ends = time.monotonic() + place.connection.write_timeout
    for pause in _pauses():
        try:
            return (yield from ask())
        except OutageError:
            if place.known is None or time.monotonic() + pause > ends:
                raise
        yield Call(time.sleep, asyncio.sleep, (pause,))
    raise AssertionError("the pauses never end")


def _sent(place: Place, layout: Layout, objects: Sequence[Sized]) -> Flow[Mapping[str, str]]:
    """Send all chunks; reasons by id for what could not be stored."""
    planned = list(chunks(objects))

    def in_threads() -> list[dict[str, str]]:
        return threaded_map(lambda chunk, stop: run(_chunk_flow(place, layout, chunk, stop)), planned, CONCURRENCY)

    async def gathered() -> list[dict[str, str]]:
        return await gathered_map(lambda chunk: arun(_chunk_flow(place, layout, chunk, Stop())), planned, CONCURRENCY)

    answers = yield Call(in_threads, gathered)
    return {id_: reason for failed in answers for id_, reason in failed.items()}


def _chunk_flow(place: Place, layout: Layout, chunk: Sequence[Sized], stop: Stop) -> Flow[dict[str, str]]:
    """Send one chunk until each object is stored, is refused for good, or the time is over."""
    ends = time.monotonic() + place.connection.write_timeout
    pending = {item.key: item for item in chunk}
    refused: dict[str, str] = {}
    patience = place.connection.write_timeout * _FIRST_SHARE
    for pause in _pauses():
        reasons = yield from _attempt(place, layout, pending, min(patience, ends - time.monotonic()), stop)
        patience *= 2
        refused |= {pending[key].id: said for key, said in reasons.items() if not is_retriable(said)}
        pending = {key: pending[key] for key, said in reasons.items() if is_retriable(said)}
        left = ends - time.monotonic() - pause
        if not pending or left <= 0 or stop.requested:
            return refused | {item.id: reasons[key] for key, item in pending.items()}
        yield Call(stop.sleep, asyncio.sleep, (pause,))
    raise AssertionError("the pauses never end")


def _attempt(
    place: Place, layout: Layout, pending: Mapping[str, Sized], seconds: float, stop: Stop
) -> Flow[dict[str, str]]:
    """Send once; reasons by UUID."""
    items = list(pending.values())

    def insert(client: Any) -> Any:
        return place.handle(client, layout).data.insert_many([item.object for item in items])

    try:
        answer = yield place.connection.call("storing documents", insert, timeout=max(0.5, seconds), stop=stop)
    except OutageError as error:
        return dict.fromkeys(pending, f"timeout: {error}")
    except TenantGoneError:
        yield from place.admit_tenant(layout)
        return dict.fromkeys(pending, "timeout: the tenant was made just now")
    except CollectionGoneError:
        raise
    except AnswerTooLargeError as error:
        if len(items) == 1:
            return dict.fromkeys(pending, str(error))
        reasons: dict[str, str] = {}
        for half in (items[: len(items) // 2], items[len(items) // 2 :]):
            some = {item.key: item for item in half}
            reasons |= yield from _attempt(place, layout, some, seconds, stop)
        return reasons
    except StoreError as error:
        cause = error.__cause__
        refused = isinstance(cause, WeaviateInsertManyAllFailedError)
        said = with_remedy(words_of(cause)) if refused else str(error)
        return dict.fromkeys(pending, said)
    return _accounted(items, answer)


def _accounted(items: Sequence[Sized], answer: Any) -> dict[str, str]:
    """What failed, by UUID: what the server says so of, and what it says nothing of."""
    if answer.has_errors and not answer.errors:  # the client drops errors whose object it does not find
        return {item.key: _UNCLEAR for item in items}
    failed = {items[i].key: with_remedy(shortened(str(error.message))) for i, error in answer.errors.items()}
    for i, item in enumerate(items):
        if i not in answer.errors and i not in answer.uuids:
            failed[item.key] = "timeout: the server said nothing of this object"
    return failed


def _pauses() -> Iterator[float]:
    pause = _PAUSE
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)


def _require_stored(records: Sequence[Record], failed: Mapping[str, str]) -> None:
    if not failed:
        return
    stored = [record.id for record in records if record.id not in failed]
    reason = next(iter(failed.values()))
    if not stored:
        raise StoreError(f"none of {len(records)} documents could be stored: {reason}")
    raise PartialWriteError(
        f"{len(stored)} documents are stored, {len(failed)} not: {reason}. Calling again with the same ids is safe",
        stored=stored,
        failed=failed,
    )
