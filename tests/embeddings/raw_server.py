"""A server on a raw socket that sends any bytes, for responses that no HTTP server sends."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

Play = Callable[[socket.socket, int], object]
"""Sends a response to a request with this number of contents."""


class RawServer:
    """Answers every request with what `play` sends, well-formed or not."""

    def __init__(self, play: Play, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """Heads and bodies."""
        self.play = play
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Close all sockets, which ends the threads."""
        self._closing = True
        # Closing a socket does not wake a thread that waits in accept().
        socket.create_connection(self._listener.getsockname()).close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing:
                connection.close()
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                return
        with connection, connection.makefile("rb") as lines:
            try:
                while head := b"".join(takewhile(lambda line: line not in (b"", b"\r\n"), lines)).decode("latin-1"):
                    lengths = [
                        line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-le")
                    ]
                    body = json.loads(lines.read(int(lengths[0])) if lengths else b"{}")
                    self.requests.append((head, body))
                    self.play(connection, len(body.get("requests", [1])))
            except (OSError, ValueError):
                return


def http(status: int, body: str | bytes | object, *headers: str) -> bytes:
    """An HTTP response; a body that is neither text nor bytes is sent as JSON."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    data = text.encode() if isinstance(text, str) else text
    head = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + data


def play(response: Callable[[int], bytes]) -> Play:
    """Sends what a function of the number of contents returns."""
    return lambda connection, count: connection.sendall(response(count))
