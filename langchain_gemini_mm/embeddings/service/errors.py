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

from langchain_gemini_mm.errors import QuotaError, Scope, ServiceError

_TRANSPORT_PACKAGES = ("httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "anyio", "h11", "ssl")
_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "ClientConnectorError", "gaierror")
"""Failures before anything of the request was sent."""
_MISUSED = ("UnsupportedProtocol", "LocalProtocolError", "InvalidURL")
"""Failures that every request would have; their messages may quote headers."""
_REMEDIES = {
    400: "Check the input, and that the API key is valid",
    401: "Give a valid API key (GOOGLE_API_KEY) or credentials",
    403: "This key or account may not use the model; check the project's permissions",
    404: "Check the model's name, the location and the API version",
    413: "The request is too large; lower batch_bytes or inline_limit",
}
_REDIRECT = "Redirects are not followed, since the key would follow them; give the final address as base_url"
_NO_ANSWER = "no answer from the embedding service"
_SHOWN = 600

_ABOUT_RUN = re.compile(
    r"\bapi.?key\b|credential|\bbilling\b|\b(location|region)s?\b"
    r"|\bmodels?\b.{0,90}?\b(not found|not exist|not supported for|not available|no longer|not serv)",
    re.IGNORECASE | re.DOTALL,
)
"""Messages of a 400 that every request of a run would get."""
_ABOUT_FILE = re.compile(r"\bfiles?\b", re.IGNORECASE)


def translate(error: Exception, secrets: tuple[str, ...] = ()) -> ServiceError | None:
    """Translate an exception of the SDK; returns None for a programming error.

    Args:
        error: raised by the SDK or its HTTP library.
        secrets: texts to remove from the message.
    """
    code = getattr(error, "code", None)
    if isinstance(code, int) and hasattr(error, "details"):
        headers = getattr(getattr(error, "response", None), "headers", None)
        return refusal(code, error.details, headers if isinstance(headers, Mapping) else {}, secrets)
    if type(error).__module__.startswith("google.auth"):
        return _unauthorized(error, secrets)
    if type(error).__name__ == "UnusableResponseError":
        return unreadable(str(error))
    if type(error).__name__ in ("JSONDecodeError", "UnknownApiResponseError"):
        return unreadable("something that is not JSON")
    return _no_answer(error, secrets) if _is_transport(error) else None


def unreadable(what: str) -> ServiceError:
    """The error for a successful response that contains no vectors; the service may charge it."""
    return ServiceError(f"the embedding service answered with {what}", transient=True, sent=True)


def refusal(code: int | None, body: Any, headers: Mapping[str, str], secrets: tuple[str, ...]) -> ServiceError:
    """The error for the error response of the service, or of a gateway before it.

    Args:
        code: HTTP status; None for the one in the body.
        body: JSON values, of whatever form.
        headers: of the response.
        secrets: texts to remove from the message.
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    fields: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    if code is None:
        code = fields["code"] if isinstance(fields.get("code"), int) and 400 <= fields["code"] < 600 else 500
    status = fields.get("status") if isinstance(fields.get("status"), str) else None
    details = [item for item in _list(fields, "details") if isinstance(item, Mapping)]
    message = inner if isinstance(inner, str) else fields.get("message")
    said = _clean(" ".join(str(message or "no message").split()).rstrip("."), secrets)
    retry_after = _retry_after(details, said, headers)
    if code == 429:
        return _quota(said, details, status, retry_after)
    transient = code == 408 or code >= 500
    remedy = _REDIRECT if 300 <= code < 400 else _REMEDIES.get(code)
    answered = " ".join(filter(None, ("the embedding service answered", str(code), status)))
    return ServiceError(
        ". ".join(filter(None, (f"{answered}: {said}", remedy))),
        code=code,
        status=status,
        transient=transient,
        retry_after=retry_after,
        scope=_scope(code, status, said),
    )


def _scope(code: int, status: str | None, said: str) -> Scope:
    if code in (401, 403, 404) or 300 <= code < 400:
        return "run"
    if code in (400, 413, 422):
        return "run" if status == "FAILED_PRECONDITION" or _ABOUT_RUN.search(said) else "input"
    return "request"


def lost_file(error: ServiceError) -> bool:
    """Whether a request was refused because the service does not have a file that it names (any more)."""
    return error.code in (400, 403, 404) and _ABOUT_FILE.search(error.message) is not None


def _unauthorized(error: Exception, secrets: tuple[str, ...]) -> ServiceError:
    """The error for Google Cloud credentials; renewing a token takes a request of its own, which may fail."""
    reason = _clean(str(error), secrets)
    kind = type(error).__name__
    if kind in ("TransportError", "RefreshError", "TimeoutError") and "invalid_grant" not in reason:
        return ServiceError(f"could not renew the Google Cloud credentials ({kind}: {reason})", transient=True)
    remedy = "Give credentials=, or run: gcloud auth application-default login"
    return ServiceError(f"no usable Google Cloud credentials ({kind}: {reason}). {remedy}", scope="run")


def _no_answer(error: Exception, secrets: tuple[str, ...]) -> ServiceError:
    kinds = {base.__name__ for base in type(error).__mro__}
    kind = type(error).__name__
    if kinds & set(_MISUSED):
        return ServiceError(
            f"{_NO_ANSWER}: the request cannot be sent ({kind}); check base_url and headers", scope="run"
        )
    where, remedy = _address(error), ""
    unsent = bool(kinds & {*_UNSENT, "ConnectionRefusedError"})
    if unsent:
        remedy = f"; cannot connect{where}: check base_url, the network and the proxy"
    reason = _clean(f"{kind}: {error}".rstrip(": "), secrets)
    return ServiceError(f"{_NO_ANSWER} ({reason}){remedy}", transient=True, sent=not unsent)


def _address(error: Exception) -> str:
    """Host and port of the request, for a message; nothing more of the URL."""
    # httpx raises RuntimeError where an exception has no request.
    request = vars(error).get("_request")
    url = getattr(request, "url", None)
    return "" if url is None else f" to {url.scheme}://{url.netloc.decode('ascii', 'replace')}"


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


def _retry_after(details: list[Mapping[str, Any]], said: str, headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: the longest of RetryInfo (`"33s"`), the message (`retry in 33.38s`) and the HTTP header."""
    delays = [str(item["retryDelay"]) for item in details if "retryDelay" in item]
    delays += re.findall(r"[Rr]etry in (\d+(?:\.\d+)?s)", said)
    seconds = [float(match[1]) for delay in delays if (match := re.fullmatch(r"(\d+(?:\.\d+)?)s", delay))]
    if (header := read_retry_after(headers.get("retry-after"))) is not None:
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


_FIRST_S, _LONGEST_S, _JITTER_S = 0.5, 30.0, 0.5


def retry_delay_s(error: ServiceError, count: int, jitter: float) -> float:
    """Seconds before a request is repeated: the delay that the service asks for, or an exponential back-off.

    Args:
        error: of the request.
        count: how often it failed.
        jitter: a random number from 0 to 1, so that callers with equal delays do not return at once.
    """
    backoff = min(_FIRST_S * 2.0 ** min(count - 1, 20), _LONGEST_S)
    return (backoff if error.retry_after is None else error.retry_after) + jitter * min(_JITTER_S, backoff)


def _is_transport(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    endings = ("TransportError", "RequestError", "ClientError", "Timeout", "TimeoutException", "SSLError", "InvalidURL")
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
