"""Files of a bucket: fetched one at a time into bounded space, and loaded like those of a folder."""

from __future__ import annotations

import gc
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.errors import StoreError
from langchain_gemini_mm.loaders.bucket_files import BucketFiles
from langchain_gemini_mm.storage.buckets import Bucket
from langchain_gemini_mm.testing import pdf, png, wav
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("obstore", reason="needs the extra cloud")

FILES = {
    "a/photo.png": png("a puppy"),
    "a/talk.wav": wav(2.0),
    "b/.hidden.png": png(),
    "b/notes.txt": b"the tide came in",
    "b/paper.pdf": pdf(["one", "two"]),
    "b/rotten.png": png()[:50],
}


@pytest.fixture(params=["memory", "folder"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """A bucket that contains files."""
    from obstore.store import LocalStore, MemoryStore

    store = MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "bucket", mkdir=True)
    bucket = Bucket(store, "trial")
    bucket.mset(list(FILES.items()))
    return bucket


@pytest.fixture
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parent folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_documents_equal_those_of_a_folder(bucket: Bucket, tmp_path: Path, spools: Path, workers: int):
    """The Documents equal those of a folder with the same files, with and without workers."""
    for key, data in FILES.items():
        path = tmp_path / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    media = MediaStore.memory()
    near = PathLoader(tmp_path / "files", media)
    far = PathLoader(BucketFiles(bucket), media, name="files", workers=workers)
    expected = sorted(near.load(), key=lambda document: document.id or "")
    assert sorted(far.load(), key=lambda document: document.id or "") == expected
    assert [skipped.source for skipped in far.skipped] == ["b/rotten.png"]
    assert far.skipped == near.skipped


def test_disk_space_is_bounded(bucket: Bucket, spools: Path):
    """The number of temporary files stays within the limit, and none remains."""
    files = BucketFiles(bucket, held=2)
    largest = 0
    for blob in files.yield_blobs():
        assert blob.as_bytes() == FILES[blob.metadata["source"]]
        largest = max(largest, sum(path.is_file() for path in spools.rglob("*")))
    assert largest == 2
    del files
    gc.collect()
    assert list(spools.iterdir()) == []


def test_excluded_objects_are_not_fetched(bucket: Bucket, spools: Path):
    """Patterns and sizes are checked in the listing; objects that are too large are reported."""
    files = BucketFiles(bucket, glob=["*.png", "*.wav"], exclude="rotten*", max_bytes=10_000)
    assert [blob.metadata["source"] for blob in files.yield_blobs()] == ["a/photo.png"]
    assert [skipped.source for skipped in files.skipped] == ["a/talk.wav"]


def test_removed_objects_are_reported(bucket: Bucket, spools: Path):
    """An object that was removed after listing is reported, and the run continues."""
    files = BucketFiles(bucket, glob="a/**")
    blobs = files.yield_blobs()
    first = next(blobs).metadata["source"]
    bucket.mdelete([key for key in FILES if key != first])
    assert list(blobs) == []
    assert len(files.skipped) <= 1


@pytest.mark.parametrize(
    "address", ["file:///etc", "https://example.org/x", "/etc", "s3://", "s3://key@bucket", "gs://a?b=c"]
)
def test_invalid_addresses(address: str):
    """Only bucket URLs without keys and queries are accepted."""
    with pytest.raises(ValueError, match="bucket"):
        BucketFiles(address)


def test_errors_contain_no_secrets(spools: Path):
    """A bucket that cannot be reached raises a StoreError that names it without a key."""
    away: dict[str, Any] = {
        "endpoint": "http://127.0.0.1:9",
        "retry_config": {"max_retries": 0},
        "client_options": {"allow_http": True},
    }
    files = BucketFiles("s3://talks/2024", aws_access_key_id="AKIA", aws_secret_access_key="hush", **away)
    with pytest.raises(StoreError, match="'s3://talks/2024'") as caught:
        list(files.yield_blobs())
    assert "hush" not in f"{caught.value}{files!r}"
    assert caught.value.__cause__ is None
