"""Tools by which agents search and look, and the middleware that keeps what they see out of their state.

`MediaMiddleware` is imported from `langchain_gemini_mm` or `langchain_gemini_mm.tools.middleware`; it needs langchain.
"""

from __future__ import annotations

from langchain_gemini_mm.tools.search_tool import create_multimodal_retriever_tool
from langchain_gemini_mm.tools.toolkit import MultimodalToolkit

__all__ = ["MultimodalToolkit", "create_multimodal_retriever_tool"]
