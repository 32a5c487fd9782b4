"""Quotas of requests and tokens, and the 429 response for exhausted ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from langchain_gemini_mm.testing.transport.exchange import Json, RefusedError

_SERVICE = "generativelanguage.googleapis.com"
_DOCS = "https://ai.google.dev/gemini-api/docs/rate-limits"
_TYPES = "type.googleapis.com/google.rpc."


@dataclass(frozen=True, kw_only=True)
class QuotaName:
    """The identifiers of a quota in the body of a 429."""

    metric: str
    id: str


REQUESTS_PER_MINUTE = QuotaName(
    metric=f"{_SERVICE}/embed_content_free_tier_requests",
    id="EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier",
)
REQUESTS_PER_DAY = QuotaName(
    metric=f"{_SERVICE}/embed_content_free_tier_requests",
    id="EmbedContentRequestsPerDayPerUserPerProjectPerModel-FreeTier",
)
TOKENS_PER_MINUTE = QuotaName(
    metric=f"{_SERVICE}/embed_content_free_tier_input_token_count",
    id="EmbedContentInputTokensPerMinutePerUserPerProjectPerModel-FreeTier",
)


@dataclass
class QuotaWindow:
    """An amount that may be used within any `seconds`."""

    limit: int
    seconds: float
    name: QuotaName
    _used: deque[tuple[float, int]] = field(default_factory=deque, repr=False)
    _total: int = 0

    def wait_for(self, amount: int, now: float) -> float:
        """Seconds until `amount` is available; 0.0 if it is available now."""
        self._forget(now)
        excess = self._total + amount - self.limit
        if excess <= 0:
            return 0.0
        for moment, used in self._used:
            excess -= used
            if excess <= 0:
                return max(moment + self.seconds - now, 0.001)
        return self.seconds

    def use(self, amount: int, now: float) -> None:
        """Use `amount`."""
        self._used.append((now, amount))
        self._total += amount

    def _forget(self, now: float) -> None:
        while self._used and self._used[0][0] + self.seconds <= now:
            self._total -= self._used.popleft()[1]


@dataclass
class Quotas:
    """All quotas together; a request is counted in each of them or in none."""

    clock: Callable[[], float]
    requests: list[QuotaWindow]
    tokens: list[QuotaWindow]

    def take(self, items: int, tokens: int, model: str) -> None:
        """Count a request.

        Args:
            items: number of its items.
            tokens: number of its tokens.
            model: name for the error message.

        Raises:
            RefusedError: a quota is exhausted (429); nothing is counted.
        """
        now = self.clock()
        counted = [(window, items) for window in self.requests] + [(window, tokens) for window in self.tokens]
        for window, amount in counted:
            wait = window.wait_for(amount, now)
            if wait:
                # The service asks for a short wait even if the daily quota is exhausted.
                asked = wait if window.name is not REQUESTS_PER_DAY else min(wait, 33.38)
                raise exhausted(window.name, limit=window.limit, model=model, retry_delay=asked)
        for window, amount in counted:
            window.use(amount, now)


def exhausted(name: QuotaName, *, limit: int, model: str, retry_delay: float | None) -> RefusedError:
    """Make the 429 response with Help, QuotaFailure and RetryInfo.

    Args:
        name: identifiers of the quota.
        limit: its value.
        model: the model of the request.
        retry_delay: seconds in RetryInfo; None for no RetryInfo.
    """
    violation = {
        "quotaMetric": name.metric,
        "quotaId": name.id,
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": str(limit),
    }
    details: list[Json] = [
        {"@type": f"{_TYPES}Help", "links": [{"description": "Learn more about Gemini API quotas", "url": _DOCS}]},
        {"@type": f"{_TYPES}QuotaFailure", "violations": [violation]},
    ]
    message = (
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        f"error, head to: {_DOCS}.\n* Quota exceeded for metric: {name.metric}, limit: {limit}, model: {model}"
    )
    if retry_delay is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": _duration(retry_delay)})
        message += f"\nPlease retry in {retry_delay:g}s."
    return RefusedError(429, message, details=details)


def _duration(seconds: float) -> str:
    """Format seconds as the service does: rounded down to whole seconds; below one second in milliseconds."""
    return f"{math.floor(seconds)}s" if seconds >= 1 else f"{seconds:.3f}s"
