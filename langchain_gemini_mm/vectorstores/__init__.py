"""Vector stores that are searched with any content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
    from langchain_gemini_mm.vectorstores.hits import Group, Hit, Hits, ScoreKind
    from langchain_gemini_mm.vectorstores.local.check import CheckReport
    from langchain_gemini_mm.vectorstores.local.prefix import Recall
    from langchain_gemini_mm.vectorstores.local.store import LocalVectorStore
    from langchain_gemini_mm.vectorstores.query import Query, SearchType, StoreSearchOptions
    from langchain_gemini_mm.vectorstores.self_query import SelfQueryTranslator
    from langchain_gemini_mm.vectorstores.store_copies import CopyReport, acopy_store, copy_store
    from langchain_gemini_mm.vectorstores.store_retriever import StoreRetriever

__all__ = [
    "CheckReport",
    "CopyReport",
    "Group",
    "Hit",
    "Hits",
    "LocalVectorStore",
    "MultimodalVectorStore",
    "Query",
    "Recall",
    "ScoreKind",
    "SearchType",
    "SelfQueryTranslator",
    "StoreRetriever",
    "StoreSearchOptions",
    "acopy_store",
    "copy_store",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "base": ["MultimodalVectorStore"],
            "hits": ["Group", "Hit", "Hits", "ScoreKind"],
            "local.check": ["CheckReport"],
            "local.prefix": ["Recall"],
            "local.store": ["LocalVectorStore"],
            "query": ["Query", "SearchType", "StoreSearchOptions"],
            "self_query": ["SelfQueryTranslator"],
            "store_copies": ["CopyReport", "acopy_store", "copy_store"],
            "store_retriever": ["StoreRetriever"],
        },
    )
