"""HTTP clients for the SDK with a total time per request, bounded responses and no redirects.

The SDK adds authentication, addresses and headers; an `Exchange` hands the body of a request through it unchanged, and
the response back as bytes. httpx and httpx2 have the same interface; the SDK uses the former up to 2.x.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

POOL_CONNECTIONS = 256
"""Idle connections kept per client. With fewer than are in use at once, httpx closes and reopens connections and
occasionally loses a request (measured on google-genai 2.34 with 64 threads: one in 10,000 with the default of 20, none
with enough)."""

MOST_BYTES = 128_000_000
"""Largest response, decompressed. 250 vectors of 3,072 numbers in indented JSON are about 30 MB."""

_WRITTEN_BYTES = 262_144
_ENCODINGS = ("", "identity", "gzip", "deflate")
"""Content encodings that expand at most a thousandfold, so that one chunk from the network fits into memory."""


@dataclass
class Exchange:
    """One request whose body is sent as it is, and its response."""

    body: bytes | None = field(repr=False)
    """None for the body that the SDK gives."""
    status: int = 0
    """HTTP status; 0 while there is no response."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes = field(default=b"", repr=False)
    values: Any = field(default=None, repr=False)
    """The content as JSON values, where the SDK has parsed it."""


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


@contextmanager
def exchanging(exchange: Exchange) -> Iterator[None]:
    """Use `exchange` for the request that the SDK sends inside."""
    token = _current.set(exchange)
    try:
        yield
    finally:
        _current.reset(token)


class UnusableResponseError(ValueError):
    """A response that is too large, or in an encoding that was not asked for."""


def tls_context(client_args: Mapping[str, Any]) -> Any:
    """The certificates to trust; one context is shared by all clients, since each takes a megabyte and 20 ms."""
    given = client_args.get("verify", True)
    if given is not True:
        return given
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    return http_library(client_args).create_ssl_context()


def http_library(client_args: Mapping[str, Any]) -> Any:
    """The HTTP library: that of the caller's objects, such as a transport, else the default of the SDK."""
    for value in client_args.values():
        for kind in type(value).__mro__:
            if (package := kind.__module__.partition(".")[0]) in ("httpx", "httpx2"):
                return import_module(package)
    from google.genai import version

    newer = int(version.__version__.partition(".")[0]) >= 3 and find_spec("httpx2")
    return import_module("httpx2" if newer else "httpx")


def http_clients(client_args: Mapping[str, Any], verify: Any, total_s: float) -> tuple[Any, Any]:
    """A client for threads, and one for an event loop.

    Args:
        client_args: the caller's arguments for the HTTP library.
        verify: of `tls_context`.
        total_s: seconds for one request, from connecting to the last byte.
    """
    library = http_library(client_args)
    client, async_client = (
        _client_type(library, name)(**_arguments(library, client_args, verify)) for name in ("Client", "AsyncClient")
    )
    client.total_s = async_client.total_s = total_s
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        # Without this private attribute, only the time between two bytes would be limited while headers are read.
        if pool is not None and hasattr(pool, "_network_backend"):
            pool._network_backend = _TimedBackend(pool._network_backend)
    return client, async_client


@cache
def _client_type(library: Any, name: str) -> type[Any]:
    limits = {"Client": _SyncLimits, "AsyncClient": _AsyncLimits}[name]
    return type(f"Limited{name}", (limits, getattr(library, name)), {"library": library})


def _arguments(library: Any, client_args: Mapping[str, Any], verify: Any) -> dict[str, Any]:
    limits = library.Limits(max_connections=POOL_CONNECTIONS, max_keepalive_connections=POOL_CONNECTIONS)
    headers = library.Headers({"accept-encoding": "gzip, deflate"})
    headers.update(client_args.get("headers") or {})
    return {"limits": limits, "timeout": None, **client_args, "verify": verify, "headers": headers}


class _SyncLimits:
    """What the clients of threads add to `Client`."""

    library: Any
    total_s: float

    def build_request(self, *args: Any, content: Any = None, **options: Any) -> Any:
        return super().build_request(*args, content=_outgoing(content), **options)  # type: ignore[misc]

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        if stream:
            return super().send(request, stream=True, **options)  # type: ignore[misc]
        with _total_time(self.total_s):
            options["follow_redirects"] = False
            response = super().send(request, stream=True, **options)  # type: ignore[misc]
            try:
                body = _Body(response)
                for chunk in response.iter_bytes():
                    body.add(chunk)
            finally:
                response.close()
        return _received(self.library, response, body)


class _AsyncLimits:
    """What the clients of event loops add to `AsyncClient`."""

    library: Any
    total_s: float

    def build_request(self, *args: Any, content: Any = None, **options: Any) -> Any:
        return super().build_request(*args, content=_outgoing(content), **options)  # type: ignore[misc]

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        if stream:
            return await super().send(request, stream=True, **options)  # type: ignore[misc]
        async with asyncio.timeout(self.total_s):
            options["follow_redirects"] = False
            response = await super().send(request, stream=True, **options)  # type: ignore[misc]
            try:
                body = _Body(response)
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
            finally:
                await response.aclose()
        return _received(self.library, response, body)


def _outgoing(content: Any) -> Any:
    exchange = _current.get()
    return content if exchange is None or exchange.body is None else exchange.body


class _Body:
    """The body of a response while it arrives."""

    def __init__(self, response: Any) -> None:
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in _ENCODINGS:
            raise UnusableResponseError(f"a response in the encoding {encoding[:20]!r}, which was not asked for")
        self.chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > MOST_BYTES:
            raise UnusableResponseError(f"a response over {MOST_BYTES:,} bytes")
        self.chunks.append(chunk)


def _received(library: Any, response: Any, body: _Body) -> Any:
    """The response as the SDK gets it; in an exchange it gets none, and parses none."""
    # A closed response of httpx 0.28 refers to itself through its stream, and to its request, which may be large.
    response.stream = library.ByteStream(b"")
    content = b"".join(body.chunks)
    exchange = _current.get()
    if exchange is not None:
        exchange.status, exchange.headers, exchange.content = response.status_code, response.headers, content
        return library.Response(200, content=b"{}", request=response.request)
    coded = ("content-encoding", "content-length", "transfer-encoding")
    headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in coded]
    return library.Response(response.status_code, headers=headers, content=content, request=response.request)


_clock = threading.local()


@contextmanager
def _total_time(seconds: float) -> Iterator[None]:
    _clock.end = time.monotonic() + seconds
    try:
        yield
    finally:
        _clock.end = None


def _left(timeout: float | None) -> float | None:
    """Seconds for the next operation on a socket; `timeout` is that between two bytes."""
    end = getattr(_clock, "end", None)
    if end is None:
        return timeout
    left: float = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the response took longer than the timeout")
    return left if timeout is None else min(left, timeout)


class _TimedBackend:
    """The network layer of httpcore, with the total time of the running request."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> _TimedStream:
        return _TimedStream(self._backend.connect_tcp(host, port, timeout=_left(timeout), **options))


class _TimedStream:
    """One connection; a slow peer restarts no clock with each byte."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._stream.read(max_bytes, timeout=_left(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        for start in range(0, len(view), _WRITTEN_BYTES):
            self._stream.write(view[start : start + _WRITTEN_BYTES], timeout=_left(timeout))

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))
