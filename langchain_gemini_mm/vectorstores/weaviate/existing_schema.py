"""The schema of a collection that this package did not create, and how documents are kept in it.

Nothing is added to such a collection unless the caller asks for it. Its text is in one property, metadata are in the
others, and the id of a document is the UUID of its object.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
from weaviate.classes.config import Property, Tokenization
from weaviate.classes.data import GeoCoordinate, PhoneNumber

from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError, StoreError
from langchain_gemini_mm.validation import did_you_mean
from langchain_gemini_mm.vectorstores.backend import Columns
from langchain_gemini_mm.vectorstores.filters import And, Compare, Condition, Exists, In, Node, Not, Or, StartsWith
from langchain_gemini_mm.vectorstores.records import Record, plain_scalar
from langchain_gemini_mm.vectorstores.weaviate.fields import Answered, Field
from langchain_gemini_mm.vectorstores.weaviate.objects import Objects, dumped, require_size, vector_of
from langchain_gemini_mm.vectorstores.weaviate.schema import DATA_TYPES, WRITER, Layout

MODALITY = "modality"

_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAME = re.compile(r"[_a-z][_0-9A-Za-z]{0,230}")
_STRUCTURES = ("geoCoordinates", "phoneNumber", "object", "object[]")
"""Types of properties whose values are dicts, which filters do not compare."""
_TYPES = {str(kind.value): name for name, kind in DATA_TYPES.items()} | {
    "date": "date",
    "date[]": "list[date]",
    "uuid": "uuid",
    "uuid[]": "list[uuid]",
}
_BY_TOKENS = ("word", "lowercase", "whitespace")
_DISTANCES = ("cosine", "dot", "l2-squared")
# Lucene's English stop words, which Weaviate's preset "en" uses, too; a filter with nothing else is an error there.
_STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    ]
)


@dataclass(frozen=True, slots=True)
class ExistingField(Field):
    """A property that others declared, under its own name."""

    tokenization: str | None = None
    filterable: bool = True
    searchable: bool = False
    null_state: bool = False
    """Whether the collection indexes which objects have no value."""
    ignored: frozenset[str] = frozenset()
    """Words that the server leaves out of texts."""

    marks_white_space: ClassVar[bool] = False

    @property
    def property_name(self) -> str:
        """The name of the property is the metadata key."""
        return self.key

    @property
    def is_tokenized(self) -> bool:  # type: ignore[override] # a constant of fields of our own
        """Whether the server compares single words."""
        return self.item == "str" and self.tokenization != "field"

    def operand(self, text: str) -> Any:
        """A text as the server compares it; None if no object can have it."""
        if self.item == "date":
            return _datetime(text)
        if self.item == "uuid":
            return uuid.UUID(text) if _UUID.fullmatch(text) else None
        return text

    def answered(self, condition: Condition, matches: bool) -> Answered:
        """How the server answers a condition on this property, or its negation."""
        if self.type == "absent":
            return "exactly"
        if isinstance(condition, Exists):
            return "exactly" if self.null_state else "not"
        if not (self.filterable or (self.item == "str" and self.searchable)):
            return "not"
        if self.is_tokenized:
            words = isinstance(condition, In) and all(map(self._has_words, condition.values))
            return "broadly" if matches and words else "not"
        if isinstance(condition, In):
            return "exactly"
        if self.item == "uuid" or (isinstance(condition, StartsWith) and self.item != "str"):
            return "not"
        if not matches and (self.many or not self.null_state):
            return "not"
        return "broadly" if self.many and isinstance(condition, StartsWith) else "exactly"

    def _has_words(self, value: Any) -> bool:
        if not isinstance(value, str):
            return True  # no text equals it
        words = re.findall(r"\w+", value.lower())
        return (
            self.tokenization in _BY_TOKENS
            and any(re.sub(r"[\W_]", "", word) for word in words)
            and not all(word in self.ignored for word in words)
        )

    def stored(self, value: Any, where: str) -> Any:
        """The property value of a metadata value; None for no value.

        Raises:
            ContentError: the value is not of the property's type.
        """
        if value is None:
            return None
        if self.type in _STRUCTURES:
            return self._structure(value, where)
        if self.item not in ("str", "date", "uuid"):
            return Field(self.key, self.type).stored(value, where)
        if not self.many:
            return self._parsed(value, where)
        items = value if isinstance(value, list) else [value]
        return [self._parsed(item, where) for item in items if item is not None] or None

    def _structure(self, value: Any, where: str) -> Any:
        try:
            if self.type == "geoCoordinates":
                return GeoCoordinate(latitude=value["latitude"], longitude=value["longitude"])
            if self.type == "phoneNumber":
                return PhoneNumber(number=value["number"], default_country=value.get("default_country"))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ContentError(f"{where}[{self.key!r}] is no value of the property, a {self.type}: {error}") from error
        return value

    def _parsed(self, value: Any, where: str) -> Any:
        found = self.operand(value) if isinstance(value, str) else None
        if found is None:
            example = {"date": "such as '2024-05-01T12:00:00Z'", "uuid": "in lower case", "str": ""}[self.item]
            shown = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
            raise ContentError(f"{where}[{self.key!r}] is {shown[:60]}, and the property is a {self.item} {example}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingSchema:
    """What the caller says about a collection.

    Raises:
        TypeError: a name is not a str.
    """

    text_key: str
    vector_name: str | None = None
    id_key: str | None = None
    metadata_keys: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Check the types."""
        for name in ("text_key", "vector_name", "id_key"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "text_key"):
                raise InvalidTypeError(f"{name} is the name of a property or a vector, got {value!r}")

    def layout(self, config: Any) -> Layout:
        """Read the layout from the configuration of a collection.

        Raises:
            StoreError: it was created by this package, lacks a property or a vector, or compares vectors in a way that
                gives no cosine similarity.
        """
        described = described_by(config.description)
        if described.get("writer") == WRITER and "existing" not in described:
            name = config.name.rpartition("_v")[0]
            raise StoreError(
                f"the collection {config.name!r} was created by this package. Open it with "
                f"WeaviateVectorStore(client, {name!r}, embedding)"
            )
        properties = {item.name: item for item in config.properties}
        for what, key in (("text_key", self.text_key), ("id_key", self.id_key)):
            if key is not None and _type_of(properties.get(key)) != "text":
                raise _missing(
                    config.name, what, key, [n for n, item in properties.items() if _type_of(item) == "text"]
                )
        vector, distance = _vector(config, self.vector_name)
        return Layout(
            physical=config.name,
            fingerprint=described.get("fingerprint"),
            dimensions=described.get("dimensions"),
            fields=self._fields(config),
            words={"text" if n == self.text_key else n: n for n, item in properties.items() if _is_searched(item)},
            older_words=False,
            multi_tenant=bool(config.multi_tenancy_config.enabled),
            replication=int(config.replication_config.factor),
            vector=vector,
            distance=distance,
        )

    def _fields(self, config: Any) -> dict[str, Field]:
        inverted = config.inverted_index_config
        stops = getattr(inverted, "stopwords", None)
        preset = str(getattr(getattr(stops, "preset", None), "value", None) or "en")
        ignored = (_STOP_WORDS if preset == "en" else frozenset()) | frozenset(getattr(stops, "additions", None) or ())
        found: dict[str, Field] = {MODALITY: ExistingField(MODALITY, "absent")}
        for item in config.properties:
            kind = _TYPES.get(_type_of(item) or "")
            if _type_of(item) in _STRUCTURES:
                kind = _type_of(item)
            if kind is not None and item.name not in (self.text_key, self.id_key):
                tokenization = getattr(item.tokenization, "value", None)
                found[item.name] = ExistingField(
                    item.name,
                    kind,
                    tokenization=tokenization,
                    filterable=bool(item.index_filterable),
                    searchable=bool(item.index_searchable),
                    null_state=bool(getattr(inverted, "index_null_state", False)),
                    ignored=ignored,
                )
        return found


class ExistingObjects(Objects):
    """Documents in a collection that others created.

    Args:
        schema: what the caller says about it.
    """

    stores_all_metadata = False

    def __init__(self, schema: ExistingSchema) -> None:
        self.schema = schema

    @property
    def id_property(self) -> str:  # type: ignore[override] # a constant of collections of our own
        """The property with the id of a document whose id is not the UUID of its object.

        Raises:
            ContentError: there is none.
        """
        if self.schema.id_key is None:
            raise ContentError(
                "the collection has no property for ids that are not UUIDs in lower case. Leave ids out, use "
                "str(uuid.uuid5(...)), or name a text property for them with id_key=..."
            )
        return self.schema.id_key

    def names(self, columns: Columns, layout: Layout) -> list[str] | None:  # noqa: ARG002 - as in `Objects`
        """The properties to read; see `Objects`."""
        schema = self.schema
        own = [schema.id_key] if schema.id_key else []
        if columns not in ("documents", "all"):
            return own
        return None if schema.metadata_keys is None else [schema.text_key, *own, *schema.metadata_keys]

    def record_of(self, found: Any, layout: Layout) -> Record:
        """The record of an object; see `Objects`."""
        properties = dict(found.properties)
        text, key = properties.pop(self.schema.text_key, None), str(found.uuid)
        id_ = properties.pop(self.schema.id_key, None) if self.schema.id_key else None
        metadata = {name: plain for name, value in properties.items() if (plain := _plain(value)) is not None}
        own = id_ if isinstance(id_, str) and str(self.uuid_of(id_)) == key else key
        vector = vector_of(found, layout)
        length = 0.0 if vector is None else float(np.linalg.norm(vector))
        return Record(own, text or "", metadata, vector / length if vector is not None and length else None)

    def properties_of(self, record: Record, layout: Layout) -> tuple[dict[str, Any], int]:
        """The properties of a record; see `Objects`.

        Raises:
            ContentError: a metadata key is no property, or a value is not of its type.
        """
        where = f"document {record.id[:60]!r}"
        return (
            {self.schema.text_key: record.text, **self.metadata_properties(record.metadata, layout, where)},
            require_size(record.text, dumped(record.metadata), where),
        )

    def metadata_properties(self, metadata: Mapping[str, Any], layout: Layout, where: str) -> dict[str, Any]:
        """The properties of metadata.

        Args:
            metadata: JSON values.
            layout: of the collection.
            where: the name of the document in messages.

        Raises:
            ContentError: a metadata key is no property, or a value is not of its type.
        """
        found = {}
        for key, value in metadata.items():
            if value is None:
                continue
            field = layout.fields.get(key)
            if field is None or field.type == "absent":
                hint = did_you_mean(key, layout.fields) or "."
                raise ContentError(
                    f"{where}: the collection {layout.physical!r} has no property {key[:60]!r} of a type that metadata "
                    f"can have{hint} Call store.add_field({key[:60]!r}, {type(value).__name__}) first, or leave it out"
                )
            found[key] = field.stored(value, f"{where}: metadata")
        return found

    def recorded(self, found: Any, record: Record, metadata: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Nothing in addition to the properties of the metadata; see `Objects`.

        Args:
            found: the stored object.
            record: what it holds.
            metadata: that it should have.
        """
        return {}

    def changeable(self, layout: Layout) -> list[str]:
        """The properties that follow from the metadata; see `Objects`."""
        return [key for key, field in layout.fields.items() if field.type not in ("absent", "phoneNumber")]

    def property_of(self, field: Field) -> Property:
        """The property for a new metadata key.

        Raises:
            ValueError: the key cannot be the name of a property.
        """
        if not _NAME.fullmatch(field.key) or field.key in ("id", "vector"):
            raise InvalidValueError(
                f"a property of Weaviate cannot be called {field.key[:60]!r}: it begins with a small letter or _, goes "
                "on with letters, digits and _, and is not id or vector"
            )
        texts = field.item == "str"
        return Property(
            name=field.key,
            data_type=DATA_TYPES[field.type],
            index_filterable=True,
            index_searchable=False if texts else None,
            index_range_filters=True if field.type in ("int", "float") else None,
            tokenization=Tokenization.FIELD if texts else None,
        )


def described_by(description: str | None) -> dict[str, Any]:
    """What this package wrote into a description; empty if that is somebody else's."""
    try:
        found = json.loads(description or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("writer") == WRITER else {}


def _type_of(item: Any) -> str | None:
    kind = getattr(item, "data_type", None)
    return None if kind is None else str(getattr(kind, "value", kind))


def _is_searched(item: Any) -> bool:
    return _type_of(item) in ("text", "text[]") and bool(item.index_searchable)


def _missing(collection: str, what: str, key: str, known: Sequence[str]) -> StoreError:
    hint = did_you_mean(key, known) or "."
    return StoreError(
        f"{what}={key!r} is no text property of the collection {collection!r}{hint} Its text properties are: "
        f"{', '.join(sorted(known)) or 'none'}"
    )


def _vector(config: Any, name: str | None) -> tuple[str | None, str]:
    """The name of the vector, and its distance metric."""
    named = config.vector_config or {}
    if name is None and len(named) > 1:
        raise StoreError(
            f"the collection {config.name!r} has several vectors; say which one the embedding makes with vector_name=: "
            f"{', '.join(sorted(named))}"
        )
    if name is not None and name not in named:
        raise StoreError(
            f"the collection {config.name!r} has no vector {name!r}. Its vectors are: "
            f"{', '.join(sorted(named)) or 'one without a name'}"
        )
    chosen = name or next(iter(named), None)
    if chosen is None:
        vectorizer, index = config.vectorizer, config.vector_index_config
    else:
        vectorizer, index = named[chosen].vectorizer.vectorizer, named[chosen].vector_index_config
    module = str(getattr(vectorizer, "value", vectorizer) or "none")
    if module != "none":
        raise StoreError(
            f"the vectors of the collection {config.name!r} are made on the server by {module!r}, so those of an "
            "embedding here would be of another space. Choose a vector without a vectorizer with vector_name=, or "
            "embed its texts into a new collection"
        )
    hnsw = getattr(index, "hnsw", None) or index
    distance = str(getattr(getattr(hnsw, "distance_metric", None), "value", "cosine"))
    if distance not in _DISTANCES:
        raise StoreError(
            f"the collection {config.name!r} compares vectors by {distance!r}, which does not rank as the cosine "
            f"similarity does. Possible are {', '.join(_DISTANCES)}; copy it into a new collection"
        )
    return chosen, distance


def _plain(value: Any) -> Any:
    """A value of a property as metadata have it."""
    if isinstance(value, datetime | uuid.UUID):
        return plain_scalar(value, "a property")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain for key, item in value.items() if (plain := _plain(item)) is not None}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return _plain(value.model_dump())


def _datetime(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def canonical(node: Node, fields: Mapping[str, Field]) -> Node:
    """The same filter, with dates as metadata have them."""
    match node:
        case And(parts) | Or(parts):
            return type(node)(tuple(canonical(part, fields) for part in parts))
        case Not(part):
            return Not(canonical(part, fields))
        case In(key, values) if _is_date(fields.get(key)):
            return In(key, tuple(_date_text(value) for value in values))
        case Compare(key, order, value) if _is_date(fields.get(key)):
            return Compare(key, order, _date_text(value))
        case _:
            return node


def _is_date(field: Field | None) -> bool:
    return field is not None and field.item == "date"


def _date_text(value: Any) -> Any:
    found = _datetime(value) if isinstance(value, str) else None
    return value if found is None else _plain(found)
