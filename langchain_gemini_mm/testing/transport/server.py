"""The HTTP server of the emulator, on uvicorn; everything without I/O is in `service`."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import uvicorn

from langchain_gemini_mm.testing.transport.exchange import HttpReply, HttpRequest

Handler: TypeAlias = Callable[[HttpRequest], HttpReply]
"""A function from a request to its response; it must not block."""

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]

_START_SECONDS = 10.0


class Application:
    """An ASGI application that calls a handler."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self.in_flight = 0
        self.most_in_flight = 0

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Read a request, and send the response after its delay, or drop the connection."""
        if scope["type"] != "http":
            return
        arrived = time.monotonic()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            body = await _read(receive)
            if body is None:
                return
            reply = self._handle(_request(scope, body))
            wait = arrived + reply.delay - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
        except asyncio.CancelledError:
            # uvicorn would send a 500 response.
            _abort(send)
            raise
        finally:
            self.in_flight -= 1
        await _answer(reply, send)


class Server:
    """uvicorn in a thread, on a port of 127.0.0.1."""

    def __init__(self, application: Application, *, port: int = 0) -> None:
        config = uvicorn.Config(
            application,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            loop="asyncio",
            ws="none",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=2048,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=1,
        )
        self._socket = socket.create_server(("127.0.0.1", port), backlog=2048, reuse_port=False)
        # asyncio sets this only for sockets with a protocol; accepted sockets inherit it. Without it, a response waits
        # up to 40 ms for the client to acknowledge its headers.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="gemini-emulator", daemon=True)
        self.port: int = self._socket.getsockname()[1]

    def start(self) -> None:
        """Start the thread; returns when the server accepts requests."""
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the emulator's server did not start")
            time.sleep(0.001)

    def stop(self) -> None:
        """Close all connections and wait for the thread."""
        self._server.should_exit = True
        self._server.force_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])


async def _read(receive: _Receive) -> bytes | None:
    """The whole body; None if the client disconnected."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


def _request(scope: _Message, body: bytes) -> HttpRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get("host") or "127.0.0.1"
    return HttpRequest(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"))),
        headers=headers,
        body=body,
        base_url=f"http://{host}",
    )


async def _answer(reply: HttpReply, send: _Send) -> None:
    if reply.cut == "before":
        _abort(send)
        return
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.cut == "middle":
        await send({"type": "http.response.body", "body": reply.body[: len(reply.body) // 2], "more_body": True})
        # Gives the first half time to arrive before the connection is dropped.
        await asyncio.sleep(0.01)
        _abort(send)
        return
    await send({"type": "http.response.body", "body": reply.body})


def _abort(send: _Send) -> None:
    """Drop the TCP connection.

    ASGI has no message for that; `send` is a method of a uvicorn object that has the transport.
    """
    send.__self__.transport.abort()  # type: ignore[attr-defined]
