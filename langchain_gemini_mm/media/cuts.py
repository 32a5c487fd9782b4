"""What a segment must look like, and a segment that was cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from langchain_gemini_mm.media.av.segments import Window

Track = Literal["audio", "video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a model takes of a segment; the figures come from its table."""

    limit_s: float
    """The hard limit in seconds; no segment is longer."""
    mime_types: tuple[str, ...]
    """Accepted types."""
    max_bytes: int | None = None
    """A larger segment is written anew with fewer bytes."""
    lead_s: float | None = None
    """A copy may begin so many seconds before its window; None for as many as `limit_s` allows."""
    max_edge: int | None = None
    """A picture with a longer edge is scaled down, in pixels; every segment is written anew then."""

    def __post_init__(self) -> None:
        """Refuse numbers that nothing could meet."""
        if not self.limit_s > 0:
            raise ValueError(f"limit_s must be above 0, got {self.limit_s!r}")
        if self.lead_s is not None and not self.lead_s >= 0:
            raise ValueError(f"lead_s must be 0 or more, got {self.lead_s!r}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, got {self.max_bytes!r}")
        if self.max_edge is not None and self.max_edge < 16:
            raise ValueError(f"max_edge must be 16 pixels or more, got {self.max_edge!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A segment as a file of its own."""

    data: bytes = field(repr=False)
    mime_type: str
    window: Window
    """What was asked for."""
    start_s: float
    """Where it really begins: a copy begins at a keyframe, at or before what was asked for."""
    end_s: float
    """Where it really ends."""
    track: Track | None = None
    """`"audio"` or `"video"` where only that was cut; None for pictures with their sound."""
    codec: str
    """Of the pictures, or of the sound where there are none."""
    copied: bool
    """Whether the packets are the source's own; otherwise it was decoded and written anew."""


@dataclass(frozen=True, slots=True)
class Uncut:
    """A window that copying could not serve; it must be written anew."""

    window: Window
    reason: str
