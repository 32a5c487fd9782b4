"""What a caller's own function writes about media: a caption, a transcript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.documents import Document


class Description:
    """A callable or LangChain Runnable that is given a Document and gives text.

    Raises:
        TypeError: neither of them.
    """

    def __init__(self, describe: Any) -> None:
        invoke = getattr(describe, "invoke", None)
        if describe is not None and not callable(invoke) and not callable(describe):
            raise TypeError(f"describe must be a callable or a Runnable, got {type(describe).__name__}")
        self._call: Callable[[Document], Any] | None = invoke if callable(invoke) else describe

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._call is not None

    def of(self, document: Document) -> str:
        """Its text about a Document, empty for None.

        Raises:
            TypeError: it gave something else than text or a message.
            Exception: whatever it raises.
        """
        if self._call is None:
            return ""
        answer = self._call(document)
        text = getattr(answer, "text", answer)
        # A method in older versions of langchain-core.
        text = text() if callable(text) and not isinstance(text, str) else text
        if text is None:
            return ""
        if not isinstance(text, str):
            raise TypeError(f"describe must give a str, a message or None, got {type(answer).__name__}")
        return str(text).strip()
