"""Failures of the emulated service: error statuses, dropped connections and damaged responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.testing.quotas import REQUESTS_PER_DAY, REQUESTS_PER_MINUTE, exhausted
from langchain_gemini_mm.testing.transport.exchange import Disconnect, HttpReply, RefusedError

Damage: TypeAlias = Literal[
    "short",
    "extra",
    "reordered",
    "missing",
    "empty",
    "nan",
    "null",
    "dimension",
    "zero",
    "nothing",
    "malformed",
    "html",
]
"""How a response with status 200 is damaged.

`short`: one vector is missing; `extra`: one is added; `reordered`: the vectors are reversed; `missing`: the last
embedding has no `values`; `empty`: its values are `[]`; `nan`, `null`: its first value is NaN or null; `dimension`: it
has one value less; `zero`: its values are 0; `nothing`: the body is `{}`; `malformed`: the JSON is truncated; `html`:
the body is a web page.
"""

Values: TypeAlias = "NDArray[np.float32] | None"
"""The values of one embedding; None if the field is missing."""

_MESSAGES = {
    401: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential.",
    403: "The caller does not have permission",
    500: "An internal error has occurred. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting",
    503: "The model is overloaded. Please try again later.",
    504: "Deadline expired before operation could complete.",
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The failure of one request.

    ```python
    from langchain_gemini_mm.testing import Failure

    assert Failure.of(429, retry_delay=0.5) == Failure(status=429, retry_delay=0.5)
    assert Failure.of("cut") == Failure(cut="before")
    ```
    """

    status: int = 200
    """HTTP status of an error response; 200 for other failures."""
    retry_delay: float | None = None
    """Seconds in the RetryInfo of a 429; None for no RetryInfo."""
    retry_after: str | None = None
    """The `Retry-After` header of an error response: seconds or an HTTP date; None for no header."""
    per_day: bool = False
    """Whether a 429 is about the daily quota."""
    limit: int | None = None
    """The limit that a 429 names; None for one that names none, so that clients do not keep to it."""
    message: str | None = None
    """Message of the error; the usual one of the service if None."""
    cut: Disconnect | None = None
    damage: Damage | None = None
    delay: float = 0.0
    """Seconds by which the response is late, in addition to the latency."""

    @classmethod
    def of(cls, kind: object, **details: object) -> Failure:
        """Make a failure from its short name.

        Args:
            kind: an HTTP status, `"cut"`, `"cut-middle"`, `"per-day"`, `"slow"`, a value of `Damage`, or a `Failure`.
            details: fields of `Failure`.

        Raises:
            ValueError: `kind` is unknown.
        """
        if isinstance(kind, Failure):
            return kind
        if isinstance(kind, int) and not isinstance(kind, bool) and 400 <= kind <= 599:
            return cls(status=kind, **details)  # type: ignore[arg-type]
        known: dict[object, dict[str, object]] = {
            "cut": {"cut": "before"},
            "cut-middle": {"cut": "middle"},
            "per-day": {"status": 429, "per_day": True, "retry_delay": 33.38},
            "slow": {"delay": 1.0},
            **{damage: {"damage": damage} for damage in get_args(Damage)},
        }
        if kind not in known:
            raise ValueError(
                f"unknown failure {kind!r}; pass a status from 400 to 599 or one of {', '.join(map(str, known))}"
            )
        return cls(**{**known[kind], **details})  # type: ignore[arg-type]


def refusal_of(failure: Failure, model: str) -> RefusedError | None:
    """The error response of a failure; None if its status is 200."""
    if failure.status == 200:
        return None
    if failure.status == 429:
        name = REQUESTS_PER_DAY if failure.per_day else REQUESTS_PER_MINUTE
        delay, header = failure.retry_delay, failure.retry_after
        return exhausted(name, limit=failure.limit, model=model, retry_delay=delay, header=header)
    message = failure.message or _MESSAGES.get(failure.status, f"Emulated failure {failure.status}.")
    return RefusedError(failure.status, message, retry_after=failure.retry_after)


def damage_values(values: Sequence[NDArray[np.float32]], damage: Damage | None) -> list[Values]:
    """Damage the values of a response; the given arrays are not changed."""
    damaged: list[Values] = list(values)
    if not values:
        return damaged
    last = values[-1].copy()
    match damage:
        case "short":
            damaged.pop()
        case "extra":
            damaged.append(last)
        case "reordered":
            damaged.reverse()
        case "missing":
            damaged[-1] = None
        case "empty":
            damaged[-1] = last[:0]
        case "dimension":
            damaged[-1] = last[:-1]
        case "zero":
            damaged[-1] = np.zeros_like(last)
        case "nan" | "null":
            last[0] = np.nan
            damaged[-1] = last
    return damaged


def damage_body(reply: HttpReply, damage: Damage | None) -> HttpReply:
    """Damage the body of a response with status 200."""
    match damage:
        case "nan":
            body = reply.body.replace(b"[null,", b"[NaN,")
        case "nothing":
            body = b"{}"
        case "malformed":
            body = reply.body[: len(reply.body) // 2]
        case "html":
            page = b"<!doctype html><title>502</title><p>The server is having a bad day.</p>"
            return HttpReply(body=page, headers={"content-type": "text/html"}, delay=reply.delay)
        case _:
            return reply
    return HttpReply(body=body, headers=reply.headers, delay=reply.delay)
