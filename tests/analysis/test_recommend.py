"""Recommendations: near to liked documents, excluding these, optionally one per file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm import ContentError, Hits
from langchain_gemini_mm.analysis import arecommend, recommend
from tests.analysis.stores import both, random_rows, store_of_rows


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Hits]:
    """`recommend`, or its async twin."""
    return both(recommend, arecommend, request.param)


ROWS = [[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.9, 0.1], [0.6, 0.6, 0], [0, 0, 1]]
METADATA = [
    {"modality": modality, "source": source}
    for modality, source in [
        ("video", "a"),
        ("video", "a"),
        ("image", "b"),
        ("audio", "a"),
        ("image", "c"),
        ("text", "d"),
    ]
]


def ids(hits: Hits) -> list[str | None]:
    """Ids of the hits."""
    return [hit.document.id for hit in hits]


@given(
    seed=st.integers(0, 30),
    chosen=st.lists(st.integers(0, 11), min_size=1, max_size=4, unique=True),
    split=st.integers(1, 4),
    k=st.integers(1, 20),
)
def test_the_result_equals_brute_force(seed: int, chosen: list[int], split: int, k: int) -> None:
    """Hits are nearest to the sum of liked minus unliked vectors, which are excluded; `k` may exceed the collection."""
    rows = random_rows(12, 5, seed)
    like, unlike = chosen[:split], chosen[split:]
    target = rows[like].sum(axis=0) - rows[unlike].sum(axis=0)
    scores = rows @ (target / np.linalg.norm(target))
    expected = sorted((i for i in range(12) if i not in chosen), key=lambda i: -scores[i])[:k]
    named = [[f"d{i:02}" for i in some] for some in (like, unlike, expected)]
    hits = recommend(store_of_rows(rows), named[0], named[1], k=k)
    assert [hit.score for hit in hits] == pytest.approx([scores[i] for i in expected], abs=1e-5)
    assert not set(ids(hits)) & {*named[0], *named[1]}


def test_across_modalities_and_sources(ask: Callable[..., Hits]) -> None:
    """Liked items of two modalities find what is between them; modalities, sources and filters restrict the hits."""
    store = store_of_rows(ROWS, METADATA)
    assert ids(ask(store, ["d00", "d02"], k=2)) == ["d04", "d01"]
    assert ids(ask(store, ["d00", "d02"], weights=[5, 1], k=1)) == ["d01"]
    assert ids(ask(store, ["d00"], ["d02"], k=1)) == ["d01"]
    assert ids(ask(store, ["d00"], modalities=["image"], k=9)) == ["d04", "d02"]
    assert ids(ask(store, ["d00"], filter={"source": "b"})) == ["d02"]
    assert ids(ask(store, ["d00"], new_sources=True, k=9)) == ["d04", "d02", "d05"]
    assert store.space.embedding.calls == []  # type: ignore[union-attr]


def test_one_hit_per_source(ask: Callable[..., Hits]) -> None:
    """Only the best hit of each source is returned, with consecutive ranks."""
    hits = ask(store_of_rows(ROWS, METADATA), ["d02"], k=9, by="source")
    assert ids(hits) == ["d03", "d04", "d05"]
    assert [hit.rank for hit in hits] == [1, 2, 3]


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        pytest.param((["ghost"],), ContentError, "not stored: 'ghost'", id="unknown id"),
        pytest.param(("d00",), TypeError, r"like=\[...\]", id="one id"),
        pytest.param(([],), ContentError, "the query is empty", id="nothing"),
        pytest.param((["d00"], ["d00"]), ContentError, "more than once", id="liked and not"),
    ],
)
def test_invalid_arguments_are_named(
    ask: Callable[..., Hits], args: tuple[Any, ...], error: type[Exception], words: str
) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=words):
        ask(store_of_rows(ROWS), *args)
