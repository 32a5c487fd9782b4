"""One index over text, images, audio, video and PDFs in LangChain, on Gemini embeddings.

The names below are imported on first use, so that importing the package costs next to nothing. Everything else is in
`analysis`, `embeddings`, `evaluation`, `loaders`, `progress`, `ranking`, `references`, `rendering`, `retrievers`,
`storage`, `tools` and `vectorstores`. `MediaMiddleware` and `WeaviateVectorStore` need an extra, and are therefore not
among the names of `import *`.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_gemini_mm.embeddings.gemini import GeminiEmbeddings
    from langchain_gemini_mm.errors import (
        BudgetError,
        ContentError,
        FilterError,
        GeminiMMError,
        MediaLimitError,
        MissingExtraError,
        MissingMediaError,
        PartialWriteError,
        QuotaError,
        ServiceError,
        SpaceMismatchError,
        StoreError,
    )
    from langchain_gemini_mm.loaders import MediaLoader
    from langchain_gemini_mm.rendering import citation, to_message
    from langchain_gemini_mm.retrievers import MultimodalRetriever
    from langchain_gemini_mm.storage import MediaStore
    from langchain_gemini_mm.tools import MultimodalToolkit, create_multimodal_retriever_tool
    from langchain_gemini_mm.tools.middleware import MediaMiddleware as MediaMiddleware
    from langchain_gemini_mm.vectorstores import Hit, Hits, LocalVectorStore, Query
    from langchain_gemini_mm.vectorstores.weaviate import WeaviateVectorStore as WeaviateVectorStore

__version__ = "0.1.0"

__all__ = [
    "BudgetError",
    "ContentError",
    "FilterError",
    "GeminiEmbeddings",
    "GeminiMMError",
    "Hit",
    "Hits",
    "LocalVectorStore",
    "MediaLimitError",
    "MediaLoader",
    "MediaStore",
    "MissingExtraError",
    "MissingMediaError",
    "MultimodalRetriever",
    "MultimodalToolkit",
    "PartialWriteError",
    "Query",
    "QuotaError",
    "ServiceError",
    "SpaceMismatchError",
    "StoreError",
    "__version__",
    "citation",
    "create_multimodal_retriever_tool",
    "to_message",
]

_MODULES = {
    "GeminiEmbeddings": "embeddings.gemini",
    "Hit": "vectorstores",
    "Hits": "vectorstores",
    "LocalVectorStore": "vectorstores",
    "MediaLoader": "loaders",
    "MediaMiddleware": "tools.middleware",
    "MediaStore": "storage",
    "MultimodalRetriever": "retrievers",
    "MultimodalToolkit": "tools",
    "Query": "vectorstores",
    "WeaviateVectorStore": "vectorstores.weaviate",
    "citation": "rendering",
    "create_multimodal_retriever_tool": "tools",
    "to_message": "rendering",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


if not TYPE_CHECKING:  # else a type checker would believe in any name

    def __getattr__(name: str) -> object:
        """Import a public name from its module."""
        if name not in __all__ and name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted({*__all__, *_MODULES})
