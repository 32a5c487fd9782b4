"""Queries with known results, to calibrate rankings and to evaluate searches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.interfaces import Content, Modality, QueryLike
from langchain_gemini_mm.validation import one_of


@dataclass(frozen=True, slots=True, init=False)
class LabelledQuery:
    """A query and the documents it should find.

    ```python
    from langchain_gemini_mm.evaluation import LabelledQuery

    LabelledQuery("an image of an animal", {"puppy": 2, "kitten": 1}, modality="text")
    nothing = LabelledQuery("a steam locomotive", [])
    assert not nothing.relevant
    ```

    Args:
        query: any content, or a `vectorstores.Query`.
        relevant: ids of documents with a grade > 0, higher is better; in a list of ids each has grade 1. Empty where
            nothing in the collection matches.
        modality: of the query, for tables by pairs of modalities; None determines it from the content.

    Raises:
        ValueError: a grade is not a finite number > 0, or there is no such modality.
        TypeError: an id is not a str.
    """

    query: Any = field(repr=False)
    """A content or a `vectorstores.Query`."""
    relevant: Mapping[str, float]
    modality: Modality | None

    def __init__(
        self,
        query: Content | QueryLike,
        relevant: Mapping[str, float] | Iterable[str],
        *,
        modality: Modality | None = None,
    ) -> None:
        """Check the labels."""
        if isinstance(relevant, str | bytes):
            raise InvalidTypeError(f"relevant is a list of ids or a dict of grades, got one {type(relevant).__name__}")
        if modality is not None:
            one_of("modality", modality, get_args(Modality))
        grades = dict(relevant) if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1.0)
        for id_, grade in grades.items():
            if not isinstance(id_, str):
                raise InvalidTypeError(f"relevant holds ids as str, got {id_!r}")
            if isinstance(grade, bool) or not isinstance(grade, int | float) or not 0 < grade < math.inf:
                raise InvalidValueError(
                    f"the grade of {id_!r} must be a finite number > 0, got {grade!r}; leave out irrelevant documents"
                )
        object.__setattr__(self, "query", query)
        object.__setattr__(self, "relevant", MappingProxyType({id_: float(grade) for id_, grade in grades.items()}))
        object.__setattr__(self, "modality", modality)
