"""Vector stores that are searched with any content."""

from __future__ import annotations

from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.copy_store import CopyReport, acopy_store, copy_store
from langchain_gemini_mm.vectorstores.hits import Group, Hit, Hits, ScoreKind
from langchain_gemini_mm.vectorstores.local.check import CheckReport
from langchain_gemini_mm.vectorstores.local.prefix import Recall
from langchain_gemini_mm.vectorstores.local.store import LocalVectorStore
from langchain_gemini_mm.vectorstores.query import Query, SearchType, StoreSearchOptions
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
    "StoreRetriever",
    "StoreSearchOptions",
    "acopy_store",
    "copy_store",
]
