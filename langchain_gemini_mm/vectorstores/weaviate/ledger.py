"""The ledger of a store in Weaviate: texts by key, in a collection of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from weaviate.classes.config import Configure, DataType, Property
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from langchain_gemini_mm.batching import CancelToken, slices
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.objects import uuid_of
from langchain_gemini_mm.weaviate_client.errors import CollectionGoneError
from langchain_gemini_mm.weaviate_client.insert import Inserter

_PAGE = 5000
"""Entries of one response; servers may allow fewer than 10,000."""
_AT_ONCE = 500


class WeaviateLedger:
    """The entries of one store, or of one tenant of it.

    Args:
        collection: of the documents.
    """

    def __init__(self, collection: WeaviateCollection) -> None:
        self._collection = collection
        self.name = f"{collection.name}_ledger"
        self._tenant = collection.tenant or ""

    def read(self, prefix: str) -> Flow[dict[str, str]]:
        """Read the entries whose keys begin with `prefix`; all entries pass, because the server has no such index."""
        found: dict[str, str] = {}
        after: Any = None
        while True:
            options = {"limit": _PAGE, "after": after, "return_properties": ["key", "tenant", "value"]}
            try:
                answer = yield self._collection.connection.call(
                    "reading the ledger",
                    lambda c, options=options: c.collections.use(self.name).query.fetch_objects(**options),  # type: ignore[misc]
                )
            except CollectionGoneError:
                return {}
            for item in answer.objects:
                key = item.properties["key"]
                if item.properties["tenant"] == self._tenant and key.startswith(prefix):
                    found[key] = item.properties["value"]
            if len(answer.objects) < _PAGE:
                return found
            after = answer.objects[-1].uuid

    def find(self, keys: Sequence[str]) -> Flow[dict[str, str]]:
        """Read single entries; absent ones are left out."""
        found: dict[str, str] = {}
        for some in slices(keys, _AT_ONCE):
            ids = [self._uuid(key) for key in some]
            try:
                answer = yield self._collection.connection.call(
                    "reading the ledger",
                    lambda c, ids=ids: c.collections.use(self.name).query.fetch_objects_by_ids(  # type: ignore[misc]
                        ids, limit=len(ids), return_properties=["key", "value"]
                    ),
                )
            except CollectionGoneError:
                return {}
            found |= {item.properties["key"]: item.properties["value"] for item in answer.objects}
        return found

    def write(self, entries: Mapping[str, str | None]) -> Flow[None]:
        """Write entries durably; None removes one."""
        written = {key: value for key, value in entries.items() if value is not None}
        for some in slices(list(written), _AT_ONCE):
            yield from self._insert({str(self._uuid(key)): self._object(key, written[key]) for key in some})
        removed = [self._uuid(key) for key, value in entries.items() if value is None]
        for ids in slices(removed, _AT_ONCE):
            with suppress(CollectionGoneError):
                yield self._collection.connection.call(
                    "writing the ledger",
                    lambda c, ids=ids: c.collections.use(self.name).data.delete_many(Filter.by_id().contains_any(ids)),  # type: ignore[misc]
                )

    def remove(self) -> Flow[None]:
        """Remove all entries: the collection, or those of the tenant."""
        if self._tenant:
            yield from self.write(dict.fromkeys((yield from self.read(""))))
            return
        described = self._creation()["description"]
        with suppress(CollectionGoneError):
            config = yield self._collection.connection.call(
                "reading the schema", lambda c: c.collections.use(self.name).config.get()
            )
            if config.description == described:
                yield self._collection.connection.call("removing the ledger", lambda c: c.collections.delete(self.name))

    def _insert(self, objects: Mapping[str, Any]) -> Flow[None]:
        inserter = Inserter(
            connection=self._collection.connection,
            what="writing the ledger",
            collection=lambda c: c.collections.use(self.name),
        )
        try:
            reasons = yield from inserter.insert(objects, CancelToken())
        except CollectionGoneError:
            creation = self._creation()
            yield from self._collection.create_if_missing(
                "creating the ledger", lambda c: c.collections.create(**creation)
            )
            reasons = yield from inserter.insert(objects, CancelToken())
        if reasons:
            reason = next(iter(reasons.values()))
            raise StoreError(f"writing the ledger of {self._collection.label} failed: {reason}")

    def _object(self, key: str, value: str) -> Any:
        properties = {"key": key, "tenant": self._tenant, "value": value}
        return DataObject(uuid=self._uuid(key), properties=properties)

    def _uuid(self, key: str) -> Any:
        return uuid_of(f"ledger/{self._tenant}/{key}")

    def _creation(self) -> dict[str, Any]:
        """The arguments of `collections.create`."""
        plain: dict[str, Any] = {"index_filterable": False, "index_searchable": False}
        words = ("key", "tenant", "value")
        return {
            "name": self.name,
            "description": f"What is known of the files of the index {self._collection.name}",
            "properties": [Property(name=word, data_type=DataType.TEXT, **plain) for word in words],
            "vector_config": Configure.Vectors.self_provided(
                name="none", vector_index_config=Configure.VectorIndex.none()
            ),
            "replication_config": Configure.replication(factor=self._collection.options.replication),
        }
