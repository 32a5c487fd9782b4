"""Media in a LangChain byte store: in pieces, never half visible, with the store's own failures told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm.errors import MissingMediaError, StoreError
from langchain_gemini_mm.storage import MediaStore
from langchain_gemini_mm.testing import png, wav

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LONG = wav(300.0)
"""Five pieces."""


class Failing(InMemoryByteStore):
    """A byte store that loses its connection after some writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Fail in time."""
        self.writes -= 1
        if self.writes < 0:
            raise ConnectionError("the server went away")
        super().mset(key_value_pairs)


def test_values_are_pieces_under_portable_keys() -> None:
    """No value is larger than 1 MiB, and keys hold only what every byte store takes."""
    values = InMemoryByteStore()
    MediaStore(values).put(LONG)
    assert max(len(value) for value in values.store.values()) <= 1 << 20
    assert sum(len(value) for key, value in values.store.items() if "piece" in key) == len(LONG)
    assert all(re.fullmatch(r"[a-zA-Z0-9_.\-/]+", key) for key in values.store)


@pytest.mark.parametrize("writes", range(5))
def test_a_torn_upload_is_never_seen(writes: int) -> None:
    """Wherever an upload breaks off, the media are not there; the error names the cause; putting again works."""
    values = Failing(writes)
    store = MediaStore(values)
    with pytest.raises(StoreError, match="ConnectionError: the server went away"):
        store.put(LONG)
    assert list(store.refs()) == []
    values.writes = 1000
    assert store.get(store.put(LONG)) == LONG


def test_pieces_of_killed_uploads_are_swept() -> None:
    """An upload that was killed leaves pieces that a sweep finds by their age."""
    values = Failing(3)
    store = MediaStore(values)
    values.mdelete = lambda keys: None  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        store.put(LONG)
    del values.mdelete
    left = len(values.store)
    assert left == 3
    assert store.sweep([]).leftovers == 0
    assert store.sweep([], grace_s=-60, dry_run=True).leftovers == 1
    assert len(values.store) == left
    assert store.sweep([], grace_s=-60).leftovers == 1
    assert values.store == {}


def test_missing_and_shortened_pieces_are_damage() -> None:
    """What the byte store lost is told, by the reference, and never filled with something else."""
    values = InMemoryByteStore()
    store = MediaStore(values)
    ref = store.put(LONG)
    piece = sorted(key for key in values.store if "piece" in key)[1]
    whole = values.store[piece]
    for spoilt in (None, whole[:-1]):
        values.mdelete([piece])
        if spoilt is not None:
            values.mset([(piece, spoilt)])
        with pytest.raises(MissingMediaError, match="damaged"):
            store.get(ref)
        with pytest.raises(MissingMediaError, match="damaged"):
            store.read_range(ref, 2_000_000, 5)
        assert store.read_range(ref, 0, 5) == LONG[:5]
    values.mset([(piece, bytes(len(whole)))])
    with pytest.raises(MissingMediaError, match="damaged"):
        store.get(ref)


def test_a_spoilt_list_of_pieces_is_no_media() -> None:
    """A half-written list counts as none."""
    values = InMemoryByteStore()
    store = MediaStore(values)
    ref = store.put(LONG)
    values.mset([(f"media/{ref.sha256}", b'{"size": 12')])
    assert ref not in store
    assert store.get(store.put(LONG)) == LONG


def test_delete_leaves_nothing() -> None:
    """The list and all pieces go; other keys of the byte store stay."""
    values = InMemoryByteStore()
    values.mset([("cache/1", b"mine")])
    store = MediaStore(values)
    assert store.delete(store.put(LONG))
    assert values.store == {"cache/1": b"mine"}
    store.put(png())
    assert len(store.sweep([], grace_s=-60).removed) == 1
    assert values.store == {"cache/1": b"mine"}


def test_failures_of_reading_are_told() -> None:
    """An error of the byte store is a StoreError with its words."""

    class Away(InMemoryByteStore):
        def mget(self, keys: Sequence[str]) -> list[bytes | None]:
            raise ConnectionError("no route")

    with pytest.raises(StoreError, match="mget: ConnectionError: no route"):
        MediaStore(Away()).put(png())


def test_langchains_file_store_works(tmp_path: Path) -> None:
    """The byte store over files that LangChain ships takes our keys."""
    stores: Any = pytest.importorskip("langchain_classic.storage", exc_type=ImportError)
    store = MediaStore(stores.LocalFileStore(tmp_path))
    ref = store.put(LONG)
    assert store.get(ref) == LONG
    assert list(store.refs()) == [ref]
    assert store.sweep([], grace_s=-60).removed == (ref,)
