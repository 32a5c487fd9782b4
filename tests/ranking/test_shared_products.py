"""Searches with the same vector share its product, and find the same as alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.vectorstores.backend import VectorRequest
from langchain_gemini_mm.vectorstores.filters import parse_filter
from tests.ranking.conftest import GivenEmbeddings, fill, query_vector

FILTERS: list[Any] = [
    None,
    {"modality": "text"},
    {"modality": "image"},
    {"modality": "audio"},
    {"modality": {"$nin": ["text", "image"]}},
    {"number": {"$lt": 3}},
    {"number": -1},
    lambda document: document.metadata["number"] % 7 == 0,
]


@pytest.mark.parametrize("options", [{}, {"prefix": 16, "candidates": 1000}], ids=["whole", "prefixes"])
@pytest.mark.parametrize("chosen", ["all", "rare", "mixed vectors"])
def test_many_filters(options: dict[str, Any], chosen: str) -> None:
    """Several requests together find what each finds alone, also after deletions."""
    store = LocalVectorStore(":memory:", GivenEmbeddings(), **options)
    fill(store, {"text": 600, "image": 80, "audio": 12})
    store.delete([f"text-{number}" for number in range(0, 100, 3)])
    filters = FILTERS[3:] if chosen == "rare" else FILTERS
    vectors = [query_vector(name) for name in ("abc" if chosen == "mixed vectors" else "a")]
    requests = [
        VectorRequest(vector=vector, k=k, filter=parse_filter(given) if isinstance(given, dict) else given)
        for given in filters
        for vector in vectors
        for k in (1, 15)
    ]
    together = run(store.backend.search_vectors_many(requests))
    for request, found in zip(requests, together, strict=True):
        alone = run(store.backend.search_vectors(request))
        assert [scored.record.id for scored in found] == [scored.record.id for scored in alone]
        assert np.allclose([scored.score for scored in found], [scored.score for scored in alone], atol=1e-5)
    store.close()
