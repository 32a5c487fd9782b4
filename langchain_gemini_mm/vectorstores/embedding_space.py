"""The embedding space of a store: how its embedding is called, what it answered, and whether two spaces are one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_gemini_mm.errors import ContentError, ServiceError, SpaceMismatchError
from langchain_gemini_mm.flows import Call
from langchain_gemini_mm.interfaces import Content, MediaEmbeddings, MediaSource, Vector, Vectors
from langchain_gemini_mm.vectors import unit_rows
from langchain_gemini_mm.vectorstores.records import plain_json

Fingerprint: TypeAlias = dict[str, Any]
"""What names an embedding space, as JSON values."""

_WAY_OUT = "Use the embeddings it was made with, or embed the documents again into a new collection or file"


class EmbeddingSpace:
    """One embedding, called the same way whether it knows media or only text."""

    def __init__(self, embedding: Embeddings | MediaEmbeddings) -> None:
        self.embedding = embedding
        self._media = embedding if isinstance(embedding, MediaEmbeddings) else None
        if isinstance(embedding, type) or not isinstance(embedding, Embeddings | MediaEmbeddings):
            raise TypeError(
                f"embedding must be GeminiEmbeddings or another LangChain Embeddings, got {type(embedding).__name__}"
            )
        self._known: tuple[Any, Fingerprint] = (None, {})

    @property
    def media(self) -> MediaSource | None:
        """Where the embedding finds the media of documents, if it says so."""
        return getattr(self.embedding, "media", None)

    @property
    def fingerprint(self) -> Fingerprint:
        """What the embedding says of itself; for foreign embeddings its class and model name."""
        said = getattr(self.embedding, "fingerprint", None)
        if said is None or said != self._known[0]:
            self._known = (said, _fingerprint(self.embedding))
        return self._known[1]

    def documents(self, texts: list[str]) -> Call:
        """Embed texts as documents, one row each; media references in them are for the embedding to resolve."""
        if self._media is not None:
            return Call(self._media.embed, self._media.aembed, (texts,), {"role": "document"})
        embedding: Any = self.embedding
        return Call(embedding.embed_documents, embedding.aembed_documents, (texts,))

    def queries(self, contents: Sequence[Sequence[Content]], task_type: str | None) -> Call:
        """Embed queries, the parts of each together, one row each.

        Raises:
            ContentError: the embedding knows only text, and one of them is more than one text.
            ValueError: a task for an embedding that knows none.
        """
        wholes = [content[0] if len(content) == 1 else list(content) for content in contents]
        if self._media is not None:
            return Call(self._media.embed, self._media.aembed, (wholes,), {"role": "query", "task_type": task_type})
        name = type(self.embedding).__name__
        for whole, content in zip(wholes, contents, strict=True):
            if not isinstance(whole, str):
                raise ContentError(
                    f"{name} embeds one text, got {_kinds(content)}. Use GeminiEmbeddings to search with other content"
                )
        if task_type is not None:
            raise ValueError(
                f"task_type={task_type!r} is given, but {name} knows no tasks. Use GeminiEmbeddings, or leave it out"
            )
        return Call(_each, _aeach, (self.embedding, wholes))

    def rows(self, answer: Any, count: int) -> Vectors:
        """Check what the embedding answered: `count` rows of one length, finite; brought to unit length.

        Raises:
            ServiceError: it answered something else.
        """
        name = type(self.embedding).__name__
        try:
            if len(answer) != count:
                raise ServiceError(f"{name} answered {len(answer)} vectors for {count} inputs")
            return unit_rows(np.asarray(answer, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ServiceError(f"{name} answered something that is not {count} usable vectors: {error}") from error


def given_rows(vectors: Sequence[Any], first: int = 0) -> Vectors:
    """Check vectors that a caller gave and bring them to unit length.

    Args:
        vectors: rows of one length.
        first: position of the first one, for the message.

    Raises:
        ContentError: they are not numbers of one length, not finite, or all zeros.
    """
    try:
        return unit_rows(np.stack([np.asarray(vector, dtype=np.float64) for vector in vectors]))
    except (TypeError, ValueError) as error:
        raise ContentError(f"among the vectors from position {first}: {error}") from error


def given_vector(vector: Sequence[float] | Vector) -> Vector:
    """Check one vector that a caller gave.

    Raises:
        ContentError: it is not a list of finite numbers, or all zeros.
    """
    try:
        row = np.asarray(vector, dtype=np.float64)
        if row.ndim != 1:
            raise ValueError(f"expected one vector, got shape {row.shape}")
        unit: Vector = unit_rows(row[None, :])[0]
    except (TypeError, ValueError) as error:
        raise ContentError(f"the vector to search with is not usable: {error}") from error
    return unit


def require_space(name: str, stored: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> None:
    """Refuse to mix two embedding spaces; None on either side means that nothing is known yet.

    Raises:
        SpaceMismatchError: both are known and differ.
    """
    if stored is None or given is None or stored == given:
        return
    differing = sorted(key for key in stored.keys() | given.keys() if stored.get(key) != given.get(key))
    shown = "; ".join(f"{key}: {stored.get(key)!r} stored, {given.get(key)!r} given" for key in differing)
    raise SpaceMismatchError(
        f"the vectors of {name} are of another embedding space ({shown}). {_WAY_OUT}", stored=stored, given=given
    )


def require_dimensions(name: str, stored: int | None, given: int) -> None:
    """Refuse a vector of another length; None means that nothing is stored yet.

    Raises:
        SpaceMismatchError: the lengths differ.
    """
    if stored is not None and stored != given:
        raise SpaceMismatchError(
            f"the vectors of {name} have {stored} dimensions, those given have {given}. {_WAY_OUT}",
            stored={"dimensions": stored},
            given={"dimensions": given},
        )


def _each(embedding: Any, texts: Sequence[str]) -> list[Any]:
    return [embedding.embed_query(text) for text in texts]


async def _aeach(embedding: Any, texts: Sequence[str]) -> list[Any]:
    return list(await asyncio.gather(*(embedding.aembed_query(text) for text in texts)))


def _fingerprint(embedding: Any) -> Fingerprint:
    said = getattr(embedding, "fingerprint", None)
    if isinstance(said, Mapping):
        found: Fingerprint = plain_json(said, f"{type(embedding).__name__}.fingerprint")
        return found
    wrapped = getattr(embedding, "underlying_embeddings", None)  # a cache does not change the space
    if wrapped is not None:
        return _fingerprint(wrapped)
    names = (getattr(embedding, word, None) for word in ("model", "model_name"))
    model = next((name for name in names if isinstance(name, str)), None)
    return {"embeddings": type(embedding).__name__} | ({"model": model} if model else {})


def _kinds(content: Sequence[Content]) -> str:
    return ", ".join(type(part).__name__ for part in content)
