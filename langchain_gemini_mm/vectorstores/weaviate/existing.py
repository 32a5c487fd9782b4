"""A collection that this package did not create, and its documents.

Nothing is added to it unless the caller asks for it: no property, no description, no other collection.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from weaviate.classes.query import Filter

from langchain_gemini_mm.errors import ContentError, StoreError
from langchain_gemini_mm.flows import Flow
from langchain_gemini_mm.vectorstores.embedding_space import EmbeddingSpace, Fingerprint, require_dimensions
from langchain_gemini_mm.vectorstores.weaviate.backend import WeaviateBackend
from langchain_gemini_mm.vectorstores.weaviate.collection import WeaviateCollection
from langchain_gemini_mm.vectorstores.weaviate.existing_schema import (
    ExistingObjects,
    ExistingSchema,
    canonical,
    described_by,
)
from langchain_gemini_mm.vectorstores.weaviate.fields import declared_fields
from langchain_gemini_mm.vectorstores.weaviate.filter_compiler import Divided
from langchain_gemini_mm.vectorstores.weaviate.objects import asked_vector, dumped, require_size, uuid_of, vector_of
from langchain_gemini_mm.vectorstores.weaviate.schema import WRITER, Layout, Options
from langchain_gemini_mm.weaviate_client.connection import Connection
from langchain_gemini_mm.weaviate_client.errors import CollectionGoneError, TenantGoneError


class ExistingCollection(WeaviateCollection):
    """A collection that this package neither creates, replaces nor removes."""

    objects: ExistingObjects

    def of_tenant(self, tenant: str) -> ExistingCollection:
        """The same collection for another tenant."""
        other = copy(self)
        other.tenant, other._handles = tenant, {}
        return other

    def _resolve(self, seconds: float | None = None) -> Flow[Layout | None]:
        yield from self.connection.version()
        try:
            config = yield self.connection.call(
                "opening", lambda c: c.collections.use(self.name).config.get(), timeout=seconds
            )
        except CollectionGoneError:
            raise StoreError(
                f"there is no {self.label}. WeaviateVectorStore(client, {self.name!r}, embedding) makes a new one with "
                "its first document"
            ) from None
        layout = self.objects.schema.layout(config)
        if layout.dimensions is None and not (layout.multi_tenant and self.tenant is None):
            layout = replace(layout, dimensions=(yield from self._dimensions(layout)))
        return layout

    def _dimensions(self, layout: Layout) -> Flow[int | None]:
        """The length of a stored vector; None if there is none."""

        def one(client: Any) -> Any:
            handle = self.handle(client, layout)
            return handle.query.fetch_objects(limit=1, include_vector=asked_vector(layout), return_properties=[])

        try:
            answer = yield self.connection.call("reading a vector", one)
        except (CollectionGoneError, TenantGoneError):
            return None
        found = vector_of(answer.objects[0], layout) if answer.objects else None
        return None if found is None else len(found)

    def claim(self, fingerprint: Fingerprint, dimensions: int) -> Flow[Layout]:
        """The collection, if it can hold these vectors.

        Raises:
            SpaceMismatchError: it belongs to another embedding space, or holds vectors of another length.
        """
        layout = yield from self.find(fingerprint, fresh=True)
        assert layout is not None  # noqa: S101 - `_resolve` raises
        self.require_tenant(layout)
        require_dimensions(self.label, layout.dimensions, dimensions)
        return layout

    def enable_changes(self) -> Flow[None]:
        """Do nothing: metadata are properties, which are changed themselves."""
        yield from ()

    def record_space(self, fingerprint: Fingerprint) -> Flow[None]:
        """Write the embedding space into the description, with what was there."""
        layout = yield from self.find(fingerprint, fresh=True)
        assert layout is not None  # noqa: S101 - as above
        config = yield self.connection.call("opening", lambda c: c.collections.use(layout.physical).config.get())
        before = described_by(config.description).get("existing", config.description)
        described = {"writer": WRITER, "existing": before, "fingerprint": fingerprint, "dimensions": layout.dimensions}
        text = json.dumps(described, ensure_ascii=False, sort_keys=True)
        yield self.connection.call(
            "describing the collection", lambda c: c.collections.use(layout.physical).config.update(description=text)
        )
        self.forget_layout()


class ExistingBackend(WeaviateBackend):
    """The objects of a collection that this package did not create."""

    collection: ExistingCollection

    @property
    def supports_mmr(self) -> bool:
        """Whether the server selects by maximal marginal relevance, which it does by its own distance."""
        layout = self.collection.cached_layout
        return super().supports_mmr and layout is not None and layout.distance == "cosine"

    def check_id(self, id_: str, where: str) -> None:
        """Refuse an id that the collection cannot hold; see `Backend`."""
        if str(uuid_of(id_)) != id_:
            try:
                _ = self.collection.objects.id_property
            except ContentError as error:
                raise ContentError(f"the id {id_[:60]!r} of {where} cannot be stored: {error}") from None

    def check_document(self, text: str, metadata: Mapping[str, Any], where: str) -> None:
        """Refuse a document that is too large or has unknown metadata; see `Backend`."""
        require_size(text, dumped(metadata), where)
        layout = self.collection.cached_layout
        if layout is not None:
            self.collection.objects.metadata_properties(metadata, layout, where)

    def truncate(self) -> Flow[None]:
        """Delete every object; the collection stays."""
        yield from self._require_quorum()
        yield from self._delete_all_of(lambda _: Filter.by_id().not_equal(uuid_of("")))

    def remove(self) -> Flow[None]:
        """Refuse to remove what this package did not create.

        Raises:
            StoreError: always.
        """
        yield from ()
        raise StoreError(
            f"{self.collection.label} was not created by this package, which does not remove it. delete_all() deletes "
            "its documents; client.collections.delete(...) removes it"
        )

    def read_info(self, key: str) -> Flow[Any]:
        """The embedding space, which the caller vouches for; nothing else is kept. See `Backend`."""
        layout = yield from self.collection.find(fresh=True)
        if layout is None or key not in ("fingerprint", "dimensions"):
            return None
        if key == "dimensions":
            return layout.dimensions
        return layout.fingerprint or (None if layout.dimensions is None else self.space.fingerprint)

    def write_info(self, key: str, value: Any) -> Flow[None]:
        """Refuse to create a collection for information beside one of others.

        Raises:
            StoreError: there is a value.
        """
        yield from ()
        if value is not None:
            raise StoreError(
                f"{self.collection.label} was not created by this package and keeps no information such as {key!r}. "
                "Keep it in a file, or copy the documents into a store of this package with copy_store"
            )

    def _exclusively(self, ids: Sequence[str], change: Flow[Any]) -> Flow[None]:  # noqa: ARG002 - keeps no information
        yield from change

    def _words(self, text: str, layout: Layout | None = None) -> str:  # noqa: ARG002 - as in the base class
        return text.strip()  # the server's tokenizer made the words of the documents

    def _divided(self, node: Any) -> Flow[Divided]:
        layout = None if node is None else (yield from self.collection.find())
        return (yield from super()._divided(node if layout is None else canonical(node, layout.fields)))


def existing_backend(
    space: EmbeddingSpace, connection: Connection, name: str, schema: ExistingSchema, **options: Any
) -> ExistingBackend:
    """The backend of a collection that this package did not create.

    Args:
        space: the embedding, and its space.
        connection: the clients.
        name: of the collection, or of an alias.
        schema: what the caller says about it.
        options: `tenant`, `consistency` and `create_tenants`.
    """
    create_tenants = Options(fields=declared_fields(None), create_tenants=options.pop("create_tenants"))
    collection = ExistingCollection(connection, name, create_tenants, **options)
    collection.objects = ExistingObjects(schema)
    return ExistingBackend(space, collection)
