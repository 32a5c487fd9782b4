"""The results of a search: `Hit`, `Hits` and `Group`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.vectorstores.query import shown

ScoreKind = Literal["cosine", "bm25", "rank", "deviation", "probability"]
"""What a score means; higher is always better.

`cosine` is a similarity in [-1, 1]; `bm25` says how well words match, comparable within one answer only; `rank` is the
sum of 1 / (60 + rank) over fused rankings and says nothing but the order. `deviation` is how many standard deviations a
cosine similarity lies above those of the query with other documents of the same modality; `probability` is that of
being relevant, learned from labelled queries.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Hit:
    """One answer of a search."""

    document: Document
    score: float
    score_kind: ScoreKind
    """How to read `score`."""
    rank: int
    """Place in the answer, from 1; with `search_type="mmr"` the order picked, which is not that of the scores."""
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
        document = f"{self.document.id!r} {shown(self.document.page_content)}"
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

    @property
    def scored(self) -> list[tuple[Document, float]]:
        """Each document with its score."""
        return [(hit.document, hit.score) for hit in self]

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
