"""Checks that a URL leads to a public internet address, against server-side request forgery."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from langchain_gemini_mm.errors import ContentError

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

PORTS = {"https": 443, "http": 80}

RESERVED = "/%:@!$&'()*+,;=~-._?#[]"
"""Characters with a meaning in URLs, which are not quoted."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_MORE_PRIVATE = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "fec0::/10", "::/96", "5f00::/16")))
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
_MAX_URL_CHARACTERS = 8000
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that a request needs."""

    scheme: str
    host: str
    """ASCII, lower case, without brackets."""
    port: int
    path: str
    """With the query; quoted."""

    @property
    def authority(self) -> str:
        """The `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for messages, without the query, which may contain a key."""
        text = f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"
        return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")

    def redirected(self, location: str, *, allow_http: bool) -> Target:
        """The target of a redirect.

        Raises:
            ContentError: it is refused.
        """
        base = f"{self.scheme}://{self.authority}{self.path}"
        try:
            return target_of(urljoin(base, location), allow_http=allow_http)
        except ValueError as error:
            raise ContentError(f"{self.shown} redirects elsewhere: {error}") from error


def target_of(url: str, *, allow_http: bool) -> Target:
    """Parse and check a URL.

    Raises:
        ContentError: not https, malformed, or with a name and password in it.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is given as str, got {type(url).__name__}")
    if _ODD.search(url) or len(url) > _MAX_URL_CHARACTERS:
        raise ContentError("the URL holds spaces, control signs or backslashes, or is too long; quote it")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ContentError(f"the URL cannot be read: {error}") from error
    scheme = parts.scheme
    if scheme not in PORTS:
        raise ContentError(f"only https URLs are fetched, not {scheme[:20] or 'paths without a scheme'!r}")
    if scheme == "http" and not allow_http:
        raise ContentError("only https URLs are fetched; http is not safe on the way, allow_http=True takes it anyway")
    if "@" in parts.netloc:
        raise ContentError("the URL holds a user name or password; URLs are not fetched with any")
    if port == 0:
        raise ContentError("the URL names port 0")
    path = quote(parts.path or "/", safe=RESERVED) + (f"?{quote(parts.query, safe=RESERVED)}" if parts.query else "")
    return Target(scheme, _ascii_host(host), port or PORTS[scheme], path)


def refusal_of(address: str) -> str | None:
    """The reason why an address is refused; None for a public one.

    ```python
    from langchain_gemini_mm.storage.ssrf import refusal_of

    assert refusal_of("93.184.216.34") is None
    assert refusal_of("::ffff:169.254.169.254") == "link-local"
    ```
    """
    try:
        found: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unreadable"
    return next((reason for one in _meant(found) if (reason := _refusal(one))), None)


def _meant(address: Address) -> list[Address]:
    """The addresses to which a gateway may translate an address, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)]
    return [address, *filter(None, (address.sixtofour, *(address.teredo or ())))]


def _refusal(address: Address) -> str | None:
    for name in ("loopback", "link_local", "multicast", "unspecified", "reserved", "private"):
        if getattr(address, f"is_{name}"):
            return name.replace("_", "-")
    if not address.is_global or any(
        address in network for network in _MORE_PRIVATE if network.version == address.version
    ):
        return "private"
    return None


def _ascii_host(host: str) -> str:
    try:
        encoded = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError as error:
        raise ContentError(f"the URL's host {host[:_SHOWN]!r} cannot be read") from error
    if not encoded or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", encoded):
        raise ContentError(f"the URL's host {host[:_SHOWN]!r} cannot be read")
    return encoded
