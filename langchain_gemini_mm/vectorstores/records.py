"""The stored form of one document, and the check that its metadata survives JSON without loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
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
    """Copy `value` deeply as JSON has it: tuples become lists, subclasses of `str` and numbers their plain values.

    Args:
        value: what is to be stored.
        where: the path of the value, for the message, such as `documents[3].metadata`.
        depth: nesting depth of the value.

    Raises:
        ContentError: JSON cannot represent the value without loss.
    """
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
    raise ContentError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold. Convert it first, for example with str(), "
        ".isoformat(), .as_posix() or .tolist()"
    )


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
