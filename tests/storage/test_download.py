"""Fetching: only what is public, whole, in time and not too large; names and redirects lead nowhere else."""

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
from tests.storage.site import PNG, WAV, LocalStore, Names, Site, certificate, local_store, refuse_but_ours, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def port() -> Iterator[int]:
    """A server without TLS."""
    with serving() as number:
        yield number


@pytest.mark.parametrize(("path", "data"), [("picture", PNG), ("sound", WAV), ("chunks", WAV), ("closing", WAV)])
def test_a_file_is_fetched_and_stored(port: int, path: str, data: bytes) -> None:
    """Its bytes are in the store, by their hash."""
    store = local_store()
    ref = store.put_url(f"http://site.example:{port}/{path}/a%20b?key=secret#part", allow_http=True)
    assert store.get(ref) == data
    ((where, headers),) = Site.asked
    assert where == f"/{path}/a%20b?key=secret"
    assert headers["host"] == f"site.example:{port}"
    assert headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & set(headers)


async def test_fetching_async(port: int) -> None:
    """The async twin gives the same reference."""
    store = local_store()
    url = f"http://site.example:{port}/picture"
    assert await store.aput_url(url, allow_http=True) == store.put(PNG)


def test_every_kind_of_store_fetches(store: MediaStore, port: int) -> None:
    """A download is read in pieces like any other file."""
    fetcher = Fetcher(resolve=Names(site_example=["127.0.0.1"]), _refuse=refuse_but_ours)
    with fetcher.opened(f"http://site.example:{port}/sound", allow_http=True) as download:
        assert store.get(store.put(download)) == WAV


HERE = ("localhost", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0")


@pytest.mark.parametrize("host", HERE)
def test_this_machine_is_not_asked(host: str, port: int) -> None:
    """However it is written, as the system's own look-up understands it, and by a store as users make it."""
    with pytest.raises(ContentError, match=r"address; only files on the public internet|is not known|cannot be read"):
        MediaStore.memory().put_url(f"http://{host}:{port}/picture", allow_http=True)
    assert not Site.asked


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "::1", "192.168.0.1 127.0.0.1", "127.0.0.1 fd00::1"]
)
def test_names_of_inner_addresses_are_refused(address: str, port: int) -> None:
    """A public name for an inner address is refused, also when only one of its addresses is."""
    store = local_store(evil_example=[address])
    with pytest.raises(ContentError, match=r"'evil\.example' is at a [a-z-]+ address"):
        store.put_url(f"http://evil.example:{port}/picture", allow_http=True)
    assert not Site.asked


def test_a_second_answer_leads_nowhere(port: int) -> None:
    """The address that was checked is the one that is asked: the name is looked up once."""
    names = Names(turning_example=["127.0.0.1", "10.0.0.1"])
    fetcher = Fetcher(resolve=names, _refuse=refuse_but_ours)
    with fetcher.opened(f"http://turning.example:{port}/picture", allow_http=True) as download:
        assert download.read() == PNG
    assert names.asked == ["turning.example"]
    with (
        pytest.raises(ContentError, match="private address"),
        fetcher.opened(f"http://turning.example:{port}/picture", allow_http=True),
    ):
        pass


def test_another_address_is_tried(port: int) -> None:
    """A name with several addresses is reached where one of them answers."""
    fetcher = Fetcher(resolve=Names(site_example=["::1 127.0.0.1"]), _refuse=lambda _: None)
    with fetcher.opened(f"http://site.example:{port}/picture", allow_http=True) as download:
        assert download.read() == PNG


MOVES = {
    "within a site": ("/picture", None),
    "to another name": ("http://other.example:{port}/picture", None),
    "without a scheme": ("//other.example:{port}/picture", None),
    "several times": ("/moved?/moved?/picture", None),
    "to an inner name": ("http://evil.example:{port}/picture", "private address"),
    "to an inner address": ("http://169.254.169.254/latest/meta-data", "link-local address"),
    "to a file": ("file:///etc/passwd", "redirects elsewhere: only https URLs are fetched, not 'file'"),
    "to a bucket": ("gs://bucket/secret", "not 'gs'"),
    "to data": ("data:image/png;base64,AAAA", "not 'data'"),
    "with a password": ("http://me:pw@other.example/picture", "user name or password"),
    "to itself": ("/circle", "behind more than 5 redirects"),
}


@pytest.mark.parametrize(("target", "words"), MOVES.values(), ids=MOVES)
def test_redirects(target: str, words: str | None, port: int) -> None:
    """Each step is checked like a URL that was given."""
    names = Names(
        site_example=["127.0.0.1"], other_example=["127.0.0.1"], evil_example=["10.0.0.1"],
        **{"169_254_169_254": ["169.254.169.254"]},
    )  # fmt: skip
    store = LocalStore(Fetcher(resolve=names, _refuse=refuse_but_ours))
    url = f"http://site.example:{port}/moved?{target.format(port=port)}"
    if words is None:
        assert store.get(store.put_url(url, allow_http=True)) == PNG
        return
    with pytest.raises(ContentError, match=words) as caught:
        store.put_url(url, allow_http=True)
    assert "pw" not in str(caught.value)
    assert all(path.startswith(("/moved", "/circle")) for path, _ in Site.asked)


FAILURES = {
    "missing": ("nothing", ContentError, "answered 404"),
    "broken": ("broken", ContentError, "answered 503"),
    "a page": ("page", ContentError, "no image, audio, video or PDF"),
    "empty": ("empty", ContentError, "is empty"),
    "shorter than it said": ("liar", ContentError, r"was cut off: 40 of [0-9,]+ bytes"),
    "torn": ("torn", ContentError, "cannot be fetched: IncompleteRead"),
    "compressed": ("zipped", ContentError, "compressed"),
    "no http": ("nonsense", ContentError, "cannot be fetched: BadStatusLine"),
    "said to be huge": ("huge", MediaLimitError, "999,999,999,999 bytes or more; at most 1,000,000,000"),
}


@pytest.mark.parametrize(("path", "kind", "words"), FAILURES.values(), ids=FAILURES)
def test_what_cannot_be_fetched_is_told(port: int, path: str, kind: type[Exception], words: str) -> None:
    """Nothing is stored, and the key in the URL is not repeated."""
    store = local_store()
    with pytest.raises(kind, match=words) as caught:
        store.put_url(f"http://site.example:{port}/{path}?key=s3cret", allow_http=True)
    assert "s3cret" not in str(caught.value)
    assert "site.example" in str(caught.value)
    assert list(store.refs()) == []


def test_a_file_without_end_is_left(port: int, tmp_path: Path) -> None:
    """Reading stops at the limit, and no part of it stays."""
    store = MediaStore(tmp_path / "media")
    fetcher = Fetcher(resolve=Names(site_example=["127.0.0.1"]), _refuse=refuse_but_ours)
    limit = len(WAV) + 300_000
    with (
        pytest.raises(MediaLimitError, match=f"at most {limit:,} are fetched"),
        fetcher.opened(f"http://site.example:{port}/endless", max_bytes=limit, allow_http=True) as download,
    ):
        store.put(download)
    assert list(store.refs()) == []
    assert not [path for path in (tmp_path / "media" / "incoming").glob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["drip", "slowhead"])
def test_a_slow_server_is_left(port: int, path: str) -> None:
    """The time limit is for all of it, however steadily single bytes come in."""
    started = time.monotonic()
    with pytest.raises(ContentError, match=r"was not fetched within 0\.3 s"):
        local_store().put_url(f"http://site.example:{port}/{path}", timeout=0.3, allow_http=True)
    assert time.monotonic() - started < 30


def test_a_slow_look_up_is_left() -> None:
    """Looking up a name counts, too."""
    done = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        done.wait(20)
        return []

    with pytest.raises(ContentError, match=r"within 0\.2 s"):
        LocalStore(Fetcher(resolve=resolve)).put_url("https://site.example/a.png", timeout=0.2)
    done.set()


def test_nobody_is_there() -> None:
    """Unknown names, names without addresses and closed doors are told apart."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    store = local_store(empty_example=[""])
    for host, words in (("unknown.example", "is not known"), ("empty.example", "has no address")):
        with pytest.raises(ContentError, match=words):
            store.put_url(f"https://{host}/a.png")
    with pytest.raises(ContentError, match="cannot be fetched"):
        store.put_url(f"http://site.example:{closed}/a.png", allow_http=True)


def test_errors_of_the_store_stay_what_they_are(port: int) -> None:
    """What goes wrong while a download is used is not taken for an error of the network."""
    fetcher = Fetcher(resolve=Names(site_example=["127.0.0.1"]), _refuse=refuse_but_ours)
    with (
        pytest.raises(OSError, match="disk full"),
        fetcher.opened(f"http://site.example:{port}/picture", allow_http=True),
    ):
        raise OSError("disk full")


@pytest.mark.parametrize(("max_bytes", "timeout"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_limits_must_be_positive(max_bytes: int, timeout: float) -> None:
    """A limit of nothing is a mistake in the call."""
    with pytest.raises(ValueError, match="must be positive"):
        MediaStore.memory().put_url("https://site.example/a.png", max_bytes=max_bytes, timeout=timeout)


def test_https(tmp_path: Path) -> None:
    """The certificate must be that of the name, though the connection is made to the address."""
    public, private = certificate(tmp_path, "site.example")
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    context.sni_callback = lambda connection, name, context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(public))
    with serving(context) as port:
        store = local_store(trusting, other_example=["127.0.0.1"])
        assert store.get(store.put_url(f"https://site.example:{port}/sound")) == WAV
        assert asked == ["site.example"]
        with pytest.raises(ContentError, match=r"'other\.example' has no valid certificate"):
            store.put_url(f"https://other.example:{port}/picture")
        with pytest.raises(ContentError, match=r"'site\.example' has no valid certificate"):
            local_store().put_url(f"https://site.example:{port}/picture")
        with pytest.raises(ContentError, match="redirects elsewhere: only https"):
            store.put_url(f"https://site.example:{port}/moved?http://site.example/picture")
