"""Hits grouped by file, with adjacent segments and pages merged into moments."""

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
_SPANS = {"start_s": "end_s", "first_page": "last_page"}
"""Metadata keys with the start of a span, and with its end."""
GAP_S = 1.0
"""Default number of seconds between segments that are merged into one moment."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time span of a recording, a range of pages, or a document without either."""

    hits: tuple[Hit, ...]
    """Best first."""
    source: str | None = None
    """The file."""
    start_s: float | None = None
    end_s: float | None = None
    first_page: int | None = None
    """1-based."""
    last_page: int | None = None
    """1-based, inclusive."""

    @property
    def best(self) -> Hit:
        """The best hit."""
        return self.hits[0]

    @property
    def citation(self) -> str:
        """The place as text: `[talk.mp4 12:30-13:30]`, `[slides.pdf pp. 7-8]`."""
        document = self.best.document
        metadata = dict(document.metadata)
        for name in ("start_s", "end_s", "first_page", "last_page"):
            if getattr(self, name) is not None:
                metadata[name] = getattr(self, name)
        if len({hit.document.metadata.get("track") for hit in self.hits}) > 1:
            metadata.pop("track", None)
        return citation(Document(page_content="", metadata=metadata, id=document.id))


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or files that share a metadata value, with what was found in it."""

    source: str | None
    """Name of the file in the collection, or the shared value; None for a document without one."""
    hits: tuple[Hit, ...]
    """Best first."""
    moments: tuple[Moment, ...]
    """Adjacent segments or pages merged; best first."""

    @property
    def score(self) -> float:
        """The score of the best hit."""
        return self.hits[0].score


def group_by_source(
    hits: Iterable[Hit], *, by: str = "source", per_source: int | None = None, gap_s: float = GAP_S
) -> list[Source]:
    """Group hits by file, best file first.

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
        hits: of one search, best first.
        by: the metadata key of the groups; a moment belongs to one file in any case.
        per_source: number of hits of a file to keep; None for all.
        gap_s: largest number of seconds between segments that are merged into one moment.
    """
    groups: dict[tuple[str | None, int | None], list[Hit]] = {}
    for number, hit in enumerate(hits):
        value = hit.document.metadata.get(by)
        # A document without a value is a group by itself.
        key = (str(value), None) if isinstance(value, str | int | float) else (None, number)
        groups.setdefault(key, []).append(hit)
    sources = []
    for (name, _), found in groups.items():
        kept = found[:per_source]
        sources.append(Source(name, tuple(kept), tuple(_moments(kept, gap_s))))
    return sources


def _moments(hits: Sequence[Hit], gap_s: float) -> list[Moment]:
    """Merge hits that are adjacent in the same file; best moment first."""
    moments: list[Moment] = []
    spans: dict[tuple[str | None, str], list[tuple[Any, Any, Hit]]] = {}
    for hit in hits:
        metadata = hit.document.metadata
        source = metadata.get("source")
        source = source if isinstance(source, str) else None
        for start, end in _SPANS.items():
            if type(metadata.get(start)) in _NUMBERS and type(metadata.get(end)) in _NUMBERS:
                spans.setdefault((source, start), []).append((metadata[start], metadata[end], hit))
                break
        else:
            moments.append(Moment((hit,), source))
    for (source, start), found in spans.items():
        for low, high, members in merge_spans(found, gap_s if start == "start_s" else 1):
            place = {start: low, _SPANS[start]: high}
            moments.append(Moment(tuple(sorted(members, key=attrgetter("rank"))), source, **place))
    return sorted(moments, key=lambda moment: moment.best.rank)


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
