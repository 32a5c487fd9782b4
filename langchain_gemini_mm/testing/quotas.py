"""Quotas of requests and tokens, and the 429 response for exhausted ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from langchain_gemini_mm.testing.transport.exchange import Json, RefusedError

_SERVICE = "generativelanguage.googleapis.com"
_DOCS = "https://ai.google.dev/gemini-api/docs/rate-limits"
_TYPES = "type.googleapis.com/google.rpc."
_ROUNDING = 1e-6

WindowKind: TypeAlias = Literal["sliding", "fixed", "bucket"]
"""How a quota is counted.

`sliding`: within any 60 seconds; `fixed`: within each minute of the clock; `bucket`: the amount of a minute, which
refills continuously.
"""


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
    """An amount that may be used within `seconds`."""

    limit: int
    seconds: float
    name: QuotaName
    kind: WindowKind = "sliding"
    _used: deque[tuple[float, int]] = field(default_factory=deque, repr=False)
    _total: float = 0
    _now: float = 0.0

    def wait_for(self, amount: int, now: float) -> float:
        """Seconds until `amount` is available; 0.0 if it is available now."""
        self._forget(now)
        excess = self._total + amount - self.limit
        if excess <= _ROUNDING:
            return 0.0
        if self.kind == "bucket":
            return max(excess * self.seconds / self.limit, 0.001)
        for moment, used in self._used:
            excess -= used
            if excess <= 0:
                return max(self._available_at(moment) - now, 0.001)
        return self.seconds

    def use(self, amount: int, now: float) -> None:
        """Use `amount`."""
        self._forget(now)
        self._used.append((now, amount))
        self._total += amount

    def _available_at(self, moment: float) -> float:
        """When an amount used at `moment` is available again."""
        if self.kind == "fixed":
            return (moment // self.seconds + 1) * self.seconds
        return moment + self.seconds

    def _forget(self, now: float) -> None:
        if self.kind == "bucket":
            self._total = max(0.0, self._total - (now - self._now) * self.limit / self.seconds)
            self._used.clear()
        while self._used and self._available_at(self._used[0][0]) <= now:
            self._total -= self._used.popleft()[1]
        self._now = now


@dataclass
class Quotas:
    """All quotas together; a request is counted in each of them or in none."""

    clock: Callable[[], float]
    requests: list[QuotaWindow]
    tokens: list[QuotaWindow]
    header: bool = False
    """Whether a 429 has a `Retry-After` header instead of RetryInfo, as from a gateway."""

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
                if self.header:
                    raise exhausted(window.name, limit=window.limit, model=model, header=str(math.ceil(asked)))
                raise exhausted(window.name, limit=window.limit, model=model, retry_delay=asked)
        for window, amount in counted:
            window.use(amount, now)


def exhausted(
    name: QuotaName, *, limit: int | None, model: str, retry_delay: float | None = None, header: str | None = None
) -> RefusedError:
    """Make the 429 response with Help, QuotaFailure and RetryInfo.

    Args:
        name: identifiers of the quota.
        limit: its value; None to leave it out.
        model: the model of the request.
        retry_delay: seconds in RetryInfo; None for no RetryInfo.
        header: value of the `Retry-After` header; None for no header.
    """
    violation: Json = {
        "quotaMetric": name.metric,
        "quotaId": name.id,
        "quotaDimensions": {"location": "global", "model": model},
    }
    if limit is not None:
        violation["quotaValue"] = str(limit)
    details: list[Json] = [
        {"@type": f"{_TYPES}Help", "links": [{"description": "Learn more about Gemini API quotas", "url": _DOCS}]},
        {"@type": f"{_TYPES}QuotaFailure", "violations": [violation]},
    ]
    message = (
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        f"error, head to: {_DOCS}.\n* Quota exceeded for metric: {name.metric}, "
    )
    message += f"model: {model}" if limit is None else f"limit: {limit}, model: {model}"
    if retry_delay is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": _duration(retry_delay)})
        message += f"\nPlease retry in {retry_delay:g}s."
    return RefusedError(429, message, details=details, retry_after=header)


def _duration(seconds: float) -> str:
    """Format seconds as the service does: rounded down to whole seconds; below one second in milliseconds."""
    return f"{math.floor(seconds)}s" if seconds >= 1 else f"{seconds:.3f}s"
