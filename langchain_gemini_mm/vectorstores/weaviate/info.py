"""What `set_info` stores: JSON values in a small collection beside the index, which outlives the index's versions."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject

from langchain_gemini_mm.batching import Stop
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.weaviate.collection import Place
from langchain_gemini_mm.vectorstores.weaviate.objects import uuid_of
from langchain_gemini_mm.weaviate_client.errors import CollectionGoneError
from langchain_gemini_mm.weaviate_client.insert import Inserter


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
