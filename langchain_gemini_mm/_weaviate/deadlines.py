"""Blocking calls that end in time, whatever the library below does.

The client retries a lost connection by itself for a minute, with no setting to change it. A call therefore runs in a
worker thread, and the caller stops waiting at the deadline. Workers are daemons and are used again: starting a thread
for each call costs a third of a fast query.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlineError(Exception):
    """The deadline passed. What was called goes on in its thread, and its answer is dropped."""


def within(seconds: float, function: Callable[[], T]) -> T:
    """Call `function` and return its result, or raise what it raises.

    ```python
    from langchain_gemini_mm._weaviate.deadlines import within

    assert within(5, lambda: 1 + 1) == 2
    ```

    Raises:
        DeadlineError: it took longer than `seconds`.
    """
    worker = _take()
    outcome = worker.begin(function)
    if not outcome.done.acquire(timeout=seconds):
        raise DeadlineError
    _IDLE.append(worker)
    if outcome.error is not None:
        try:
            raise outcome.error
        finally:
            outcome.error = None  # the traceback holds this frame: no cycle
    result: T = outcome.result
    return result


class _Outcome:
    __slots__ = ("done", "error", "result")

    def __init__(self) -> None:
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None
        self.result: Any = None


class _Worker:
    def __init__(self) -> None:
        self._tasks: SimpleQueue[tuple[Callable[[], Any], _Outcome]] = SimpleQueue()
        threading.Thread(target=self._work, name="gemini-mm-call", daemon=True).start()

    def begin(self, function: Callable[[], Any]) -> _Outcome:
        outcome = _Outcome()
        self._tasks.put((function, outcome))
        return outcome

    def _work(self) -> None:
        while True:
            function, outcome = self._tasks.get()
            try:
                outcome.result = function()
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                outcome.error = error
            outcome.done.release()
            del function, outcome


# A worker that overran its deadline is not put back, so that nobody waits behind it.
_IDLE: list[_Worker] = []


def _take() -> _Worker:
    try:
        return _IDLE.pop()
    except IndexError:
        return _Worker()
