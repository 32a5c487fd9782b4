"""Documents and hits as text, citations, content blocks, chat messages and HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_gemini_mm.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from langchain_gemini_mm.rendering.citations import citation
    from langchain_gemini_mm.rendering.clean_text import clean_text
    from langchain_gemini_mm.rendering.media_blocks import expand_blocks
    from langchain_gemini_mm.rendering.messages import INSTRUCTIONS, ato_message, to_blocks, to_message
    from langchain_gemini_mm.rendering.model_capabilities import ACCEPTS, Accepts, Place, accepts_of
    from langchain_gemini_mm.rendering.reference_blocks import reference_blocks

__all__ = [
    "ACCEPTS",
    "INSTRUCTIONS",
    "Accepts",
    "Place",
    "accepts_of",
    "ato_message",
    "citation",
    "clean_text",
    "expand_blocks",
    "reference_blocks",
    "to_blocks",
    "to_message",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_exports(
        __name__,
        {
            "ACCEPTS": "model_capabilities",
            "Accepts": "model_capabilities",
            "INSTRUCTIONS": "messages",
            "Place": "model_capabilities",
            "accepts_of": "model_capabilities",
            "ato_message": "messages",
            "citation": "citations",
            "clean_text": "clean_text",
            "expand_blocks": "media_blocks",
            "reference_blocks": "reference_blocks",
            "to_blocks": "messages",
            "to_message": "messages",
        },
    )
