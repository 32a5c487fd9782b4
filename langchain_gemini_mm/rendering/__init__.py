"""Documents and hits as text, citations, content blocks, chat messages and HTML."""

from __future__ import annotations

from langchain_gemini_mm.rendering.citations import citation
from langchain_gemini_mm.rendering.clean_text import clean_text
from langchain_gemini_mm.rendering.media_blocks import expand_blocks
from langchain_gemini_mm.rendering.media_text import MediaText, MediaTextTransformer
from langchain_gemini_mm.rendering.messages import INSTRUCTIONS, ato_message, to_blocks, to_message
from langchain_gemini_mm.rendering.model_capabilities import ACCEPTS, Accepts, Place, accepts_of
from langchain_gemini_mm.rendering.reference_blocks import reference_blocks

__all__ = [
    "ACCEPTS",
    "INSTRUCTIONS",
    "Accepts",
    "MediaText",
    "MediaTextTransformer",
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
