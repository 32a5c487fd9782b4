"""The schema of a collection: its creation, and its description on the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weaviate.classes.config import (
    Configure,
    DataType,
    Property,
    StopwordsPreset,
    Tokenization,
    VectorDistances,
    Vectorizers,
)

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError, StoreError
from langchain_gemini_mm.validation import one_of, positive_int
from langchain_gemini_mm.vectorstores.embedding_space import Fingerprint
from langchain_gemini_mm.vectorstores.weaviate.fields import Field, described_field
from langchain_gemini_mm.weaviate_client.names import is_version, version_number
from langchain_gemini_mm.weaviate_client.versions import (
    INDEXES,
    QUANTIZERS,
    Version,
    require_index,
    require_replication,
)

VECTOR = "media"
"""The name of the vector."""
FORMAT = 2
"""The newest format of the schema; newer ones are refused. Collections of format 1 have no property `CHANGES`."""
CHANGES = "metadataChanges"
"""The property that `update_metadata` writes; a name that no field has."""
TOKENS = 2
"""The version of the tokens in searched properties, which is in their description; the first one has no number."""

WRITER = "langchain_gemini_mm"
"""How descriptions of collections name this package."""
DATA_TYPES = {
    "str": DataType.TEXT,
    "int": DataType.INT,
    "float": DataType.NUMBER,
    "bool": DataType.BOOL,
    "list[str]": DataType.TEXT_ARRAY,
    "list[int]": DataType.INT_ARRAY,
    "list[float]": DataType.NUMBER_ARRAY,
    "list[bool]": DataType.BOOL_ARRAY,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a missing collection is created.

    Raises:
        ValueError: a value is out of range, or two do not go together.
        TypeError: one is of the wrong type.
    """

    fields: Mapping[str, Field]
    searchable: Sequence[str] = ()
    index: str = "hnsw"
    quantizer: str | None = "auto"
    vector_config: Any = None
    multi_tenant: bool = False
    create_tenants: bool = True
    replication: int = 1

    def __post_init__(self) -> None:
        """Check the values and resolve `quantizer="auto"`."""
        one_of("index", self.index, INDEXES)
        if self.quantizer == "auto":
            object.__setattr__(self, "quantizer", "rq8" if self.index in ("hnsw", "dynamic") else None)
        one_of("quantizer", self.quantizer, (None, *QUANTIZERS))
        if self.index == "hfresh" and self.quantizer is not None:
            raise InvalidValueError(
                f"index='hfresh' brings its own quantizer, got quantizer={self.quantizer!r}; use None"
            )
        if isinstance(self.searchable, str) or not all(isinstance(key, str) for key in self.searchable):
            raise InvalidTypeError(f"searchable is a list of metadata keys, got {self.searchable!r}")
        object.__setattr__(self, "searchable", tuple(dict.fromkeys(self.searchable)))
        for name in ("multi_tenant", "create_tenants"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidTypeError(f"{name} is True or False, got {getattr(self, name)!r}")
        positive_int("replication", self.replication)
        if self.vector_config is not None:
            _check_vector_config(self.vector_config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The schema and embedding space of an existing collection on the server."""

    physical: str
    """The collection behind the alias."""
    fingerprint: Fingerprint | None
    """None until the first document."""
    dimensions: int | None
    fields: Mapping[str, Field]
    """By metadata key."""
    words: Mapping[str, str]
    """The searched property by metadata key; `text` is the document's text."""
    older_words: bool
    """Whether some objects may have the tokens of version 0.1.0 in these properties."""
    multi_tenant: bool
    replication: int
    vector: str | None = VECTOR
    """The name of the vector; None in a collection without named vectors."""
    distance: str = "cosine"
    written_format: int = FORMAT
    """Of the schema."""

    @property
    def version(self) -> int:
        """The version number at the end of its name."""
        return version_number(self.physical)


def creation(
    physical: str, options: Options, version: Version, fingerprint: Fingerprint | None, dimensions: int | None
) -> dict[str, Any]:
    """The arguments of `collections.create`.

    Args:
        physical: the versioned name.
        options: how the collection is created.
        version: of the server.
        fingerprint: the embedding space; None leaves it open.
        dimensions: length of the vectors.

    Raises:
        StoreError: the server's version lacks a requested feature.
    """
    if options.replication > 1:
        require_replication(version)
    if options.vector_config is None:
        require_index(version, options.index, options.quantizer)
    return {
        "name": physical,
        "description": description_of(fingerprint, dimensions, FORMAT),
        "properties": _properties(options),
        "vector_config": options.vector_config or _vector_config(options),
        "inverted_index_config": Configure.inverted_index(index_null_state=True, stopwords_preset=StopwordsPreset.NONE),
        "multi_tenancy_config": Configure.multi_tenancy(
            enabled=options.multi_tenant,
            auto_tenant_creation=options.multi_tenant and options.create_tenants,
            auto_tenant_activation=options.multi_tenant,
        ),
        "replication_config": Configure.replication(factor=options.replication),
    }


def description_of(fingerprint: Fingerprint | None, dimensions: int | None, written_format: int) -> str:
    """The description of a collection, which holds its embedding space.

    Args:
        fingerprint: of the embedding space; None before the first write.
        dimensions: length of the vectors; None before the first write.
        written_format: the format of the objects.
    """
    stored = {"writer": WRITER, "format": written_format, "fingerprint": fingerprint, "dimensions": dimensions}
    return json.dumps(stored, ensure_ascii=False, sort_keys=True)


def layout_of(config: Any, name: str) -> Layout:
    """Read the layout from the configuration of a collection.

    Raises:
        StoreError: it was not created by this package, or by a newer version.
    """
    try:
        stored = json.loads(config.description or "")
    except ValueError:
        stored = None
    own = isinstance(stored, dict) and stored.get("writer") == WRITER and "existing" not in stored
    if not own or not is_version(config.name):
        raise StoreError(
            f"there is a collection {config.name!r} in Weaviate that was not created by this package. Open it with "
            f"WeaviateVectorStore.existing(client, {name!r}, ...), or choose another name"
        )
    if stored.get("format") not in (1, FORMAT):
        raise StoreError(
            f"the collection {config.name!r} has format {stored.get('format')!r}, and this version reads up to "
            f"{FORMAT}. Upgrade langchain-gemini-mm"
        )
    fields = [field for item in config.properties if (field := described_field(item.description))]
    return Layout(
        physical=config.name,
        fingerprint=stored.get("fingerprint"),
        dimensions=stored.get("dimensions"),
        fields={field.key: field for field in fields},
        words={"text": "words", **_words_of(config.properties)},
        older_words=any(_tokens_of(item) < TOKENS for item in config.properties if item.name == "words"),
        multi_tenant=bool(config.multi_tenancy_config.enabled),
        replication=int(config.replication_config.factor),
        written_format=stored["format"],
    )


def property_of(field: Field) -> Property:
    """The property of a field."""
    kind = DATA_TYPES[field.type]
    texts = field.item == "str"
    return Property(
        name=field.property_name,
        data_type=kind,
        description=field.description,
        index_filterable=True,
        index_searchable=False if texts else None,
        index_range_filters=True if field.type in ("int", "float") else None,
        tokenization=Tokenization.FIELD if texts else None,
    )


def changes_property() -> Property:
    """The property for changed metadata, which is needed by the first change."""
    description = "metadata as changed since the object was stored, as JSON"
    return Property(
        name=CHANGES, data_type=DataType.TEXT, description=description, index_filterable=False, index_searchable=False
    )


def _properties(options: Options) -> list[Property]:
    plain: dict[str, Any] = {"index_filterable": False, "index_searchable": False}
    words: dict[str, Any] = {
        "index_filterable": False,
        "index_searchable": True,
        "tokenization": Tokenization.WHITESPACE,
    }
    return [
        Property(name="text", data_type=DataType.TEXT, description="page_content of the Document", **plain),
        Property(name="words", data_type=DataType.TEXT, description=words_description("text"), **words),
        Property(name="metadata_json", data_type=DataType.TEXT, description="all metadata, as JSON", **plain),
        Property(name="doc_id", data_type=DataType.TEXT, description="the id, where it is not the UUID", **plain),
        changes_property(),
        *(property_of(field) for field in options.fields.values()),
        *(
            Property(
                name=f"words_{Field(key, 'str').property_name}",
                data_type=DataType.TEXT,
                description=words_description(key),
                **words,
            )
            for key in options.searchable
        ),
    ]


def words_description(key: str) -> str:
    """The description of the property with the tokens of a metadata key, or of `text`."""
    return json.dumps({"words_of": key, "tokens": TOKENS}, ensure_ascii=False)


def _tokens_of(item: Any) -> int:
    """The version of the tokens in a searched property."""
    try:
        return int(json.loads(item.description)["tokens"])
    except (ValueError, KeyError, TypeError):
        return 1


def _words_of(properties: Sequence[Any]) -> dict[str, str]:
    found = {}
    for item in properties:
        try:
            found[str(json.loads(item.description or "")["words_of"])] = str(item.name)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _check_vector_config(given: Any) -> None:
    """Refuse a configuration of the vector under which nothing could be stored or found.

    Raises:
        ValueError: it is not one vector with the name `media`, which the client provides, and cosine distance.
    """
    wanted = f"Configure.Vectors.self_provided(name={VECTOR!r}, ...) with the distance metric cosine"
    name, vectorizer = getattr(given, "name", None), getattr(getattr(given, "vectorizer", None), "vectorizer", None)
    distance = getattr(getattr(given, "vectorIndexConfig", None), "distance", None)
    if name != VECTOR or vectorizer != Vectorizers.NONE or distance not in (None, VectorDistances.COSINE):
        got = type(given).__name__ if name is None else f"name={name!r}, vectorizer={vectorizer}, distance={distance}"
        raise InvalidValueError(f"vector_config must be {wanted}, got {got}")


def _vector_config(options: Options) -> Any:
    index, quantizers = Configure.VectorIndex, Configure.VectorIndex.Quantizer
    bits = {"rq8": 8, "rq4": 4, "rq1": 1}
    quantizer = quantizers.none() if options.quantizer is None else quantizers.rq(bits=bits[options.quantizer])
    cosine = VectorDistances.COSINE
    made: dict[str, Callable[[], Any]] = {
        "hnsw": lambda: index.hnsw(distance_metric=cosine, quantizer=quantizer),
        "flat": lambda: index.flat(distance_metric=cosine, quantizer=quantizer),
        "dynamic": lambda: index.dynamic(
            distance_metric=cosine, hnsw=index.hnsw(distance_metric=cosine, quantizer=quantizer)
        ),
        "hfresh": lambda: index.hfresh(distance_metric=cosine),
    }
    return Configure.Vectors.self_provided(name=VECTOR, vector_index_config=made[options.index]())
