"""Windows cover the whole recording in equal steps; none is too long or too short."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.media.av.segments import Window, windows
from langchain_gemini_mm.references import MediaRef

COVERED: dict[str, tuple[list[Window], list[tuple[float, float]]]] = {
    "empty": (windows(0, 30), []),
    "shorter than a window": (windows(12.5, 30), [(0, 12.5)]),
    "exactly one": (windows(30, 30), [(0, 30)]),
    "a fraction of a millisecond": (windows(0.0004, 30), [(0, 0.001)]),
    "a rounding error is no remainder": (windows(30.0000001, 30), [(0, 30)]),
    "two": (windows(60, 30), [(0, 30), (30, 60)]),
    "a separate remainder": (windows(70, 30), [(0, 30), (30, 60), (60, 70)]),
    "a short remainder shared": (windows(61, 30), [(0, 30), (30, 45.5), (45.5, 61)]),
    "a short remainder merged": (windows(61, 30, limit_s=120), [(0, 30), (30, 61)]),
    "a short remainder over the limit": (windows(61, 30, limit_s=30.5), [(0, 30), (30, 45.5), (45.5, 61)]),
    "a short remainder kept": (windows(61, 30, least_s=0), [(0, 30), (30, 60), (60, 61)]),
    "overlap": (windows(75, 30, 5), [(0, 30), (25, 55), (50, 75)]),
    "a remainder within the overlap": (windows(55, 30, 5), [(0, 30), (25, 55)]),
    "overlap and a short remainder": (windows(56, 30, 5), [(0, 30), (25, 43), (38, 56)]),
    "milliseconds": (windows(2.5, 0.999), [(0, 0.999), (0.999, 1.998), (1.998, 2.5)]),
}


@pytest.mark.parametrize(("found", "expected"), COVERED.values(), ids=COVERED)
def test_windows(found: list[Window], expected: list[tuple[float, float]]) -> None:
    """The windows of each duration."""
    assert found == expected


@given(
    duration=st.floats(0.01, 2_000),
    window=st.integers(1_000, 120_000),
    share=st.floats(0, 0.95),
    room=st.floats(1, 2),
)
def test_invariants(duration: float, window: int, share: float, room: float) -> None:
    """Windows cover everything, overlap as asked, respect both limits and can be written as references."""
    window_s, overlap_s = window / 1000, int(window * share) / 1000
    limit_s = window_s * room
    found = windows(duration, window_s, overlap_s, limit_s=limit_s)
    assert found[0].start_s == 0
    assert -1e-6 <= found[-1].end_s - duration < 0.001 + 1e-6
    assert all(each.length_s <= limit_s + 1e-9 for each in found)
    for before, after in pairwise(found):
        assert before.start_s < after.start_s
        assert before.end_s - after.start_s >= overlap_s - 1e-9
    if len(found) > 1:
        step = window_s - overlap_s
        assert found[-1].end_s - found[-2].end_s >= min(step / 4, step) - 0.002
    for each in (found[0], found[-1]):
        assert MediaRef.parse(MediaRef("ab" * 32).segment(*each).uri).start_s == each.start_s


REFUSED: dict[str, tuple[tuple[float, ...], dict[str, float], str]] = {
    "not a number": ((float("nan"), 30), {}, "duration_s"),
    "infinite": ((float("inf"), 30), {}, "duration_s"),
    "negative": ((-1, 30), {}, "duration_s"),
    "no window": ((10, 0), {}, "window_s"),
    "overlap as long as the window": ((10, 5, 5), {}, "overlap_s"),
    "overlap longer by less than a millisecond": ((10, 5, 4.9999), {}, "overlap_s"),
    "limit below the window": ((10, 5), {"limit_s": 4}, "limit_s"),
    "negative least_s": ((10, 5), {"least_s": -1}, "least_s"),
    "far too many": ((900_000_000, 0.01), {}, "make the windows longer"),
}


@pytest.mark.parametrize(("arguments", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_arguments(arguments: tuple[float, ...], options: dict[str, float], message: str) -> None:
    """The message names the invalid number and its value."""
    with pytest.raises(ValueError, match=message):
        windows(*arguments, **options)
