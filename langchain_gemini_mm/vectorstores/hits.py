"""What a store is asked and what it answers: `Query` and `Hit`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import Content, MediaSource
from langchain_gemini_mm.vectorstores.records import plain_text

ScoreKind = Literal["cosine", "bm25", "rank", "deviation", "probability"]
"""What a score means; higher is always better.

`cosine` is a similarity in [-1, 1]; `bm25` says how well words match, comparable within one answer only; `rank` is the
sum of 1 / (60 + rank) over fused rankings and says nothing but the order. `deviation` is how many standard deviations a
cosine similarity lies above those of the query with other documents of the same modality; `probability` is that of
being relevant, learned from labelled queries.
"""

_SHOWN = 40


@dataclass(frozen=True, init=False, repr=False)
class Query:
    """Content to look for, stored documents to be near to, and stored documents to be far from.

    ```python
    from langchain_gemini_mm.vectorstores import Query

    Query("a red bicycle", like=["photo-7"], unlike=["photo-9"], weights=[1, 1, 0.5])
    ```

    Pieces of content are embedded together, as one vector: the model reads them as one thing, such as a photo with
    words on what should be different. With `separate=True` each is a vector of its own, and their weighted sum is
    looked for: what is a little like each of them.

    Args:
        content: pieces to look for.
        like: ids of stored documents whose vectors are added.
        unlike: ids of stored documents whose vectors are subtracted.
        weights: one number >= 0 for the content (when there is any; for each piece when they are separate), then for
            each liked, then for each unliked id; all 1 by default.
        separate: whether each piece of content is embedded by itself.

    Raises:
        ContentError: there is nothing to look for, an id is named twice, or the weights do not fit.
    """

    content: tuple[Content, ...]
    like: tuple[str, ...]
    unlike: tuple[str, ...]
    weights: tuple[float, ...]
    """As many as there are terms."""
    separate: bool

    def __init__(
        self,
        *content: Content,
        like: Sequence[str] = (),
        unlike: Sequence[str] = (),
        weights: Sequence[float] | None = None,
        separate: bool = False,
    ) -> None:
        """Check the parts and fill in the weights."""
        set_field = object.__setattr__
        set_field(self, "content", content)
        set_field(self, "like", _ids("like", like))
        set_field(self, "unlike", _ids("unlike", unlike))
        set_field(self, "separate", separate)
        if not content and not self.ids:
            raise ContentError("the query is empty: give content, like=[ids] or unlike=[ids]")
        twice = sorted({id_ for id_ in self.ids if self.ids.count(id_) > 1})
        if twice:
            raise ContentError(f"the query names {', '.join(map(repr, twice))} more than once in like and unlike")
        set_field(self, "weights", self._checked(weights))

    @property
    def ids(self) -> tuple[str, ...]:
        """All stored documents the query names; they are left out of its hits."""
        return self.like + self.unlike

    @property
    def wholes(self) -> tuple[tuple[Content, ...], ...]:
        """What is to be embedded, each as one vector."""
        if self.separate:
            return tuple((piece,) for piece in self.content)
        return (self.content,) if self.content else ()

    def _checked(self, weights: Sequence[float] | None) -> tuple[float, ...]:
        terms = len(self.wholes) + len(self.ids)
        if weights is None:
            return (1.0,) * terms
        given = tuple(weights)
        if len(given) != terms:
            raise ContentError(
                f"weights has {len(given)} numbers for {terms} terms: "
                f"{len(self.wholes)} content, {len(self.like)} like, {len(self.unlike)} unlike"
            )
        for weight in given:
            if not _is_weight(weight):
                raise ContentError(f"a weight is a finite number >= 0, got {weight!r}; to subtract, name it in unlike")
        return tuple(map(float, given))

    def __repr__(self) -> str:
        """Name the parts without their bytes."""
        parts = [_shown(part) for part in self.content]
        parts += [f"{name}={list(ids)!r}" for name, ids in (("like", self.like), ("unlike", self.unlike)) if ids]
        if set(self.weights) != {1.0}:
            parts.append(f"weights={list(self.weights)}")
        if self.separate:
            parts.append("separate=True")
        return f"Query({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """One answer of a search."""

    document: Document
    score: float
    score_kind: ScoreKind
    """How to read `score`."""
    rank: int
    """Place in the answer, from 1. In `mode="mmr"` it is the order picked, which is not the order of the scores."""
    cosine: float | None = None
    """The cosine similarity, whatever `score` is; None where none was computed."""
    confidence: float | None = None
    """Between 0 and 1: how sure it is that this is a match at all; None where the ranking does not tell."""
    media: MediaSource | None = field(default=None, repr=False, compare=False)
    """Where the media of the document are, to show them; left behind when the hit is pickled."""

    def __post_init__(self) -> None:
        """A cosine score is the cosine similarity."""
        if self.score_kind == "cosine" and self.cosine is None:
            object.__setattr__(self, "cosine", self.score)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the media, which may hold a connection."""
        fields = (self.document, self.score, self.score_kind, self.rank, self.cosine, self.confidence)
        return Hit, fields

    def __repr__(self) -> str:
        """Show place, score and the beginning of the text."""
        document = f"{self.document.id!r} {_shown(self.document.page_content)}"
        return f"Hit(#{self.rank} {self.score_kind} {self.score:.4f} {document})"

    def to_html(self) -> str:
        """A piece of HTML that shows it: citation, text, picture, page, or a player at the second; as in notebooks."""
        from langchain_gemini_mm.rendering.html_view import hit_html

        return hit_html(self)

    def _repr_html_(self) -> str:
        return self.to_html()


class Hits(list[Hit]):
    """The hits of one search, best first: a list."""

    @property
    def documents(self) -> list[Document]:
        """The documents alone."""
        return [hit.document for hit in self]

    def to_html(self) -> str:
        """A piece of HTML that shows them one below the other; as in notebooks."""
        from langchain_gemini_mm.rendering.html_view import hits_html

        return hits_html(self)

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True, slots=True)
class Group:
    """The hits that share a value of their metadata, such as the moments of one video."""

    value: str | int | float | bool | None
    """None where a document has no such value; it is a group of its own then."""
    hits: tuple[Hit, ...]
    """Best first; `rank` is the place among the hits they were found with."""


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _ids(name: str, ids: Sequence[str]) -> tuple[str, ...]:
    if isinstance(ids, str | bytes):
        raise TypeError(f"{name} is a list of ids, got one {type(ids).__name__}; write {name}=[...]")
    found = tuple(ids)
    for id_ in found:
        if not isinstance(id_, str):
            raise TypeError(f"{name} holds ids as str, got {type(id_).__name__}")
        plain_text(id_, f"an id in {name}")
    return found


def _shown(part: Any) -> str:
    if isinstance(part, str):
        return repr(part) if len(part) <= _SHOWN else f"{part[:_SHOWN]!r}…"
    return f"<{type(part).__name__}>"
