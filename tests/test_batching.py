"""Batching: how inputs are grouped, and that results keep their order."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm.batching import CallLimits, CancelToken, gathered_map, plan, threaded_map


@dataclass(frozen=True)
class Item:
    """An item with the fields that the planner reads."""

    number: int
    wire_bytes: int
    token_count: int
    group: str


items_of = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.sampled_from("ab"))).map(
    lambda rows: [Item(number, *row) for number, row in enumerate(rows)]
)


@given(items_of, st.integers(1, 7), st.integers(1, 120), st.none() | st.integers(1, 120))
def test_plans_are_complete_and_within_the_limits(items: list[Item], most: int, size: int, tokens: int | None) -> None:
    """Calls contain all items in order, one group each, within every limit unless a single item exceeds it."""
    limits = CallLimits(items=most, wire_bytes=size, tokens=tokens)

    calls = list(plan(items, limits))

    assert [item for call in calls for item in call] == items
    for call in calls:
        assert 1 <= len(call) <= most
        assert len({item.group for item in call}) == 1
        assert len(call) == 1 or sum(item.wire_bytes for item in call) <= size
        assert len(call) == 1 or tokens is None or sum(item.token_count for item in call) <= tokens


@given(items_of, st.integers(1, 7), st.integers(1, 120))
def test_calls_are_as_full_as_they_can_be(items: list[Item], most: int, size: int) -> None:
    """No call has room for the first item of the next one."""
    calls = list(plan(items, CallLimits(items=most, wire_bytes=size)))

    for call, following in itertools.pairwise(calls):
        joined = [*call, following[0]]
        fits = len(joined) <= most and sum(item.wire_bytes for item in joined) <= size
        assert not fits or joined[0].group != joined[-1].group


def test_threads_keep_the_order_and_the_bound() -> None:
    """Results are in the order of the inputs, with at most the allowed number of workers."""
    lock, running, most = threading.Lock(), 0, 0

    def work(number: int, _: CancelToken) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001 * (number % 5))
        with lock:
            running -= 1
        return number * number

    assert threaded_map(work, range(60), 4) == [number * number for number in range(60)]
    assert most <= 4


def test_no_input_needs_no_thread() -> None:
    """An empty plan has an empty result."""
    assert threaded_map(lambda item, _: item, [], 4) == []


def test_the_first_failure_stops_the_others() -> None:
    """A failure wakes workers that wait, and starts no further ones."""
    started: list[int] = []

    def work(number: int, cancel: CancelToken) -> None:
        started.append(number)
        if number == 0:
            raise RuntimeError("input 0")
        cancel.wait(60)

    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="input 0"):
        threaded_map(work, range(100), 3)

    assert time.monotonic() - begun < 30
    assert len(started) < 10


async def test_tasks_keep_the_order_and_the_bound() -> None:
    """The async twin has the same order and limit."""
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (number % 5))
        running -= 1
        return -number

    assert await gathered_map(work, range(60), 4) == [-number for number in range(60)]
    assert most == 4


async def test_a_failed_task_cancels_the_others() -> None:
    """No task runs after an exception."""
    cancelled = 0

    async def work(number: int) -> None:
        nonlocal cancelled
        if number == 0:
            await asyncio.sleep(0)
            raise RuntimeError("input 0")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    with pytest.raises(RuntimeError, match="input 0"):
        await gathered_map(work, range(10), 3)

    assert 2 <= cancelled <= 3
