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
from langchain_gemini_mm.embeddings.service.client import ServiceSettings, new_client

if TYPE_CHECKING:
    from google.genai import Client


class _Held:
    """A client and the number of calls that use it. When it is retired, the last of them closes it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.users = 0
        self.retired = False


class _LoopClient(_Held):
    """The client of one event loop, which closes it when it shuts down."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        # A running asynchronous generator is closed by the loop's shutdown_asyncgens(), which asyncio.run() calls;
        # there is no other hook at the end of a loop.
        self.lifetime: AsyncGenerator[None] = _closing(client)


class Connections(PerProcess):
    """Lends SDK clients to calls; thread-safe.

    Args:
        settings: how to connect.
        given: the caller's own client, which is used for everything and never closed here.
    """

    def __init__(self, settings: ServiceSettings, given: Client | None = None) -> None:
        self.settings = settings
        self.given = given
        super().__init__()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles share no connections."""
        return Connections, (self.settings, self.given)

    def _forget(self) -> None:
        """Start without connections; those of before are left to their owner."""
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._loops: dict[asyncio.AbstractEventLoop, _LoopClient] = {}
        self._opening: dict[asyncio.AbstractEventLoop, asyncio.Future[_LoopClient]] = {}

    @contextmanager
    def lend(self) -> Iterator[Client]:
        """The client of all threads, for one call; `close` lets the call end."""
        if self.given is not None:
            yield self.given
            return
        with self._lock:
            if self._held is None:
                self._held = _Held(new_client(self.settings))
                # The SDK closes in __del__, which in a reference cycle may run after its sockets are reported unclosed.
                weakref.finalize(self, self._held.client.close)
            held = self._held
            held.users += 1
        try:
            yield held.client
        finally:
            with self._lock:
                held.users -= 1
                last = held.retired and not held.users
            if last:
                held.client.close()

    @asynccontextmanager
    async def alend(self) -> AsyncIterator[Client]:
        """The client of the running event loop, for one call; the loop closes it at shutdown."""
        if self.given is not None:
            yield self.given
            return
        loop = asyncio.get_running_loop()
        held = self._loops.get(loop)
        if held is None:
            if loop not in self._opening:
                self._opening[loop] = asyncio.ensure_future(self._open(loop))
            held = await asyncio.shield(self._opening[loop])
        held.users += 1
        try:
            yield held.client
        finally:
            held.users -= 1
            if held.retired and not held.users:
                await held.lifetime.aclose()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _LoopClient:
        """Connect in a worker thread: importing the SDK and reading certificates takes up to a second."""
        try:
            self._drop_closed_loops()
            held = _LoopClient(await asyncio.to_thread(new_client, self.settings))
            await anext(held.lifetime)
            self._loops[loop] = held
            return held
        finally:
            self._opening.pop(loop, None)

    def _drop_closed_loops(self) -> None:
        """Forget clients whose loop has ended: a client refers to its loop, so a weak key would keep both for ever."""
        for loop in [loop for loop in list(self._loops) if loop.is_closed()]:
            self._loops.pop(loop, None)

    def close(self) -> None:
        """Close the client of threads, when its running calls have ended; the next call makes a new one.

        Clients of event loops are closed by their loop or by `aclose`.
        """
        self._drop_closed_loops()
        with self._lock:
            held, self._held = self._held, None
            if held is None:
                return
            held.retired = True
            idle = not held.users
        if idle:
            held.client.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop and that of threads, when their running calls have ended."""
        held = self._loops.pop(asyncio.get_running_loop(), None)
        if held is not None:
            held.retired = True
            if not held.users:
                await held.lifetime.aclose()
        self.close()


async def _closing(client: Client) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await client.aio.aclose()
        client.close()
