"""One index over text, images, audio, video and PDFs in LangChain, on Gemini embeddings.

The names below are imported on first use, so that importing the package costs next to nothing. Everything else is in
`analysis`, `embeddings`, `evaluation`, `loaders`, `progress`, `ranking`, `references`, `rendering`, `retrievers`,
`storage`, `tools` and `vectorstores`. `MediaMiddleware` and `WeaviateVectorStore` need an extra, and are therefore not
among the names of `import *`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.embeddings.gemini import GeminiEmbeddings
    from langchain_gemini_mm.errors import (
        BudgetError,
        ContentError,
        FilterError,
        GeminiMMError,
        InvalidTypeError,
        InvalidValueError,
        MediaLimitError,
        MirrorError,
        MissingExtraError,
        MissingMediaError,
        PartialEmbeddingError,
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
    "InvalidTypeError",
    "InvalidValueError",
    "LocalVectorStore",
    "MediaLimitError",
    "MediaLoader",
    "MediaStore",
    "MirrorError",
    "MissingExtraError",
    "MissingMediaError",
    "MultimodalRetriever",
    "MultimodalToolkit",
    "PartialEmbeddingError",
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
    "embeddings.gemini": ["GeminiEmbeddings"],
    "errors": [name for name in __all__ if name.endswith("Error")],
    "loaders.media_loader": ["MediaLoader"],
    "rendering.citations": ["citation"],
    "rendering.messages": ["to_message"],
    "retrievers.retriever": ["MultimodalRetriever"],
    "storage.store": ["MediaStore"],
    "tools.middleware": ["MediaMiddleware"],
    "tools.search_tool": ["create_multimodal_retriever_tool"],
    "tools.toolkit": ["MultimodalToolkit"],
    "vectorstores.hits": ["Hit", "Hits"],
    "vectorstores.local.store": ["LocalVectorStore"],
    "vectorstores.query": ["Query"],
    "vectorstores.weaviate": ["WeaviateVectorStore"],
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


if not TYPE_CHECKING:
    __getattr__ = lazy_exports(__name__, _MODULES)


def __dir__() -> list[str]:
    """The public names."""
    return sorted({*__all__, *(name for names in _MODULES.values() for name in names)})
