"""Deleting and changing what is stored."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from langchain_gemini_mm.batching import Stop, slices
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.vectorstores.filters import Node
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.weaviate.collection import Place
from langchain_gemini_mm.vectorstores.weaviate.fields import Field
from langchain_gemini_mm.vectorstores.weaviate.filters import compiled
from langchain_gemini_mm.vectorstores.weaviate.objects import uuid_of
from langchain_gemini_mm.vectorstores.weaviate.read import IDS_AT_ONCE, fetch_flow, page_flow
from langchain_gemini_mm.vectorstores.weaviate.schema import Layout, property_of
from langchain_gemini_mm.vectorstores.weaviate.write import store_flow
from langchain_gemini_mm.vectorstores.write import Progress
from langchain_gemini_mm.weaviate_client.errors import CollectionGoneError, OutageError
from langchain_gemini_mm.weaviate_client.insert import Inserter

_PAGE = 500


def remove_flow(place: Place, ids: Sequence[str] | None, node: Node | None) -> Flow[None]:
    """Delete by ids or by filter."""
    yield from _require_quorum(place)
    if ids is not None:
        for some in slices(ids, IDS_AT_ONCE):
            keys = [uuid_of(id_) for id_ in some]
            yield from _delete(place, lambda _, keys=keys: Filter.by_id().contains_any(keys))
    elif node is not None:
        given = node
        yield from _delete(place, lambda layout: compiled(given, layout.fields, place.connection.known_version))


def _delete(place: Place, where: Any) -> Flow[None]:
    """Delete until nothing matches: a server deletes no more than 10,000 at once."""

    def delete(collection: Any, layout: Layout) -> Any:
        return collection.data.delete_many(where(layout) or Filter.by_id().not_equal(uuid_of("")))

    while True:
        answer = yield from place.reading("deleting", None, delete)
        if answer is None or answer.matches == answer.successful:
            return
        if not answer.successful:
            # A server that is asked for the reasons (`verbose`) fails over them.
            raise StoreError(
                f"deleting failed: {answer.matches} documents of {place.label} match, and {answer.failed} of them "
                "could not be deleted. Is a shard read-only, as when the server's disk is nearly full? Then make room, "
                "then set it READY. Calling again is safe"
            )


def _require_quorum(place: Place) -> Flow[None]:
    """Refuse to delete while most copies are away: the server deletes from those that are there and calls it done.

    Raises:
        OutageError: a quorum cannot be had.
    """
    layout = yield from place.located()
    if layout is None or layout.replication == 1:
        return
    nodes = yield place.connection.call("looking at the cluster", lambda c: c.cluster.nodes())
    up = sum(node.status == "HEALTHY" for node in nodes)
    # A node that is away for long is no longer listed.
    if up <= layout.replication // 2 or len(nodes) - up > (layout.replication - 1) // 2:
        raise OutageError(
            f"nothing was deleted: {up} nodes answer, and {place.label} has {layout.replication} copies. Start the "
            "others first, or they would keep what is deleted"
        )


def clear_flow(place: Place) -> Flow[None]:
    """Delete everything; with tenants what this one has, and the collection stays: others may be writing to it."""
    layout = yield from place.located(fresh=True)
    if layout is None:
        return
    place.require_tenant(layout)
    if place.tenant is None:
        yield from place.renewed(layout, None, None)
        return
    tenant, physical = place.tenant, layout.physical
    yield place.connection.call("removing the tenant", lambda c: c.collections.use(physical).tenants.remove([tenant]))


def revise_flow(place: Place, changes: Mapping[str, Mapping[str, Any]], replace_all: bool) -> Flow[list[str]]:
    """Change metadata; the ids that are not stored, and then nothing is changed."""
    records = yield from fetch_flow(place, list(changes), with_vectors=True)
    known = {record.id for record in records}
    unknown = [id_ for id_ in changes if id_ not in known]
    if unknown:
        return unknown
    revised = [
        replace(record, metadata=dict(changes[record.id]) if replace_all else {**record.metadata, **changes[record.id]})
        for record in records
    ]
    yield from _stored_again(place, revised)
    return []


def add_field_flow(place: Place, field: Field, progress: Progress | None) -> Flow[int]:
    """Add a property and fill it from the metadata; how many documents have a value for it."""
    layout = yield from place.located(fresh=True)
    if layout is None:
        return 0
    place.require_tenant(layout)
    yield from _require_fitting(place, field)
    if field.key not in layout.fields:
        physical = layout.physical
        yield place.connection.call(
            "adding a field", lambda c: c.collections.use(physical).config.add_property(property_of(field))
        )
        yield from place.located(fresh=True)
    filled, after = 0, None
    while records := (yield from page_flow(place, after, _PAGE, None, with_vectors=True, with_documents=True)):
        having = [record for record in records if record.metadata.get(field.key) is not None]
        yield from _stored_again(place, having)
        filled += len(having)
        after = records[-1].id
        if progress is not None:
            progress(filled)
    return filled


def reindex_flow(place: Place, progress: Progress | None) -> Flow[int]:
    """Store every document as it is, so that each replica puts its vector into its index; how many there are."""
    layout = yield from place.located(fresh=True)
    if layout is None or layout.fingerprint is None:
        return 0
    place.require_tenant(layout)
    done, after = 0, None
    while records := (yield from page_flow(place, after, _PAGE, None, with_vectors=True, with_documents=True)):
        yield from store_flow(place, records, layout.fingerprint)
        done += len(records)
        after = records[-1].id
        if progress is not None:
            progress(done)
    return done


def _require_fitting(place: Place, field: Field) -> Flow[None]:
    """Look at what is stored before the schema is changed, which cannot be undone.

    Raises:
        ContentError: a stored value is not of the field's type.
    """
    after: str | None = None
    while records := (yield from page_flow(place, after, _PAGE, None, with_vectors=False, with_documents=True)):
        for record in records:
            field.stored(record.metadata.get(field.key), f"document {record.id[:60]!r}: metadata")
        after = records[-1].id


def _stored_again(place: Place, records: Sequence[Record]) -> Flow[None]:
    layout = yield from place.located()
    if layout is not None and layout.fingerprint is not None:
        yield from store_flow(place, records, layout.fingerprint, indexed=True)


_PAUSE = 0.2


def indexed_flow(place: Place, seconds: float) -> Flow[None]:
    """Wait until every vector of the collection can be found.

    Raises:
        StoreError: there are still some in the queue after `seconds`.
    """
    ends = time.monotonic() + seconds
    while True:
        layout = yield from place.located()
        if layout is None:
            return
        nodes = yield place.connection.call("looking at the index", partial(_nodes, layout.physical))
        waiting = _waiting(nodes, place.tenant)
        if not waiting:
            return
        if time.monotonic() > ends:
            raise StoreError(f"{waiting} vectors of {place.label} are not indexed after {seconds:g} s. Wait longer")
        yield Call(time.sleep, asyncio.sleep, (_PAUSE,))


def _nodes(physical: str, client: Any) -> Any:
    return client.cluster.nodes(collection=physical, output="verbose")


def _waiting(nodes: Any, tenant: str | None) -> int:
    """Vectors in the queues, or 1 where a shard is busy without saying how many."""
    waiting = 0
    for node in nodes:
        for shard in node.shards or []:
            if tenant is None or shard.name == tenant:
                length = int(shard.vector_queue_length or 0)
                waiting += length or int(shard.vector_indexing_status == "INDEXING")
    return waiting


def collection_of(place: Place) -> str:
    """The name of the collection with the values of a place."""
    return f"{place.name}_info"


def read_flow(place: Place, key: str) -> Flow[Any]:
    """Read a value; None when there is none."""
    if key in ("fingerprint", "dimensions"):
        layout = yield from place.located(fresh=True)
        return getattr(layout, key, None)
    name = collection_of(place)
    try:
        found = yield place.connection.call(
            "reading information",
            lambda c: c.collections.use(name).query.fetch_object_by_id(_uuid(place, key), return_properties=["value"]),
        )
    except CollectionGoneError:
        return None
    return None if found is None else json.loads(found.properties["value"])


def write_flow(place: Place, key: str, value: Any) -> Flow[None]:
    """Store a value; None removes it."""
    name = collection_of(place)
    if value is None:
        with suppress(CollectionGoneError):
            yield place.connection.call(
                "removing information", lambda c: c.collections.use(name).data.delete_by_id(_uuid(place, key))
            )
        return
    said = {"key": key, "tenant": place.tenant or "", "value": json.dumps(value, ensure_ascii=False)}
    objects = {str(_uuid(place, key)): DataObject(uuid=_uuid(place, key), properties=said)}
    inserter = Inserter(
        connection=place.connection, what="storing information", collection=lambda c: c.collections.use(name)
    )
    try:
        reasons = yield from inserter.insert(objects, Stop())
    except CollectionGoneError:
        yield from place.unless_there("making the collection", lambda c: c.collections.create(**_creation(place)))
        reasons = yield from inserter.insert(objects, Stop())
    for reason in reasons.values():
        raise StoreError(f"storing information with {place.label} failed: {reason}")


def _creation(place: Place) -> dict[str, Any]:
    """The arguments of `collections.create`."""
    plain: dict[str, Any] = {"index_filterable": False, "index_searchable": False}
    return {
        "name": collection_of(place),
        "description": f"Information that belongs to the index {place.name}",
        "properties": [Property(name=word, data_type=DataType.TEXT, **plain) for word in ("key", "tenant", "value")],
        "vector_config": Configure.Vectors.self_provided(name="none", vector_index_config=Configure.VectorIndex.none()),
        "replication_config": Configure.replication(factor=place.options.replication),
    }


def _uuid(place: Place, key: str) -> Any:
    return uuid_of(f"info/{place.tenant or ''}/{key}")
