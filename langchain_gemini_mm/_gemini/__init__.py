"""The one place that talks to Gemini: the only package that imports `google.genai`."""

from langchain_gemini_mm._gemini.calls import Answer, EmbedCall
from langchain_gemini_mm._gemini.client import ServiceSettings
from langchain_gemini_mm._gemini.service import GeminiService

__all__ = ["Answer", "EmbedCall", "GeminiService", "ServiceSettings"]
