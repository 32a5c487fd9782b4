"""Embeddings for tests: deterministic, of any content, and able to fail on demand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_gemini_mm.errors import ServiceError
from langchain_gemini_mm.interfaces import Content, Role, Vectors
from langchain_gemini_mm.vectors import unit_rows


def word_vector(word: str, size: int) -> np.ndarray:
    """A fixed direction for a word."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(size)


class WordEmbeddings:
    """Embeds any content: the vector is the sum of its words. Bytes are decoded as text.

    The word `poison` raises an exception; `calls` records the calls.
    """

    def __init__(self, size: int = 16, model: str = "words-1") -> None:
        self.size = size
        self.model = model
        self.calls: list[tuple[list[Content], Role, str | None]] = []

    @property
    def fingerprint(self) -> Mapping[str, object]:
        """Model and dimensions."""
        return {"model": self.model, "dimensions": self.size}

    def embed(self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None) -> Vectors:
        """Return the sum of the word vectors."""
        self.calls.append((list(contents), role, task_type))
        return unit_rows(
            [np.sum([word_vector(word, self.size) for word in _words(content)], axis=0) for content in contents]
        )

    async def aembed(
        self, contents: Sequence[Content], *, role: Role = "document", task_type: str | None = None
    ) -> Vectors:
        """Async twin of `embed`."""
        return self.embed(contents, role=role, task_type=task_type)


class AnswerEmbeddings(Embeddings):
    """Plain LangChain embeddings that return given vectors."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the given vectors."""
        found: list[list[float]] = self.answer
        return found

    def embed_query(self, text: str) -> list[float]:
        """Return the given vector."""
        found: list[float] = self.answer
        return found


def _words(content: Content) -> list[str]:
    if isinstance(content, list | tuple):
        return [word for part in content for word in _words(part)]
    if isinstance(content, Document):
        return _words(content.page_content)
    text = content.decode() if isinstance(content, bytes) else str(content)
    words = re.findall(r"\w+", text.lower()) or ["nothing"]
    if "poison" in words:
        raise ServiceError("the service does not like poison")
    return words
