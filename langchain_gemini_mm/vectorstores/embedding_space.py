"""The embedding space of a store: calls of the embedding, checks of its results, and comparison of two spaces."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_gemini_mm.errors import (
    ContentError,
    InvalidTypeError,
    InvalidValueError,
    ServiceError,
    SpaceMismatchError,
)
from langchain_gemini_mm.flows import Call
from langchain_gemini_mm.interfaces import Content, MediaEmbeddings, MediaSource, Vectors
from langchain_gemini_mm.vectors import unit_rows
from langchain_gemini_mm.vectorstores.records import plain_json

Fingerprint: TypeAlias = dict[str, Any]
"""Identifies an embedding space, as JSON values."""

_ADDED_FIELDS = {
    "video": "how video was sampled when its vectors were made",
    "names": "all names of the model that made its vectors",
}
"""Fields that fingerprints of earlier versions do not have, with what they record."""
_MODEL_NAMES = ("model", "model_name")
"""Attributes with the name of the model, in most LangChain embeddings."""
_OTHER_NAMES = (
    "model_id",
    "model_path",
    "model_file",
    "model_version",
    "repo_id",
    "engine",
    "deployment",
    "deployment_name",
    "deployment_id",
    "azure_deployment",
    "endpoint_name",
)
"""Attributes with which LangChain embeddings name a model instead, or in addition."""
_WRAPPED = ("base_embeddings", "embeddings", "embedding", "base_embedding", "embedder")
"""Attributes with the embeddings that another one uses."""
_SIZES = frozenset({"size", "dimension", "dimensions"})
"""Attributes that name no model; the length of the vectors is compared in any case."""
_LOGGER = logging.getLogger("langchain_gemini_mm")
_WAY_OUT = "Use the embeddings it was made with, or embed the documents again into a new collection or file"


class EmbeddingSpace:
    """An embedding for any content or only for text, with one interface."""

    def __init__(self, embedding: Embeddings | MediaEmbeddings) -> None:
        self.embedding = embedding
        self._media = embedding if isinstance(embedding, MediaEmbeddings) else None
        if isinstance(embedding, type) or not isinstance(embedding, Embeddings | MediaEmbeddings):
            raise InvalidTypeError(
                f"embedding must be GeminiEmbeddings or another LangChain Embeddings, got {type(embedding).__name__}"
            )
        self._cached: tuple[Any, Fingerprint] = (None, {})

    @property
    def media(self) -> MediaSource | None:
        """The media store of the embedding; None if it has none."""
        return getattr(self.embedding, "media", None)

    @property
    def numbers_inputs(self) -> bool:
        """Whether errors of the embedding have the positions of the given texts, and vectors of the others."""
        return self._media is not None

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint that the embedding reports; for other embeddings their class and model name."""
        reported = getattr(self.embedding, "fingerprint", None)
        if reported is None or reported != self._cached[0]:
            self._cached = (reported, _fingerprint(self.embedding))
        return self._cached[1]

    def embed_documents(self, texts: list[str], titles: Sequence[object] = ()) -> Call:
        """A call that embeds texts as documents, one row each; the embedding resolves media references in them.

        Args:
            texts: one for each document.
            titles: of the documents; what is no `str` is no title.
        """
        if self._media is not None:
            contents: list[Content] = list(texts)
            for number, title in enumerate(titles):
                if isinstance(title, str) and title:
                    contents[number] = Document(page_content=texts[number], metadata={"title": title})
            return Call(self._media.embed, self._media.aembed, (contents,), {"role": "document"})
        embedding: Any = self.embedding
        return Call(embedding.embed_documents, embedding.aembed_documents, (texts,))

    def embed_queries(self, contents: Sequence[Sequence[Content]], task_type: str | None) -> Call:
        """A call that embeds queries, one row each; the parts of a query are embedded together.

        Raises:
            ContentError: the embedding accepts only text, and a query is not one text.
            ValueError: a task type for an embedding that has none.
        """
        wholes = [content[0] if len(content) == 1 else list(content) for content in contents]
        if self._media is not None:
            return Call(self._media.embed, self._media.aembed, (wholes,), {"role": "query", "task_type": task_type})
        name = type(self.embedding).__name__
        for whole, content in zip(wholes, contents, strict=True):
            if not isinstance(whole, str):
                parts = ", ".join(type(part).__name__ for part in content)
                raise ContentError(
                    f"{name} embeds one text, got {parts}. Use GeminiEmbeddings to search with other content"
                )
        if task_type is not None:
            raise InvalidValueError(
                f"task_type={task_type!r} is given, but {name} knows no tasks. Use GeminiEmbeddings, or leave it out"
            )
        return Call(_each, _aeach, (self.embedding, wholes))

    def checked_rows(self, answer: Any, count: int) -> Vectors:
        """Check a result of the embedding and normalize its rows to unit length.

        Args:
            answer: `(count, d)`, finite numbers.
            count: how many rows there must be.

        Raises:
            ServiceError: the result has another shape, or is not finite.
        """
        name = type(self.embedding).__name__
        try:
            if len(answer) != count:
                raise ServiceError(f"{name} answered {len(answer)} vectors for {count} inputs")
            return unit_rows(np.asarray(answer, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise ServiceError(f"{name} answered something that is not {count} usable vectors: {error}") from error


def given_rows(vectors: Sequence[Any], what: str) -> Vectors:
    """Check vectors that a caller passed, and normalize them to unit length.

    Args:
        vectors: rows of one length, each `(d,)`.
        what: what they are, for the message.

    Returns:
        `(n, d)` float32, unit rows.

    Raises:
        ContentError: they are not numbers of one length, not finite, or all zeros.
    """
    try:
        return unit_rows(np.stack([np.asarray(vector, dtype=np.float64) for vector in vectors]))
    except (TypeError, ValueError) as error:
        raise ContentError(f"{what} cannot be used: {error}") from error


def same_space(stored: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> bool:
    """Whether two fingerprints are equal, apart from fields that the stored one was written without."""
    if stored is None or given is None:
        return stored is given
    added = _ADDED_FIELDS.keys() & (given.keys() - stored.keys())
    return stored == {key: value for key, value in given.items() if key not in added}


def require_space(name: str, stored: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> None:
    """Refuse to mix two embedding spaces; None is an unknown space and is accepted.

    A fingerprint of an earlier version, which lacks fields, is accepted with a warning; the next write completes it.

    Args:
        name: of the collection, for the message.
        stored: the fingerprint of the collection.
        given: the fingerprint of the vectors.

    Raises:
        SpaceMismatchError: both are known and different.
    """
    if stored is None or given is None or stored == given:
        return
    differing = sorted(key for key in stored.keys() | given.keys() if stored.get(key) != given.get(key))
    if same_space(stored, given):
        missing = ", ".join(f"{key}: {given[key]!r}" for key in differing)
        unknown = " and ".join(_ADDED_FIELDS[key] for key in differing)
        warnings.warn(
            f"{name} does not record {unknown}. They are taken for vectors of this space ({missing}), which the next "
            "write records",
            UserWarning,
            stacklevel=3,
        )
        return
    shown = "; ".join(f"{key}: {stored.get(key)!r} stored, {given.get(key)!r} given" for key in differing)
    raise SpaceMismatchError(
        f"the vectors of {name} are of another embedding space ({shown}). {_WAY_OUT}", stored=stored, given=given
    )


def require_dimensions(name: str, stored: int | None, given: int) -> None:
    """Refuse a vector of another length; None means that nothing is stored.

    Args:
        name: of the collection, for the message.
        stored: dimensions of the collection.
        given: dimensions of the vector.

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
    reported = getattr(embedding, "fingerprint", None)
    if isinstance(reported, Mapping):
        found: Fingerprint = plain_json(reported, f"{type(embedding).__name__}.fingerprint")
        return found
    wrapped = getattr(embedding, "underlying_embeddings", None)  # a cache does not change the space
    if wrapped is not None:
        return _fingerprint(wrapped)
    model = next(iter(_texts_of(embedding, _MODEL_NAMES).values()), None)
    names: dict[str, Any] = {
        key: PurePath(name).name if key in _FILES else name
        for key, name in _texts_of(embedding, (*_MODEL_NAMES, *_OTHER_NAMES)).items()
        if name != model
    }
    inner = next((inner for key in _WRAPPED if _embeds(inner := getattr(embedding, key, None), embedding)), None)
    if inner is not None:
        names["of"] = _fingerprint(inner)
    attributes = sorted(_attributes(embedding) - _SIZES)
    if attributes and not model and not names:
        _warn_unnamed(type(embedding).__qualname__, *attributes)
    found = {"embeddings": type(embedding).__name__, "model": model, "names": names}
    return {key: value for key, value in found.items() if value}


_FILES = frozenset({"model_path", "model_file"})
"""Attributes with a path, of which the last part counts: the same file has other paths on other machines."""


def _texts_of(embedding: Any, names: Sequence[str]) -> dict[str, str]:
    found = {name: getattr(embedding, name, None) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _embeds(value: Any, outer: Any) -> bool:
    return isinstance(value, Embeddings | MediaEmbeddings) and not isinstance(value, type) and value is not outer


def _attributes(embedding: Any) -> set[str]:
    """The names of an embedding's settings."""
    return {name for name in getattr(embedding, "__dict__", ()) if not name.startswith("_")}


@cache
def _warn_unnamed(name: str, *attributes: str) -> None:
    """Warn once about a class whose instances may use several models; one without attributes has one."""
    _LOGGER.warning(
        "%s does not name its model in an attribute such as `model`: a store cannot tell apart two models of it whose "
        "vectors have the same length. Its attributes are %s",
        name,
        ", ".join(attributes),
    )
