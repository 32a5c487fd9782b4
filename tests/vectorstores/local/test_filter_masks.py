"""Cached conditions: a filter keeps the same documents as the predicate, whatever was searched before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from langchain_core.documents import Document

from langchain_gemini_mm.vectors import top_k
from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter
from langchain_gemini_mm.vectorstores.local.filter_sql import Masks, positions_of
from langchain_gemini_mm.vectorstores.local.scoring import _best, products
from tests.vectorstores.fakes import WordEmbeddings
from tests.vectorstores.local.test_filter_sql import cases, names_inner_value
from tests.vectorstores.meanings import MEANINGS, Meaning


def fill(store: LocalVectorStore, rows: list[dict[str, Any]], first: int = 0) -> None:
    """Add rows with their positions as ids."""
    documents = [Document(id=str(first + i), page_content="x", metadata=row) for i, row in enumerate(rows)]
    store.add_vectors(documents, [[1.0, 0.0]] * len(rows))


def kept(store: LocalVectorStore, condition: dict[str, Any]) -> set[int]:
    """Ids that a search finds."""
    return {int(hit.document.id or "") for hit in store.search_by_vector([1, 0], k=100, filter=condition)}


@pytest.mark.slow
@pytest.mark.soak
@settings(max_examples=50)
@given(cases(), cases())
def test_a_search_finds_what_the_predicate_accepts(
    one: tuple[list[dict[str, Any]], dict[str, Any]], two: tuple[list[dict[str, Any]], dict[str, Any]]
) -> None:
    """Both filters are used before and after rows are added and removed."""
    with LocalVectorStore(":memory:", WordEmbeddings(size=2)) as store:
        rows = dict(enumerate(one[0]))
        fill(store, one[0])
        for change in (0, 1, 2):
            if change == 1:
                rows |= {100 + i: row for i, row in enumerate(two[0])}
                fill(store, two[0], first=100)
            if change == 2:
                store.delete(["0", "100"])
                rows = {i: row for i, row in rows.items() if i not in (0, 100)}
            for condition in (one[1], two[1]):
                if names_inner_value(rows.values(), condition):
                    continue
                node = parse_filter(condition)
                assert kept(store, condition) == {i for i, row in rows.items() if matches(node, row)}


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.name)
def test_masks_agree_with_the_table(meaning: Meaning) -> None:
    """The table of meanings applies to searches."""
    with LocalVectorStore(":memory:", WordEmbeddings(size=2)) as store:
        fill(store, [*meaning.matching, *meaning.others])
        assert kept(store, meaning.filter) == set(range(len(meaning.matching)))


def test_similar_conditions_are_distinguished() -> None:
    """`1`, `True` and `"1"` are three conditions; `1` and `1.0` are one."""
    with LocalVectorStore(":memory:", WordEmbeddings(size=2)) as store:
        fill(store, [{"a": 1}, {"a": True}, {"a": "1"}, {"a": 1.0}])
        assert [kept(store, {"a": value}) for value in (1, True, "1", 1.0)] == [{0, 3}, {1}, {2}, {0, 3}]


def test_replaced_metadata_update_cached_conditions() -> None:
    """An upsert changes the results of a filter, also in another store on the same file."""
    with LocalVectorStore(":memory:", WordEmbeddings(size=2)) as store:
        fill(store, [{"a": 1}, {"a": 1}, {"a": 2}])
        assert kept(store, {"a": 1}) == {0, 1}
        fill(store, [{"a": 2}])
        assert (kept(store, {"a": 1}), kept(store, {"a": 2}), kept(store, {"a": {"$ne": 1}})) == ({1}, {0, 2}, {0, 2})
        store.update_metadata(["1"], {"a": 3})
        assert (kept(store, {"a": 1}), kept(store, {"a": 3})) == (set(), {1})
        store.delete_all()
        fill(store, [{"a": 1}])
        assert (kept(store, {"a": 1}), kept(store, {"a": 2})) == ({0}, set())


def test_memory_for_conditions_is_bounded() -> None:
    """Old conditions are removed from the cache, and large ones are never cached."""
    rows = 300
    with LocalVectorStore(":memory:", WordEmbeddings(size=2)) as store:
        fill(store, [{"a": i} for i in range(rows)])
        numbers = np.arange(1, rows + 1)
        masks = Masks(limit=10 * rows)
        with store._database.reading() as connection:
            for value in [*range(50), *range(50)]:
                mask = masks.of(connection, 1, parse_filter({"a": {"$gt": value}}), numbers)
                assert int(np.count_nonzero(mask)) == rows - 1 - value
                assert masks.nbytes <= masks.limit
            masks.clear()
            long = masks.of(connection, 1, parse_filter({"a": {"$in": list(range(250))}}), numbers)
        assert (int(np.count_nonzero(long)), masks.nbytes) == (250, 0)


@pytest.mark.parametrize("numbers", [[], [5], [3, 4, 5, 6], [1, 4, 9]])
def test_positions_are_those_of_present_numbers(numbers: list[int]) -> None:
    """Positions are right with and without gaps."""
    stored = np.array(numbers, dtype=np.int64)
    searched = np.arange(-1, 12)
    np.testing.assert_array_equal(positions_of(searched, stored), np.flatnonzero(np.isin(stored, searched)))


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 1000, 10_007])
@pytest.mark.parametrize("k", [0, 1, 3, 10, 200])
def test_the_best_equal_those_of_a_full_sort(rows: int, k: int) -> None:
    """Equal scores keep their order, with and without groups."""
    for levels in (3, 1000):
        scores = np.random.default_rng(rows).integers(0, levels, rows).astype(np.float32)
        np.testing.assert_array_equal(_best(scores, k).positions, top_k(scores, k))


@pytest.mark.parametrize(("threads", "count"), [("1", 1), ("2", 1), ("1", 3), ("", 1)])
def test_products_are_always_the_same(monkeypatch: pytest.MonkeyPatch, threads: str, count: int) -> None:
    """Products do not depend on the threads of OpenBLAS and the number of queries."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
    random = np.random.default_rng(0)
    vectors, rows = (random.standard_normal((n, 513)).astype(np.float32) for n in (count, 100))
    exact, sizes = vectors.astype(np.float64) @ rows.T, np.abs(vectors).astype(np.float64) @ np.abs(rows).T
    # The error of a sum of 513 products, in any order, is below 513 times the rounding error of the sum of magnitudes.
    assert (np.abs(products(vectors, rows) - exact) <= 513 * np.finfo(np.float32).eps * sizes).all()
