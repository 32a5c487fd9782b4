"""`Connections`: the clients of the SDK that one service holds: one for all threads and one for each event loop.

A client is created on first use and closed when nothing uses it any longer. A copied or pickled object has no
connections, and neither has a forked process: two processes that read from one socket get each other's answers.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.batching import PerProcess
from langchain_gemini_mm.embeddings.service.client import OpenClient, ServiceSettings, has_own_http, new_client
from langchain_gemini_mm.embeddings.service.http_client import tls_context

if TYPE_CHECKING:
    from google.genai import Client


class _Held:
    """A client and the number of calls that use it. When it is retired, the last of them closes it."""

    def __init__(self, client: OpenClient) -> None:
        self.client = client
        self.users = 0
        self.retired = False
        self.lifetime: AsyncGenerator[None] | None = None
        """Of the client of an event loop."""

    @property
    def finished(self) -> bool:
        """Whether it can be closed."""
        return self.retired and self.users == 0


class Connections(PerProcess):
    """Lends SDK clients to calls; thread-safe.

    Args:
        settings: how to connect.
        given: the caller's own client, which is used for everything and never closed here.
    """

    def __init__(self, settings: ServiceSettings, given: Client | None = None) -> None:
        self.settings = settings
        self.given = given
        self.own_http = given is None and has_own_http(settings)
        """Whether requests can be sent as an `Exchange`."""
        self.one_per_call = False
        """Whether the service has refused several contents in one request."""
        super().__init__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles share no connections."""
        return Connections, (self.settings, self.given)

    def _forget(self) -> None:
        """Start without connections; those of before a fork belong to the parent process."""
        if (closer := getattr(self, "_closer", None)) is not None:
            closer.detach()
        self._lock = threading.Lock()
        self._tls: Any = None
        self._threads: _Held | None = None
        self._closer: weakref.finalize[Any, Connections] | None = None
        self._loops: dict[asyncio.AbstractEventLoop, _Held] = {}
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}

    @contextmanager
    def lend(self) -> Iterator[Client]:
        """The client of all threads, for one call; `close` lets the call end."""
        if self.given is not None:
            yield self.given
            return
        with self._lock:
            if self._threads is None:
                self._threads = _Held(self._new())
                # A reference cycle may be collected after its sockets are reported as unclosed.
                self._closer = weakref.finalize(self, self._threads.client.close)
            held = self._threads
            held.users += 1
        try:
            yield held.client.sdk
        finally:
            with self._lock:
                held.users -= 1
                finished = held.finished
            if finished:
                held.client.close()

    @asynccontextmanager
    async def alend(self) -> AsyncIterator[Client]:
        """The client of the running event loop, for one call; the loop closes it at shutdown."""
        if self.given is not None:
            yield self.given
            return
        loop = asyncio.get_running_loop()
        # Again after each wait: another task may have closed the client in the meantime.
        while (held := self._loops.get(loop)) is None:
            if loop not in self._opening:
                self._opening[loop] = asyncio.ensure_future(self._open(loop))
            await asyncio.shield(self._opening[loop])
        held.users += 1
        try:
            yield held.client.sdk
        finally:
            held.users -= 1
            if held.finished and held.lifetime is not None:
                await held.lifetime.aclose()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Connect in a worker thread: importing the SDK and reading certificates takes up to a second."""
        try:
            self._drop_closed_loops()
            held = _Held(await asyncio.to_thread(self._new_locked))
            # A running asynchronous generator is closed by the loop's shutdown_asyncgens(), which asyncio.run() calls;
            # there is no other hook at the end of a loop.
            held.lifetime = _closing(held.client)
            await anext(held.lifetime)
            self._loops[loop] = held
        finally:
            self._opening.pop(loop, None)

    def _new_locked(self) -> OpenClient:
        with self._lock:
            return self._new()

    def _new(self) -> OpenClient:
        if self._tls is None:
            self._tls = tls_context(self.settings.client_args)
        return new_client(self.settings, self._tls)

    def _drop_closed_loops(self) -> None:
        """Forget the clients of loops that have ended; a client refers to its loop, so weak keys would keep both."""
        for loop in [loop for loop in list(self._loops) if loop.is_closed()]:
            self._loops.pop(loop, None)

    def close(self) -> None:
        """Close the client of threads when its running calls have ended; the next call makes a new one.

        Clients of event loops are closed by their loop or by `aclose`.
        """
        self._drop_closed_loops()
        with self._lock:
            held, self._threads = self._threads, None
            closer, self._closer = self._closer, None
            if held is None:
                return
            held.retired = True
            finished = held.finished
        if closer is not None:
            closer.detach()
        if finished:
            held.client.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop and that of threads when their running calls have ended."""
        held = self._loops.pop(asyncio.get_running_loop(), None)
        if held is not None:
            held.retired = True
            if held.finished and held.lifetime is not None:
                await held.lifetime.aclose()
        self.close()


async def _closing(client: OpenClient) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await client.aclose()
