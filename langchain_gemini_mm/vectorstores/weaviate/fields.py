"""Fields: metadata keys that are typed Weaviate properties and can be used in filters."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal, TypeAlias, get_args
from uuid import UUID

from langchain_gemini_mm.errors import ContentError, InvalidTypeError
from langchain_gemini_mm.vectorstores.filters import Compare, Condition, StartsWith

FieldType = Any
"""`str`, `int`, `float`, `bool`, or a type that is stored as one of these, or `list[...]` of one."""

_LOGGER = logging.getLogger("langchain_gemini_mm")

LOADER_FIELDS: dict[str, FieldType] = {
    "source": str,
    "modality": str,
    "mime_type": str,
    "title": str,
    "start_s": float,
    "end_s": float,
    "track": str,
    "first_page": int,
    "last_page": int,
    "position": int,
    "media_sha256": str,
    "size_bytes": int,
}
"""The fields of documents of `MediaLoader`; every collection has them.

Documents from elsewhere may use these keys for values of other types. Such values are stored, and filters on the key do
not find them.
"""

Answered: TypeAlias = Literal["exactly", "broadly", "not"]
"""How a server answers a condition: with the right documents, with these and others, or not at all."""

OWN_PROPERTIES = frozenset({"text", "words", "metadata_json", "doc_id"})

_NAMES = {str: "str", int: "int", float: "float", bool: "bool"}
_TYPES: dict[str, FieldType] = {
    **{name: kind for kind, name in _NAMES.items()},
    **{f"list[{name}]": list[kind] for kind, name in _NAMES.items()},  # type: ignore[valid-type]
}
_STORED_AS: dict[Any, str] = {
    kind: name
    for name, kinds in {"str": (datetime, date, time, UUID, PurePath, Path), "float": (Decimal,)}.items()
    for kind in kinds
}
"""Types of metadata that are stored as another one; see `records`."""
_EXACT = 2**53
_PLAIN_KEY = re.compile(r"[a-z][a-z0-9_]{0,99}")
_TAKEN = re.compile(
    r"(id|_id|_additional|vector)|words_.*|.*(_searchable|_rangeable|_temp|__meta_count|_propertylength|_nullstate)"
)
# The filter index drops empty texts and white space at both ends. A mark preserves them; `filter_compiler` compares
# texts with and without it in the order of the texts themselves.
_MARK = "\x01"


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata key and the property that holds its value."""

    key: str
    type: str
    """`str`, `int`, `float`, `bool`, or `list[...]` of one of these."""

    marks_white_space: ClassVar[bool] = True
    """Whether texts are stored as `encoded` returns them."""
    is_tokenized: ClassVar[bool] = False
    """Whether the server compares single words of a text instead of the whole text."""

    @property
    def property_name(self) -> str:
        """The name of the property: the key if it is valid, else a name derived from it."""
        return _property_name(self.key)

    @property
    def many(self) -> bool:
        """Whether it holds a list."""
        return self.type.startswith("list")

    @property
    def item(self) -> str:
        """The type of the value, or of the elements of a list."""
        return self.type[5:-1] if self.many else self.type

    @property
    def description(self) -> str:
        """The description of the property, from which other stores read the field."""
        return json.dumps({"key": self.key, "type": self.type}, ensure_ascii=False)

    def operand(self, text: str) -> Any:
        """A text as filters compare it; None if no object can have it."""
        return encoded(text)

    def answered(self, condition: Condition, matches: bool) -> Answered:
        """How the server answers a condition on this field, or its negation if `matches` is False."""
        if self.type == "list[str]" and isinstance(condition, Compare | StartsWith):
            return "broadly" if matches else "not"  # both bounds of a range may be met by different elements
        return "exactly"

    def stored(self, value: Any, where: str) -> Any:
        """The property value of a metadata value; None for no value.

        Raises:
            ContentError: the value is not of the field's type.
        """
        if value is None:
            return None
        if self.many:
            items = value if isinstance(value, list) else [value]
            found = [self._item(item, where) for item in items if item is not None]
            return found or None
        return self._item(value, where)

    def _item(self, value: Any, where: str) -> Any:
        if not _fits(self.item, value):
            shown = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
            raise ContentError(
                f"{where}[{self.key!r}] is {shown[:60]}, and the field {self.key!r} is declared as {self.type}. "
                "Change the value, use another key, or declare the field otherwise in a new collection"
            )
        if self.item == "str":
            return encoded(value)
        if self.item == "bool":
            return value
        if isinstance(value, int) and abs(value) > _EXACT:
            raise ContentError(
                f"{where}[{self.key!r}] is an integer beyond 2**53, which Weaviate would round in the field "
                f"{self.key!r}. Store it as a str"
            )
        return int(value) if self.item == "int" else float(value)


@lru_cache(maxsize=1000)
def _property_name(key: str) -> str:
    if _PLAIN_KEY.fullmatch(key) and not _TAKEN.fullmatch(key) and key not in OWN_PROPERTIES:
        return key
    slug = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_")[:40]
    return f"field_{slug}_{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _fits(kind: str, value: Any) -> bool:
    if kind == "str":
        return isinstance(value, str)
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    return isinstance(value, int | float) and (kind == "float" or value == int(value))


def encoded(text: str) -> str:
    """A text as it is stored for filters, distinct from all other texts."""
    begins = not text or is_marked(text[0])
    ends = bool(text) and is_marked(text[-1])
    return f"{_MARK if begins else ''}{text}{_MARK if ends else ''}"


def is_marked(character: str) -> bool:
    """Whether a text with this character at an end is stored with a mark there."""
    return character.isspace() or character == _MARK


def described_field(description: str | None) -> Field | None:
    """The field that a property's description declares; None if there is none."""
    try:
        found = json.loads(description or "")
        field = Field(found["key"], found["type"])
    except (ValueError, KeyError, TypeError):
        return None
    return field if field.type in _TYPES else None


def declared_fields(given: Mapping[str, FieldType] | None) -> dict[str, Field]:
    """Check the declared fields and add those of the loader.

    Raises:
        TypeError: a type cannot be that of a field.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InvalidTypeError(f"fields is a dict such as {{'price': float}}, got {type(given).__name__}")
    return {key: declared_field(key, kind) for key, kind in {**LOADER_FIELDS, **(given or {})}.items()}


def declared_field(key: Any, kind: FieldType) -> Field:
    """Check one field.

    Raises:
        TypeError: the key is not a str, or the type cannot be that of a field.
    """
    if not isinstance(key, str):
        raise InvalidTypeError(f"the key of a field is a str, got {key!r}")
    name = next((name for name, allowed in _TYPES.items() if kind in (name, allowed)), None)
    if name is None:
        (item,) = get_args(kind) if str(kind).startswith("list[") else (None,)
        other = _STORED_AS.get(kind) if isinstance(kind, type) else None
        name = f"list[{_STORED_AS[item]}]" if item in _STORED_AS else other
    if name is None:
        raise InvalidTypeError(
            f"the field {key!r} cannot be declared as {kind!r}. Types: {', '.join(_TYPES)}; for example "
            f"fields={{{key!r}: str}}"
        )
    if key in LOADER_FIELDS and _TYPES[name] != LOADER_FIELDS[key]:
        needed = LOADER_FIELDS[key].__name__
        raise InvalidTypeError(f"the field {key!r} is one of the loader's and of type {needed}, not {name}")
    return Field(key, name)


def stored_fields(fields: Mapping[str, Field], metadata: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The properties of metadata: the values of declared keys.

    Args:
        fields: the declared fields, by metadata key.
        metadata: JSON values.
        where: the name of the metadata in messages.

    Raises:
        ContentError: a value is not of the type that was declared for its key.
    """
    found = {}
    for key, value in metadata.items():
        field = fields.get(key)
        if field is None:
            continue
        try:
            stored = field.stored(value, where)
        except ContentError:
            if key not in LOADER_FIELDS:
                raise
            _warn_once(key, field.type)
            continue
        if stored is not None:
            found[field.property_name] = stored
    return found


@cache
def _warn_once(key: str, kind: str) -> None:
    _LOGGER.warning(
        "metadata with the key %r have values that are no %s, as those of MediaLoader are. They are stored, but filters"
        " on %r do not find them in Weaviate; use another key for them, or convert them",
        key,
        kind,
        key,
    )
