"""Buckets of S3, Google Cloud Storage and Azure, accessed with obstore, as byte stores and as streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from langchain_gemini_mm.errors import InvalidValueError, MissingExtraError, StoreError

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")

_CHUNK = 1 << 20


class BucketObject(NamedTuple):
    """One object of a bucket."""

    key: str
    """Key below the bucket's prefix."""
    size: int
    """Size in bytes."""


class Bucket:
    """A bucket, or the objects below a prefix, with the methods of a LangChain byte store.

    <!-- not run: it needs the extra cloud -->
    ```python
    from langchain_gemini_mm.storage.buckets import Bucket

    assert "hidden" not in repr(Bucket.at("s3://photos/2024", aws_secret_access_key="hidden"))
    ```

    Args:
        store: an obstore store.
        name: for messages.
    """

    def __init__(self, store: Any, name: str) -> None:
        self._store = store
        self.name = name

    @classmethod
    def at(cls, url: str, **options: Any) -> Bucket:
        """Open a bucket by its address, without a request.

        Args:
            url: `s3://bucket/prefix`, `gs://...` or `az://account/container/...`.
            options: of obstore, such as `region="eu-west-1"`; credentials come from the environment, as with the
                provider's own tools.

        Raises:
            ValueError: another scheme, or credentials in the address.
            StoreError: an unknown option.
            MissingExtraError: obstore is not installed.
        """
        scheme, _, rest = url.partition("://")
        scheme = scheme.lower()
        if scheme not in SCHEMES or not rest:
            raise InvalidValueError(f"buckets are given as s3://, gs:// or az:// addresses, got {scheme[:20]!r}://")
        if "?" in rest or ("@" in rest.partition("/")[0] and scheme in ("s3", "gs")):
            raise InvalidValueError("the bucket's address holds a query or a user; give options by name")
        try:
            from obstore.store import from_url
        except ImportError as error:
            raise MissingExtraError(f"opening {scheme}:// addresses", package="obstore", extra="cloud") from error
        with _translated("open", url):
            return cls(from_url(url, **options), url)

    def objects(self, prefix: str | None = None) -> Iterator[BucketObject]:
        """List objects, page by page, in the order of the service.

        Raises:
            StoreError: it cannot be listed.
        """
        import obstore

        with _translated("list", self.name):
            for page in obstore.list(self._store, prefix=prefix):
                yield from (BucketObject(entry["path"], entry["size"]) for entry in page)

    def chunks(self, key: str) -> Iterator[bytes]:
        """Read an object in chunks.

        Raises:
            StoreError: it cannot be read.
        """
        import obstore

        with _translated("read", self.name):
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read values; None for an absent key."""
        import obstore

        found: list[bytes | None] = []
        for key in keys:
            with _translated("read", self.name):
                try:
                    found.append(bytes(obstore.get(self._store, key).bytes()))
                except FileNotFoundError:
                    found.append(None)
        return found

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Write values, each one atomically."""
        import obstore

        with _translated("write", self.name):
            for key, value in key_value_pairs:
                obstore.put(self._store, key, value)

    def mdelete(self, keys: Sequence[str]) -> None:
        """Remove keys; absent ones are no error."""
        import obstore

        for key in keys:
            with _translated("write", self.name):
                try:
                    obstore.delete(self._store, key)
                except FileNotFoundError:
                    continue

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """List keys below a folder."""
        return (found.key for found in self.objects(prefix))

    def __repr__(self) -> str:
        return f"<Bucket {self.name!r}>"


@contextmanager
def _translated(doing: str, name: str) -> Iterator[None]:
    """Report only the type of an error, because the messages of obstore may contain signed URLs."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise StoreError(
            f"cannot {doing} the bucket {name!r}: {type(error).__name__}. Check name, keys and network"
        ) from (None)
