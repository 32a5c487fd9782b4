"""Loads the files of a bucket through a temporary folder that holds a few of them at a time."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from langchain_core.document_loaders import BlobLoader
from langchain_core.documents.base import Blob

from langchain_gemini_mm.errors import InvalidValueError, StoreError
from langchain_gemini_mm.loaders.walk import Patterns, Skipped, is_hidden
from langchain_gemini_mm.storage.buckets import Bucket, BucketObject

logger = logging.getLogger("langchain_gemini_mm")


class BucketFiles(BlobLoader):
    """Brings the objects of a bucket to a `MediaLoader`: each is streamed to a temporary file and removed later.

    <!-- not run: it needs a bucket -->
    ```python
    from langchain_gemini_mm import MediaLoader, MediaStore
    from langchain_gemini_mm.loaders.bucket_files import BucketFiles

    talks = BucketFiles("s3://company-talks/2024", exclude="drafts/**", region="eu-west-1")
    documents = MediaLoader(talks, MediaStore("library/media"), name="talks").lazy_load()
    ```

    The `source` of a Document is the key of the object below the address. Objects are loaded in the order in which the
    service lists them; S3 and Google list by key. Subtitle and caption files are loaded as files of their own. The
    media store must copy files: `MediaStore.links` would link to temporary files.

    Args:
        where: `s3://bucket/prefix`, `gs://...`, `az://account/container/...`, or a `Bucket`.
        glob: patterns of keys to fetch, as in `MediaLoader`.
        exclude: patterns of keys to leave out; they are not fetched.
        max_bytes: larger objects are left out; they are not fetched.
        held: number of files on disk; a `MediaLoader` with `workers=n` needs `3 * n` of them.
        options: of obstore, for an address.

    Raises:
        ValueError: not an address of a bucket.
        MissingExtraError: obstore is not installed.
    """

    def __init__(
        self,
        where: str | Bucket,
        *,
        glob: str | Iterable[str] = "**",
        exclude: str | Iterable[str] = (),
        max_bytes: int | None = None,
        held: int = 16,
        **options: Any,
    ) -> None:
        if held < 1:
            raise InvalidValueError(f"held must be 1 or more, got {held!r}")
        self._bucket = Bucket.at(where, **options) if isinstance(where, str) else where
        self._include, self._exclude = Patterns(glob), Patterns(exclude)
        self._max_bytes, self._held = max_bytes, held
        self.skipped: list[Skipped] = []
        """Objects that the last run did not fetch, with the reasons; unused files are in the loader's list."""

    def yield_blobs(self) -> Iterator[Blob]:
        """Fetch object by object; a file is removed when `held` more were requested.

        Raises:
            StoreError: the bucket cannot be listed, or the temporary folder cannot be written.
        """
        self.skipped = []
        folder = Path(tempfile.mkdtemp(prefix="bucket-files-"))
        # The last files are still needed when the listing has ended, so the folder is removed with this object.
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        files: deque[Path] = deque()
        for number, found in enumerate(self._bucket.objects()):
            if not self._is_selected(found):
                continue
            if len(files) >= self._held:
                files.popleft().unlink(missing_ok=True)
            path = folder / f"{number:08}"
            files.append(path)
            if self._fetch(found.key, path):
                yield Blob(path=path, metadata={"source": found.key})

    def _is_selected(self, found: BucketObject) -> bool:
        key = found.key
        if any(is_hidden(part) for part in key.split("/")) or not self._include.match(key) or self._exclude.match(key):
            return False
        if self._max_bytes is not None and found.size > self._max_bytes:
            self._skip(key, f"it has {found.size:,} bytes, over the {self._max_bytes:,} that were asked for")
            return False
        return not key.endswith("/")

    def _fetch(self, key: str, path: Path) -> bool:
        chunks = self._bucket.chunks(key)
        try:
            with path.open("wb") as file:
                file.writelines(chunks)
        except StoreError as error:
            self._skip(key, str(error))
            return False
        except OSError as error:
            raise StoreError(
                f"cannot write to the temporary folder: {error.strerror or error}. TMPDIR names another"
            ) from (error)
        return True

    def _skip(self, key: str, reason: str) -> None:
        self.skipped.append(Skipped(key, reason))
        logger.info("left out %r: %s", key, reason)
