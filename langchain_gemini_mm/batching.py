"""Grouping of contents into requests, and concurrent execution in threads that an interrupted program leaves behind."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, Self, TypeVar

P = ParamSpec("P")
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


class DaemonThreads:
    """Threads for blocking work, started when they are needed; a `with` block lets them end.

    Unlike those of `concurrent.futures` they do not keep an interrupted program from ending, and unlike the default
    executor of an event loop they are not shared with other work of the program.

    Args:
        most: threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run a function in a thread, when one is free."""
        future: Future[R] = Future()
        context = copy_context()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = context.run(function, *args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is read
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(work)
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._started += 1
            threading.Thread(target=self._serve, name=f"gemini-mm-{self._started}", daemon=True).start()
        return future

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function in a thread and wait for it, as `asyncio.to_thread` does."""
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def _serve(self) -> None:
        while (work := self._jobs.get()) is not None:
            work()
            del work
            self._idle.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in range(self._started):
            self._jobs.put(None)


def threaded_map(work: Callable[[T, CancelToken], R], inputs: Sequence[T], concurrency: int) -> list[R]:
    """Run `work` on every input in threads; the first exception cancels the others and is raised when they have ended.

    An interrupt (Ctrl-C) does not wait for them.

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
    with DaemonThreads(min(concurrency, len(inputs))) as workers:
        futures = [workers.submit(work, item, stop) for item in inputs]
        try:
            interruptible_wait(futures, FIRST_EXCEPTION)
            failed = next((future for future in futures if future.done() and future.exception() is not None), None)
            if failed is not None:
                stop.set()
                running = [future for future in futures if not future.cancel()]
                interruptible_wait(running)
                failed.result()
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise


TICK_S = 0.2
"""Longest uninterrupted wait, in seconds: on Windows, Ctrl-C does not end a wait for a lock."""


def ended(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
    """Call a function now; returns a future that has its result."""
    future: Future[R] = Future()
    future.set_result(function(*args, **kwargs))
    return future


def interruptible_wait(
    futures: Collection[Future[Any]], return_when: str = ALL_COMPLETED, seconds: float = math.inf
) -> set[Future[Any]]:
    """Wait for futures, and return those that are done; Ctrl-C ends the wait within a fifth of a second everywhere.

    Args:
        futures: to wait for.
        return_when: as in `concurrent.futures.wait`.
        seconds: to wait at most.
    """
    ends = time.monotonic() + seconds
    while True:
        done, waiting = wait(futures, min(max(ends - time.monotonic(), 0.0), TICK_S), return_when)
        if not waiting or time.monotonic() >= ends or (done and return_when == FIRST_COMPLETED):
            return done
        if return_when == FIRST_EXCEPTION and any(future.exception() is not None for future in done):
            return done


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


class PerProcess:
    """An object without state in a forked process, where its locks may be held and its requests do not run."""

    def __init__(self) -> None:
        self._forget()
        _per_process.add(self)

    def _forget(self) -> None:
        """Create locks, and everything else that belongs to one process."""
        raise NotImplementedError


_per_process: weakref.WeakSet[PerProcess] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for one in list(_per_process):
        one._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
