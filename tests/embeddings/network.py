"""Servers between a client and the emulator: a proxy, a gateway, and one that speaks TLS. For the tests of networks."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path


class Relay:
    """Passes requests on to another server, and records their heads; also a forward proxy (RFC 9110, 9.3.6).

    `CONNECT` opens a tunnel; other requests are sent to `target` without `prefix`, with the headers in `added`.
    """

    def __init__(
        self,
        target: str,
        *,
        tls: ssl.SSLContext | None = None,
        prefix: str = "",
        added: dict[str, str] | None = None,
    ) -> None:
        self.heads: list[str] = []
        self._target = (urlsplit(target).hostname or "", urlsplit(target).port or 80)
        self._tls = tls
        self._prefix = prefix
        self._added = "".join(f"{name}: {value}\r\n" for name, value in (added or {}).items())
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def close(self) -> None:
        """Close all sockets, which ends the threads."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            received = b""
            while b"\r\n\r\n" not in received:
                if not (chunk := connection.recv(65536)):
                    return
                received += chunk
            head, _, rest = received.partition(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            method, url, _ = self.heads[-1].split("\r\n", 1)[0].split(" ")
            if method == "CONNECT":
                host, _, port = url.rpartition(":")
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._join(connection, (host, int(port)), rest)
            else:
                self._join(connection, self._target, self._rewritten(url) + rest)

    def _rewritten(self, url: str) -> bytes:
        """The head of a request, for the target; the connection ends with the response."""
        parts = urlsplit(url)
        path = parts.path.removeprefix(self._prefix) + (f"?{parts.query}" if parts.query else "")
        first, *lines = self.heads[-1].split("\r\n")
        added = self._added.lower()
        kept = [
            line
            for line in lines
            if not line.lower().startswith(("connection:", "proxy-")) and f"{line.lower().split(':')[0]}:" not in added
        ]
        method, _, version = first.split(" ")
        return (
            f"{method} {path} {version}\r\n{self._added}Connection: close\r\n{chr(10).join(kept)}\r\n\r\n".replace(
                "\r\n", "\n"
            )
            .replace("\n", "\r\n")
            .encode("latin-1")
        )

    def _join(self, connection: socket.socket, target: tuple[str, int], first: bytes) -> None:
        with socket.create_connection(target) as server:
            self._open.append(server)
            server.sendall(first)
            back = threading.Thread(target=_pipe, args=(server, connection), daemon=True)
            back.start()
            _pipe(connection, server)
            back.join(10)


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


KEY_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def write_certificates(folder: Path) -> ssl.SSLContext:
    """Write `corporate-ca.pem`, the certificate of an authority, and return the TLS context of its server."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "corporate CA")])
    key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def builder(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(issuer_name=name, subject_name=subject, public_key=public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    # Python 3.13 requires the extensions of RFC 5280.
    signs = {name: name in ("key_cert_sign", "crl_sign") for name in KEY_USES}
    authority = (
        builder(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**signs), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    server = (
        builder(subject, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    pem = serialization.Encoding.PEM
    (folder / "corporate-ca.pem").write_bytes(authority.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.pem").write_bytes(
        server.sign(key, hashes.SHA256()).public_bytes(pem)
        + server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return context
