"""Where media live: a content-addressed store over a folder, links, memory, a byte store or a backend of one's own."""

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
