"""The store in Weaviate."""

from __future__ import annotations

from langchain_gemini_mm.errors import MissingExtraError

try:
    import weaviate  # noqa: F401 - only whether it is there
except ImportError as error:
    raise MissingExtraError("WeaviateVectorStore", package="weaviate-client", extra="weaviate") from error

from langchain_gemini_mm.vectorstores.weaviate.store import WeaviateVectorStore

__all__ = ["WeaviateVectorStore"]
