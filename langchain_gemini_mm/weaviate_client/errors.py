"""What goes wrong between us and a server, as our errors: what happened, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from weaviate import exceptions

from langchain_gemini_mm.errors import GeminiMMError, StoreError
from langchain_gemini_mm.weaviate_client.deadlines import DeadlineError

_SHOWN = 300
_GONE = re.compile(
    r"could not find class|not present in schema|class not found|not found in the schema|does not have named vector",
    re.IGNORECASE,
)
_NOT_READY = re.compile(r"non-existing index|cannot find index|local \S+ shard not found", re.IGNORECASE)
_NO_TENANT = re.compile(r"tenant[s]? not found|has multi-tenancy enabled, but request", re.IGNORECASE)
_TOO_LARGE = re.compile(r"larger than max", re.IGNORECASE)
_OTHER_LOOP = re.compile(r"attached to a different loop|different event loop|event loop is closed", re.IGNORECASE)
_OUTAGE = re.compile(r"UNAVAILABLE|failed to connect|connection refused|deadline exceeded|Socket closed", re.IGNORECASE)
_READ_ONLY = re.compile(r"read.?only", re.IGNORECASE)
_PASSING = re.compile(
    "timeout|timed out|consistency level|enough replicas|broadcast|leader|no such host|tenant not found|shutting down|"
    "connection is closing|non-existing index|cannot find index|shard not found",
    re.IGNORECASE,
)
_WRAPPING = re.compile(
    r"^(Query call with protocol GRPC \w+ failed with message |"
    r"Every object failed during insertion\. Here is the set of all errors: )"
)
_CLOSED = "the Weaviate client is closed. Connect it before the store is used, and close it after"
_OF_ANOTHER_LOOP = (
    "the WeaviateAsyncClient is connected in another event loop, and works in that one alone. Make a client and a "
    "store for each event loop"
)
_DOWN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED")
"""Words of gRPC for a server that is away or overloaded."""
_GATEWAY = (429, 502, 503, 504)
"""The same of REST."""


_NO_ANSWER = (
    exceptions.WeaviateConnectionError,
    exceptions.WeaviateTimeoutError,
    exceptions.WeaviateRetryError,
    exceptions.WeaviateStartUpError,
    exceptions.WeaviateGRPCUnavailableError,
)


class CollectionGoneError(StoreError):
    """The collection does not exist, any more or yet."""


class TenantGoneError(StoreError):
    """The tenant does not exist."""


class AnswerTooLargeError(StoreError):
    """The answer, or what was sent, does not fit into one message."""


class UnreadableSchemaError(StoreError):
    """The client does not know what the server's schema holds."""


class OutageError(StoreError):
    """The server did not answer in time or could not be reached; trying again later may help."""


class NotReadyError(OutageError):
    """The server is busy making the collection, or dropping it: its schema has it and its database has not."""


@contextmanager
def translated(what: str, seconds: float) -> Iterator[None]:
    """Raise our errors for those of the client.

    Args:
        what: what was being done, such as `searching`.
        seconds: the deadline, for the message.

    Raises:
        StoreError: one of the kinds above, or with the server's own words.
    """
    try:
        yield
    except GeminiMMError:
        raise
    except (DeadlineError, TimeoutError) as error:
        raise outage(what, f"gave no answer within {seconds:g} s") from error
    except exceptions.WeaviateBaseError as error:
        raise translate(what, error) from error
    except httpx.HTTPError as error:
        raise outage(what, f"could not be reached or did not answer ({type(error).__name__})") from error
    except RuntimeError as error:
        if not _OTHER_LOOP.search(str(error)):
            raise
        raise StoreError(_OF_ANOTHER_LOOP) from error


def outage(what: str, how: str) -> OutageError:
    """The error for a server that is not there."""
    return OutageError(
        f"{what} failed: Weaviate {how}. Is the server up and its address right? For slow servers raise the timeout"
    )


def translate(what: str, error: Exception) -> StoreError:
    """The error for one of the client's."""
    said = words_of(error)
    code = _grpc_code(error)
    if isinstance(error, exceptions.WeaviateClosedClientError):
        return StoreError(_OF_ANOTHER_LOOP if _OTHER_LOOP.search(str(error.__cause__)) else _CLOSED)
    if (
        isinstance(error, exceptions.InsufficientPermissionsError)
        or _status(error) in (401, 403)
        or code in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    ):
        return StoreError(
            f"{what} failed: Weaviate refused the key or the permission ({said}). Check auth_credentials of the "
            "client and the roles of its key"
        )
    if isinstance(error, exceptions.AuthenticationFailedError):
        return StoreError(f"{what} failed: Weaviate refused to log in ({said}). Check auth_credentials of the client")
    if isinstance(error, exceptions.SchemaValidationError):
        return UnreadableSchemaError(f"{what} failed: {said}")
    if _NOT_READY.search(said):
        return NotReadyError(f"{what} failed: the collection is being made or dropped ({said}). Try again")
    if _GONE.search(said) or (_status(error) == 404 and "onfiguration" in said):
        return CollectionGoneError(f"{what} failed: the collection does not exist ({said})")
    if _NO_TENANT.search(said):
        return TenantGoneError(f"{what} failed: {said}")
    if _TOO_LARGE.search(said):
        return AnswerTooLargeError(f"{what} failed: the message is too large ({said}). Ask for fewer at once")
    if isinstance(error, _NO_ANSWER) or code in _DOWN or _status(error) in _GATEWAY or _OUTAGE.search(said):
        return outage(what, f"could not be reached or did not answer ({said})")
    return StoreError(f"{what} failed: {with_remedy(said)}")


def with_remedy(said: str) -> str:
    """The server's words, and what to do where they do not say it."""
    if _READ_ONLY.search(said):
        return f"{said}. A shard is read-only, as when the server's disk is nearly full: make room, then set it READY"
    return said


def words_of(error: BaseException | None) -> str:
    """The server's own words, without the client's wrapping, cut to a line."""
    text = str(getattr(error, "message", None) or error)
    found = re.search(r'details = "(.*?)"\n', text) or re.search(r"'message': '(.*?)'}", text)
    said = found[1] if found else text
    said = _WRAPPING.sub("", said).strip().rstrip(".")
    return shortened(said)


def shortened(text: str) -> str:
    """A text on one line, cut to what a message bears."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _status(error: Exception) -> int | None:
    return getattr(error, "status_code", None)


def _grpc_code(error: BaseException | None) -> str:
    """The word of gRPC behind an error of the client, which keeps the sentence alone; else an empty text."""
    for _ in range(3):
        error = error and (error.__cause__ or error.__context__)
        code = getattr(error, "code", None)
        if callable(code):
            return str(getattr(code(), "name", ""))
    return ""


def is_retriable(said: str) -> bool:
    """Whether the same object may be stored a moment later: nodes that are away or busy, not bad objects."""
    return bool(_OUTAGE.search(said) or _PASSING.search(said))
