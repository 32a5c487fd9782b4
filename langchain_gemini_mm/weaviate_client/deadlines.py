"""Blocking calls with a deadline.

The client retries a lost connection for a minute, and no setting changes that. A call therefore runs in a worker
thread, and the caller stops waiting at the deadline. Workers are daemon threads and are reused, because starting a
thread takes a third of the time of a fast query; a worker whose call missed its deadline is reused when that call ends.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from langchain_gemini_mm.batching import CancelToken

T = TypeVar("T")


class DeadlineError(Exception):
    """The deadline passed; the call continues in its thread and its result is dropped."""


_SLICE = 0.1


def within(seconds: float, function: Callable[[], T], stop: CancelToken | None = None) -> T:
    """Call `function` in a worker thread and return its result, or raise its error.

    Args:
        seconds: how long to wait.
        function: what to call.
        stop: cancels the waiting within a tenth of a second.

    ```python
    from langchain_gemini_mm.weaviate_client.deadlines import within

    assert within(5, lambda: 1 + 1) == 2
    ```

    Raises:
        DeadlineError: the call took longer than `seconds`, or was cancelled.
    """
    outcome = _take().begin(function)
    if not (outcome.done.acquire(timeout=seconds) if stop is None else _awaited(outcome, seconds, stop)):
        raise DeadlineError
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


def _awaited(outcome: _Outcome, seconds: float, stop: CancelToken) -> bool:
    ends = time.monotonic() + seconds
    while not stop.is_set() and (left := ends - time.monotonic()) > 0:
        if outcome.done.acquire(timeout=min(_SLICE, left)):
            return True
    return False


class _CallThread:
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
            _IDLE.append(self)
            outcome.done.release()
            del function, outcome


_IDLE: list[_CallThread] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDLE.clear)  # threads stay behind in the parent


def _take() -> _CallThread:
    try:
        return _IDLE.pop()
    except IndexError:
        return _CallThread()
