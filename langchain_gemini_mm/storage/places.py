"""What may be given as the place of a media store, and the backend for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from langchain_gemini_mm.storage.backend import MediaBackend
from langchain_gemini_mm.storage.buckets import SCHEMES, Bucket
from langchain_gemini_mm.storage.byte_store import ByteStore, ByteStoreBackend
from langchain_gemini_mm.storage.folder import FolderBackend
from langchain_gemini_mm.storage.hash_cache import FileTable


def backend_of(where: object) -> MediaBackend:
    """The backend for a folder, the address of a bucket, a byte store, or a backend itself.

    Raises:
        TypeError: it is none of these.
        ValueError: it is a URL, or empty.
    """
    if isinstance(where, str) and where.partition("://")[0].lower() in SCHEMES:
        return ByteStoreBackend(Bucket.at(where))
    if isinstance(where, str | os.PathLike):
        root = folder_of(where)
        return FolderBackend(root, files=FileTable(root / "files.db"))
    if all(callable(getattr(where, name, None)) for name in ("mget", "mset", "mdelete", "yield_keys")):
        return ByteStoreBackend(cast("ByteStore", where))
    if all(hasattr(where, name) for name in ("kind", "writer", "open", "size", "touch", "delete", "stored", "tidy")):
        return cast("MediaBackend", where)
    raise TypeError(
        "MediaStore takes a folder (str or Path), a LangChain BaseStore[str, bytes] or a MediaBackend, "
        f"got {type(where).__name__}"
    )


def folder_of(where: str | os.PathLike[str]) -> Path:
    """Check the name of a folder.

    Raises:
        TypeError: it is no text.
        ValueError: it is a URL, or empty.
    """
    text = os.fspath(where)
    if not isinstance(text, str):
        raise TypeError(f"a folder is given as str or Path, got {type(text).__name__}")
    if "://" in text:
        raise ValueError(
            f"{text.partition('://')[0]}:// addresses are no media stores; give a folder, a bucket of s3://, gs:// or "
            "az://, or a LangChain BaseStore[str, bytes]"
        )
    if not text.strip():
        raise ValueError("the folder of a media store must not be empty")
    return Path(text).expanduser()
