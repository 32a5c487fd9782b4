"""The state of one run: which items are sent next, and what a response or an error means for them.

`Dispatch` performs no I/O and reads no clock: the drivers in `pipeline` send the batches that it gives them, and report
what became of each.

- A transient error sends the batch again after a back-off with jitter, at most `max_retries` times.
- A quota per minute sends it again, however often; this is not an attempt.
- A refusal of contents (400, 413) is bisected until the refused inputs are alone; the others get their vectors.
- An incomplete response keeps the vectors that it contains; the rest is sent again twice, the second time one by one.
- Whatever concerns every request (key, model, location, daily quota) stops the run. What was accepted is kept.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from langchain_gemini_mm.batching import CallLimits, Sized, plan
from langchain_gemini_mm.embeddings.service.errors import retry_delay_s
from langchain_gemini_mm.errors import GeminiMMError, IncompleteAnswerError, QuotaError, ServiceError

_PATIENCE = 10
"""How many times `deadline` the service may ask a run to wait in all, while it accepts nothing."""
_SENT_AGAIN = 2
"""How often the rest of an incomplete response is sent again."""
_EQUAL_REFUSALS = 10
"""Refused requests in a row, with equal messages and none accepted, after which a run stops."""
_PROBES = 3
"""Refused requests that are followed by a new one, while none was accepted: so a run whose first inputs are refused is
not taken for one in which every input is."""


class Numbered(Sized, Protocol):
    """What `Dispatch` needs to know of an item."""

    @property
    def position(self) -> int:
        """Position of the input, from 0."""


S = TypeVar("S", bound=Numbered)


@dataclass(slots=True, eq=False)
class _Refusal:
    """A request that was refused for its contents, until each of them is accepted or refused alone."""

    number: int
    """From 1, in the order of the refusals."""
    open: int
    """Items without an outcome."""
    largest: int = 0
    """Items of the largest part that was accepted."""
    alone: bool = False
    """Whether an item was refused alone."""


@dataclass(slots=True, eq=False)
class Batch(Generic[S]):
    """The items of one request."""

    items: Sequence[S]
    attempts: int = 0
    """How often it failed with a transient error."""
    held: int = 0
    """How often it was refused by a quota per minute."""
    incomplete: int = 0
    """How often its response was incomplete."""
    refusal: _Refusal | None = None
    """The refused request that it is a part of."""
    sibling: Batch[S] | None = None
    """The other half, which is not sent before the outcome of this one is known."""
    is_new: bool = False
    """Whether it is sent for the first time."""


class _Patience:
    """Until when a run may wait for the next accepted request."""

    def __init__(self, deadline: float, now: float) -> None:
        self._deadline = deadline
        self._excused_until = now
        self.renew(now)

    def renew(self, now: float) -> None:
        """Something was accepted."""
        self.ends = max(self._excused_until, now) + self._deadline
        self._asked_left = _PATIENCE * self._deadline

    def excuse(self, seconds: float, now: float, *, asked: bool) -> None:
        """Do not count a wait; what the service asks for is limited in all.

        Args:
            seconds: to wait.
            now: the current time.
            asked: whether the service asked for it.
        """
        extra = max(now + seconds - max(now, self._excused_until), 0.0)
        if asked:
            extra = min(extra, self._asked_left)
            self._asked_left -= extra
        self._excused_until = max(self._excused_until, now + seconds)
        self.ends += extra


class Dispatch(Generic[S]):
    """The state of one run. Not thread-safe.

    ```python
    from langchain_gemini_mm.batching import CallLimits
    from langchain_gemini_mm.embeddings.dispatch import Dispatch

    dispatch = Dispatch([], CallLimits(items=100, wire_bytes=4_000_000), max_retries=6, deadline=300, now=0.0)
    assert dispatch.done
    ```

    Args:
        items: to be sent, in order.
        limits: of one request.
        max_retries: most attempts of a batch after the first one.
        deadline: seconds; the run stops when nothing was accepted for so long, the waits that the service asked for
            not counted.
        now: seconds, monotonic.
        jitter: random numbers from 0 to 1.
    """

    def __init__(
        self,
        items: Sequence[S],
        limits: CallLimits,
        *,
        max_retries: int,
        deadline: float,
        now: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.failed: dict[int, GeminiMMError] = {}
        """Position of an input to its error."""
        self.stopped: GeminiMMError | None = None
        """Why the run was stopped."""
        self.in_flight = 0
        """Requests in flight."""
        self.waiting = len(items)
        """Items without an outcome."""
        self._items, self._next = items, 0
        self._limits, self._max_retries, self._deadline, self._jitter = limits, max_retries, deadline, jitter
        self._again: list[tuple[int, int, int, Batch[S]]] = []
        """What is sent before new items: one refused request after the other, the larger parts of it first, since more
        of these is accepted."""
        self._later: list[tuple[float, int, Batch[S]]] = []
        self._refusals = 0
        self._numbers = itertools.count()
        self._any_accepted = False
        self._new_first = False
        self._equal: tuple[str, int] = ("", 0)
        self._last_error: ServiceError | None = None
        self._patience = _Patience(deadline, now)

    @property
    def done(self) -> bool:
        """Whether every item has its outcome."""
        return not (self.in_flight or self._again or self._later or self._next < len(self._items))

    def next(self, now: float) -> Batch[S] | None:
        """The batch to be sent next, for `begin` or `put_back`; None while there is nothing to send."""
        while self._later and self._later[0][0] <= now:
            self._push(heapq.heappop(self._later)[2])
        any_new = self._next < len(self._items)
        if self._again and not (self._new_first and any_new):
            return heapq.heappop(self._again)[-1]
        if not any_new:
            return None
        self._new_first = False
        window = self._items[self._next : self._next + self._limits.items]
        batch = Batch(next(plan(window, self._limits)), is_new=True)
        self._next += len(batch.items)
        return batch

    def put_back(self, batch: Batch[S]) -> None:
        """Keep a batch that cannot be sent yet; it is the next one again."""
        if batch.is_new:
            self._next -= len(batch.items)
        else:
            self._push(batch, first=True)

    def begin(self, batch: Batch[S], count: int) -> Batch[S]:
        """Return the batch of the leading `count` items, which is sent now; the others follow later."""
        self.in_flight += 1
        if count < len(batch.items):
            self.put_back(replace(batch, items=batch.items[count:]))
            batch = replace(batch, items=batch.items[:count], sibling=None)
        batch.is_new = False
        return batch

    def wait_s(self, now: float) -> float:
        """Seconds until there may be something to send, or the run has to be stopped."""
        until = self._patience.ends if self.stopped is None else now + self._deadline
        if self._later:
            until = min(until, self._later[0][0])
        return max(until - now, 0.0)

    def expire(self, now: float) -> bool:
        """Stop the run if nothing was accepted for too long; returns whether it was stopped for this reason."""
        if self.stopped is not None or now < self._patience.ends or self.done:
            return False
        self.stop(
            self._last_error
            or ServiceError(
                f"the embedding service accepted nothing for {self._deadline:g} s (deadline)", transient=True
            )
        )
        return True

    def excuse(self, seconds: float, now: float, *, asked: bool = False) -> None:
        """Do not count a wait from now on against the deadline.

        Args:
            seconds: to wait.
            now: the current time.
            asked: whether the service asked for it, rather than the caller's own quota.
        """
        self._patience.excuse(seconds, now, asked=asked)

    def accept(self, batch: Batch[S], now: float) -> None:
        """All items of a batch have their vector."""
        self.in_flight -= 1
        self._count_accepted(batch, len(batch.items), now)
        sibling = batch.sibling
        if sibling is not None and len(sibling.items) > 1 and self.stopped is None:
            # One half of a refused request was accepted, so the other one contains what was refused.
            self._split(sibling, infer=True)
        else:
            self._release(batch)

    def exclude(self, batch: Batch[S], errors: Mapping[int, GeminiMMError]) -> None:
        """Some items of a batch could not be sent, such as files that are gone; the others are.

        Args:
            batch: which is in flight.
            errors: by position of the input.
        """
        if errors:
            for item in batch.items:
                if item.position in errors:
                    self._fail([item], errors[item.position], batch.refusal)
            batch.items = [item for item in batch.items if item.position not in errors]

    def fail(self, batch: Batch[S], error: ServiceError, now: float) -> float | None:
        """A batch was refused, or got no response or an unusable one.

        Args:
            batch: which was in flight.
            error: of the request.
            now: the current time.

        Returns:
            Seconds after which it is sent again; None if it is not, or in parts.
        """
        self.in_flight -= 1
        self._last_error = error
        if isinstance(error, IncompleteAnswerError):
            return self._incomplete(batch, error, now)
        if error.scope == "input":
            self._refused(batch, error)
            return None
        self._release(batch)
        return self._failed(batch, error, now)

    def _failed(self, batch: Batch[S], error: ServiceError, now: float) -> float | None:
        if isinstance(error, QuotaError):
            batch.held += 1
        else:
            batch.attempts += 1
        too_late = (error.retry_after or 0.0) > self._deadline
        if too_late and error.transient:
            error = _explained(
                error,
                f"the service asks for a wait of {error.retry_after:g} s, longer than deadline={self._deadline:g}",
            )
        elif tokens := _never_admitted(batch, error):
            error = _explained(
                error, f"the content alone has about {tokens:,} tokens, more than the quota per minute; split it"
            )
            error.transient = False
        stops = error.scope == "run" or too_late
        if error.transient and not stops and batch.attempts <= self._max_retries:
            return self._repeat(batch, error, batch.held + batch.attempts, now)
        self._fail(batch.items, error, batch.refusal)
        if stops:
            self.stop(error)
        elif not error.transient:
            self._count_refused(error)
        return None

    def stop(self, error: GeminiMMError) -> None:
        """Send nothing more; items that are not in flight fail with this error."""
        self.stopped = self.stopped or error
        waiting = [*(entry[-1] for entry in self._again), *(entry[-1] for entry in self._later)]
        rest = [item for batch in waiting for item in _all_items(batch)]
        rest += self._items[self._next :]
        self._again.clear()
        self._later.clear()
        self._next = len(self._items)
        self._fail(rest, error, None)

    def abandon(self, batches: Iterable[Batch[S]]) -> None:
        """After `stop`: do not wait for these batches in flight."""
        for batch in batches:
            self.in_flight -= 1
            if self.stopped is not None:
                self._fail(_all_items(batch), self.stopped, batch.refusal)

    def _count_accepted(self, batch: Batch[S], count: int, now: float) -> None:
        if not count:
            return
        self._any_accepted = True
        self.waiting -= count
        self._equal = ("", 0)
        self._patience.renew(now)
        if batch.refusal is not None:
            batch.refusal.largest = max(batch.refusal.largest, count)
            self._close(batch.refusal, count)

    def _close(self, refusal: _Refusal, count: int) -> None:
        """Count outcomes of a refused request; if no item was refused alone, later requests have fewer items."""
        refusal.open -= count
        if refusal.open == 0 and not refusal.alone and refusal.largest:
            self._limits = replace(self._limits, items=min(self._limits.items, refusal.largest))

    def _repeat(self, batch: Batch[S], error: ServiceError, count: int, now: float) -> float | None:
        if self.stopped is not None:
            self._fail(batch.items, error, batch.refusal)
            return None
        seconds = retry_delay_s(error, count, self._jitter())
        if error.retry_after is not None:
            self.excuse(seconds, now, asked=True)
        heapq.heappush(self._later, (now + seconds, next(self._numbers), batch))
        return seconds

    def _incomplete(self, batch: Batch[S], error: IncompleteAnswerError, now: float) -> float | None:
        self._release(batch)
        rest = [item for item in batch.items if item.position not in error.vectors]
        self._count_accepted(batch, len(batch.items) - len(rest), now)
        again = replace(batch, items=rest, incomplete=batch.incomplete + 1)
        if again.incomplete > _SENT_AGAIN:
            self._fail(rest, error, batch.refusal)
            return None
        parts = [replace(again, items=[item]) for item in rest] if again.incomplete == _SENT_AGAIN else [again]
        return max(
            (self._repeat(part, error, again.incomplete, now) or 0.0 for part in parts if part.items), default=None
        )

    def _refused(self, batch: Batch[S], error: ServiceError) -> None:
        if self.stopped is None and len(batch.items) > 1:
            # A request may be too large although no part of it is at fault.
            self._split(batch, infer=error.code != 413)
            return
        if batch.refusal is not None:
            batch.refusal.alone = True
        self._release(batch)
        self._fail(batch.items, error, batch.refusal)
        self._count_refused(error)

    def _split(self, batch: Batch[S], *, infer: bool) -> None:
        """Send both halves; with `infer`, the second one after the first, whose outcome may make it unnecessary."""
        middle = len(batch.items) // 2
        refusal = batch.refusal
        if refusal is None:
            self._refusals += 1
            refusal = _Refusal(self._refusals, open=len(batch.items))
            self._new_first = self._refusals <= _PROBES and not self._any_accepted
        first = Batch(batch.items[:middle], refusal=refusal)
        second = Batch(batch.items[middle:], refusal=refusal)
        self._release(batch)
        self._push(first)
        if infer:
            first.sibling = second
        else:
            self._push(second)

    def _push(self, batch: Batch[S], *, first: bool = False) -> None:
        number = next(self._numbers)
        request = 0 if batch.refusal is None else batch.refusal.number
        heapq.heappush(self._again, (request, -len(batch.items), -number if first else number, batch))

    def _release(self, batch: Batch[S]) -> None:
        """Send the other half, too, since nothing can be inferred about it."""
        sibling, batch.sibling = batch.sibling, None
        if sibling is None:
            return
        if self.stopped is None:
            self._push(sibling)
        else:
            self._fail(sibling.items, self.stopped, sibling.refusal)

    def _fail(self, items: Sequence[S], error: GeminiMMError, refusal: _Refusal | None) -> None:
        self.failed.update((item.position, error) for item in items)
        self.waiting -= len(items)
        if refusal is not None:
            refusal.alone = True
            self._close(refusal, len(items))

    def _count_refused(self, error: ServiceError) -> None:
        message, count = self._equal
        self._equal = (error.message, count + 1 if message == error.message else 1)
        if self._equal[1] >= _EQUAL_REFUSALS and not self._any_accepted:
            self.stop(error)


_HELD_ALONE = 2
"""How often a content that exceeds a quota by itself is refused before it fails; the estimate may be too high."""


def _never_admitted(batch: Batch[S], error: ServiceError) -> int:
    """The tokens of a single item that has more than a minute's quota; else 0."""
    limit = error.limits.get("tokens_per_minute") if isinstance(error, QuotaError) else None
    if limit is None or len(batch.items) > 1 or batch.held < _HELD_ALONE:
        return 0
    tokens = batch.items[0].token_count
    return tokens if tokens > limit else 0


def _explained(error: ServiceError, reason: str) -> ServiceError:
    """A copy of an error with a reason why it is not tried again."""
    explained = copy(error)
    explained.args = (f"{error.message}. Not tried again: {reason}",)
    return explained


def _all_items(batch: Batch[S]) -> Sequence[S]:
    """The items of a batch and of its other half."""
    return batch.items if batch.sibling is None else [*batch.items, *_all_items(batch.sibling)]
