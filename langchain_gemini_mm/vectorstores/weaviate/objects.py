"""Conversion of records to Weaviate objects and back, with their sizes."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from weaviate.classes.config import Property
from weaviate.classes.data import DataObject

from langchain_gemini_mm.batching import CallLimits
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.vectorstores.backend import Columns
from langchain_gemini_mm.vectorstores.records import Record
from langchain_gemini_mm.vectorstores.tokenizer import searched_text, tokens
from langchain_gemini_mm.vectorstores.weaviate.fields import Field, stored_fields
from langchain_gemini_mm.vectorstores.weaviate.schema import CHANGES, Layout, property_of

MAX_DOCUMENT_BYTES = 4 << 20
"""Maximum bytes of text and metadata of a document; the server copies the whole object for every hit."""
CHUNK = CallLimits(items=250, wire_bytes=8 << 20)
"""The limits of one message; those of objects are such that a batch is sent in several concurrent messages."""

READ_PROPERTIES = ["text", "metadata_json", "doc_id"]

_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_DECODE = json.JSONDecoder().decode
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_RANDOM = np.random.default_rng()
_NIL = str(uuid.UUID(int=0))
_NAMESPACE = uuid.UUID("4c1d7a42-31f5-5f0e-9d0c-6a3b7f2e8d55")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SizedObject:
    """An object to store, with its size."""

    id: str
    key: str
    """The object's UUID."""
    object: Any
    wire_bytes: int
    """Approximate bytes in a message."""
    token_count: ClassVar[int] = 0
    group: ClassVar[None] = None


def uuid_of(id_: str) -> uuid.UUID:
    """The object's UUID: the id if it is a UUID in canonical form, else a UUID derived from the id."""
    return uuid.UUID(id_) if _UUID.fullmatch(id_) and id_ != _NIL else uuid.uuid5(_NAMESPACE, id_)


def dumped(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON text, with integers of any size and the order of keys."""
    return _ENCODE(metadata)


def require_size(text: str, metadata_json: str, where: str) -> int:
    """Refuse a document that is too large for a searched collection; return its bytes.

    Args:
        text: of the document.
        metadata_json: its metadata as JSON.
        where: the name of the document in messages.

    Raises:
        ContentError: the document is larger than 4 MiB.
    """
    size = len(text.encode()) + len(metadata_json.encode())
    if size > MAX_DOCUMENT_BYTES:
        raise ContentError(
            f"{where} is {size:,} bytes of text and metadata; the limit in Weaviate is {MAX_DOCUMENT_BYTES:,}, because "
            "every hit copies all of it. Split the text, or keep large values in a MediaStore and their reference here"
        )
    return size


def sized_object(record: Record, layout: Layout, objects: Objects) -> SizedObject:
    """The object of a record.

    Args:
        record: with its vector.
        layout: of the collection.
        objects: how it stores records.

    Raises:
        ContentError: the document is too large, or a value is not of its field's type.
    """
    properties, size = objects.properties_of(record, layout)
    key = str(objects.uuid_of(record.id))
    if key != record.id:
        properties[objects.id_property] = record.id
    assert record.vector is not None  # noqa: S101 - what is stored has a vector
    vector = packed(np.asarray(record.vector, np.float32), layout.vector)
    item = DataObject(properties=properties, uuid=key, vector=vector)
    return SizedObject(record.id, key, item, 2 * size + 4 * len(record.vector) + 500)


def properties_of(record: Record, layout: Layout) -> tuple[dict[str, Any], int]:
    """The properties that follow from text and metadata, and the bytes of these.

    Raises:
        ContentError: the document is too large, or a value is not of its field's type.
    """
    where = f"document {record.id[:60]!r}"
    metadata_json = dumped(record.metadata)
    properties = {
        "text": record.text,
        "metadata_json": metadata_json,
        **{name: words for name, words in _words(record, layout) if words},
        **stored_fields(layout.fields, record.metadata, f"{where}: metadata"),
    }
    return properties, require_size(record.text, metadata_json, where)


def perturbed(item: Any) -> Any:
    """The same object with its vector perturbed; see `perturbed_row`."""
    (name, row), *_ = item.vector.items() if isinstance(item.vector, dict) else [(None, item.vector)]
    return DataObject(properties=item.properties, uuid=item.uuid, vector=packed(perturbed_row(row), name))


def perturbed_row(vector: Any) -> Vector:
    """The vector with the last bits of two random numbers changed, by about one in a million.

    A killed server may keep an object without its entry in the vector index. If the object is stored again with an
    equal vector, 1.39.0 does not update the index, and the object would never be found.
    """
    row = np.array(vector, dtype=np.float32)
    places = np.flatnonzero(row)
    if len(places):
        chosen = _RANDOM.choice(places, size=2)
        row.view(np.uint32)[chosen] ^= _RANDOM.integers(1, 8, size=2, dtype=np.uint32)
    return row


def packed(row: Vector, name: str | None) -> Any:
    """A vector as the client takes it; None is the name of the vector of a collection without named vectors."""
    # The client converts an array to a list, which is seven times as large, only when it packs the message.
    plain = row if len(row) > 1 else row.tolist()
    return plain if name is None else {name: plain}


def _words(record: Record, layout: Layout) -> Iterator[tuple[str, str]]:
    for key, name in layout.words.items():
        if key == "text":
            yield name, " ".join(tokens(searched_text(record.text, record.metadata)))
            continue
        value = record.metadata.get(key)
        if value is None:
            continue
        texts = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
        yield name, " ".join(word for text in texts for word in tokens(text))


def asked_vector(layout: Layout) -> Any:
    """The client's `include_vector` for the vector of a collection."""
    return [layout.vector] if layout.vector else True


def vector_of(found: Any, layout: Layout) -> Vector | None:
    """The vector of an object; None if it was not requested, or the object has none."""
    vector = found.vector.get(layout.vector or "default") if found.vector else None
    return np.asarray(vector, dtype=np.float32) if vector else None


def record_of(found: Any, layout: Layout) -> Record:
    """The record of an object; without a vector if it was not requested."""
    properties = found.properties
    text, stored = properties.get("text") or "", properties.get("metadata_json") or "{}"
    metadata = _DECODE(stored)
    changed = properties.get(CHANGES)
    if changed:
        changes = _DECODE(changed)
        if changes["of"] == _checksum(text, stored):  # else the object was replaced after the change was computed
            metadata = changes["metadata"]
    return Record(properties.get("doc_id") or str(found.uuid), text, metadata, vector_of(found, layout))


def _checksum(text: str, metadata_json: str) -> str:
    """Identifies what was stored, so that a change of something else has no effect on it."""
    return hashlib.blake2b(f"{len(text)}/{text}{metadata_json}".encode(), digest_size=12).hexdigest()


class Objects:
    """How the collections that this package creates store records."""

    id_property: str = "doc_id"
    """The property with the id of a document whose id is not the UUID of its object."""
    stores_all_metadata: bool = True
    """Whether metadata without a field are stored, too."""

    def uuid_of(self, id_: str) -> uuid.UUID:
        """The UUID of the object of a document."""
        return uuid_of(id_)

    def names(self, columns: Columns, layout: Layout) -> list[str] | None:
        """The properties to read for the columns of `Backend.page`; None for all."""
        if columns not in ("documents", "all"):
            return [self.id_property]
        return READ_PROPERTIES if layout.written_format == 1 else [*READ_PROPERTIES, CHANGES]

    def record_of(self, found: Any, layout: Layout) -> Record:
        """The record of an object."""
        return record_of(found, layout)

    def properties_of(self, record: Record, layout: Layout) -> tuple[dict[str, Any], int]:
        """The properties of a record, without its id, and their bytes.

        Raises:
            ContentError: the collection cannot hold them.
        """
        return properties_of(record, layout)

    def changes(self, found: Any, metadata: dict[str, Any], layout: Layout) -> dict[str, Any]:
        """The properties to change so that an object has these metadata; None removes one.

        Args:
            found: the object, with all properties.
            metadata: that it should have.
            layout: of the collection.
        """
        record = self.record_of(found, layout)
        wanted, _ = self.properties_of(Record(record.id, record.text, metadata, None), layout)
        stored = found.properties
        changes = {name: wanted.get(name) for name in self.changeable(layout) if stored.get(name) != wanted.get(name)}
        return changes | self.recorded(found, record, metadata)

    def recorded(self, found: Any, record: Record, metadata: dict[str, Any]) -> dict[str, Any]:
        """The property that holds changed metadata; empty if they are unchanged.

        Args:
            found: the stored object.
            record: what it holds.
            metadata: that it should have.
        """
        if dumped(metadata) == dumped(record.metadata):
            return {}
        stored = found.properties.get("metadata_json") or "{}"
        return {CHANGES: dumped({"of": _checksum(record.text, stored), "metadata": metadata})}

    def changeable(self, layout: Layout) -> list[str]:
        """The properties that follow from the metadata."""
        return [*layout.words.values(), *(field.property_name for field in layout.fields.values())]

    def property_of(self, field: Field) -> Property:
        """The property of a new field."""
        return property_of(field)
