"""The retriever that searches all modalities, and the types that it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.retrievers.ingest import Added
    from langchain_gemini_mm.retrievers.retriever import MultimodalRetriever
    from langchain_gemini_mm.retrievers.search_options import SearchOptions
    from langchain_gemini_mm.retrievers.sources import Moment, Source, group_by_source

__all__ = ["Added", "Moment", "MultimodalRetriever", "SearchOptions", "Source", "group_by_source"]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "ingest": ["Added"],
            "retriever": ["MultimodalRetriever"],
            "search_options": ["SearchOptions"],
            "sources": ["Moment", "Source", "group_by_source"],
        },
    )
