"""Hits by the file they come from, with neighbouring segments and pages joined to moments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from langchain_core.documents import Document

from langchain_gemini_mm.rendering import citation
from langchain_gemini_mm.vectorstores import Hit

T = TypeVar("T")

_NUMBERS = (int, float)
GAP_S = 1.0
"""Segments with no more than so many seconds between them are one moment."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of a recording, a run of pages, or a document without either."""

    hits: tuple[Hit, ...]
    """Best first."""
    source: str | None = None
    """The file."""
    start_s: float | None = None
    end_s: float | None = None
    first_page: int | None = None
    """1-based."""
    last_page: int | None = None

    @property
    def best(self) -> Hit:
        """The best hit."""
        return self.hits[0]

    @property
    def citation(self) -> str:
        """Where it is, for people: `[talk.mp4 12:30-13:30]`, `[slides.pdf pp. 7-8]`."""
        span = {name: getattr(self, name) for name in ("start_s", "end_s", "first_page", "last_page")}
        said = {name: value for name, value in span.items() if value is not None}
        document = self.best.document
        return citation(Document(page_content="", metadata={**document.metadata, **said}, id=document.id))


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or files with a key in common, and what was found there."""

    source: str | None
    """Its name in the collection, or the value of the key; None for a document without, which is by itself."""
    hits: tuple[Hit, ...]
    """Best first."""
    moments: tuple[Moment, ...]
    """Neighbouring segments or pages joined; best first."""

    @property
    def score(self) -> float:
        """The score of the best hit."""
        return self.hits[0].score


def group_by_source(
    hits: Iterable[Hit], *, by: str = "source", per_source: int | None = None, gap_s: float = GAP_S
) -> list[Source]:
    """Put hits of one file together, best file first.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm import Hit
    from langchain_gemini_mm.retrievers import group_by_source

    def hit(score, rank, start_s):
        where = {"source": "talk.mp4", "start_s": start_s, "end_s": start_s + 30}
        return Hit(Document(page_content="", metadata=where), score, "cosine", rank)

    (talk,) = group_by_source([hit(0.9, 1, 30), hit(0.8, 2, 0)])
    assert [(moment.start_s, moment.end_s) for moment in talk.moments] == [(0, 60)]
    ```

    Args:
        hits: best first, of one search.
        by: the metadata key of the groups; moments are of one file all the same.
        per_source: how many hits of a file to keep; None for all.
        gap_s: seconds between segments of one moment, at most.
    """
    groups: dict[Any, list[Hit]] = {}
    for hit in hits:
        value = hit.document.metadata.get(by)
        key = ("of", str(value)) if isinstance(value, str | int | float) else ("alone", id(hit))
        groups.setdefault(key, []).append(hit)
    sources = []
    for (kind, name), found in groups.items():
        kept = found[:per_source]
        sources.append(Source(name if kind == "of" else None, tuple(kept), tuple(_moments(kept, gap_s))))
    return sources


def _moments(hits: Sequence[Hit], gap_s: float) -> list[Moment]:
    files: dict[str | None, list[Hit]] = {}
    for hit in hits:
        source = hit.document.metadata.get("source")
        files.setdefault(source if isinstance(source, str) else None, []).append(hit)
    moments = [moment for source, found in files.items() for moment in _moments_of(source, found, gap_s)]
    return sorted(moments, key=lambda moment: moment.hits[0].rank)


def _moments_of(source: str | None, hits: Sequence[Hit], gap_s: float) -> list[Moment]:
    timed: list[tuple[Any, Any, Hit]] = []
    paged: list[tuple[Any, Any, Hit]] = []
    others: list[Hit] = []
    for hit in hits:
        said = hit.document.metadata.get
        if type(start := said("start_s")) in _NUMBERS and type(end := said("end_s")) in _NUMBERS:
            timed.append((start, end, hit))
        elif type(first := said("first_page")) in _NUMBERS and type(last := said("last_page")) in _NUMBERS:
            paged.append((first, last, hit))
        else:
            others.append(hit)
    moments = [Moment((hit,), source) for hit in others]
    for start_s, end_s, found in merge_spans(timed, gap_s):
        moments.append(Moment(_best_first(found), source, start_s=start_s, end_s=end_s))
    for first, last, found in merge_spans(paged, 1):
        moments.append(Moment(_best_first(found), source, first_page=first, last_page=last))
    return moments


def _best_first(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    return tuple(sorted(hits, key=attrgetter("rank")))


def merge_spans(spans: Iterable[tuple[float, float, T]], gap: float) -> list[tuple[Any, Any, list[T]]]:
    """Merge time spans or page ranges that overlap or are adjacent.

    ```python
    from langchain_gemini_mm.retrievers.sources import merge_spans

    assert merge_spans([(30, 60, "b"), (0, 30, "a"), (90, 120, "c")], gap=1) == [(0, 60, ["a", "b"]), (90, 120, ["c"])]
    ```

    Args:
        spans: start, end and an item, in any order.
        gap: largest distance between two spans that are merged, in the unit of the spans.

    Returns:
        Start, end and items of each merged span, in order.
    """
    merged: list[tuple[Any, Any, list[T]]] = []
    for start, end, item in sorted(spans, key=itemgetter(0, 1)):
        if merged and start - merged[-1][1] <= gap:
            first, last, items = merged[-1]
            merged[-1] = (first, max(last, end), [*items, item])
        else:
            merged.append((start, end, [item]))
    return merged
