"""Gemini embeddings: settings, preparation, pipeline and the service behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.embeddings.gemini import GeminiEmbeddings
    from langchain_gemini_mm.embeddings.usage import EmbedPlan, Usage

__all__ = ["EmbedPlan", "GeminiEmbeddings", "Usage"]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "EmbedPlan": "usage",
            "GeminiEmbeddings": "gemini",
            "Usage": "usage",
        },
    )
