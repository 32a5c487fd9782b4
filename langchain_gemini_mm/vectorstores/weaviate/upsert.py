"""Storing records in chunks, several of them concurrently."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from weaviate.classes.query import Filter

from langchain_gemini_mm.batching import CancelToken, gathered_map, plan, threaded_map
from langchain_gemini_mm.errors import PartialWriteError, StoreError
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.objects import CHUNK, SizedObject, perturbed, sized_object
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout
from langchain_gemini_mm.weaviate_client.errors import CollectionGoneError, OutageError
from langchain_gemini_mm.weaviate_client.insert import Inserter, Reasons, pauses

logger = logging.getLogger("langchain_gemini_mm")

T = TypeVar("T")

CONCURRENCY = 4
"""Number of chunks that are sent concurrently."""

_NOBODY = uuid.UUID(int=0)
_ATTEMPTS = 3


def upsert_flow(collection: WeaviateCollection, records: Sequence[Record], fingerprint: Fingerprint) -> Flow[None]:
    """Store records durably.

    Args:
        collection: where to store.
        records: with their vectors.
        fingerprint: the embedding space of the vectors.

    Raises:
        PartialWriteError: some objects could not be stored.
        StoreError: none could be stored.
        SpaceMismatchError: the collection belongs to another embedding space.
    """
    if not records:
        return
    dimensions = len(records[0].vector) if records[0].vector is not None else 0
    pending, refused = records, dict[str, str]()
    for _ in range(_ATTEMPTS):
        layout = yield from _retry_outages(collection, lambda: collection.claim(fingerprint, dimensions))
        yield from collection.require_known_tenant(layout)
        objects = [sized_object(record, layout, collection.objects) for record in pending]
        failed, gone = yield from _send(collection, layout, objects)
        if not gone:
            refused |= failed
            if len(failed) == len(pending):
                return _raise_failures(records, refused)
            yield from _flush_index(collection, layout)
        now = yield from _retry_outages(collection, lambda: collection.find(fingerprint, fresh=True))
        if not gone and (now is None or collection.is_same_or_successor(layout, now)):
            return _raise_failures(records, refused)
        if gone:
            # Another client emptied the collection meanwhile. What was stored before was deleted by that.
            refused |= failed
            pending = [record for record in pending if record.id in gone]
        # else the alias was switched to another collection, which should have the documents, too
    raise StoreError(
        f"{collection.label} is repeatedly created, switched and dropped by other processes; nothing was stored in time"
    )


def _flush_index(collection: WeaviateCollection, layout: Layout) -> Flow[None]:
    """Make the server write the changes of the vector index to its disk.

    A killed server keeps every object, but its vector index may lack the last batch (1.39.0: of 100 documents
    near_vector found 40 or none). The log of the index is flushed by the next write, and a deletion that matches
    nothing is a write on every shard and replica.
    """

    def delete_nothing(client: Any) -> Any:
        return collection.handle(client, layout).data.delete_many(Filter.by_id().equal(_NOBODY))

    try:
        yield collection.connection.call("flushing the index", delete_nothing)
    except CollectionGoneError:
        return  # emptied by another client
    except StoreError as error:
        logger.warning("the last documents may be missing from the vector index if the server dies now: %s", error)


def _retry_outages(collection: WeaviateCollection, ask: Callable[[], Flow[T]]) -> Flow[T]:
    """Run a schema operation; wait for a known server that restarts or has no leader."""
    ends = time.monotonic() + collection.connection.write_timeout
    for pause in pauses():
        try:
            return (yield from ask())
        except OutageError:
            if collection.cached_layout is None or time.monotonic() + pause > ends:
                raise
        yield Call(time.sleep, asyncio.sleep, (pause,))
    raise AssertionError("the pauses never end")


def _send(
    collection: WeaviateCollection, layout: Layout, objects: Sequence[SizedObject]
) -> Flow[tuple[dict[str, str], set[str]]]:
    """Send all chunks.

    Returns:
        The reasons for objects that could not be stored, by id; and the ids whose collection no longer existed.
    """
    inserter = Inserter(
        connection=collection.connection,
        what="storing documents",
        collection=lambda client: collection.handle(client, layout),
        create_tenant=lambda: collection.create_tenant(layout),
        # Of replicas, two versions of an object on their way at once may cost a node its collection in the index.
        refresh=None if layout.replication > 1 else perturbed,
    )
    planned = [{item.key: perturbed(item.object) for item in chunk} for chunk in plan(objects, CHUNK)]

    def insert(chunk: Mapping[str, Any], stop: CancelToken) -> Flow[Reasons | None]:
        try:
            return (yield from inserter.insert(chunk, stop))
        except CollectionGoneError:
            collection.forget_layout()
            return None

    def in_threads() -> list[Reasons | None]:
        return threaded_map(lambda chunk, stop: run(insert(chunk, stop)), planned, CONCURRENCY)

    async def gathered() -> list[Reasons | None]:
        return await gathered_map(lambda chunk: arun(insert(chunk, CancelToken())), planned, CONCURRENCY)

    answers = yield Call(in_threads, gathered)
    ids = {item.key: item.id for item in objects}
    gone = {ids[key] for chunk, failed in zip(planned, answers, strict=True) if failed is None for key in chunk}
    return {ids[key]: reason for failed in answers if failed for key, reason in failed.items()}, gone


def _raise_failures(records: Sequence[Record], failed: Mapping[str, str]) -> None:
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
