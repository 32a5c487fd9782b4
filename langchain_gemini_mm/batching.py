"""Which contents travel together: a pure planner, and the order-keeping way to run the plan."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Sized(Protocol):
    """What the planner must know of an item."""

    @property
    def group(self) -> Hashable:
        """Items of different groups never share a call."""

    @property
    def wire_bytes(self) -> int:
        """Bytes the item takes in a request."""

    @property
    def token_count(self) -> int:
        """Tokens, estimated."""


S = TypeVar("S", bound=Sized)


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """How much one call may carry. One item that is over alone still travels, alone."""

    items: int
    wire_bytes: int
    tokens: int | None = None


def plan(items: Iterable[S], limits: CallLimits) -> Iterator[list[S]]:
    """Cut `items` into calls, keeping their order; nothing is lost, nothing is reordered."""
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
    """Cut a sequence into pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


class CancelToken:
    """Tells workers that their result is no longer wanted, and wakes those that are waiting."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> None:
        """Ask workers to give up."""
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether to give up."""
        return self._event.is_set()

    def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until someone gives up."""
        self._event.wait(max(0.0, seconds))


Stop = CancelToken


def threaded_map(work: Callable[[T, CancelToken], R], inputs: Sequence[T], concurrency: int) -> list[R]:
    """Run `work` on every input in at most `concurrency` threads; results in the order of the inputs.

    The first failure stops the others and is raised once they have ended.
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
            _raise_first(futures, done)
            return [future.result() for future in futures]
        except BaseException:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def gathered_map(work: Callable[[T], Awaitable[R]], inputs: Sequence[T], concurrency: int) -> list[R]:
    """Async twin of `threaded_map`: at most `concurrency` at a time, and the first failure cancels the others."""
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


def _raise_first(futures: Sequence[Future[R]], done: set[Future[R]]) -> None:
    for future in futures:
        if future in done:
            future.result()
