"""A local HTTP server with valid and faulty responses, and a store that may download from it."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.storage.backend import MemoryBackend
from langchain_gemini_mm.storage.download import Fetcher
from langchain_gemini_mm.storage.ssrf import refusal_of
from langchain_gemini_mm.testing import png, wav

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PNG = png()
WAV = wav(60.0)


class Site(BaseHTTPRequestHandler):
    """Responds according to the path."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, dict[str, str]]]] = []

    def do_GET(self) -> None:
        """Respond according to the first segment of the path."""
        self.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        word = self.path.strip("/").partition("/")[0].partition("?")[0]
        getattr(self, f"_on_{word}", self._on_missing)()

    def _on_missing(self) -> None:
        self.send_error(404)

    def _on_broken(self) -> None:
        self.send_error(503)

    def _on_image(self) -> None:
        self.give(PNG)

    def _on_audio(self) -> None:
        self.give(WAV)

    def _on_page(self) -> None:
        self.give(b"<html>Please log in</html>")

    def _on_empty(self) -> None:
        self.give(b"")

    def _on_closing(self) -> None:
        self.give(WAV, ("Connection", "close"))

    def _on_chunks(self) -> None:
        self.start(("Transfer-Encoding", "chunked"))
        for start in range(0, len(WAV), 70_000):
            piece = WAV[start : start + 70_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _on_endless(self) -> None:
        self.start()
        self.wfile.write(WAV)
        while True:
            self.wfile.write(bytes(100_000))

    def _on_short(self) -> None:
        self.start(("Content-Length", str(len(PNG))))
        self.wfile.write(PNG[:40])
        self.close_connection = True

    def _on_truncated(self) -> None:
        self.start(("Transfer-Encoding", "chunked"))
        self.wfile.write(b"ffff\r\n" + WAV[:3000])
        self.close_connection = True

    def _on_huge(self) -> None:
        self.start(("Content-Length", "9" * 12))

    def _on_compressed(self) -> None:
        self.give(PNG, ("Content-Encoding", "gzip"))

    def _on_slow_body(self) -> None:
        self.start(("Content-Length", str(len(WAV))))
        for byte in WAV:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def _on_slow_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            self.wfile.write(b"X-%d: y\r\n" % number)
            time.sleep(0.05)

    def _on_invalid(self) -> None:
        self.wfile.write(b"\0\1\2 hello\r\n\r\n")
        self.close_connection = True

    def _on_moved(self) -> None:
        target = self.path.partition("?")[2]
        self.give(b"moved", ("Location", target), status=302)

    def _on_loop(self) -> None:
        self.give(b"", ("Location", "/loop"), status=301)

    def give(self, data: bytes, *headers: tuple[str, str], status: int = 200) -> None:
        """Send a complete response."""
        self.start(("Content-Length", str(len(data))), *headers, status=status)
        self.wfile.write(data)

    def start(self, *headers: tuple[str, str], status: int = 200) -> None:
        """Send the status and headers."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server that ignores disconnecting clients."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server of `Site` and yield its port."""
    Site.asked.clear()
    with Server(("127.0.0.1", 0), Site) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class Names:
    """A name server: each name has a list of answers, the last of which is repeated."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self._answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses, or raise the error for an unknown name."""
        self.asked.append(host)
        if host not in self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self._answers[host]
        return (answers.pop(0) if len(answers) > 1 else answers[0]).split()


def refuse_except_local(address: str) -> str | None:
    """The default rule, except for the server of these tests."""
    return None if address == "127.0.0.1" else refusal_of(address)


class LocalStore(MediaStore):
    """A store in memory that may download from the local server."""

    def __init__(self, fetcher: Fetcher) -> None:
        super().__init__(MemoryBackend())
        self._fetcher = fetcher


def local_store(context: ssl.SSLContext | None = None, **answers: Sequence[str]) -> LocalStore:
    """A store that resolves `site.example` to the server of these tests."""
    names = Names(**{"site_example": ["127.0.0.1"], **answers})
    return LocalStore(Fetcher(resolve=names, context=context, _refuse=refuse_except_local))


def certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    pytest.importorskip("cryptography", reason="makes the certificate of the test's server")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = dt.datetime.now(dt.UTC)
    known: list[Any] = [x509.DNSName(one) for one in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(known), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths
