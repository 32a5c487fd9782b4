"""One index over text, images, audio, video and PDFs in LangChain, on Gemini embeddings.

Names are imported on first use, so that importing the package costs next to nothing. `WeaviateVectorStore` needs an
extra, and is therefore not among the names of `import *`.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_gemini_mm.analysis import (
        Classification,
        Duplicates,
        Outlier,
        aclassify,
        aclassify_many,
        afind_duplicates,
        afind_outliers,
        arecommend,
        classify,
        classify_many,
        find_duplicates,
        find_outliers,
        recommend,
    )
    from langchain_gemini_mm.embeddings.gemini import GeminiEmbeddings
    from langchain_gemini_mm.embeddings.usage import Usage
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
    from langchain_gemini_mm.evaluation import (
        Comparison,
        Report,
        acompare_rankings,
        adimension_sweep,
        aevaluate,
        compare_rankings,
        dimension_sweep,
        evaluate,
        read_labelled,
        write_labelled,
    )
    from langchain_gemini_mm.labelled_query import LabelledQuery
    from langchain_gemini_mm.loaders import MediaLoader
    from langchain_gemini_mm.loaders.cost_plan import Plan, plan
    from langchain_gemini_mm.loaders.segmentation import Segments
    from langchain_gemini_mm.progress import ProgressBar
    from langchain_gemini_mm.ranking import Calibration, acalibrate, asample_background, calibrate, sample_background
    from langchain_gemini_mm.references import MediaRef
    from langchain_gemini_mm.rendering import ato_message, citation, clean_text, to_blocks, to_message
    from langchain_gemini_mm.retrievers import MultimodalRetriever, Source
    from langchain_gemini_mm.storage import MediaStore
    from langchain_gemini_mm.tools import MultimodalToolkit, create_multimodal_retriever_tool
    from langchain_gemini_mm.tools.middleware import MediaMiddleware as MediaMiddleware
    from langchain_gemini_mm.vectorstores import Group, Hit, Hits, LocalVectorStore, MultimodalVectorStore, Query
    from langchain_gemini_mm.vectorstores.copy_store import CopyReport, acopy_store, copy_store
    from langchain_gemini_mm.vectorstores.weaviate import WeaviateVectorStore as WeaviateVectorStore

__version__ = "0.1.0"

__all__ = [
    "BudgetError",
    "Calibration",
    "Classification",
    "Comparison",
    "ContentError",
    "CopyReport",
    "Duplicates",
    "FilterError",
    "GeminiEmbeddings",
    "GeminiMMError",
    "Group",
    "Hit",
    "Hits",
    "LabelledQuery",
    "LocalVectorStore",
    "MediaLimitError",
    "MediaLoader",
    "MediaRef",
    "MediaStore",
    "MissingExtraError",
    "MissingMediaError",
    "MultimodalRetriever",
    "MultimodalToolkit",
    "MultimodalVectorStore",
    "Outlier",
    "PartialWriteError",
    "Plan",
    "ProgressBar",
    "Query",
    "QuotaError",
    "Report",
    "Segments",
    "ServiceError",
    "Source",
    "SpaceMismatchError",
    "StoreError",
    "Usage",
    "__version__",
    "acalibrate",
    "aclassify",
    "aclassify_many",
    "acompare_rankings",
    "acopy_store",
    "adimension_sweep",
    "aevaluate",
    "afind_duplicates",
    "afind_outliers",
    "arecommend",
    "asample_background",
    "ato_message",
    "calibrate",
    "citation",
    "classify",
    "classify_many",
    "clean_text",
    "compare_rankings",
    "copy_store",
    "create_multimodal_retriever_tool",
    "dimension_sweep",
    "evaluate",
    "find_duplicates",
    "find_outliers",
    "plan",
    "read_labelled",
    "recommend",
    "sample_background",
    "to_blocks",
    "to_message",
    "write_labelled",
]

_HOMES = {
    "Calibration": "ranking",
    "Classification": "analysis",
    "Comparison": "evaluation",
    "CopyReport": "vectorstores.copy_store",
    "Duplicates": "analysis",
    "GeminiEmbeddings": "embeddings.gemini",
    "Group": "vectorstores",
    "Hit": "vectorstores",
    "Hits": "vectorstores",
    "LabelledQuery": "labelled_query",
    "LocalVectorStore": "vectorstores",
    "MediaLoader": "loaders",
    "MediaMiddleware": "tools.middleware",
    "MediaRef": "references",
    "MediaStore": "storage",
    "MultimodalRetriever": "retrievers",
    "MultimodalToolkit": "tools",
    "MultimodalVectorStore": "vectorstores",
    "Outlier": "analysis",
    "Plan": "loaders.cost_plan",
    "ProgressBar": "progress",
    "Query": "vectorstores",
    "Report": "evaluation",
    "Segments": "loaders.segmentation",
    "Source": "retrievers",
    "Usage": "embeddings.usage",
    "WeaviateVectorStore": "vectorstores.weaviate",
    "acalibrate": "ranking",
    "aclassify": "analysis",
    "aclassify_many": "analysis",
    "acompare_rankings": "evaluation",
    "acopy_store": "vectorstores.copy_store",
    "adimension_sweep": "evaluation",
    "aevaluate": "evaluation",
    "afind_duplicates": "analysis",
    "afind_outliers": "analysis",
    "arecommend": "analysis",
    "asample_background": "ranking",
    "ato_message": "rendering",
    "calibrate": "ranking",
    "citation": "rendering",
    "classify": "analysis",
    "classify_many": "analysis",
    "clean_text": "rendering",
    "compare_rankings": "evaluation",
    "copy_store": "vectorstores.copy_store",
    "create_multimodal_retriever_tool": "tools",
    "dimension_sweep": "evaluation",
    "evaluate": "evaluation",
    "find_duplicates": "analysis",
    "find_outliers": "analysis",
    "plan": "loaders.cost_plan",
    "read_labelled": "evaluation",
    "recommend": "analysis",
    "sample_background": "ranking",
    "to_blocks": "rendering",
    "to_message": "rendering",
    "write_labelled": "evaluation",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


if not TYPE_CHECKING:  # else a type checker would believe in any name

    def __getattr__(name: str) -> object:
        """Import a public name from the module it lives in."""
        if name not in __all__ and name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted({*__all__, *_HOMES})
