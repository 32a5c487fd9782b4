"""Tools with which agents search and open media, and the middleware that keeps media out of their state.

`MediaMiddleware` is imported from `langchain_gemini_mm` or `langchain_gemini_mm.tools.middleware`; it needs langchain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.tools.search_tool import create_multimodal_retriever_tool
    from langchain_gemini_mm.tools.toolkit import MultimodalToolkit

__all__ = ["MultimodalToolkit", "create_multimodal_retriever_tool"]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "search_tool": ["create_multimodal_retriever_tool"],
            "toolkit": ["MultimodalToolkit"],
        },
    )
