"""Requests, responses and errors of the emulator as values, in the format of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

Disconnect: TypeAlias = Literal["before", "middle"]
"""When a connection is dropped: before the response, or halfway through its body."""

Json: TypeAlias = dict[str, Any]

_JSON_TYPE = "application/json; charset=UTF-8"
_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED", 409: "ABORTED", 413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED",
    500: "INTERNAL", 501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """An HTTP request."""

    method: str
    path: str
    """Decoded, without the query."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Names in lower case."""
    body: bytes = field(default=b"", repr=False)
    base_url: str = "http://127.0.0.1"
    """URL of the server as the client knows it, without a slash at the end."""


@dataclass(frozen=True, kw_only=True)
class HttpReply:
    """An HTTP response."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": _JSON_TYPE})
    delay: float = 0.0
    """Seconds between the arrival of the request and the response."""
    cut: Disconnect | None = None
    """When the connection is dropped; None for a whole response."""


class RefusedError(Exception):
    """An error response as an exception."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.status = status or _STATUS.get(code, "UNKNOWN")
        self.details = list(details)

    def reply(self) -> HttpReply:
        """The error in the format of the service: `{"error": {"code", "message", "status", "details"}}`."""
        error: Json = {"code": self.code, "message": str(self), "status": self.status}
        if self.details:
            error["details"] = self.details
        headers = {"retry-after": self.retry_after} if self.retry_after is not None else None
        return json_reply({"error": error}, status=self.code, headers=headers)


def json_reply(payload: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpReply:
    """Make a response with a JSON body.

    Args:
        payload: a JSON value.
        status: the HTTP status.
        headers: headers to add.
    """
    return HttpReply(status=status, body=orjson.dumps(payload), headers={"content-type": _JSON_TYPE, **(headers or {})})
