"""Grouping of contents into requests, and concurrent execution that keeps their order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Sized(Protocol):
    """What `plan` needs to know of an item."""

    @property
    def group(self) -> Hashable:
        """Items of different groups never share a request."""

    @property
    def wire_bytes(self) -> int:
        """Size in a request, in bytes."""

    @property
    def token_count(self) -> int:
        """Estimated tokens."""


S = TypeVar("S", bound=Sized)


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """Limits of one request. An item that exceeds them by itself gets a request of its own."""

    items: int
    wire_bytes: int
    tokens: int | None = None
    """None for no limit."""


def plan(items: Iterable[S], limits: CallLimits) -> Iterator[list[S]]:
    """Group items into requests, in order."""
    batch: list[S] = []
    size = tokens = 0
    for item in items:
        full = batch and (
            len(batch) >= limits.items
            or size + item.wire_bytes > limits.wire_bytes
            or (limits.tokens is not None and tokens + item.token_count > limits.tokens)
            or batch[0].group != item.group
        )
        if full:
            yield batch
            batch, size, tokens = [], 0, 0
        batch.append(item)
        size += item.wire_bytes
        tokens += item.token_count
    if batch:
        yield batch


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


class CancelToken(threading.Event):
    """Set when a result is no longer needed; workers ask `is_set()`, and pause with `wait(seconds)`."""


def threaded_map(work: Callable[[T, CancelToken], R], inputs: Sequence[T], concurrency: int) -> list[R]:
    """Run `work` on every input in threads; the first exception cancels the others and is raised when they have ended.

    Args:
        work: a function of one input and the token that tells it to stop.
        inputs: one call each.
        concurrency: most threads.

    Returns:
        Results in the order of the inputs.
    """
    stop = CancelToken()
    if not inputs:
        return []
    if len(inputs) == 1:
        return [work(inputs[0], stop)]
    with ThreadPoolExecutor(min(concurrency, len(inputs)), thread_name_prefix="gemini-mm") as pool:
        try:
            futures = [pool.submit(work, item, stop) for item in inputs]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:
                if future in done:
                    future.result()
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def gathered_map(work: Callable[[T], Awaitable[R]], inputs: Sequence[T], concurrency: int) -> list[R]:
    """Async twin of `threaded_map`, in tasks; the first exception cancels the others.

    Args:
        work: a coroutine function of one input.
        inputs: one call each.
        concurrency: most tasks at a time.

    Returns:
        Results in the order of the inputs.
    """
    gate = asyncio.Semaphore(concurrency)

    async def gated(item: T) -> R:
        async with gate:
            return await work(item)

    tasks = [asyncio.ensure_future(gated(item)) for item in inputs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
