"""A bucket as a media store: media in pieces are read by another store on the same bucket."""

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


def test_put_and_get(bucket: Bucket):
    """A file of several pieces is read by a second store, whole and in ranges, and is deleted by a sweep."""
    long = wav(150.0)
    assert len(long) > 2 << 20
    one, other = MediaStore(bucket), MediaStore(bucket)
    ref, kept = one.put(long), one.put(png())
    assert other.get(ref) == long
    assert other.read_range(ref, 1_500_000, 100) == long[1_500_000:1_500_100]
    assert [gone.sha256 for gone in other.sweep([kept], grace_s=0).removed] == [ref.sha256]
    assert other.get(kept) == png()


def test_values(bucket: Bucket):
    """A missing key is None, deleting it is no error, and prefixes end at folder names."""
    bucket.mset([("media/a", b"1"), ("media-pieces/b", b"2")])
    assert bucket.mget(["media/a", "media/b"]) == [b"1", None]
    assert list(bucket.yield_keys(prefix="media/")) == ["media/a"]
    bucket.mdelete(["media/a", "media/b"])
    assert list(bucket.yield_keys()) == ["media-pieces/b"]


def test_address():
    """A store made from a URL sends no request before its first use, and its repr contains no key."""
    assert "trial" not in repr(MediaStore("s3://trial/media"))


def test_unknown_options():
    """An unknown option raises a StoreError that names the bucket."""
    with pytest.raises(StoreError, match="cannot open the bucket 's3://trial'"):
        Bucket.at("s3://trial", colour="hush")
