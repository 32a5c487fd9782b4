"""What `set_info` stores: JSON values in a small collection beside the index, which outlives the index's versions."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from weaviate.classes.config import Configure, DataType, Property

from langchain_gemini_mm._weaviate.failures import CollectionGoneError
from langchain_gemini_mm._weaviate.names import is_taken
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.weaviate.objects import uuid_of
from langchain_gemini_mm.vectorstores.weaviate.place import Place


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
    yield from _made(place, name)
    yield from _put(place, name, _uuid(place, key), said)


def _put(place: Place, name: str, key: Any, said: dict[str, str]) -> Flow[None]:
    there = yield place.connection.call("storing information", lambda c: c.collections.use(name).data.exists(key))
    if there:
        yield place.connection.call(
            "storing information", lambda c: c.collections.use(name).data.replace(uuid=key, properties=said)
        )
    else:
        yield place.connection.call(
            "storing information", lambda c: c.collections.use(name).data.insert(uuid=key, properties=said)
        )


def _made(place: Place, name: str) -> Flow[None]:
    exists = yield place.connection.call("opening", lambda c: c.collections.exists(name))
    if exists:
        return
    yield from place.connection.version()
    plain: dict[str, Any] = {"index_filterable": False, "index_searchable": False}
    wanted: dict[str, Any] = {
        "name": name,
        "description": f"Information that belongs to the index {place.name}",
        "properties": [Property(name=word, data_type=DataType.TEXT, **plain) for word in ("key", "tenant", "value")],
        "vector_config": Configure.Vectors.self_provided(name="none", vector_index_config=Configure.VectorIndex.flat()),
        "replication_config": Configure.replication(factor=place.options.replication),
    }
    try:
        yield place.connection.call("making the collection", lambda c: c.collections.create(**wanted))
    except StoreError as error:
        if not is_taken(error):
            raise


def _uuid(place: Place, key: str) -> Any:
    return uuid_of(f"info/{place.tenant or ''}/{key}")
