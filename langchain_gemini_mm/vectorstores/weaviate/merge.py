"""Changes of stored objects: single properties or the vector, so that nothing else that others write is undone.

Weaviate has no conditional write. An object is therefore read immediately before it is changed, changed by a merge,
which never creates an object that was deleted, and read again: what another client stored in between is changed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from weaviate.exceptions import UnexpectedStatusCodeError

from langchain_gemini_mm.batching import CancelToken, gathered_map, threaded_map
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow, arun, run
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.objects import packed, perturbed_row, vector_of
from langchain_gemini_mm.vectorstores.weaviate.reader import exact_object
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout
from langchain_gemini_mm.weaviate_client.errors import CollectionGoneError, TenantGoneError

CONCURRENCY = 8
"""Number of objects that are changed concurrently."""

_ATTEMPTS = 10

Revise = Callable[[Record], dict[str, Any]]
"""Returns the metadata that a record should have; called again if another client replaced the record meanwhile."""
Reembed = Callable[[Record], Flow[Vector]]
"""Computes the vector of a record."""


def merge_metadata_flow(collection: WeaviateCollection, ids: Sequence[str], revise: Revise) -> Flow[list[str]]:
    """Change the metadata of stored documents, and the properties that follow from them.

    Args:
        collection: where they are.
        ids: of the documents.
        revise: the metadata that a document should have.

    Returns:
        The ids that are not stored, or no longer.

    Raises:
        ContentError: metadata do not fit the fields of the collection.
    """
    return _each_flow(ids, lambda id_, stop: _merge_one(collection, id_, revise, stop))


def index_again_flow(collection: WeaviateCollection, ids: Sequence[str], reembed: Reembed) -> Flow[list[str]]:
    """Store the vectors of documents again, so that every replica updates its vector index.

    Args:
        collection: where they are.
        ids: of the documents.
        reembed: the vector of a document that another client replaced in the same instant.

    Returns:
        The ids that are not stored, or no longer.
    """
    return _each_flow(ids, lambda id_, stop: _index_one(collection, id_, reembed, stop))


def _each_flow(ids: Sequence[str], change: Callable[[str, CancelToken | None], Flow[bool]]) -> Flow[list[str]]:
    def in_threads() -> list[bool]:
        return threaded_map(lambda id_, stop: run(change(id_, stop)), ids, CONCURRENCY)

    async def gathered() -> list[bool]:
        return await gathered_map(lambda id_: arun(change(id_, None)), ids, CONCURRENCY)

    changed = yield Call(in_threads, gathered)
    return [id_ for id_, there in zip(ids, changed, strict=True) if not there]


def _merge_one(collection: WeaviateCollection, id_: str, revise: Revise, stop: CancelToken | None) -> Flow[bool]:
    """Change one document until it is as wanted; False if it is not stored."""
    for _ in range(_ATTEMPTS):
        found, layout = yield from _read(collection, id_, stop, with_vector=False)
        if found is None or layout is None:
            return False
        objects = collection.objects
        changes = objects.changes(found, revise(objects.record_of(found, layout)), layout)
        if not changes:
            return True
        if not (yield from _update(collection, layout, id_, stop, properties=changes)):
            return False
    raise StoreError(f"document {id_[:60]!r} of {collection.label} is changed by others all the time; try again")


def _index_one(collection: WeaviateCollection, id_: str, reembed: Reembed, stop: CancelToken | None) -> Flow[bool]:
    """Store the vector of one document again; False if it is not stored."""
    found, layout = yield from _read(collection, id_, stop)
    record_of = collection.objects.record_of
    vector = None if found is None or layout is None else vector_of(found, layout)
    for _ in range(_ATTEMPTS):
        if found is None or layout is None or vector is None:
            return False
        before, row = record_of(found, layout), perturbed_row(vector)
        if not (yield from _update(collection, layout, id_, stop, vector=packed(row.tolist(), layout.vector))):
            return False
        found, layout = yield from _read(collection, id_, stop)
        if found is None or layout is None:
            return False
        now, stored = record_of(found, layout), vector_of(found, layout)
        if stored is None or not np.allclose(stored, row, atol=1e-5):
            return True  # stored by another client after us, and indexed by that
        if (now.text, now.metadata) == (before.text, before.metadata):
            return True
        # Another client replaced it between our reading and our writing, and its vector is lost.
        vector = yield from reembed(now)
    raise StoreError(f"document {id_[:60]!r} of {collection.label} is changed by others all the time; try again")


def _read(
    collection: WeaviateCollection, id_: str, stop: CancelToken | None, *, with_vector: bool = True
) -> Flow[tuple[Any, Layout] | tuple[None, None]]:
    return exact_object(collection, collection.objects.uuid_of(id_), with_vector, stop)


def _update(
    collection: WeaviateCollection, layout: Layout, id_: str, stop: CancelToken | None, **changes: Any
) -> Flow[bool]:
    """Merge changes into an object; False if it does not exist."""
    key = collection.objects.uuid_of(id_)
    try:
        yield collection.connection.call(
            "changing a document",
            lambda client: collection.handle(client, layout).data.update(key, **changes),
            timeout=collection.connection.write_timeout,
            stop=stop,
        )
    except (CollectionGoneError, TenantGoneError):
        collection.forget_layout()
        return False  # emptied by another client
    except StoreError as error:
        cause = error.__cause__
        if isinstance(cause, UnexpectedStatusCodeError) and cause.status_code == 404:
            return False
        raise
    return True
