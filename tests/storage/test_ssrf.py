"""Addresses and URLs: which may be requested, and which are refused before any request."""

from __future__ import annotations

import pytest

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.storage.download import Fetcher
from langchain_gemini_mm.storage.ssrf import refusal_of, target_of
from tests.storage.site import LocalStore, Names

ADDRESSES = {
    "public": ("93.184.216.34", None),
    "public, IPv6": ("2606:2800:220:1::1", None),
    "loopback": ("127.0.0.1", "loopback"),
    "all of loopback": ("127.255.3.4", "loopback"),
    "loopback, IPv6": ("::1", "loopback"),
    "private 10": ("10.1.2.3", "private"),
    "private 172": ("172.16.0.1", "private"),
    "private 192": ("192.168.1.1", "private"),
    "carrier-grade NAT": ("100.64.0.1", "private"),
    "benchmarks": ("198.18.0.1", "private"),
    "examples": ("203.0.113.7", "private"),
    "cloud metadata": ("169.254.169.254", "link-local"),
    "link-local, IPv6": ("fe80::1", "link-local"),
    "link-local with its zone": ("fe80::1%eth0", "link-local"),
    "unique local": ("fd00::1", "private"),
    "metadata, IPv6": ("fd00:ec2::254", "private"),
    "site-local": ("fec0::1", "reserved"),
    "multicast": ("224.0.0.1", "multicast"),
    "public multicast": ("232.1.1.1", "multicast"),
    "multicast, IPv6": ("ff0e::1", "multicast"),
    "unspecified": ("0.0.0.0", "unspecified"),
    "unspecified, IPv6": ("::", "unspecified"),
    "this network": ("0.1.2.3", "private"),
    "broadcast": ("255.255.255.255", "reserved"),
    "reserved": ("240.0.0.1", "reserved"),
    "mapped loopback": ("::ffff:127.0.0.1", "loopback"),
    "mapped private": ("::ffff:10.0.0.1", "private"),
    "mapped public": ("::ffff:93.184.216.34", None),
    "compatible": ("::7f00:1", "reserved"),
    "6to4 of a private one": ("2002:a00:1::", "private"),
    "nat64 of metadata": ("64:ff9b::a9fe:a9fe", "link-local"),
    "nat64 of a public one": ("64:ff9b::5db8:d822", None),
    "local nat64": ("64:ff9b:1::1", "private"),
    "documentation": ("2001:db8::1", "private"),
    "not an address": ("example.org", "unreadable"),
}


@pytest.mark.parametrize(("address", "reason"), ADDRESSES.values(), ids=ADDRESSES)
def test_addresses(address: str, reason: str | None) -> None:
    """Public addresses are allowed; others are refused, also if they are embedded in IPv6 addresses."""
    found = refusal_of(address)
    assert (found is None) == (reason is None)
    assert reason is None or found in {reason, "private", "reserved"}


URLS = {
    "http": ("http://site.example/a.png", "allow_http=True"),
    "a file": ("file:///etc/passwd", "not 'file'"),
    "a bucket": ("gs://bucket/a.png", "not 'gs'"),
    "data": ("data:image/png;base64,AAAA", "not 'data'"),
    "ftp": ("ftp://site.example/a.png", "not 'ftp'"),
    "a path": ("/etc/passwd", "without a scheme"),
    "a reference": ("mm://sha256-00", "not 'mm'"),
    "a user": ("https://me@site.example/a.png", "user name or password"),
    "a password": ("https://me:s3cret@site.example/a.png", "user name or password"),
    "an empty user": ("https://@site.example/a.png", "user name or password"),
    "no host": ("https:///a.png", "host"),
    "a bad port": ("https://site.example:99999/a.png", "cannot be read"),
    "port 0": ("https://site.example:0/a.png", "port 0"),
    "a line break": ("https://site.example/a\r\nX: y", "control signs"),
    "a space": ("https://site.example /a.png", "spaces"),
    "a backslash": ("https://site.example\\@evil.example/", "backslashes"),
    "a broken bracket": ("https://[::1/a.png", "cannot be read"),
    "invalid characters in the host": ("https://site_%00.example/", "cannot be read"),
    "empty labels": ("https://site..example/", "cannot be read"),
    "too long": ("https://site.example/" + "a" * 9000, "too long"),
}


@pytest.mark.parametrize(("url", "message"), URLS.values(), ids=URLS)
def test_invalid_urls(url: str, message: str) -> None:
    """Invalid URLs are refused before a name is resolved; the message does not contain the password."""
    names = Names()
    with pytest.raises(ContentError, match=message) as caught:
        LocalStore(Fetcher(resolve=names)).put_url(url)
    assert "s3cret" not in str(caught.value)
    assert names.asked == []


def test_urls_are_parsed() -> None:
    """Names and paths outside ASCII are encoded; text that is already quoted is unchanged."""
    target = target_of("https://Bücher.Example./päge/a%20b?q=ü&x=%2F#frag", allow_http=False)
    assert (target.host, target.port, target.authority) == ("xn--bcher-kva.example", 443, "xn--bcher-kva.example")
    assert target.path == "/p%C3%A4ge/a%20b?q=%C3%BC&x=%2F"
    assert target_of("https://[2606:2800::1]:8443", allow_http=False).authority == "[2606:2800::1]:8443"
    with pytest.raises(TypeError, match="given as str"):
        target_of(b"https://site.example", allow_http=False)  # type: ignore[arg-type]
