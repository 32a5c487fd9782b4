"""Fetching files from public internet addresses, with limits on size and time.

A host is resolved once, all its addresses are checked, and the connection is made to a checked address, so that a
second DNS response cannot lead elsewhere. Redirects are followed here, and checked in the same way. Proxies of the
environment are not used, because they would resolve hosts themselves.
"""

from __future__ import annotations

import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, BinaryIO, TypeAlias, cast
from urllib.parse import quote

from langchain_gemini_mm.errors import ContentError, InvalidValueError, MediaLimitError
from langchain_gemini_mm.storage.ssrf import RESERVED, Target, refusal_of, target_of

FETCH_BYTES = 1_000_000_000
"""Default limit on the size of a fetched file."""
FETCH_SECONDS = 300.0
"""Default limit on the time for a file, in seconds, including redirects."""

Resolver: TypeAlias = "Callable[[str, int], Sequence[str]]"
"""Resolves a host and port to addresses."""

_CONNECT_SECONDS = 15.0
_CLOCK_GRAIN = 0.05
_MAX_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_HEADERS = {
    "User-Agent": "langchain-gemini-mm",
    "Accept": "image/*, audio/*, video/*, application/pdf, */*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class Fetcher:
    """Fetches files.

    Args:
        resolve: resolves hosts; the system's resolver by default.
        context: checks certificates; with the system's authorities by default.
        _refuse: returns the reason why an address is refused; changed only by tests.
    """

    def __init__(
        self,
        *,
        resolve: Resolver | None = None,
        context: ssl.SSLContext | None = None,
        _refuse: Callable[[str], str | None] = refusal_of,
    ) -> None:
        self._resolve = resolve or system_addresses
        self._context = context
        self._refuse = _refuse

    @contextmanager
    def opened(
        self, url: str, *, max_bytes: int = FETCH_BYTES, timeout: float = FETCH_SECONDS, allow_http: bool = False
    ) -> Iterator[Download]:
        """Open a URL for reading.

        Args:
            url: `https://...`; its query may contain a key and is never shown.
            max_bytes: largest size of the file, in bytes.
            timeout: seconds for the whole download.
            allow_http: accept `http://`.

        Raises:
            ContentError: the URL is refused, or the download fails or takes too long.
            MediaLimitError: the file is larger than `max_bytes`; also raised while it is read.
        """
        if max_bytes < 1 or not timeout > 0:
            raise InvalidValueError(f"max_bytes and timeout must be positive, got {max_bytes!r} and {timeout!r}")
        target, deadline = target_of(url, allow_http=allow_http), Deadline(timeout)
        for _ in range(_MAX_REDIRECTS + 1):
            with ExitStack() as stack:
                with _translated(target, deadline):
                    connection = stack.enter_context(closing(self._connection(target, deadline)))
                    response = stack.enter_context(closing(_answer(connection, target)))
                if response.status not in _REDIRECTS:
                    yield Download(response, target, deadline, max_bytes)
                    return
                location = response.headers.get("Location") or ""
            target = target.redirected(quote(location.encode("latin-1"), safe=RESERVED), allow_http=allow_http)
        raise ContentError(f"{target.shown} is behind more than {_MAX_REDIRECTS} redirects")

    def _connection(self, target: Target, deadline: Deadline) -> HTTPConnection:
        connection = HTTPConnection(target.host, target.port)
        addresses = self._addresses(target, deadline)
        for number, address in enumerate(addresses, 1):
            try:
                opened = socket.create_connection((address, target.port), min(deadline.left(), _CONNECT_SECONDS))
                break
            except OSError:
                if number == len(addresses):
                    raise
        else:
            raise ContentError(f"{target.host!r} has no address")
        try:
            if target.scheme == "https":
                context = self._context or ssl.create_default_context()
                opened.settimeout(min(deadline.left(), _CONNECT_SECONDS))
                opened = context.wrap_socket(opened, server_hostname=target.host)
        except BaseException:
            opened.close()
            raise
        connection.sock = cast("socket.socket", TimedSocket(opened, deadline))
        return connection

    def _addresses(self, target: Target, deadline: Deadline) -> Sequence[str]:
        """All addresses of a host, if all of them are public."""
        addresses = list(dict.fromkeys(_within(deadline, lambda: self._resolve(target.host, target.port))))
        for address in addresses:
            if reason := self._refuse(address):
                raise ContentError(
                    f"{target.host!r} is at a {reason} address; only files on the public internet are fetched. "
                    "Fetch it yourself and use put"
                )
        return addresses


class Deadline:
    """A time limit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the deadline has passed, within the resolution of clocks."""
        return time.monotonic() >= self._end - _CLOCK_GRAIN

    def left(self) -> float:
        """Seconds that are left.

        Raises:
            TimeoutError: none is left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class TimedSocket:
    """A socket for `http.client` whose waits all end at the deadline, however slowly bytes arrive."""

    def __init__(self, opened: socket.socket, deadline: Deadline) -> None:
        self._socket = opened
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        """Send all bytes."""
        self._socket.settimeout(self._deadline.left())
        self._socket.sendall(data)

    def makefile(self, mode: str) -> BinaryIO:
        """A buffered file for reading."""
        del mode
        return io.BufferedReader(_Incoming(self._socket, self._deadline))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class _Incoming(io.RawIOBase):
    def __init__(self, opened: socket.socket, deadline: Deadline) -> None:
        self._socket = opened
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._deadline.left())
        return self._socket.recv_into(buffer)


class Download:
    """A file that is being fetched; it is known to be complete when it was read to its end."""

    def __init__(self, response: HTTPResponse, target: Target, deadline: Deadline, max_bytes: int) -> None:
        self._response = response
        self._target = target
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._expected = response.length
        self._read = 0
        self._check(response.length or 0)

    @property
    def name(self) -> str:
        """A name for messages."""
        return self._target.shown

    def read(self, length: int = -1) -> bytes:
        """Read a chunk; empty at the end.

        Raises:
            ContentError: the connection failed, or the deadline has passed.
            MediaLimitError: over `max_bytes`.
        """
        with _translated(self._target, self._deadline):
            data = self._response.read(length if length >= 0 else self._max_bytes + 1)
        self._read += len(data)
        self._check(self._read)
        if not data and self._expected is not None and self._read < self._expected:
            raise ContentError(f"{self.name} was cut off: {self._read:,} of {self._expected:,} bytes came. Try again")
        return data

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise MediaLimitError(
                f"{self.name} has {size:,} bytes or more; at most {self._max_bytes:,} are fetched. Raise max_bytes"
            )


def system_addresses(host: str, port: int) -> list[str]:
    """Resolve a host with the system's resolver."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _answer(connection: HTTPConnection, target: Target) -> HTTPResponse:
    connection.request("GET", target.path, headers={"Host": target.authority, **_HEADERS})
    # `getresponse` would close the socket before the body is read if the server announces that it closes.
    response = HTTPResponse(connection.sock, method="GET")
    response.begin()
    if response.status in _REDIRECTS:
        return response
    if response.status != 200:
        raise ContentError(f"{target.shown} cannot be fetched: the server answered {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ContentError(f"{target.shown} cannot be fetched: the server sends it compressed, which was not asked for")
    return response


@contextmanager
def _translated(target: Target, deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        waited = f"was not fetched within {deadline.seconds:g} s" if deadline.over else "did not answer"
        raise ContentError(f"{target.shown} {waited}. Try again, or raise timeout") from error
    except ssl.SSLCertVerificationError as error:
        raise ContentError(f"{target.host!r} has no valid certificate: {error.verify_message}") from error
    except socket.gaierror as error:
        raise ContentError(f"{target.host!r} is not known: {error.strerror}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ContentError(f"{target.shown} cannot be fetched: {reason}") from error


def _within(deadline: Deadline, ask: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Resolve in a thread, because the system's resolver has no time limit."""
    answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(ask())
        except Exception as error:  # noqa: BLE001  it is raised again in the thread that waits
            answers.put(error)

    threading.Thread(target=run, name="look-up", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer
