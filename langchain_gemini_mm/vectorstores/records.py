"""The stored form of one document: text, vector, and metadata as JSON values.

Values that JSON lacks have one stored form each, in metadata as in filters:

| type | stored as |
| --- | --- |
| `datetime` with a time zone | text in UTC, always with microseconds, so that ranges are in order of time |
| `datetime` without one, `time` | the same, without a zone |
| `date`, `UUID` | text |
| `Path` | text with `/` |
| `Decimal` | a number, if that has the same digits |
| `Enum` | its value |
| `tuple`, `set`, `frozenset` | a list; that of a set is sorted |
| numbers, bools, texts and `datetime64` of NumPy | as those of Python |
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError, InvalidValueError
from langchain_gemini_mm.interfaces import Vector

MAX_DEPTH = 100
"""How deep dicts and lists may nest in metadata."""
MAX_BITS = 10_000
"""Longest integer in metadata; Python refuses to write much longer ones as decimals."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Record:
    """One stored document."""

    id: str
    text: str
    metadata: dict[str, Any]
    """JSON values only."""
    vector: Vector | None = None
    """`(d,)` float32, unit length; None if it was not requested."""

    @property
    def document(self) -> Document:
        """The record as a LangChain document."""
        return Document(id=self.id, page_content=self.text, metadata=self.metadata)


def plain_json(value: Any, where: str, depth: int = 0) -> Any:
    """Copy `value` deeply, in its stored form: JSON values.

    ```python
    from datetime import UTC, datetime

    from langchain_gemini_mm.vectorstores.records import plain_json

    given = {"taken": datetime(2024, 5, 1, 12, tzinfo=UTC), "tags": {"sea", "boat"}}
    assert plain_json(given, "metadata") == {"taken": "2024-05-01T12:00:00.000000Z", "tags": ["boat", "sea"]}
    ```

    Args:
        value: what is to be stored.
        where: the path of the value, for the message, such as `documents[3].metadata`.
        depth: nesting depth of the value.

    Raises:
        ContentError: the value has no stored form.
    """
    value = plain_scalar(value, where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(value, where)
    if isinstance(value, int | float):
        return _number(value, where)
    if depth > MAX_DEPTH:
        raise ContentError(f"{where[:80]}… nests deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, Mapping):
        plain: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise ContentError(f"{where} has the key {key!r}; keys in JSON are str, so write {str(key)!r}")
            plain[plain_text(key, f"a key of {where}")] = plain_json(item, f"{where}[{key!r}]", depth + 1)
        return plain
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        items = {json_text(item): item for item in (plain_json(item, where, depth + 1) for item in value)}
        return sorted(items.values(), key=_in_order)
    raise ContentError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold. Convert it first, for example with str() or "
        ".tolist()"
    )


def plain_scalar(value: Any, where: str) -> Any:
    """The stored form of one value; values of JSON, containers and values without a stored form are returned as is.

    Args:
        value: in metadata, or in a filter.
        where: what it is, for the message.

    Raises:
        ContentError: the value has none, such as a `Decimal` with too many digits.
    """
    if value is None or type(value) in (str, int, float, bool, dict, list):
        return value
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value, where)
    return value


def json_text(value: Any) -> str:
    """JSON values as text that is equal for equal values; `1`, `1.0` and `True` differ."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def plain_text(text: str, where: str) -> str:
    """Check that `text` is valid Unicode, which files and databases need.

    Raises:
        ContentError: it holds half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ContentError(
            f"{where} is not valid Unicode: a lone surrogate at character {error.start}. "
            'Repair it with text.encode(errors="replace").decode()'
        ) from None
    return text if type(text) is str else str.__str__(text)


def _number(value: float, where: str) -> int | float:
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise ContentError(f"{where} is an integer of {value.bit_length()} bits; the limit is {MAX_BITS}")
        return int(value)
    if not math.isfinite(value):
        raise ContentError(f"{where} is {value!r}, which JSON cannot hold; leave the key out or use None")
    return float(value)


def _moment(value: datetime, where: str) -> str:
    """A point in time as RFC 3339 text of constant width, which is ordered as the times are."""
    try:
        if value != value:  # noqa: PLR0124 - the NaT of pandas
            raise InvalidValueError("it is no time")
        if value.utcoffset() is None:
            return datetime.isoformat(value.replace(tzinfo=None), timespec="microseconds")
        in_utc = value.astimezone(UTC).replace(tzinfo=None)
        return f"{datetime.isoformat(in_utc, timespec='microseconds')}Z"
    except (ValueError, OverflowError) as error:
        raise ContentError(f"{where} is {value!r}, which cannot be stored as a time: {error}") from None


def _decimal(value: Decimal, where: str) -> int | float:
    """The number with the same digits."""
    if value.is_finite():
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent >= 0 and value.adjusted() < MAX_BITS // 4:
            return int(value)
        number = float(value)
        if math.isfinite(number) and Decimal(repr(number)) == value:
            return number
    raise ContentError(f"{where} is {value!r}, which no JSON number equals; store str() or float() of it")


_CONVERSIONS: tuple[tuple[type, Callable[[Any, str], Any]], ...] = (
    (Enum, lambda value, where: plain_scalar(value.value, where)),
    (np.datetime64, lambda value, where: plain_scalar(value.astype("datetime64[us]").item() or math.nan, where)),
    (datetime, _moment),
    (date, lambda value, _: date.isoformat(value)),
    (time, lambda value, _: value.isoformat(timespec="microseconds")),
    (UUID, lambda value, _: str(value)),
    (PurePath, lambda value, _: value.as_posix()),
    (Decimal, _decimal),
    (np.bool_, lambda value, _: bool(value)),
    (np.integer, lambda value, _: int(value)),
    (np.floating, lambda value, _: float(value)),
)
"""The types that have a stored form; the first that fits is used."""


def _in_order(value: Any) -> tuple[int, Any]:
    """Key that orders JSON values of all types."""
    if isinstance(value, str):
        return 2, value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 1, value
    return (0, value) if isinstance(value, bool) else (3, json_text(value))
