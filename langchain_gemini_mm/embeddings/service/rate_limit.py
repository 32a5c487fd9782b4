"""Client-side rate limit: requests and tokens per minute, as configured or as named by the service in a 429.

How the service counts a minute is not documented. The count here is safe for a sliding window, a fixed window and a
token bucket alike: what a request used is available again one minute after its response arrived, so that no 60 seconds
of the service's clock contain more than the limit.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from langchain_gemini_mm.batching import PerProcess
from langchain_gemini_mm.errors import QuotaError

WaitReason: TypeAlias = Literal["requests per minute", "tokens per minute", "the service asked for a pause"]
"""Why a request has to wait."""

_WINDOW_S = 60.0
_STEPS = 240
"""Requests that ended in the same quarter of a second share a record, which bounds their number."""
_POLL_S = 0.1
"""When to ask again if the answer depends on requests in flight."""
_QUERY_SHARE = 0.015
"""Share of a limit that only queries may use, so that they need not wait where a bulk run has used up the minute."""
_FIRST_TOKEN_RATE = 1.5
"""Tokens by the service to estimated ones that are assumed before its first response."""
_TOLERANCE_S = 2.0
"""By how much the delay that the service names may differ from the client's count: it is rounded to seconds."""
_SLOW_START = 64
"""Requests in flight at which the slow start after a pause is over."""
_KEPT_S = 3600.0
"""How long a learnt limit is kept: the account may have moved to another tier."""
_REQUEST_TIERS, _TOKEN_TIERS = (3_000, 5_000), (1_000_000, 5_000_000)
"""Limits of the paid tiers as reported by users (https://discuss.ai.google.dev, read 2026-11-21). As long as a limit is
unknown, one request alone goes beyond each of these values, so that a 429 does not meet all callers at once."""


@dataclass(slots=True)
class Admission:
    """The reply to `MinuteQuota.admit`; one of `settle`, `release` and `refused` must follow unless `count` is 0."""

    count: int
    """How many of the items may be sent now, from the first; they are reserved. 0: ask again."""
    wait_s: float = 0.0
    """Where `count` is 0, seconds after which to ask again."""
    reason: WaitReason | None = None
    """Why `count` is 0."""
    _quota: MinuteQuota | None = field(default=None, repr=False)
    _estimated: int = field(default=0, repr=False)
    _reserved: tuple[int, ...] = field(default=(), repr=False)
    """Of each limit."""
    _pauses: int = field(default=0, repr=False)
    """How many pauses there had been when it was admitted."""

    def settle(self, reported_tokens: int | None = None) -> None:
        """Count the request as accepted; its items are available again in a minute.

        Also for a request without a response: the service may have counted it.
        """
        if quota := self._end():
            quota._settle(self, reported_tokens)

    def release(self) -> None:
        """Give the reservation back: the request was not sent, or was refused."""
        if quota := self._end():
            quota._release(self)

    def refused(self, error: QuotaError) -> None:
        """Give the reservation back after a 429, learn the limits that it names, and pause if it asks for that."""
        if quota := self._end():
            quota._refused(self, error)

    def _end(self) -> MinuteQuota | None:
        quota, self._quota = self._quota, None
        return quota


@dataclass(slots=True, eq=False)
class _Limit:
    """One limit per minute and how much of it is used."""

    reason: Literal["requests per minute", "tokens per minute"]
    configured: int | None
    learnt: int | None = None
    used: int = 0
    """In the last minute, requests in flight included."""
    in_flight: int = 0
    checkpoints: list[int] = field(default_factory=list)
    """What the limit may be while it is unknown: tiers that were not exceeded yet, ascending."""

    @property
    def accepted(self) -> int:
        """What the service accepted in the last minute."""
        return self.used - self.in_flight

    @property
    def value(self) -> int | None:
        """The amount per minute; None while it is unknown."""
        return min((limit for limit in (self.configured, self.learnt) if limit is not None), default=None)

    def room(self, urgent: bool) -> float:
        """What is left of the minute, or below the next tier where the limit is unknown; may be negative."""
        value = self.value
        if value is None:
            return self.checkpoints[0] - self.used if self.checkpoints and not urgent else math.inf
        kept = 0 if urgent else min(value - 1, math.ceil(value * _QUERY_SHARE))
        return value - kept - self.used

    def admissible(self, amount: int, urgent: bool) -> float:
        """What one request may use now; less than `amount` where it has to wait."""
        room = self.room(urgent)
        if amount > room and self.value is None and not self.in_flight:
            return math.inf
        return max(room, amount) if not self.used else room


class MinuteQuota(PerProcess):
    """Admits requests so that no minute exceeds a number of items and tokens; each item of a batch is a request.

    Thread-safe; it returns delays and never sleeps.

    ```python
    from langchain_gemini_mm.embeddings.service.rate_limit import MinuteQuota

    quota = MinuteQuota(requests=100)
    admission = quota.admit([12, 9, 30])
    assert admission.count == 3
    admission.settle(51)
    ```

    Args:
        requests: items per minute, or None to learn the limit from the service.
        tokens: tokens per minute, or None to learn the limit from the service.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        requests: int | None = None,
        tokens: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = (
            _Limit("requests per minute", requests, checkpoints=list(_REQUEST_TIERS)),
            _Limit("tokens per minute", tokens, checkpoints=list(_TOKEN_TIERS)),
        )
        self._learnt_at = math.inf
        self._clock = clock
        self._window_s = _WINDOW_S
        """Changed only by tests, which run with a shorter minute."""
        super().__init__()

    def _forget(self) -> None:
        """Count from zero, as in a forked process: the requests of its parent end there. Limits are kept."""
        self._lock = threading.Lock()
        for limit in self._limits:
            limit.used = limit.in_flight = 0
        self._settled: deque[tuple[float, list[int]]] = deque()
        """When amounts are available again, and how much of each limit; in ascending order."""
        self._in_flight = 0
        self._held_until = -math.inf
        self._pauses = 0
        self._concurrency = math.inf
        """Most requests in flight; 1 after a pause, doubled by each success."""
        self._reported = self._estimated = 0.0
        """Tokens of recent requests, by the service and by estimate."""
        self._token_rate = _FIRST_TOKEN_RATE

    @property
    def requests(self) -> int | None:
        """Items per minute, configured or learnt; None while unknown."""
        return self._limits[0].value

    @property
    def tokens(self) -> int | None:
        """Tokens per minute, configured or learnt; None while unknown."""
        return self._limits[1].value

    def admit(self, tokens: Sequence[int], *, urgent: bool = False) -> Admission:
        """Reserve as many of the pending items as may be sent now in one request.

        An item with more tokens than the limit is admitted when nothing of the minute is used.

        Args:
            tokens: estimated tokens of each pending item, at most those of one request.
            urgent: for queries; they also have the share that is kept for them, and do not wait for bulk requests.
        """
        with self._lock:
            now = self._clock()
            self._expire(now)
            if now < self._held_until:
                return Admission(0, self._held_until - now, "the service asked for a pause")
            if self._in_flight >= self._concurrency and not urgent:
                return Admission(0, self._poll_s, "the service asked for a pause")
            first = (1, self._calibrated(tokens[0]))
            for limit, amount in zip(self._limits, first, strict=True):
                if limit.admissible(amount, urgent) < amount:
                    return Admission(0, self._next_question(limit, amount, urgent, now), limit.reason)
            return self._reserve(tokens, urgent)

    def hold(self, seconds: float) -> None:
        """Admit nothing for some seconds, then one request at a time until one succeeds.

        Up to a second is added at random, so that several processes do not resume together.
        """
        with self._lock:
            jitter = random.uniform(0, min(1.0, seconds / 10))  # noqa: S311
            self._held_until = max(self._held_until, self._clock() + seconds + jitter)
            self._slow_down()

    def learn(self, error: QuotaError) -> None:
        """Take over the limits that a 429 names; a lower limit that was configured stays.

        A limit of which more than twice has been accepted in a minute counts something else, such as whole requests.
        """
        with self._lock:
            for limit in self._limits:
                named = error.limits.get(limit.reason.replace(" ", "_"))
                if named is not None and limit.accepted <= 2 * named:
                    limit.learnt, self._learnt_at = named, self._clock()

    @property
    def _poll_s(self) -> float:
        return _POLL_S * self._window_s / _WINDOW_S

    def _calibrated(self, tokens: int) -> int:
        """The estimate, corrected by what the service reported for recent requests."""
        return math.ceil(tokens * self._token_rate)

    def _reserve(self, tokens: Sequence[int], urgent: bool) -> Admission:
        """Admit the first item, and those after it that fit."""
        calibrated = [self._calibrated(item) for item in tokens]
        requests, room = (
            limit.admissible(amount, urgent) for limit, amount in zip(self._limits, (1, calibrated[0]), strict=True)
        )
        count, total = 1, calibrated[0]
        while count < min(len(tokens), requests) and total + calibrated[count] <= room:
            total += calibrated[count]
            count += 1
        reserved = (count, total)
        for limit, amount in zip(self._limits, reserved, strict=True):
            limit.used += amount
            limit.in_flight += amount
        self._in_flight += 1
        return Admission(count, 0.0, None, self, sum(tokens[:count]), reserved, self._pauses)

    def _next_question(self, limit: _Limit, amount: int, urgent: bool, now: float) -> float:
        """When to ask again: when the limit has room, or soon where that depends on requests in flight."""
        wait = None if limit.in_flight else self._wait(limit, amount - limit.room(urgent), now)
        return self._poll_s if wait is None else wait

    def _wait(self, limit: _Limit, missing: float, now: float) -> float | None:
        """Seconds until `missing` more is available; None where that depends on requests in flight."""
        missing = min(missing, limit.used)
        for available_at, amounts in self._settled:
            missing -= amounts[self._limits.index(limit)]
            if missing <= 0:
                return available_at - now
        return None

    def _settle(self, admission: Admission, reported_tokens: int | None) -> None:
        with self._lock:
            self._end(admission)
            if reported_tokens:
                self._reported = 0.9 * self._reported + reported_tokens
                self._estimated = 0.9 * self._estimated + admission._estimated
            self._token_rate = self._reported / self._estimated if self._estimated else 1.0
            settled = (admission.count, reported_tokens or self._calibrated(admission._estimated))
            step = self._window_s / _STEPS
            available_at = math.ceil((self._clock() + self._window_s) / step) * step
            if not self._settled or self._settled[-1][0] < available_at:
                self._settled.append((available_at, [0, 0]))
            for index, amount in enumerate(settled):
                self._limits[index].used += amount
                self._settled[-1][1][index] += amount
            for limit in self._limits:
                while limit.checkpoints and limit.checkpoints[0] < limit.accepted:
                    limit.checkpoints.pop(0)
            if admission._pauses == self._pauses:
                self._concurrency = 2 * self._concurrency if self._concurrency < _SLOW_START else math.inf

    def _release(self, admission: Admission) -> None:
        with self._lock:
            self._end(admission)

    def _end(self, admission: Admission) -> None:
        """Remove a request from those in flight."""
        self._in_flight -= 1
        for limit, amount in zip(self._limits, admission._reserved, strict=True):
            limit.used -= amount
            limit.in_flight -= amount

    def _refused(self, admission: Admission, error: QuotaError) -> None:
        """Compare the refusal with the own count: if that explains it, the count says when there is room again."""
        self._release(admission)
        self.learn(error)
        if error.per_day:
            return
        with self._lock:
            now = self._clock()
            self._expire(now)
            exceeded = [
                (limit, amount - limit.room(urgent=True))
                for limit, amount in zip(self._limits, admission._reserved, strict=True)
                if limit.value is not None and amount > limit.room(urgent=True)
            ]
            waits = [self._wait(limit, missing, now) for limit, missing in exceeded]
            expected = max((wait for wait in waits if wait is not None), default=math.inf)
        asked = error.retry_after or 0.0
        if not exceeded or asked > expected + _TOLERANCE_S:
            self.hold(asked)

    def _slow_down(self) -> None:
        self._pauses += 1
        self._concurrency = 1

    def _expire(self, now: float) -> None:
        """Make available what was used a minute ago, and learn limits again that were learnt long ago."""
        while self._settled and self._settled[0][0] <= now:
            for limit, amount in zip(self._limits, self._settled.popleft()[1], strict=True):
                limit.used -= amount
        if self._learnt_at < now - _KEPT_S:
            self._learnt_at = math.inf
            for limit in self._limits:
                if limit.learnt is not None:
                    limit.checkpoints = sorted({limit.learnt, *limit.checkpoints})
                    limit.learnt = None
