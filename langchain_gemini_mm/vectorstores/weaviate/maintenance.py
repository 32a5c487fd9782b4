"""Deleting and changing what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from weaviate.classes.query import Filter

from langchain_gemini_mm.batching import slices
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow
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
from langchain_gemini_mm.weaviate_client.errors import OutageError

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
