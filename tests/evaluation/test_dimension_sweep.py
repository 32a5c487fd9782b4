"""The sweep over dimensions: exact at each size, from vectors that are read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm import ContentError, LocalVectorStore, Query
from langchain_gemini_mm.evaluation import Comparison, LabelledQuery, adimension_sweep, dimension_sweep
from langchain_gemini_mm.vectors import truncate
from tests.analysis.stores import both, random_rows, store_of_rows
from tests.vectorstores.fakes import WordEmbeddings


@pytest.fixture(params=["sync", "async"])
def sweep(request: pytest.FixtureRequest) -> Callable[..., Comparison]:
    """`dimension_sweep`, or its async twin."""
    return both(dimension_sweep, adimension_sweep, request.param)


def like(number: int, *relevant: int) -> LabelledQuery:
    """A query for the neighbours of a stored document."""
    return LabelledQuery(Query(like=[f"d{number:04}"]), [f"d{other:04}" for other in relevant])


def names(n: int) -> list[str]:
    """Ids in the order of the rows."""
    return [f"d{number:04}" for number in range(n)]


@given(seed=st.integers(0, 30), n=st.integers(2, 30), k=st.integers(1, 40), size=st.integers(1, 6))
def test_the_result_equals_brute_force(seed: int, n: int, k: int, size: int) -> None:
    """Hits are the nearest truncated vectors without the query itself; `k` may exceed the collection."""
    rows = random_rows(n, 6, seed)
    found = dimension_sweep(store_of_rows(rows, ids=names(n)), [like(0, 1), like(1, 0)], [size], ks=[k])
    cut = truncate(rows, size)
    for number, result in enumerate(found[str(size)].results):
        scores = cut @ cut[number]
        scores[number] = -9
        best = np.sort(scores)[::-1][: min(k, n - 1)]
        assert [scores[int(id_[1:])] for id_ in result.found] == pytest.approx(best.tolist(), abs=1e-6)


def test_several_batches_and_sizes(sweep: Callable[..., Comparison]) -> None:
    """Several batches are read; full vectors find what the store finds; the largest report is first."""
    rows = random_rows(2300, 64, 5)
    store = store_of_rows(rows, ids=names(2300))
    labelled = [like(n, n + 1) for n in range(40)]
    reported: list[int] = []
    found = sweep(store, labelled, [8, 64, 32], ks=[1, 10], progress=reported.append)
    assert [report.name for report in found.reports] == ["64", "32", "8"]
    expected = [tuple(hit.document.id for hit in store.search(one.query, k=10)) for one in labelled]
    assert [result.found for result in found["64"].results] == expected
    assert reported == [1000, 2000, 2300]


def test_default_dimensions(sweep: Callable[..., Comparison]) -> None:
    """By default the usual Matryoshka dimensions that fit, and those of the store, are evaluated."""
    store = store_of_rows(random_rows(4, 600), ids=names(4))
    assert [report.name for report in sweep(store, [like(0, 1)]).reports] == ["600", "512", "256", "128"]


def test_equal_scores_keep_the_order_of_the_store(sweep: Callable[..., Comparison]) -> None:
    """Hits with equal scores keep the order of the store."""
    store = store_of_rows(np.ones((1500, 2)), ids=names(1500))
    found = sweep(store, [like(7, 1)], [1, 2], ks=[3])
    assert {report.results[0].found for report in found.reports} == {("d0000", "d0001", "d0002")}


def test_vectors_that_start_with_zeros(sweep: Callable[..., Comparison]) -> None:
    """A vector whose first values are all zero is similar to nothing, without an error."""
    store = store_of_rows([[0, 0, 1], [1, 0, 0], [0.9, 0, 0.1], [-1, 0, 0]], ids=names(4))
    found = sweep(store, [like(1, 2)], [2], ks=[3])
    assert found["2"].results[0].found == ("d0002", "d0000", "d0003")


def test_queries_are_embedded_once(sweep: Callable[..., Comparison]) -> None:
    """Queries are embedded once with their task; modalities and unknown labels are in the report."""
    store = store_of_rows(random_rows(5, 16), [{"modality": "image"}] * 5, names(5))
    found = sweep(store, [LabelledQuery("a dog", ["d0001", "ghost"])], [4, 8, 16], task_type="clustering")
    embedding: Any = store.space.embedding
    assert embedding.calls == [(["a dog"], "query", "clustering")]
    assert found["8"].unknown == ("ghost",)
    assert ("text", "image") in found["8"].pairs


def test_filters_and_sources(sweep: Callable[..., Comparison]) -> None:
    """A filter restricts the documents; values of a metadata key may be labelled."""
    metadata = [{"source": f"file {n // 2}", "year": n % 2} for n in range(6)]
    store = store_of_rows(random_rows(6, 4), metadata, names(6))
    some = sweep(store, [like(0, 1)], [4], filter={"year": 1})
    assert set(some["4"].results[0].found) == {"d0001", "d0003", "d0005"}
    query = LabelledQuery(Query(like=["d0000"]), ["file 0"])
    files = sweep(store, [query], [4], by="source")
    assert set(files["4"].results[0].found) == {"file 0", "file 1", "file 2"}
    assert files["4"]["recall@10"].value == 1.0


def test_an_empty_store_finds_nothing(sweep: Callable[..., Comparison]) -> None:
    """Every metric is 0."""
    found = sweep(LocalVectorStore(":memory:", WordEmbeddings(size=16)), [LabelledQuery("a dog", ["dog"])], [8])
    assert found["8"]["recall@10"].value == 0.0


@pytest.mark.parametrize(
    ("dimensions", "error", "words"),
    [
        pytest.param([17], ValueError, "have 16 dimensions; they cannot be truncated to 17", id="too many"),
        pytest.param([0], ValueError, "got 0", id="none"),
        pytest.param([], ValueError, "dimensions is empty", id="no sizes"),
    ],
)
def test_invalid_dimensions_are_named(dimensions: list[int], error: type[Exception], words: str) -> None:
    """The error has the value."""
    store = store_of_rows(random_rows(3, 16), ids=names(3))
    with pytest.raises(error, match=words):
        dimension_sweep(store, [LabelledQuery("a dog", ["d0001"])], dimensions)
    with pytest.raises(ContentError, match="'ghost'"):
        dimension_sweep(store, [LabelledQuery(Query(like=["ghost"]), ["d0001"])])
