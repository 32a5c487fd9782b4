"""Quotas per minute, with a clock passed as an argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.embeddings.service.rate_limit import WINDOW_S, MinuteQuota


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def test_without_limits_there_is_no_delay() -> None:
    """Without a quota there is no waiting."""
    quota = MinuteQuota(clock=Clock())

    assert [quota.reserve(100, 10_000) for _ in range(5)] == [0.0] * 5


def test_each_item_of_a_batch_counts() -> None:
    """Two batches of 50 use 100 requests per minute; the third waits for the end of the window."""
    clock = Clock()
    quota = MinuteQuota(requests=100, clock=clock)

    assert [quota.reserve(50, 1), quota.reserve(50, 1), quota.reserve(50, 1)] == [0.0, 0.0, WINDOW_S]


def test_unused_quota_does_not_accumulate() -> None:
    """After a pause, a minute still allows no more than the quota."""
    clock = Clock()
    quota = MinuteQuota(requests=10, clock=clock)
    quota.reserve(10, 0)
    clock.now += 600

    assert [quota.reserve(10, 0), quota.reserve(1, 0)] == [0.0, WINDOW_S]


def test_a_call_over_the_quota_is_sent_in_an_unused_minute() -> None:
    """A call that is larger than the quota is not delayed forever."""
    clock = Clock()
    quota = MinuteQuota(tokens=100, clock=clock)
    quota.reserve(1, 50)

    assert quota.reserve(1, 500) == WINDOW_S


def test_a_hold_applies_to_all_callers() -> None:
    """If the service asks one caller to wait, all wait."""
    clock = Clock()
    quota = MinuteQuota(clock=clock)
    quota.hold(33)

    assert quota.reserve(1, 1) == 33
    clock.now += 40
    assert quota.reserve(1, 1) == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 400), st.floats(0, 30)), max_size=40))
def test_no_minute_exceeds_the_quota(calls: list[tuple[int, int, float]]) -> None:
    """Every trailing minute stays within both limits, whenever calls are made."""
    clock = Clock()
    quota = MinuteQuota(requests=50, tokens=500, clock=clock)
    starts = []
    for requests, tokens, pause in calls:
        starts.append((clock.now + quota.reserve(requests, tokens), requests, tokens))
        clock.now += pause

    for end, _, _ in starts:
        window = [row for row in starts if end - WINDOW_S + 1e-6 < row[0] <= end]
        assert sum(row[1] for row in window) <= 50
        assert sum(row[2] for row in window) <= 500
