"""Gemini embeddings: settings, preparation, pipeline and the service behind them."""

from __future__ import annotations

from langchain_gemini_mm.embeddings.gemini import GeminiEmbeddings
from langchain_gemini_mm.embeddings.usage import Usage

__all__ = ["GeminiEmbeddings", "Usage"]
