"""Outliers: documents that are far from their neighbours, separately for each modality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.analysis import Outlier, afind_outliers, find_outliers, stored_vectors
from langchain_gemini_mm.vectors import unit_rows
from tests.analysis.stores import both, random_rows, store_of_rows
from tests.vectorstores.fakes import WordEmbeddings


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest) -> Callable[..., list[Outlier]]:
    """`find_outliers`, or its async twin."""
    return both(find_outliers, afind_outliers, request.param)


@given(seed=st.integers(0, 50), n=st.integers(3, 25), k=st.integers(1, 30), block=st.integers(1, 9))
def test_the_result_equals_brute_force(seed: int, n: int, k: int, block: int) -> None:
    """Mean similarities are right for any block size; there may be fewer documents than neighbours."""
    rows = random_rows(n, 4, seed)
    similarity = rows.astype(np.float64) @ rows.T
    np.fill_diagonal(similarity, -2)
    nearest = np.sort(similarity, axis=1)[:, ::-1][:, : min(k, n - 1)].mean(axis=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_vectors, "BLOCK_ROWS", block)
        found = find_outliers(store_of_rows(rows), k=n, n_neighbors=k)
    assert {one.document.id: one.similarity for one in found} == pytest.approx(
        {f"d{i:02}": value for i, value in enumerate(nearest)}, abs=1e-5
    )
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_modalities_are_compared_separately(find: Callable[..., list[Outlier]]) -> None:
    """An unusual image is found although all texts are farther from each other than it is from the images."""
    rng = np.random.default_rng(1)
    texts = rng.standard_normal((40, 16))
    images = np.eye(16)[0] * 6 + rng.standard_normal((40, 16)) * 0.3
    images[7] = np.eye(16)[0] * 6 + np.eye(16)[1] * 4
    metadata = [{"modality": "text"}] * 40 + [{"modality": "image"}] * 40
    store = store_of_rows(np.concatenate([texts, images]), metadata)
    first = find(store, k=5)[0]
    assert (first.document.id, first.modality) == ("d47", "image")
    assert first.score > 5
    assert first.similarity > max(one.similarity for one in find(store, k=5, modalities=["text"]))


def test_documents_without_modality_are_compared(find: Callable[..., list[Outlier]]) -> None:
    """Documents without a known modality are compared with each other."""
    rows = [[1, 0], [1, 0.1], [0.9, 0], [0, 1]]
    found = find(store_of_rows(rows, [{}, {"modality": "hologram"}, {}, {}]), n_neighbors=1)
    assert (found[0].document.id, found[0].modality) == ("d03", None)


def test_small_collections_have_no_outliers(find: Callable[..., list[Outlier]]) -> None:
    """An empty store and a modality with two documents have no outliers."""
    assert find(LocalVectorStore(":memory:", WordEmbeddings())) == []
    assert find(store_of_rows([[1, 0], [0, 1]])) == []


def test_equal_vectors_have_score_0(find: Callable[..., list[Outlier]]) -> None:
    """Equal vectors have a score of 0; a different one among them has a high score."""
    assert {one.score for one in find(store_of_rows([[1, 0]] * 5))} == {0.0}
    found = find(store_of_rows([[1, 0]] * 5 + [[0, 1]]), n_neighbors=2)
    assert found[0].document.id == "d05"
    assert found[0].score > 2


def test_limits_and_filters(find: Callable[..., list[Outlier]]) -> None:
    """At most `k` outliers are returned, all of which match the filter."""
    rows = unit_rows(random_rows(20, 3))
    store = store_of_rows(rows, [{"year": n % 2} for n in range(20)])
    assert len(find(store, k=3)) == 3
    assert {one.document.metadata["year"] for one in find(store, filter={"year": 1})} == {1}


def test_progress_counts_documents(find: Callable[..., list[Outlier]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress counts documents over all modalities."""
    monkeypatch.setattr(stored_vectors, "BLOCK_ROWS", 4)
    reported: list[int] = []
    metadata = [{"modality": modality} for modality in ("text", "image") for _ in range(5)]
    find(store_of_rows(random_rows(10, 3), metadata), progress=reported.append)
    assert reported == [4, 5, 9, 10]


@pytest.mark.parametrize("options", [{"k": 0}, {"n_neighbors": 0}, {"k": 1.5}], ids=str)
def test_invalid_options_are_named(options: dict[str, Any]) -> None:
    """The error names the option."""
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        find_outliers(store_of_rows([[1, 0]]), **options)
