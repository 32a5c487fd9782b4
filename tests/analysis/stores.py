"""Stores with given vectors, and one way to call a function or its async twin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.vectors import unit_rows
from tests.vectorstores.fakes import WordEmbeddings


def store_of_rows(
    rows: Any, metadata: Sequence[dict[str, Any]] | None = None, ids: Sequence[str] | None = None
) -> LocalVectorStore:
    """A store with these vectors, in the order of their ids `d00`, `d01`, ..."""
    rows = np.asarray(rows, dtype=np.float64)
    store = LocalVectorStore(":memory:", WordEmbeddings(size=rows.shape[1]))
    names = list(ids) if ids is not None else [f"d{number:02}" for number in range(len(rows))]
    kept = list(metadata) if metadata is not None else [{} for _ in names]
    documents = [
        Document(id=id_, page_content=f"text of {id_}", metadata=m) for id_, m in zip(names, kept, strict=True)
    ]
    store.add_vectors(documents, rows)
    return store


def random_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Unit rows of a normal distribution."""
    return unit_rows(np.random.default_rng(seed).standard_normal((n, d)))


def both(sync: Callable[..., Any], asynchronous: Callable[..., Any], which: str) -> Callable[..., Any]:
    """Return a function, or its async twin as a sync function."""
    return sync if which == "sync" else lambda *args, **options: asyncio.run(asynchronous(*args, **options))
