"""A temporary folder for media that are made for one call."""

from __future__ import annotations

import itertools
import tempfile
import threading
from pathlib import Path
from typing import Self

from langchain_gemini_mm.errors import StoreError


class Spool:
    """Keeps made media on disk until it is closed; safe in many threads. The folder is made when it is first needed.

    ```python
    from langchain_gemini_mm._spool import Spool

    with Spool() as spool:
        path = spool.write(b"abc")
        assert path.read_bytes() == b"abc"
    assert not path.parent.exists()
    ```
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._closed = False

    @property
    def used(self) -> bool:
        """Whether anything lies on disk."""
        return self._folder is not None

    def write(self, data: bytes) -> Path:
        """Keep `data` as a file.

        Raises:
            StoreError: there is no room.
            ValueError: the spool is closed, so nobody waits for the file any more.
        """
        # Closing waits for a file that is being written, so that nothing is left behind.
        with self._lock:
            if self._closed:
                raise ValueError("the call that this file was made for has ended")
            try:
                return self._written(data)
            except OSError as error:
                raise StoreError(
                    f"cannot keep {len(data):,} bytes of a media file in the temporary folder: {error.strerror}. Make "
                    "room there, or name another folder by the environment variable TMPDIR"
                ) from error

    def _written(self, data: bytes) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="gemini-mm-", ignore_cleanup_errors=True)
        path = Path(self._folder.name) / f"{next(self._numbers):06d}"
        path.write_bytes(data)
        return path

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        with self._lock:
            self._closed = True
            if self._folder is not None:
                self._folder.cleanup()

    def __enter__(self) -> Self:
        """Close at the end of a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
