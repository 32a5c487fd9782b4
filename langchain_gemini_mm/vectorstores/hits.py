"""The results of a search: `Hit`, `Hits` and `Group`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, SupportsIndex, overload

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import MediaSource, Vector
from langchain_gemini_mm.vectorstores.query import shown

ScoreKind = Literal["cosine", "bm25", "rank", "fused", "deviation", "probability"]
"""What a score means; higher is always better.

`cosine` is a cosine similarity in [-1, 1]. `bm25` is the BM25 score of a keyword search, comparable only within one
search. `rank` is the sum of 1 / (60 + rank) over the fused rankings and only defines an order. `fused` is the
weighted sum, from 0 to 1, of the scores in two lists, each scaled to the range from 0 to 1. `deviation` is the
number of standard deviations by which the cosine similarity exceeds that of other documents of the same modality.
`probability` is the probability of being relevant, calibrated on labelled queries.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """One result of a search."""

    document: Document
    score: float
    score_kind: ScoreKind
    """How to read `score`."""
    rank: int
    """Position among the results, from 1; with `search_type="mmr"` the order of selection, not of the scores."""
    cosine: float | None = None
    """The cosine similarity, for every `score_kind`; None if it was not computed."""
    confidence: float | None = None
    """Confidence from 0 to 1 that the document matches at all; None for rankings without confidence."""
    media: MediaSource | None = field(default=None, repr=False, compare=False)
    """The media store that resolves references of the document; not pickled."""
    vector: Vector | None = field(default=None, repr=False, compare=False)
    """The stored vector, `(d,)` float32 of unit length, if the search was asked to `return_vectors`; not pickled."""

    def __post_init__(self) -> None:
        """A cosine score is the cosine similarity."""
        if self.score_kind == "cosine" and self.cosine is None:
            object.__setattr__(self, "cosine", self.score)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the media store, which may hold a connection."""
        fields = (self.document, self.score, self.score_kind, self.rank, self.cosine, self.confidence)
        return Hit, fields

    def __repr__(self) -> str:
        """Show rank, score and the beginning of the text."""
        document = f"{self.document.id!r} {shown(self.document.page_content)}"
        return f"Hit(#{self.rank} {self.score_kind} {self.score:.4f} {document})"

    def to_html(self) -> str:
        """The hit as an HTML fragment, as in notebooks: citation, text, and image, page or player."""
        from langchain_gemini_mm.rendering.html_view import hit_html

        return hit_html(self)

    def _repr_html_(self) -> str:
        return self.to_html()


class Hits(list[Hit]):
    """The hits of one search, best first: a list."""

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Hit: ...
    @overload
    def __getitem__(self, index: slice, /) -> Hits: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> Hit | Hits:
        """One hit, or for a slice the `Hits` in it."""
        return Hits(super().__getitem__(index)) if isinstance(index, slice) else super().__getitem__(index)

    @property
    def documents(self) -> list[Document]:
        """The documents alone."""
        return [hit.document for hit in self]

    @property
    def scored(self) -> list[tuple[Document, float]]:
        """Each document with its score."""
        return [(hit.document, hit.score) for hit in self]

    def to_html(self) -> str:
        """The hits as an HTML fragment, as in notebooks."""
        from langchain_gemini_mm.rendering.html_view import hits_html

        return hits_html(self)

    def _repr_html_(self) -> str:
        return self.to_html()


@dataclass(frozen=True, slots=True)
class Group:
    """The hits that share a metadata value, such as the segments of one video."""

    value: str | int | float | bool | None
    """None for a document without a value, which is a group of its own."""
    hits: tuple[Hit, ...]
    """Best first; `rank` is the rank among all hits of the search."""
