"""The clients of one store: every call has a deadline and raises errors of this package."""

from __future__ import annotations

import asyncio
import logging
import math
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

import weaviate

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError, StoreError
from langchain_gemini_mm.flows import Call, Flow
from langchain_gemini_mm.weaviate_client.deadlines import within
from langchain_gemini_mm.weaviate_client.errors import (
    OF_ANOTHER_LOOP,
    NotReadyError,
    OtherLoopError,
    ResultLimitError,
    translate_errors,
)
from langchain_gemini_mm.weaviate_client.versions import Version, parse_version, require_floor

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds for one answer; a lost connection is tried again within them."""
WRITE_TIMEOUT = 30.0
"""Seconds for storing one chunk; long enough for a restart of the server."""

_READY_WITHIN, _PAUSE = 5.0, 0.05
"""Seconds that creating a collection may take, and seconds between checks."""

Operation: TypeAlias = Callable[[Any], Any]
"""An operation on a client; the result of the async client is awaited. Both clients have the same methods."""


class Connection:
    """One or two clients and their timeouts.

    Args:
        client: a connected `WeaviateClient`, or a `WeaviateAsyncClient`.
        async_client: a `WeaviateAsyncClient` in addition to a sync client. It is connected on first use, and belongs
            to the event loop it was connected on; in others the sync client is used in worker threads.
        timeout: seconds for one answer.
        write_timeout: seconds for storing one chunk, attempts included.

    Raises:
        TypeError: something else is given.
        ValueError: a timeout is not a positive number.
    """

    def __init__(
        self, client: Any, async_client: Any = None, *, timeout: float = TIMEOUT, write_timeout: float = WRITE_TIMEOUT
    ) -> None:
        if isinstance(client, weaviate.WeaviateAsyncClient) and async_client is None:
            client, async_client = None, client
        if client is not None and not isinstance(client, weaviate.WeaviateClient):
            raise InvalidTypeError(f"client is a WeaviateClient or a WeaviateAsyncClient, got {_type_name(client)}")
        if async_client is not None and not isinstance(async_client, weaviate.WeaviateAsyncClient):
            raise InvalidTypeError(f"async_client is a WeaviateAsyncClient, got {_type_name(async_client)}")
        if client is None and async_client is None:
            raise InvalidTypeError("a WeaviateClient or a WeaviateAsyncClient is needed, got None")
        self.client: weaviate.WeaviateClient | None = client
        self.async_client: weaviate.WeaviateAsyncClient | None = async_client
        self.timeout = _seconds("timeout", timeout)
        self.write_timeout = _seconds("write_timeout", write_timeout)
        self.known_version: Version | None = None
        """The server's version; None before `version` was called."""
        self.max_results: int | None = None
        """How many results the server returns at once; None until a request exceeded it."""
        self._connecting = asyncio.Lock()
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        """The event loop in which the async client was last used."""
        self._unusable = False
        """Whether the async client is of another event loop, and the sync client is used instead."""

    def call(
        self, what: str, operation: Operation, *, timeout: float | None = None, stop: CancelToken | None = None
    ) -> Call:
        """One call of a client.

        Args:
            what: the operation, for messages, such as `searching`.
            operation: called with the client; its result is the answer.
            timeout: seconds; by default those of the connection.
            stop: cancels the waiting of a sync call.
        """
        return Call(self.run, self.arun, (what, operation, timeout or self.timeout, stop))

    def run(self, what: str, operation: Operation, seconds: float, stop: CancelToken | None = None) -> Any:
        """Carry out an operation on the sync client.

        Args:
            what: the operation, for messages.
            operation: called with the client.
            seconds: the deadline.
            stop: cancels the waiting.
        """
        client = self.client
        if client is None:
            raise StoreError(
                f"{what} was asked for without await, and there is only an async client. Use the async method, or "
                "give a WeaviateClient too"
            )

        @redacted()
        def quietly() -> Any:
            return operation(client)

        started = time.monotonic()
        ends = started + min(seconds / 2, _READY_WITHIN)
        while True:
            try:
                with translate_errors(what, seconds):
                    return within(started + seconds - time.monotonic(), quietly, stop)
            except NotReadyError:
                if time.monotonic() >= ends or (stop is not None and stop.is_set()):
                    raise
            time.sleep(_PAUSE)

    async def arun(self, what: str, operation: Operation, seconds: float, _: CancelToken | None = None) -> Any:
        """Async twin of `run`.

        Without an async client, or in another event loop than that of the async client, it calls the sync client in a
        worker thread.
        """
        client, loop = self.async_client, asyncio.get_running_loop()
        if client is not None and self.client is None and not self._may_be_of(loop):
            raise OtherLoopError(OF_ANOTHER_LOOP)
        if client is not None and self._may_be_of(loop):
            try:
                answer = await self._awaited(client, what, operation, seconds)
            except OtherLoopError:
                if self.client is None:
                    raise
                self._unusable = True  # in which loop the caller has connected it is not known
            else:
                self._loop = weakref.ref(loop)
                return answer
        cancelled = CancelToken()
        try:
            return await asyncio.to_thread(self.run, what, operation, seconds, cancelled)
        finally:
            cancelled.set()

    def _may_be_of(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the async client may be connected in this event loop; a loop that is closed may have a successor."""
        known = self._loop() if self._loop is not None else None
        return not self._unusable and (known is None or known is loop or known.is_closed())

    async def _awaited(self, client: Any, what: str, operation: Operation, seconds: float) -> Any:
        """Carry out an operation on the async client."""
        ends = time.monotonic() + min(seconds / 2, _READY_WITHIN)
        with translate_errors(what, seconds), redacted():
            async with asyncio.timeout(seconds):
                if not client.is_connected():
                    async with self._connecting:
                        if not client.is_connected():
                            await client.connect()
                while True:
                    try:
                        with translate_errors(what, seconds):
                            return await operation(client)
                    except NotReadyError:
                        if time.monotonic() >= ends:
                            raise
                    await asyncio.sleep(_PAUSE)

    def version(self) -> Flow[Version]:
        """The server's version, requested once.

        Raises:
            StoreError: it is too old.
        """
        if self.known_version is None:
            meta = yield self.call("connecting", lambda client: client.get_meta())
            version = parse_version(meta.get("version", ""))
            require_floor(version)
            self.known_version = version
        return self.known_version

    def limited(self, ask: Callable[[int], Flow[T]], wanted: int) -> Flow[T]:
        """Ask for as many results as wanted, or for as many as the server returns at once.

        Args:
            ask: called with the number of results to request.
            wanted: the largest number.
        """
        limit = wanted if self.max_results is None else min(wanted, self.max_results)
        while True:
            try:
                return (yield from ask(limit))
            except ResultLimitError as error:
                if error.limit >= limit:
                    raise
                self.max_results = limit = error.limit


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidValueError(f"{name} must be seconds > 0, got {value!r}")
    return float(value)


def _type_name(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


_OURS: ContextVar[bool] = ContextVar("ours", default=False)


@contextmanager
def redacted() -> Iterator[None]:
    """Remove the contents of failed objects from the log records of the client."""
    logger = logging.getLogger("weaviate-client")
    if _redact not in logger.filters:
        logger.addFilter(_redact)
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def _redact(record: logging.LogRecord) -> bool:
    if _OURS.get() and isinstance(record.msg, dict) and "errors" in record.msg:
        record.msg = f"{len(record.msg['errors'])} objects of a batch failed; langchain_gemini_mm reports them"
        record.args = ()
    return True
