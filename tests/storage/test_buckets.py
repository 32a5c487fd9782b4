"""A bucket as a media store: what is put is found, also in pieces, by another store on the same bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.storage.buckets import Bucket
from langchain_gemini_mm.testing import png, wav

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("obstore", reason="needs the extra cloud")


@pytest.fixture(params=["memory", "folder"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """An empty bucket."""
    from obstore.store import LocalStore, MemoryStore

    return Bucket(MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "bucket", mkdir=True), "trial")


def test_what_is_put_is_found(bucket: Bucket):
    """A file of several pieces is whole for a second store, in ranges too, and gone after a sweep."""
    long = wav(150.0)
    assert len(long) > 2 << 20
    one, other = MediaStore(bucket), MediaStore(bucket)
    ref, kept = one.put(long), one.put(png())
    assert other.get(ref) == long
    assert other.read_range(ref, 1_500_000, 100) == long[1_500_000:1_500_100]
    assert [gone.sha256 for gone in other.sweep([kept], grace_s=0).removed] == [ref.sha256]
    assert other.get(kept) == png()


def test_values(bucket: Bucket):
    """Absent keys are None and no error to remove; a folder's keys are not those of another that begins alike."""
    bucket.mset([("media/a", b"1"), ("media-pieces/b", b"2")])
    assert bucket.mget(["media/a", "media/b"]) == [b"1", None]
    assert list(bucket.yield_keys(prefix="media/")) == ["media/a"]
    bucket.mdelete(["media/a", "media/b"])
    assert list(bucket.yield_keys()) == ["media-pieces/b"]


def test_address():
    """A store over an address asks nothing before it is used and shows no key."""
    assert "trial" not in repr(MediaStore("s3://trial/media"))


def test_unknown_options():
    """Options that obstore does not know are told by their kind alone."""
    with pytest.raises(StoreError, match="cannot open the bucket 's3://trial'"):
        Bucket.at("s3://trial", colour="hush")
