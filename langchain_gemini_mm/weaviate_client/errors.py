"""Errors of the Weaviate client and server, translated into errors of this package with a remedy."""

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
    r"could not find class|not present in schema|class not found|not found in (the )?schema|does not have named vector",
    re.IGNORECASE,
)
_NOT_READY = re.compile(
    r"non-existing index|cannot find index|local \S+ shard not found|already shut or dropped|invalid memory address",
    re.IGNORECASE,
)
_NO_TENANT = re.compile(r"tenant[s]? not found|has multi-tenancy enabled, but request", re.IGNORECASE)
_NOT_ACTIVE = re.compile(r"tenant not active|tenant.{0,80} is not active|shard.{0,80} is not active", re.IGNORECASE)
_TOO_LARGE = re.compile(r"larger than max", re.IGNORECASE)
_MOST_RESULTS = re.compile(r"QUERY_MAXIMUM_RESULTS\W+(\d+)")
_FULL = re.compile(
    r"usage limit exceeded: (\w+) count limit of (\d+)|'limit': '(\w+)'.{0,300}?'value': (\d+)", re.DOTALL
)
_SETTINGS = {
    "collections": "MAXIMUM_ALLOWED_COLLECTIONS_COUNT",
    "objects": "MAXIMUM_ALLOWED_OBJECTS_COUNT",
    "tenants": "MAXIMUM_ALLOWED_TENANTS_PER_COLLECTION",
    "shards": "MAXIMUM_ALLOWED_SHARDS_PER_COLLECTION",
}
"""The server's setting of each limit on what it holds."""
_OTHER_LOOP = re.compile(r"attached to a different loop|different event loop|event loop is closed", re.IGNORECASE)
_OUTAGE = re.compile(r"UNAVAILABLE|failed to connect|connection refused|deadline exceeded|Socket closed", re.IGNORECASE)
_READ_ONLY = re.compile(r"read.?only", re.IGNORECASE)
_PASSING = re.compile(
    "timeout|timed out|consistency level|enough replicas|broadcast|leader|no such host|tenant not found|shutting down|"
    "connection is closing|non-existing index|cannot find index|could not find index|shard not found",
    re.IGNORECASE,
)
_WRAPPING = re.compile(
    r"^(Query call with protocol GRPC \w+ failed with message |"
    r"Every object failed during insertion\. Here is the set of all errors: )"
)
_CLOSED = "the Weaviate client is closed. Connect it before the store is used, and close it after"
OF_ANOTHER_LOOP = (
    "the WeaviateAsyncClient is connected in another event loop, and works in that one alone. Make a client and a "
    "store for each event loop, or give the store a WeaviateClient in addition"
)
_DOWN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED")
"""gRPC status codes of a server that is unreachable or overloaded."""
_GATEWAY = (429, 502, 503, 504)
"""HTTP status codes of a server that is unreachable or overloaded."""


_NO_ANSWER = (
    exceptions.WeaviateConnectionError,
    exceptions.WeaviateTimeoutError,
    exceptions.WeaviateRetryError,
    exceptions.WeaviateStartUpError,
    exceptions.WeaviateGRPCUnavailableError,
)


class OtherLoopError(StoreError):
    """An async client was used in another event loop than that in which it was connected.

    The server may have received the request nevertheless.
    """


class CollectionGoneError(StoreError):
    """The collection does not exist, or no longer exists."""


class TenantGoneError(StoreError):
    """The tenant does not exist."""


class AnswerTooLargeError(StoreError):
    """A request or a response exceeds the largest size of one gRPC message."""


class ResultLimitError(StoreError):
    """More results were requested at once than the server returns.

    Args:
        message: names the limit.
        limit: the largest number of results.
    """

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class ServerFullError(StoreError):
    """The server, or the plan, allows no more collections, tenants, shards or objects."""


class InactiveTenantError(StoreError):
    """The tenant is deactivated or offloaded, and the collection does not activate tenants automatically."""


class UnreadableSchemaError(StoreError):
    """The client cannot read the server's schema."""


class OutageError(StoreError):
    """The server did not answer in time or could not be reached; trying again later may help."""


class NotReadyError(OutageError):
    """The collection is being created or dropped: it is in the schema and not in the database."""


@contextmanager
def translate_errors(what: str, seconds: float) -> Iterator[None]:
    """Translate errors of the client into errors of this package.

    Args:
        what: the operation, for the message, such as `searching`.
        seconds: the deadline, for the message.

    Raises:
        StoreError: or one of its subclasses in this module.
    """
    try:
        yield
    except GeminiMMError:
        raise
    except (DeadlineError, TimeoutError) as error:
        raise outage_error(what, f"gave no answer within {seconds:g} s") from error
    except exceptions.WeaviateBaseError as error:
        raise store_error(what, error) from error
    except httpx.HTTPError as error:
        raise outage_error(what, f"could not be reached or did not answer ({type(error).__name__})") from error
    except RuntimeError as error:
        if not _OTHER_LOOP.search(str(error)):
            raise
        raise OtherLoopError(OF_ANOTHER_LOOP) from error


def outage_error(what: str, how: str) -> OutageError:
    """An error for a server that cannot be reached."""
    return OutageError(
        f"{what} failed: Weaviate {how}. Is the server up and its address right? For slow servers raise the timeout"
    )


def store_error(what: str, error: Exception) -> StoreError:
    """The error of this package for an error of the client."""
    message = server_message(error)
    code = _grpc_code(error)
    if isinstance(error, exceptions.WeaviateClosedClientError):
        is_of_other = _OTHER_LOOP.search(str(error.__cause__))
        return OtherLoopError(OF_ANOTHER_LOOP) if is_of_other else StoreError(_CLOSED)
    if (
        isinstance(error, exceptions.InsufficientPermissionsError)
        or _status(error) in (401, 403)
        or code in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    ):
        return StoreError(
            f"{what} failed: Weaviate refused the key or the permission ({message}). Check auth_credentials of the "
            "client and the roles of its key"
        )
    if isinstance(error, exceptions.AuthenticationFailedError):
        return StoreError(
            f"{what} failed: Weaviate refused to log in ({message}). Check auth_credentials of the client"
        )
    if isinstance(error, exceptions.SchemaValidationError):
        return UnreadableSchemaError(f"{what} failed: {message}")
    known = _limit_error(what, str(getattr(error, "message", None) or error)) or _state_error(what, message, error)
    if known is not None:
        return known
    if isinstance(error, _NO_ANSWER) or code in _DOWN or _status(error) in _GATEWAY or _OUTAGE.search(message):
        return outage_error(what, f"could not be reached or did not answer ({message})")
    return StoreError(f"{what} failed: {with_remedy(message)}")


def _state_error(what: str, message: str, error: Exception) -> StoreError | None:
    """The error for a collection or a tenant that is missing or not ready; None for other messages."""
    if _NOT_READY.search(message):
        return NotReadyError(f"{what} failed: the collection is being made or dropped ({message}). Try again")
    if _GONE.search(message) or (_status(error) == 404 and "onfiguration" in message):
        return CollectionGoneError(f"{what} failed: the collection does not exist ({message})")
    if _NO_TENANT.search(message):
        return TenantGoneError(f"{what} failed: {message}")
    if _NOT_ACTIVE.search(message):
        return InactiveTenantError(
            f"{what} failed: the tenant is inactive or offloaded ({message}). Activate it with tenants.activate() of "
            "the client, or let the collection do so: auto_tenant_activation of Reconfigure.multi_tenancy"
        )
    if _TOO_LARGE.search(message):
        return AnswerTooLargeError(f"{what} failed: the message is too large ({message}). Ask for fewer at once")
    return None


def _limit_error(what: str, message: str) -> StoreError | None:
    """The error for a limit that the server's administrator has set, named with its value; None for other messages."""
    found = _MOST_RESULTS.search(message)
    if found:
        return ResultLimitError(
            f"{what} failed: the server returns at most {found[1]} results at once (QUERY_MAXIMUM_RESULTS)",
            int(found[1]),
        )
    found = _FULL.search(message)
    if found:
        things, limit = found[1] or found[3], found[2] or found[4]
        setting = f" ({_SETTINGS[things]})" if things in _SETTINGS else ""
        return ServerFullError(
            f"{what} failed: the server allows {limit} {things}{setting} and has no room for more. Remove what is not "
            "needed, or have the limit of the server or the plan raised"
        )
    return None


def with_remedy(message: str) -> str:
    """The server's message, with a remedy for a read-only shard."""
    if _READ_ONLY.search(message):
        return (
            f"{message}. A shard is read-only, as when the server's disk is nearly full: make room, then set it READY"
        )
    return message


def server_message(error: BaseException | None) -> str:
    """The server's message on one line, without the text that the client adds."""
    text = str(getattr(error, "message", None) or error)
    found = re.search(r'details = "(.*?)"\n', text) or re.search(r"'message': '(.*?)'}", text)
    message = found[1] if found else text
    message = _WRAPPING.sub("", message).strip().rstrip(".")
    return one_line(message)


def one_line(text: str) -> str:
    """A text on one line, cut to 300 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _status(error: Exception) -> int | None:
    return getattr(error, "status_code", None)


def _grpc_code(error: BaseException | None) -> str:
    """The gRPC status code in the causes of a client error; empty when there is none."""
    for _ in range(3):
        error = error and (error.__cause__ or error.__context__)
        code = getattr(error, "code", None)
        if callable(code):
            return str(getattr(code(), "name", ""))
    return ""


def says_collection_is_gone(message: str) -> bool:
    """Whether the reason for an object that was not stored is that its collection does not exist."""
    return _GONE.search(message) is not None


def is_retriable(message: str) -> bool:
    """Whether storing the same object may succeed later: a node was unreachable or busy."""
    return bool(_OUTAGE.search(message) or _PASSING.search(message))
