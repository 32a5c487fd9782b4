"""What is a file's own fault, and how it is told."""

from __future__ import annotations

from langchain_gemini_mm.errors import ContentError, GeminiMMError, MissingExtraError

FAILURES = (ContentError, MissingExtraError, OSError, MemoryError, RecursionError)
"""What is a file's own fault; everything else ends the run."""


def refusal(error: Exception) -> str:
    """Why a file cannot be used, by the error that it caused."""
    if isinstance(error, GeminiMMError):
        return str(error)
    if isinstance(error, MemoryError):
        return "it does not fit into memory when it is opened"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or error}"
    return f"it cannot be opened: {type(error).__name__}"
