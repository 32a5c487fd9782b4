"""Ways in which an answer can go wrong: error codes, cut connections, unusable bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.testing.quotas import REQUESTS_PER_DAY, REQUESTS_PER_MINUTE, exhausted
from langchain_gemini_mm.testing.transport.exchange import Cut, HttpReply, RefusedError

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
"""How a 200 answer is spoilt.

`short` one vector too few; `extra` one too many; `reordered` the vectors reversed; `missing` the last embedding has no
`values`; `empty` its values are `[]`; `nan`, `null` its first value is NaN or null; `dimension` one value too few;
`zero` all its values are 0; `nothing` the body is `{}`; `malformed` JSON that stops halfway; `html` a web page.
"""

Values: TypeAlias = "NDArray[np.float32] | None"
"""The values of one embedding; None when the field is left out."""

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
    """One thing that goes wrong with one call.

    ```python
    from langchain_gemini_mm.testing import Failure

    assert Failure.of(429, retry_delay=0.5) == Failure(status=429, retry_delay=0.5)
    assert Failure.of("cut") == Failure(cut="before")
    ```
    """

    status: int = 200
    """HTTP status of an error answer; 200 for a failure of another kind."""
    retry_delay: float | None = None
    """Seconds in the RetryInfo of a 429; without RetryInfo when None."""
    per_day: bool = False
    """The 429 is about the daily quota."""
    message: str | None = None
    cut: Cut | None = None
    damage: Damage | None = None
    delay: float = 0.0
    """Seconds the answer is late, on top of the latency."""

    @classmethod
    def of(cls, kind: object, **details: object) -> Failure:
        """A failure from its short name: a status, `"cut"`, `"cut-middle"`, a `Damage` word, or a `Failure` itself.

        Raises:
            ValueError: the name is of no failure.
        """
        if isinstance(kind, Failure):
            return kind
        words = ("cut", "cut-middle", "per-day", "slow", *get_args(Damage))
        if isinstance(kind, int) and not isinstance(kind, bool) and 400 <= kind <= 599:
            return cls(status=kind, **details)  # type: ignore[arg-type]
        known: dict[object, dict[str, object]] = {
            "cut": {"cut": "before"},
            "cut-middle": {"cut": "middle"},
            "per-day": {"status": 429, "per_day": True, "retry_delay": 33.38},
            "slow": {"delay": 1.0},
            **{word: {"damage": word} for word in get_args(Damage)},
        }
        if kind not in known:
            raise ValueError(f"unknown failure {kind!r}; give a status from 400 to 599 or one of {', '.join(words)}")
        return cls(**{**known[kind], **details})  # type: ignore[arg-type]


def refusal_of(failure: Failure, model: str) -> RefusedError | None:
    """The error answer of a failure, if it is one."""
    if failure.status == 200:
        return None
    if failure.status == 429:
        name = REQUESTS_PER_DAY if failure.per_day else REQUESTS_PER_MINUTE
        limit = 1000 if failure.per_day else 100
        return exhausted(name, limit=limit, model=model, retry_delay=failure.retry_delay)
    message = failure.message or _MESSAGES.get(failure.status, f"Emulated failure {failure.status}.")
    return RefusedError(failure.status, message)


def spoil(values: Sequence[NDArray[np.float32]], damage: Damage | None) -> list[Values]:
    """The values of an answer with `damage` done to them; the vectors themselves are left alone."""
    spoilt: list[Values] = list(values)
    if not values:
        return spoilt
    last = values[-1].copy()
    match damage:
        case "short":
            spoilt.pop()
        case "extra":
            spoilt.append(last)
        case "reordered":
            spoilt.reverse()
        case "missing":
            spoilt[-1] = None
        case "empty":
            spoilt[-1] = last[:0]
        case "dimension":
            spoilt[-1] = last[:-1]
        case "zero":
            spoilt[-1] = np.zeros_like(last)
        case "nan" | "null":
            last[0] = np.nan
            spoilt[-1] = last
    return spoilt


def spoil_body(reply: HttpReply, damage: Damage | None) -> HttpReply:
    """A 200 answer with `damage` done to its body."""
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
