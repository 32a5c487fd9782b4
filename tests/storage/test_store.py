"""The behaviour that all media stores share."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import pickle
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob

from langchain_gemini_mm.errors import ContentError, MissingMediaError
from langchain_gemini_mm.interfaces import MediaInfo, MediaSource
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import jpeg, mp3, pdf, png, wav
from tests.storage.conftest import make_store

if TYPE_CHECKING:
    from collections.abc import Callable

PNG = png()
LONG = wav(120.0)
"""Several megabytes, which are several pieces in a byte store."""


def digest(data: bytes) -> str:
    """The hash of data."""
    return hashlib.sha256(data).hexdigest()


def test_put_and_get(store: MediaStore) -> None:
    """The reference contains the hash; size and type are reported; the same bytes are returned."""
    ref = store.put(PNG)
    assert ref == MediaRef(digest(PNG))
    assert store.info(ref) == MediaInfo(sha256=digest(PNG), size=len(PNG), mime_type="image/png")
    assert store.get(ref) == PNG
    assert ref in store
    assert store.exists(ref)
    assert list(store.refs()) == [ref]
    assert isinstance(store, MediaSource)


def test_equal_media_are_stored_once(store: MediaStore, tmp_path: Path) -> None:
    """The same bytes from any source are stored once."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    copy = tmp_path / "b.png"
    copy.write_bytes(PNG)
    refs = {store.put(PNG), store.put(bytearray(PNG)), store.put(memoryview(PNG)), store.put(io.BytesIO(PNG))}
    refs |= {store.put_file(path), store.put_file(str(copy)), store.put_file(path)}
    refs |= {store.put(Blob.from_data(PNG)), store.put(Blob.from_path(path))}
    assert refs == {MediaRef(digest(PNG))}
    assert set(store.refs()) == refs


def test_a_file_is_read_from_its_position(store: MediaStore) -> None:
    """An open file is stored from its position to its end, also if reads return a few bytes."""

    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.left = io.BytesIO(LONG)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            part = self.left.read(min(len(buffer), 7000))
            buffer[: len(part)] = part
            return len(part)

    assert store.get(store.put(cast("BinaryIO", Slow()))) == LONG
    file = io.BytesIO(b"header" + PNG)
    file.seek(6)
    assert store.get(store.put(file)) == PNG


def test_open_gives_a_seekable_file(store: MediaStore) -> None:
    """Reading, seeking and telling work as for any file."""
    with store.open(store.put(LONG)) as file:
        assert file.seekable()
        assert file.seek(0, os.SEEK_END) == len(LONG)
        for place in (0, 1_048_570, 2_000_000, len(LONG) - 3, 17):
            file.seek(place)
            assert file.tell() == place
            assert file.read(20) == LONG[place : place + 20]
        file.seek(-10, os.SEEK_END)
        assert file.read() == LONG[-10:]
        file.seek(0)
        assert b"".join(iter(lambda: file.read(100_000), b"")) == LONG


RANGES = [(0, 10), (5, 0), (1_048_570, 30), (len(LONG) - 5, 100), (len(LONG), 5), (len(LONG) + 99, 5), (0, 10**9)]


@pytest.mark.parametrize(("start", "length"), RANGES)
def test_ranges(store: MediaStore, start: int, length: int) -> None:
    """A range equals a slice of the bytes: shorter at the end, empty after it."""
    assert store.read_range(store.put(LONG), start, length) == LONG[start : start + length]


def test_ranges_start_inside_the_file(store: MediaStore) -> None:
    """Negative positions are refused."""
    with pytest.raises(ValueError, match="start >= 0"):
        store.read_range(store.put(PNG), -1, 5)


def test_references_to_parts_find_the_file(store: MediaStore) -> None:
    """References to segments and pages, also as text, find their file."""
    ref = store.put(LONG)
    assert store.info(ref.segment(1, 2)) == store.info(ref.uri) == store.info(ref.segment(1, 2).markdown)
    assert ref.segment(1, 2) in store


def test_unknown_media(store: MediaStore) -> None:
    """For unknown media, every method raises an error with the reference and the remedy."""
    unknown = MediaRef("ab" * 32)
    for ask in (store.info, store.get, store.open, lambda ref: store.read_range(ref, 0, 1)):
        with pytest.raises(MissingMediaError, match=r"sha256-abababababab… is not in this media store\. Put"):
            ask(unknown)
    assert unknown not in store
    assert "text" not in store
    assert store.delete(unknown) is False


def test_other_types_are_refused(store: MediaStore) -> None:
    """Paths and other types are not references."""
    with pytest.raises(ContentError, match="not a media reference"):
        store.get("../../etc/passwd")
    with pytest.raises(TypeError, match="MediaRef"):
        store.get(Path("/etc/passwd"))  # type: ignore[arg-type]


def test_delete(store: MediaStore) -> None:
    """Deleted media are absent and can be put again."""
    ref = store.put(PNG)
    assert store.delete(ref) is True
    assert ref not in store
    assert store.delete(ref) is False
    assert store.put(PNG) in store


NO_MEDIA: dict[str, bytes] = {
    "nothing": b"",
    "text": b"just text",
    "HTML": b"<html>",
    "a zip": b"PK\x03\x04" + bytes(50),
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("data", NO_MEDIA.values(), ids=NO_MEDIA)
def test_only_media_are_stored(store: MediaStore, tmp_path: Path, data: bytes) -> None:
    """Empty files, text and archives are refused as bytes, file and path."""
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    for put, given in ((store.put, data), (store.put, io.BytesIO(data)), (store.put_file, path)):
        with pytest.raises(ContentError, match=r"empty|no image, audio, video or PDF"):
            put(given)  # type: ignore[arg-type]
    assert list(store.refs()) == []


def special_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Paths of special files, with the expected messages."""
    found = {
        "a folder": (folder, "folder"),
        "nothing": (folder / "nope.png", "No such file"),
        "a name too long": (folder / ("x" * 5000), "too long|No such file|cannot read"),
        "a NUL in the name": (folder / "a\x00b", "null"),
    }
    if os.name == "posix":
        os.mkfifo(folder / "pipe")
        found |= {"a pipe": (folder / "pipe", "pipe"), "a device": (Path("/dev/zero"), "device")}
        found |= {"a link to nothing": (folder / "dangling", "No such file"), "a loop": (folder / "loop", "symbolic")}
        (folder / "dangling").symlink_to(folder / "gone")
        (folder / "loop").symlink_to(folder / "loop")
    return found


def test_only_files_are_stored(store: MediaStore, tmp_path: Path) -> None:
    """Folders, pipes, devices and missing files are refused immediately, with their name."""
    folder = tmp_path / "special"
    folder.mkdir()
    for path, message in special_files(folder).values():
        with pytest.raises(ContentError, match=message):
            store.put_file(path)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_socket_is_refused(store: MediaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket has a path and is not a file."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(ContentError, match="socket"):
            store.put_file("s")


@pytest.mark.parametrize("given", ["cat.png", Path("cat.png"), 5, None, [PNG]], ids=repr)
def test_put_takes_bytes(store: MediaStore, given: object) -> None:
    """A path is not accepted as content, and the message lists the accepted types."""
    with pytest.raises(TypeError, match=r"bytes, an open binary file or a Blob"):
        store.put(given)


def test_text_files_opened_as_text_are_refused(store: MediaStore) -> None:
    """A file must be opened in binary mode."""
    with pytest.raises(TypeError, match="binary mode"):
        store.put(io.StringIO("text"))


def test_read_errors(store: MediaStore) -> None:
    """A read that fails halfway raises an error, and nothing is stored."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 1_000_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(ContentError, match="Input/output error"):
        store.put(Broken(LONG))
    assert list(store.refs()) == []


def test_documents_keep_the_order(store: MediaStore, tmp_path: Path) -> None:
    """Texts and media of all types become one text, joined with a space."""
    from PIL import Image

    path = tmp_path / "cat.jpg"
    path.write_bytes(jpeg())
    known = store.put(PNG)
    image = Image.new("RGB", (3, 3))
    document = store.document(
        "Q3",
        path,
        "as shown",
        pdf(("x",)),
        known.segment(1, 2),
        Blob.from_data(mp3()),
        image,
        metadata={"a": 1},
        id="7",
    )
    pieces = split_references(document.page_content)
    refs = [piece for piece in pieces if isinstance(piece, MediaRef)]
    assert [piece for piece in pieces if isinstance(piece, str)] == ["Q3 ", " as shown ", " ", " ", " "]
    assert refs[:3] == [MediaRef(digest(jpeg())), MediaRef(digest(pdf(("x",)))), known.segment(1, 2)]
    assert all(ref in store for ref in refs)
    assert (document.metadata, document.id) == ({"modality": "audio", "a": 1}, "7")


def test_documents_of_documents(store: MediaStore) -> None:
    """A nested Document is replaced with its text and references; escaped references stay escaped."""
    inner = store.document("a", PNG)
    shown = "\\" + store.put(PNG).markdown
    assert store.document(inner, "b").page_content == f"{inner.page_content} b"
    assert store.document(Document(shown)).page_content == shown


def test_documents_need_existing_content(store: MediaStore) -> None:
    """Missing content, an unknown reference and a truncated reference are refused."""
    with pytest.raises(ContentError, match="at least one"):
        store.document()
    with pytest.raises(MissingMediaError):
        store.document("x", MediaRef("ab" * 32))
    with pytest.raises(ContentError, match="truncated"):
        store.document("see ![](mm://sha256-12")


async def test_async_methods_return_the_same(store: MediaStore, tmp_path: Path) -> None:
    """Each async method returns the same as its sync method."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(jpeg())
    ref, file = await asyncio.gather(store.aput(PNG), store.aput_file(path))
    assert (await store.aget(ref), await store.ainfo(file)) == (PNG, store.info(file))
    assert await store.aread_range(ref, 1, 3) == PNG[1:4]
    assert (await store.adocument("x", ref)).page_content == f"x {ref.markdown}"
    await asyncio.sleep(0.02)  # the resolution of the file system's clock
    assert (await store.aunused(ref, grace_s=0)).removed == (file,)
    assert (await store.asweep([ref], grace_s=0)).removed == (file,)
    assert await store.adelete(ref)


async def test_async_methods_do_not_block_the_event_loop(store: MediaStore) -> None:
    """While a slow file is stored, the event loop runs other tasks."""
    loop, reading, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            loop.call_soon_threadsafe(reading.set)
            assert go_on.wait(30)
            return super().read(size)

    task = asyncio.create_task(store.aput(Slow(PNG)))
    await reading.wait()
    assert not task.done()
    go_on.set()
    assert await task in store


def test_many_threads_put_and_get(store: MediaStore) -> None:
    """Threads that store the same and different media concurrently all read the right bytes."""
    files = [png(f"picture {number}") for number in range(6)]

    def work(number: int) -> bool:
        data = files[number % len(files)]
        return store.get(store.put(data)) == data and store.info(MediaRef(digest(data))).size == len(data)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(48)))
    assert {ref.sha256 for ref in store.refs()} == {digest(data) for data in files}


@pytest.mark.parametrize("store_type", ["folder", "memory", "links"])
def test_stores_can_be_pickled(tmp_path: Path, store_type: str) -> None:
    """Worker processes receive the store with the embeddings that contain it."""
    from tests.storage.conftest import make_store

    store = make_store(store_type, tmp_path)
    ref = store.put(PNG)
    again = pickle.loads(pickle.dumps(store))
    assert again.get(ref) == PNG
    assert again.put(jpeg()) in again


def test_the_repr_shows_only_type_and_location(store: MediaStore) -> None:
    """The repr contains no content and no keys."""
    store.put(PNG)
    assert repr(store).startswith("<MediaStore ")
    assert (store.path.name in repr(store)) if store.path else repr(store).count(" ") <= 2
    assert store.path is None or str(store.path.parent) not in repr(store)


LOCATIONS: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "an address": (lambda _: "ftp://site/media", ValueError, "ftp:// addresses are no media stores"),
    "a file URL": (lambda _: "file:///tmp/x", ValueError, "file://"),
    "nothing": (lambda _: "", ValueError, "empty"),
    "a number": (lambda _: 5, TypeError, "BaseStore"),
    "bytes": (lambda _: b"media", TypeError, "folder"),
    "a dict": (lambda _: {}, TypeError, "folder"),
}


@pytest.mark.parametrize(("where", "error", "message"), LOCATIONS.values(), ids=LOCATIONS)
def test_invalid_locations(tmp_path: Path, where: Callable[[Path], Any], error: type[Exception], message: str) -> None:
    """Locations that cannot store media are refused when the store is created."""
    with pytest.raises(error, match=message):
        MediaStore(where(tmp_path))


def damage(store: MediaStore, ref: MediaRef, data: bytes) -> None:
    """Replace the bytes of media where they are stored."""
    if store.path is None:
        values = cast("Any", store._backend)._values
        values.mset([(key, data) for key in list(values.yield_keys(prefix="media-pieces/"))])
    else:
        (store.path / ref.sha256[:2] / ref.sha256[2:4] / ref.sha256).write_bytes(data)


@pytest.mark.parametrize("read_before", [False, True], ids=["unnoticed", "noticed"])
@pytest.mark.parametrize("damaged", [b"", PNG[:50], PNG[:50] + b"?" + PNG[51:]], ids=["empty", "cut", "changed"])
@pytest.mark.parametrize("store_type", ["folder", "links", "bytes"])
def test_putting_the_original_again_repairs_it(
    tmp_path: Path, store_type: str, damaged: bytes, read_before: bool
) -> None:
    """Damaged media are replaced when they are put again in any way, whether or not the damage was noticed."""
    store = make_store(store_type, tmp_path)
    path = tmp_path / "original.png"
    path.write_bytes(PNG)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    time.sleep(0.15)  # so that the file is known by its times
    ref = store.put(PNG)
    ways: list[Callable[[], MediaRef]] = [lambda: store.put(PNG), lambda: store.put(io.BytesIO(PNG))]
    if store_type != "links":
        ways += [lambda: store.put_file(path)] * 2
    for put in ways:
        damage(store, ref, damaged)
        if read_before:
            with pytest.raises(MissingMediaError, match="damaged"):
                store.get(ref)
        elif put is ways[-1] and len(damaged) == len(PNG):
            continue  # of an unchanged file that is known, only the size is compared
        assert put() == ref
        assert store.get(ref) == PNG
