"""Windows over a recording, computed in whole milliseconds, and the segments cut from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from langchain_gemini_mm.errors import InvalidValueError

_MAX_WINDOWS = 1_000_000
_TOO_LONG_S = 10**9
_ROUNDING_S = 1e-6


class Window(NamedTuple):
    """Start and end in a recording, in seconds, with at most three decimals."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Its length in seconds."""
        return round(self.end_s - self.start_s, 3)


def windows(
    duration_s: float,
    window_s: float,
    overlap_s: float = 0.0,
    *,
    limit_s: float | None = None,
    least_s: float | None = None,
) -> list[Window]:
    """Cover a recording with windows at a constant step, without a very short one at the end.

    A rest at the end that is shorter than `least_s` extends the last window where `limit_s` allows it; otherwise the
    last two windows become equally long.

    ```python
    from langchain_gemini_mm.media.av.segments import windows

    assert windows(65, 30, limit_s=120) == [(0, 30), (30, 65)]
    assert windows(65, 30) == [(0, 30), (30, 47.5), (47.5, 65)]
    assert windows(75, 30, overlap_s=5) == [(0, 30), (25, 55), (50, 75)]
    ```

    Args:
        duration_s: length of the recording; rounded up to a millisecond.
        window_s: length of a window.
        overlap_s: least overlap of adjacent windows; less than `window_s`.
        limit_s: longest window; `window_s` by default.
        least_s: least length that the last window adds; a quarter of the step by default.

    Returns:
        Windows in order; none for a length of 0.

    Raises:
        ValueError: a length is out of range, or there would be more than a million windows.
    """
    length, window, overlap, most, least = _milliseconds(duration_s, window_s, overlap_s, limit_s, least_s)
    step = window - overlap
    count = max(math.ceil((length - overlap) / step), 1) if length > 0 else 0
    if count > _MAX_WINDOWS:
        raise InvalidValueError(
            f"{duration_s!r} s in windows of {window_s!r} s are {count:,} windows; make the windows longer"
        )
    bounds = [(number * step, min(number * step + window, length)) for number in range(count)]
    if count > 1 and bounds[-1][1] - bounds[-2][1] < min(least, step):
        start = bounds[-2][0]
        half = -(-(length - start + overlap) // 2)
        together = [(start, length)] if length - start <= most else [(start, start + half), (length - half, length)]
        bounds[-2:] = together
    return [Window(start / 1000, end / 1000) for start, end in bounds]


def _milliseconds(
    duration_s: float, window_s: float, overlap_s: float, limit_s: float | None, least_s: float | None
) -> tuple[int, int, int, int, int]:
    if not 0 <= duration_s < _TOO_LONG_S:
        raise InvalidValueError(f"duration_s must be from 0 to below 10^9 seconds, got {duration_s!r}")
    if not 0.001 <= window_s < _TOO_LONG_S:
        raise InvalidValueError(f"window_s must be a millisecond or more, got {window_s!r}")
    if not 0 <= overlap_s < window_s or round(overlap_s * 1000) >= round(window_s * 1000):
        raise InvalidValueError(f"overlap_s must be 0 or more and less than window_s = {window_s!r}, got {overlap_s!r}")
    if limit_s is not None and not window_s <= limit_s:
        raise InvalidValueError(f"limit_s must be window_s = {window_s!r} or more, got {limit_s!r}")
    if least_s is not None and not least_s >= 0:
        raise InvalidValueError(f"least_s must be 0 or more, got {least_s!r}")
    window, overlap = round(window_s * 1000), round(overlap_s * 1000)
    limit = min(limit_s or window_s, _TOO_LONG_S)
    least = (window - overlap) // 4 if least_s is None else round(min(least_s, _TOO_LONG_S) * 1000)
    length = math.ceil((duration_s - _ROUNDING_S) * 1000)
    return max(length, 0), window, overlap, max(math.floor(limit * 1000 + _ROUNDING_S), window), least


Track = Literal["audio", "video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFormat:
    """What a model takes of a segment."""

    limit_s: float
    """Longest segment, in seconds."""
    mime_types: tuple[str, ...]
    """Accepted MIME types."""
    max_bytes: int | None = None
    """Largest segment, in bytes; larger ones are encoded with fewer."""
    lead_s: float | None = None
    """Seconds from a keyframe to the window that a copy may hide; None for as many as `limit_s` allows."""
    max_edge: int | None = None
    """Pixels of the longer side of a frame; larger ones are scaled down, and every segment is encoded."""
    keyframes_only: bool = False
    """Encode only the keyframes, at most two a second: a preview that takes less than a second."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not self.limit_s > 0:
            raise InvalidValueError(f"limit_s must be above 0, got {self.limit_s!r}")
        if self.lead_s is not None and not self.lead_s >= 0:
            raise InvalidValueError(f"lead_s must be 0 or more, got {self.lead_s!r}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise InvalidValueError(f"max_bytes must be 1 or more, got {self.max_bytes!r}")
        if self.max_edge is not None and self.max_edge < 16:
            raise InvalidValueError(f"max_edge must be 16 pixels or more, got {self.max_edge!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A segment, as a file of its own."""

    data: bytes = field(repr=False)
    mime_type: str
    window: Window
    """The requested start and end."""
    start_s: float
    """Its actual start: that of its first frame or sample."""
    end_s: float
    """Its actual end."""
    track: Track | None = None
    """`"audio"` or `"video"` for a single stream; None for video with its audio."""
    codec: str
    """Of the video, or of the audio where there is no video."""
    copied: bool
    """Whether its packets were copied; otherwise it was decoded and encoded again."""


@dataclass(frozen=True, slots=True)
class NotCopied:
    """A window that could not be copied and must be encoded."""

    window: Window
    reason: str
