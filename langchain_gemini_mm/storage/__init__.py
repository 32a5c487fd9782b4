"""Media stores: content-addressed storage in a folder, a bucket, a byte store, in memory, or as links to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.storage.backend import MediaBackend, MediaWriter, MemoryBackend, Stored
    from langchain_gemini_mm.storage.buckets import Bucket, BucketObject
    from langchain_gemini_mm.storage.garbage import Sweep
    from langchain_gemini_mm.storage.store import GRACE_SECONDS, MediaStore

__all__ = [
    "GRACE_SECONDS",
    "Bucket",
    "BucketObject",
    "MediaBackend",
    "MediaStore",
    "MediaWriter",
    "MemoryBackend",
    "Stored",
    "Sweep",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "backend": ["MediaBackend", "MediaWriter", "MemoryBackend", "Stored"],
            "buckets": ["Bucket", "BucketObject"],
            "garbage": ["Sweep"],
            "store": ["GRACE_SECONDS", "MediaStore"],
        },
    )
