"""Media in a LangChain byte store: stored in pieces, visible only when complete, with errors of the store reported."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm.errors import MediaLimitError, MissingMediaError, StoreError
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.storage.byte_store import ByteStoreBackend
from langchain_gemini_mm.testing import png, wav
from tests.storage.conftest import UNRELATED, swept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LONG = wav(300.0)
"""Data of five pieces."""


class Failing(InMemoryByteStore):
    """A byte store that loses its connection after a number of writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Raise after the last allowed write."""
        self.writes -= 1
        if self.writes < 0:
            raise ConnectionError("the server went away")
        super().mset(key_value_pairs)


def test_pieces_and_keys() -> None:
    """A value has at most 1 MiB, and keys contain only characters that every byte store accepts."""
    values = InMemoryByteStore()
    MediaStore(values).put(LONG)
    assert max(len(value) for value in values.store.values()) <= 1 << 20
    assert sum(len(value) for key, value in values.store.items() if "piece" in key) == len(LONG)
    assert all(re.fullmatch(r"[a-zA-Z0-9_.\-/]+", key) for key in values.store)


@pytest.mark.parametrize("writes", range(5))
def test_incomplete_uploads_are_not_visible(writes: int) -> None:
    """After an interrupted upload the media are absent, the error contains the cause, and a second put succeeds."""
    values = Failing(writes)
    store = MediaStore(values)
    with pytest.raises(StoreError, match="ConnectionError: the server went away"):
        store.put(LONG)
    assert list(store.refs()) == []
    values.writes = 1000
    assert store.get(store.put(LONG)) == LONG


def test_pieces_of_interrupted_uploads_are_swept() -> None:
    """An interrupted upload leaves pieces that a sweep removes by their age."""
    values = Failing(3)
    store = MediaStore(values)
    values.mdelete = lambda keys: None  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        store.put(LONG)
    del values.mdelete
    left = len(values.store)
    assert left == 4  # including the marker of the upload
    values.writes = 1000
    assert store.sweep(UNRELATED).leftovers == 0
    assert swept(store, UNRELATED, dry_run=True).leftovers == 1
    assert len(values.store) == left + 1  # the time of the sweep
    assert swept(store, UNRELATED).leftovers == 1
    assert list(values.store) == ["media-sweep/begun"]


def test_missing_and_truncated_pieces_are_errors() -> None:
    """Pieces that the byte store lost are an error that names the reference; no other bytes are returned."""
    values = InMemoryByteStore()
    store = MediaStore(values)
    ref = store.put(LONG)
    piece = sorted(key for key in values.store if "piece" in key)[1]
    whole = values.store[piece]
    for damaged in (None, whole[:-1]):
        values.mdelete([piece])
        if damaged is not None:
            values.mset([(piece, damaged)])
        with pytest.raises(MissingMediaError, match="damaged"):
            store.get(ref)
        with pytest.raises(MissingMediaError, match="damaged"):
            store.read_range(ref, 2_000_000, 5)
        assert store.read_range(ref, 0, 5) == LONG[:5]
    values.mset([(piece, bytes(len(whole)))])
    with pytest.raises(MissingMediaError, match="damaged"):
        store.get(ref)


def test_a_damaged_list_of_pieces() -> None:
    """A partially written list of pieces is treated as missing."""
    values = InMemoryByteStore()
    store = MediaStore(values)
    ref = store.put(LONG)
    values.mset([(f"media/{ref.sha256}", b'{"size": 12')])
    assert ref not in store
    assert store.get(store.put(LONG)) == LONG


def test_delete_removes_all_pieces() -> None:
    """The list and all pieces are removed; other keys of the byte store are kept."""
    values = InMemoryByteStore()
    values.mset([("cache/1", b"mine")])
    store = MediaStore(values)
    assert store.delete(store.put(LONG))
    assert values.store == {"cache/1": b"mine"}
    store.put(png())
    assert len(swept(store, UNRELATED).removed) == 1
    assert set(values.store) == {"cache/1", "media-sweep/begun"}


class Interleaved(InMemoryByteStore):
    """A byte store that runs a callback just before or after a key is removed."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []

    def mdelete(self, keys: Sequence[str]) -> None:
        """Run the callback."""
        while self.before:
            self.before.pop()()
        super().mdelete(keys)
        while self.after:
            self.after.pop()()


def age(values: InMemoryByteStore, ref: MediaRef) -> None:
    """Make media look old."""
    manifest = json.loads(values.store[f"media/{ref.sha256}"])
    values.mset([(f"media/{ref.sha256}", json.dumps(manifest | {"at": 1.0}).encode())])
    values.mdelete([f"media-wanted/{ref.sha256}"])


@pytest.mark.parametrize("moment", ["before", "after"])
def test_media_put_again_during_a_sweep_are_kept(moment: str) -> None:
    """Old media that are put again while a sweep removes them exist afterwards."""
    values = Interleaved()
    store = MediaStore(values)
    ref = store.put(LONG)
    age(values, ref)
    getattr(values, moment).append(lambda: store.put(LONG))
    store.sweep(UNRELATED)
    assert store.get(ref) == LONG
    age(values, ref)
    assert store.sweep(UNRELATED).removed == (ref,)
    swept(store, UNRELATED)
    assert list(values.store) == ["media-sweep/begun"]


def test_uploads_completed_during_a_sweep_are_kept() -> None:
    """Uploads are listed before the lists that name them."""
    values = InMemoryByteStore()
    store = MediaStore(values)
    backend = ByteStoreBackend(values)
    writer = backend.writer()
    writer.write(LONG)
    listed = values.yield_keys

    def yield_keys(*, prefix: str | None = None) -> Iterator[str]:
        keys = list(listed(prefix=prefix))
        if prefix == "media-uploads/":
            writer.commit(hashlib.sha256(LONG).hexdigest())
        return iter(keys)

    values.yield_keys = yield_keys  # type: ignore[method-assign]
    assert swept(store, [MediaRef(hashlib.sha256(LONG).hexdigest())]).leftovers == 0
    assert store.get(store.put(LONG)) == LONG


def test_duplicate_uploads_are_removed() -> None:
    """Of two writers of one file, a sweep keeps the pieces of one."""
    values = InMemoryByteStore()
    writers = [ByteStoreBackend(values).writer() for _ in range(2)]
    for writer in writers:
        writer.write(LONG)
    ref = MediaRef(hashlib.sha256(LONG).hexdigest())
    for writer in writers:
        writer.commit(ref.sha256)
    store = MediaStore(values)
    assert swept(store, [ref]).leftovers == 1
    assert store.get(ref) == LONG
    assert len(values.store) == 1 + 1 + 5 + 2  # the time it was wanted, and of the sweep


def test_max_bytes() -> None:
    """A file over the limit is refused with the number and leaves nothing; the limit is inclusive."""
    values = InMemoryByteStore()
    store = MediaStore(ByteStoreBackend(values, max_bytes=len(LONG) - 1))
    with pytest.raises(MediaLimitError, match=f"more than {len(LONG) - 1:,} bytes, .* Raise max_bytes"):
        store.put(LONG)
    assert values.store == {}
    store = MediaStore(ByteStoreBackend(values, max_bytes=len(LONG)))
    assert store.get(store.put(LONG)) == LONG


def test_read_errors() -> None:
    """An error of the byte store becomes a StoreError with its message."""

    class Away(InMemoryByteStore):
        def mget(self, keys: Sequence[str]) -> list[bytes | None]:
            raise ConnectionError("no route")

    with pytest.raises(StoreError, match="mget: ConnectionError: no route"):
        MediaStore(Away()).put(png())


def test_langchains_file_store_works(tmp_path: Path) -> None:
    """The file-based byte store of LangChain accepts the keys."""
    stores: Any = pytest.importorskip("langchain_classic.storage", exc_type=ImportError)
    store = MediaStore(stores.LocalFileStore(tmp_path))
    ref = store.put(LONG)
    assert store.get(ref) == LONG
    assert list(store.refs()) == [ref]
    assert swept(store, UNRELATED).removed == (ref,)
