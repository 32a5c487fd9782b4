"""Information that belongs to a store, such as a calibration: JSON values in a collection of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.objects import uuid_of
from langchain_gemini_mm.weaviate_client.errors import CollectionGoneError
from langchain_gemini_mm.weaviate_client.insert import Inserter

if TYPE_CHECKING:
    import uuid

T = TypeVar("T")

_PAGE = 1000


class Information:
    """The values of `write_info` of one collection and tenant."""

    def __init__(self, collection: WeaviateCollection) -> None:
        self._collection = collection

    @property
    def name(self) -> str:
        """The name of the collection that holds the values."""
        return f"{self._collection.name}_info"

    def read(self, key: str) -> Flow[Any]:
        """Read a value; None if there is none."""
        name, key_uuid = self.name, self._uuid(key)
        try:
            found = yield self._collection.connection.call(
                "reading information",
                lambda c: c.collections.use(name).query.fetch_object_by_id(key_uuid, return_properties=["value"]),
            )
        except CollectionGoneError:
            return None
        return None if found is None else json.loads(found.properties["value"])

    def write(self, key: str, value: Any) -> Flow[None]:
        """Store a value; None removes it.

        Raises:
            ServerFullError: the server allows no further collection.
        """
        connection, name, key_uuid = self._collection.connection, self.name, self._uuid(key)
        if value is None:
            with suppress(CollectionGoneError):
                yield connection.call(
                    "removing information", lambda c: c.collections.use(name).data.delete_by_id(key_uuid)
                )
            return
        properties = {
            "key": key,
            "tenant": self._collection.tenant or "",
            "value": json.dumps(value, ensure_ascii=False),
        }
        objects = {str(key_uuid): DataObject(uuid=key_uuid, properties=properties)}
        inserter = Inserter(
            connection=connection, what="storing information", collection=lambda c: c.collections.use(name)
        )
        reasons = yield from self.creating(lambda: inserter.insert(objects, CancelToken()))
        if reasons:
            reason = next(iter(reasons.values()))
            raise StoreError(f"storing information with {self._collection.label} failed: {reason}")

    def creating(self, write: Callable[[], Flow[T]]) -> Flow[T]:
        """Write to the collection, which is created if it is missing."""
        try:
            return (yield from write())
        except CollectionGoneError:
            creation = self._creation()
            yield from self._collection.create_if_missing(
                "creating the collection", lambda c: c.collections.create(**creation)
            )
            return (yield from write())

    def remove(self) -> Flow[None]:
        """Remove the collection, if it was created for this."""
        connection, name = self._collection.connection, self.name
        with suppress(CollectionGoneError):
            config = yield connection.call("reading the schema", lambda c: c.collections.use(name).config.get())
            if config.description == self._creation()["description"]:
                yield connection.call("removing information", lambda c: c.collections.delete(name))

    def remove_of_tenant(self) -> Flow[None]:
        """Remove the values of this tenant; the collection has no index that could be asked for a tenant."""
        connection, name, tenant = self._collection.connection, self.name, self._collection.tenant
        options: dict[str, Any] = {"after": None, "return_properties": ["tenant"]}
        own = list[Any]()

        def ask(limit: int) -> Flow[Any]:
            return (
                yield connection.call(
                    "removing information",
                    lambda c: c.collections.use(name).query.fetch_objects(limit=limit, **options),
                )
            )

        with suppress(CollectionGoneError):
            while (answer := (yield from connection.limited(ask, _PAGE))).objects:
                own += [item.uuid for item in answer.objects if item.properties["tenant"] == tenant]
                options["after"] = answer.objects[-1].uuid
            if own:
                yield connection.call(
                    "removing information",
                    lambda c: c.collections.use(name).data.delete_many(Filter.by_id().contains_any(own)),
                )

    def _creation(self) -> dict[str, Any]:
        """The arguments of `collections.create`."""
        plain: dict[str, Any] = {"index_filterable": False, "index_searchable": False}
        index = Configure.VectorIndex.none()
        return {
            "name": self.name,
            "description": f"Information that belongs to the index {self._collection.name}",
            "properties": [
                Property(name=word, data_type=DataType.TEXT, **plain) for word in ("key", "tenant", "value")
            ],
            "vector_config": Configure.Vectors.self_provided(name="none", vector_index_config=index),
            "replication_config": Configure.replication(factor=self._collection.options.replication),
        }

    def _uuid(self, key: str) -> uuid.UUID:
        return uuid_of(f"info/{self._collection.tenant or ''}/{key}")
