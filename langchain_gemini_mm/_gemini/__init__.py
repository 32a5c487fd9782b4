"""The one place that talks to Gemini: the only package that imports `google.genai`."""

from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall
from langchain_gemini_mm.embeddings.service.client import ServiceSettings
from langchain_gemini_mm.embeddings.service.service import GeminiService

__all__ = ["Answer", "EmbedCall", "GeminiService", "ServiceSettings"]
