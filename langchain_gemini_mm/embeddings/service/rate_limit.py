"""Client-side rate limit: requests and tokens per minute."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 60.0


class MinuteQuota:
    """Delays requests so that no minute exceeds a number of requests and tokens; each item of a batch is a request.

    It is a sliding window, which is stricter than a token bucket: after an idle minute it does not admit the work of
    two minutes at once. Thread-safe; it returns delays and never sleeps.

    Args:
        requests: items per minute, or None for no limit.
        tokens: tokens per minute, or None for no limit.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        requests: int | None = None,
        tokens: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests = requests
        self.tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._admitted: deque[tuple[float, int, int]] = deque()
        self._held_until = 0.0
        self.active = requests is not None or tokens is not None
        """Whether a request may have to wait: there is a limit, or the service asked for a pause."""

    def reserve(self, requests: int, tokens: int) -> float:
        """Book a request; returns the seconds to wait before it is sent.

        Args:
            requests: contents in the request.
            tokens: estimated.
        """
        with self._lock:
            now = self._clock()
            start = max(now, self._held_until)
            if self.requests is None and self.tokens is None:
                return start - now
            while self._admitted and self._admitted[0][0] <= now - WINDOW_S:
                self._admitted.popleft()
            start = max(start, self._earliest(requests, tokens))
            self._admitted.append((start, requests, tokens))
            return start - now

    def hold(self, seconds: float) -> None:
        """Delay all requests for some seconds, because the service asked one caller to wait."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)
            self.active = True

    def _earliest(self, requests: int, tokens: int) -> float:
        """The earliest time at which the trailing minute has room; times are booked in ascending order."""
        free_requests = self.requests - requests if self.requests is not None else None
        free_tokens = self.tokens - tokens if self.tokens is not None else None
        earliest = self._admitted[-1][0] if self._admitted else 0.0
        for start, booked_requests, booked_tokens in reversed(self._admitted):
            if free_requests is not None:
                free_requests -= booked_requests
            if free_tokens is not None:
                free_tokens -= booked_tokens
            if (free_requests is not None and free_requests < 0) or (free_tokens is not None and free_tokens < 0):
                return max(earliest, start + WINDOW_S)
        return earliest
