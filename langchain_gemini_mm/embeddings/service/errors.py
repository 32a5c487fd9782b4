"""Translation of exceptions of the SDK and its HTTP libraries into `ServiceError` and `QuotaError`.

Contents of a 429 response: https://ai.google.dev/gemini-api/docs/rate-limits and the threads listed in
docs/api-assumptions.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from langchain_gemini_mm.errors import QuotaError, ServiceError

TRANSIENT_CODES = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""

_TRANSPORT_PACKAGES = ("httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "anyio", "h11", "ssl")
_REMEDIES = {
    400: "Check the input, and that the API key is valid",
    401: "Give a valid API key (GOOGLE_API_KEY) or credentials",
    403: "This key or account may not use the model; check the project's permissions",
    404: "Check the model's name, the location and the API version",
    413: "The request is too large; lower batch_bytes or inline_limit",
}
_SHOWN = 600


def translate(error: Exception, secrets: tuple[str, ...] = ()) -> ServiceError | None:
    """Translate an exception of the SDK; returns None for a programming error.

    Args:
        error: raised by the SDK or its HTTP library.
        secrets: texts to remove from the message.
    """
    code = getattr(error, "code", None)
    if isinstance(code, int) and hasattr(error, "details"):
        return _from_answer(error, code, secrets)
    if _is_transport(error):
        reason = _clean(f"{type(error).__name__}: {error}".rstrip(": "), secrets)
        return ServiceError(f"no answer from the embedding service ({reason})", transient=True)
    if isinstance(error, ValueError) and type(error).__name__ in ("JSONDecodeError", "UnknownApiResponseError"):
        return ServiceError("the embedding service answered with something that is not JSON", transient=True)
    return None


def _from_answer(error: Any, code: int, secrets: tuple[str, ...]) -> ServiceError:
    status = getattr(error, "status", None)
    body = error.details if isinstance(error.details, Mapping) else {}
    inner = body.get("error", body)
    details = [item for item in _list(inner, "details") if isinstance(item, Mapping)]
    said = _clean(str(getattr(error, "message", None) or "no message").strip().rstrip("."), secrets)
    retry_after = _retry_after(details, said, getattr(error, "response", None))
    if code == 429:
        return _quota(said, details, status, retry_after)
    transient = code in TRANSIENT_CODES
    remedy = "" if transient else f". {_REMEDIES[code]}" if code in _REMEDIES else ""
    return ServiceError(
        f"the embedding service answered {code} {status or ''}: {said}{remedy}",
        code=code,
        status=status,
        transient=transient,
        retry_after=retry_after,
    )


def _quota(said: str, details: list[Mapping[str, Any]], status: str | None, retry_after: float | None) -> QuotaError:
    violations = [v for item in details for v in _list(item, "violations") if isinstance(v, Mapping)]
    ids = [str(v.get("quotaId") or v.get("quota_id") or "") for v in violations]
    named = ", ".join(
        f"{quota} = {v.get('quotaValue', '?')}" for quota, v in zip(ids, violations, strict=True) if quota
    )
    per_day = any("PerDay" in quota for quota in ids)
    advice = (
        "the daily quota is used up; try again tomorrow, or raise it"
        if per_day
        else "lower requests_per_minute or tokens_per_minute (each item of a batch counts), or raise the quota"
    )
    shown = f" [{named}]" if named else ""
    return QuotaError(
        f"the embedding service's quota is used up{shown}: {said} ({advice})",
        status=status or "RESOURCE_EXHAUSTED",
        transient=not per_day,
        per_day=per_day,
        retry_after=retry_after,
        limits=_limits(violations, ids),
    )


def _limits(violations: list[Mapping[str, Any]], ids: list[str]) -> dict[str, int]:
    """Read the limits from quota ids such as `EmbedContentRequestsPerMinutePerUserPerProjectPerModel-FreeTier`."""
    limits: dict[str, int] = {}
    for quota, violation in zip(ids, violations, strict=True):
        match = re.search(r"(Requests|Tokens)Per(Minute|Day)", quota)
        value = str(violation.get("quotaValue") or violation.get("quota_value") or "")
        if match and value.isdecimal() and int(value):
            limits[f"{match[1]}_per_{match[2]}".lower()] = int(value)
    return limits


def _retry_after(details: list[Mapping[str, Any]], said: str, response: object) -> float | None:
    """Seconds to wait: the longest of RetryInfo (`"33s"`), the message (`retry in 33.38s`) and the HTTP header."""
    delays = [str(item["retryDelay"]) for item in details if "retryDelay" in item]
    delays += re.findall(r"[Rr]etry in (\d+(?:\.\d+)?s)", said)
    seconds = [float(match[1]) for delay in delays if (match := re.fullmatch(r"(\d+(?:\.\d+)?)s", delay))]
    headers = getattr(response, "headers", None)
    if isinstance(headers, Mapping) and (header := read_retry_after(headers.get("retry-after"))) is not None:
        seconds.append(header)
    return max(seconds, default=None)


def read_retry_after(value: object, now: float | None = None) -> float | None:
    """Read an HTTP `Retry-After` header, seconds or a date (RFC 9110); returns seconds, None if it is neither.

    Args:
        value: of the header.
        now: the time in seconds since 1970; the current one when None.
    """
    text = str(value or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    # RFC 9110 has dates in GMT; one without a zone is read as such.
    date = date.replace(tzinfo=date.tzinfo or UTC)
    return max(0.0, date.timestamp() - (time.time() if now is None else now))


def _is_transport(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    endings = ("TransportError", "ClientError", "Timeout", "TimeoutException", "ProtocolError", "SSLError")
    package = type(error).__module__.partition(".")[0]
    return package in _TRANSPORT_PACKAGES and any(base.__name__.endswith(endings) for base in type(error).__mro__)


def _list(mapping: object, key: str) -> list[Any]:
    value = mapping.get(key) if isinstance(mapping, Mapping) else None
    return value if isinstance(value, list) else []


def _clean(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
