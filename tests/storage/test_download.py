"""Downloads: only public URLs, complete files, time and size limits, checks of names and redirects."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.storage.download import Fetcher
from tests.storage.site import PNG, WAV, LocalStore, Names, Site, certificate, local_store, refuse_except_local, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def port() -> Iterator[int]:
    """A server without TLS."""
    with serving() as number:
        yield number


@pytest.mark.parametrize(("path", "data"), [("image", PNG), ("audio", WAV), ("chunks", WAV), ("closing", WAV)])
def test_a_file_is_fetched_and_stored(port: int, path: str, data: bytes) -> None:
    """The downloaded bytes are stored under their hash."""
    store = local_store()
    ref = store.put_url(f"http://site.example:{port}/{path}/a%20b?key=secret#part", allow_http=True)
    assert store.get(ref) == data
    ((where, headers),) = Site.asked
    assert where == f"/{path}/a%20b?key=secret"
    assert headers["host"] == f"site.example:{port}"
    assert headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & set(headers)


async def test_fetching_async(port: int) -> None:
    """The async method returns the same reference."""
    store = local_store()
    url = f"http://site.example:{port}/image"
    assert await store.aput_url(url, allow_http=True) == store.put(PNG)


def test_every_store_type_downloads(store: MediaStore, port: int) -> None:
    """A download is read in pieces like any other file."""
    fetcher = Fetcher(resolve=Names(site_example=["127.0.0.1"]), _refuse=refuse_except_local)
    with fetcher.opened(f"http://site.example:{port}/audio", allow_http=True) as download:
        assert store.get(store.put(download)) == WAV


HERE = ("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0")


@pytest.mark.parametrize("host", HERE)
def test_local_addresses_are_refused(host: str, port: int) -> None:
    """Local addresses are refused in every spelling that the system resolves, also with the default store."""
    with pytest.raises(ContentError, match=r"address; only files on the public internet|is not known|cannot be read"):
        MediaStore.memory().put_url(f"http://{host}:{port}/image", allow_http=True)
    assert not Site.asked


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "::1", "192.168.0.1 127.0.0.1", "127.0.0.1 fd00::1"]
)
def test_names_of_private_addresses_are_refused(address: str, port: int) -> None:
    """A public name is refused if any of its addresses is private."""
    store = local_store(evil_example=[address])
    with pytest.raises(ContentError, match=r"'evil\.example' is at a [a-z-]+ address"):
        store.put_url(f"http://evil.example:{port}/image", allow_http=True)
    assert not Site.asked


def test_names_are_resolved_once(port: int) -> None:
    """The name is resolved once, and the request is sent to the address that was checked."""
    names = Names(turning_example=["127.0.0.1", "10.0.0.1"])
    fetcher = Fetcher(resolve=names, _refuse=refuse_except_local)
    with fetcher.opened(f"http://turning.example:{port}/image", allow_http=True) as download:
        assert download.read() == PNG
    assert names.asked == ["turning.example"]
    with (
        pytest.raises(ContentError, match="private address"),
        fetcher.opened(f"http://turning.example:{port}/image", allow_http=True),
    ):
        pass


def test_all_addresses_are_tried(port: int) -> None:
    """If an address of a name does not answer, the next one is tried."""
    fetcher = Fetcher(resolve=Names(site_example=["::1 127.0.0.1"]), _refuse=lambda _: None)
    with fetcher.opened(f"http://site.example:{port}/image", allow_http=True) as download:
        assert download.read() == PNG


REDIRECTS = {
    "within a site": ("/image", None),
    "to another name": ("http://other.example:{port}/image", None),
    "without a scheme": ("//other.example:{port}/image", None),
    "several times": ("/moved?/moved?/image", None),
    "to a name of a private address": ("http://evil.example:{port}/image", "private address"),
    "to a private address": ("http://169.254.169.254/latest/meta-data", "link-local address"),
    "to a file": ("file:///etc/passwd", "redirects elsewhere: only https URLs are fetched, not 'file'"),
    "to a bucket": ("gs://bucket/secret", "not 'gs'"),
    "to data": ("data:image/png;base64,AAAA", "not 'data'"),
    "with a password": ("http://me:pw@other.example/image", "user name or password"),
    "to itself": ("/loop", "behind more than 5 redirects"),
}


@pytest.mark.parametrize(("target", "message"), REDIRECTS.values(), ids=REDIRECTS)
def test_redirects(target: str, message: str | None, port: int) -> None:
    """Each redirect is checked like a URL that was passed."""
    names = Names(
        site_example=["127.0.0.1"], other_example=["127.0.0.1"], evil_example=["10.0.0.1"],
        **{"169_254_169_254": ["169.254.169.254"]},
    )  # fmt: skip
    store = LocalStore(Fetcher(resolve=names, _refuse=refuse_except_local))
    url = f"http://site.example:{port}/moved?{target.format(port=port)}"
    if message is None:
        assert store.get(store.put_url(url, allow_http=True)) == PNG
        return
    with pytest.raises(ContentError, match=message) as caught:
        store.put_url(url, allow_http=True)
    assert "pw" not in str(caught.value)
    assert all(path.startswith(("/moved", "/loop")) for path, _ in Site.asked)


FAILURES = {
    "missing": ("missing", ContentError, "answered 404"),
    "broken": ("broken", ContentError, "answered 503"),
    "a page": ("page", ContentError, "no image, audio, video or PDF"),
    "empty": ("empty", ContentError, "is empty"),
    "shorter than declared": ("short", ContentError, r"was cut off: 40 of [0-9,]+ bytes"),
    "truncated": ("truncated", ContentError, "cannot be fetched: IncompleteRead"),
    "compressed": ("compressed", ContentError, "compressed"),
    "not HTTP": ("invalid", ContentError, "cannot be fetched: BadStatusLine"),
    "declared size over the limit": ("huge", MediaLimitError, "999,999,999,999 bytes or more; at most 1,000,000,000"),
}


@pytest.mark.parametrize(("path", "error", "message"), FAILURES.values(), ids=FAILURES)
def test_failed_downloads(port: int, path: str, error: type[Exception], message: str) -> None:
    """Nothing is stored, and the message does not contain the key in the URL."""
    store = local_store()
    with pytest.raises(error, match=message) as caught:
        store.put_url(f"http://site.example:{port}/{path}?key=s3cret", allow_http=True)
    assert "s3cret" not in str(caught.value)
    assert "site.example" in str(caught.value)
    assert list(store.refs()) == []


def test_endless_responses(port: int, tmp_path: Path) -> None:
    """Reading stops at the limit, and no partial file remains."""
    store = MediaStore(tmp_path / "media")
    fetcher = Fetcher(resolve=Names(site_example=["127.0.0.1"]), _refuse=refuse_except_local)
    limit = len(WAV) + 300_000
    with (
        pytest.raises(MediaLimitError, match=f"at most {limit:,} are fetched"),
        fetcher.opened(f"http://site.example:{port}/endless", max_bytes=limit, allow_http=True) as download,
    ):
        store.put(download)
    assert list(store.refs()) == []
    assert not [path for path in (tmp_path / "media" / "incoming").glob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["slow_body", "slow_headers"])
def test_slow_responses(port: int, path: str) -> None:
    """The time limit covers the whole download, however steadily bytes arrive."""
    started = time.monotonic()
    with pytest.raises(ContentError, match=r"was not fetched within 0\.3 s"):
        local_store().put_url(f"http://site.example:{port}/{path}", timeout=0.3, allow_http=True)
    assert time.monotonic() - started < 30


def test_slow_name_lookups() -> None:
    """The time limit includes the name lookup."""
    done = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        done.wait(20)
        return []

    with pytest.raises(ContentError, match=r"within 0\.2 s"):
        LocalStore(Fetcher(resolve=resolve)).put_url("https://site.example/a.png", timeout=0.2)
    done.set()


def test_unreachable_servers() -> None:
    """Unknown names, names without addresses and refused connections have separate messages."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    store = local_store(empty_example=[""])
    for host, message in (("unknown.example", "is not known"), ("empty.example", "has no address")):
        with pytest.raises(ContentError, match=message):
            store.put_url(f"https://{host}/a.png")
    with pytest.raises(ContentError, match="cannot be fetched"):
        store.put_url(f"http://site.example:{closed}/a.png", allow_http=True)


def test_errors_of_the_store_are_not_network_errors(port: int) -> None:
    """An error while a download is stored is not reported as a network error."""
    fetcher = Fetcher(resolve=Names(site_example=["127.0.0.1"]), _refuse=refuse_except_local)
    with (
        pytest.raises(OSError, match="disk full"),
        fetcher.opened(f"http://site.example:{port}/image", allow_http=True),
    ):
        raise OSError("disk full")


@pytest.mark.parametrize(("max_bytes", "timeout"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_limits_must_be_positive(max_bytes: int, timeout: float) -> None:
    """A limit of 0 or less is an invalid argument."""
    with pytest.raises(ValueError, match="must be positive"):
        MediaStore.memory().put_url("https://site.example/a.png", max_bytes=max_bytes, timeout=timeout)


def test_https(tmp_path: Path) -> None:
    """The certificate must match the name, though the connection is made to the address."""
    public, private = certificate(tmp_path, "site.example")
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    context.sni_callback = lambda connection, name, context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(public))
    with serving(context) as port:
        store = local_store(trusting, other_example=["127.0.0.1"])
        assert store.get(store.put_url(f"https://site.example:{port}/audio")) == WAV
        assert asked == ["site.example"]
        with pytest.raises(ContentError, match=r"'other\.example' has no valid certificate"):
            store.put_url(f"https://other.example:{port}/image")
        with pytest.raises(ContentError, match=r"'site\.example' has no valid certificate"):
            local_store().put_url(f"https://site.example:{port}/image")
        with pytest.raises(ContentError, match="redirects elsewhere: only https"):
            store.put_url(f"https://site.example:{port}/moved?http://site.example/image")
