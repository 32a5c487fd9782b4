"""Near-duplicates equal those of brute force for any block size, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.analysis import (
    DuplicateGroup,
    DuplicatePair,
    Duplicates,
    afind_duplicates,
    find_duplicates,
    stored_vectors,
)
from langchain_gemini_mm.vectors import unit_rows
from tests.analysis.stores import both, random_rows, store_of_rows
from tests.vectorstores.fakes import WordEmbeddings

VECTORS = st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any), min_size=1, max_size=24)


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest) -> Callable[..., Duplicates]:
    """`find_duplicates`, or its async twin."""
    return both(find_duplicates, afind_duplicates, request.param)


def brute_force(rows: np.ndarray, threshold: float) -> tuple[set[frozenset[str]], set[tuple[str, str]]]:
    """Groups and pairs by brute force."""
    close = rows @ rows.T >= threshold
    pairs = {(i, j) for i in range(len(rows)) for j in range(i + 1, len(rows)) if close[i, j]}
    groups = [{i} for i in range(len(rows))]
    for i, j in pairs:
        one = next(group for group in groups if i in group)
        other = next(group for group in groups if j in group)
        if one is not other:
            groups.remove(other)
            one |= other
    names = {frozenset(f"d{i:02}" for i in group) for group in groups if len(group) > 1}
    return names, {(f"d{i:02}", f"d{j:02}") for i, j in pairs}


@given(vectors=VECTORS, threshold=st.sampled_from([0.0, 0.3, 0.65, 0.85, 1.0]), block=st.integers(1, 9))
def test_the_result_equals_brute_force(vectors: list[list[int]], threshold: float, block: int) -> None:
    """Groups, pairs and counts are right for any block size; vectors are far enough from the threshold for rounding."""
    rows = unit_rows(vectors).astype(np.float64)
    away = np.abs(rows @ rows.T - threshold)
    # A threshold that is equal to a similarity is increased slightly.
    threshold += 1e-4 if away.min() < 1e-4 and threshold < 1 else 0
    groups, pairs = brute_force(rows, min(threshold, 1 - 1e-5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_vectors, "BLOCK_ROWS", block)
        found = find_duplicates(store_of_rows(vectors), threshold=threshold)
    assert {frozenset(group.ids) for group in found.groups} == groups
    assert {(pair.first, pair.second) for pair in found.pairs} == pairs
    assert (found.pair_count, found.compared) == (len(pairs), len(rows))


def test_groups_keep_one(find: Callable[..., Duplicates]) -> None:
    """The representative has the most near-duplicates; ties go to the first; nothing is embedded."""
    angles = np.radians([0, 10, 20, 90, 180, 180])
    store = store_of_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    found = find(store, threshold=float(np.cos(np.radians(12))))
    assert found.groups == (DuplicateGroup("d01", ("d01", "d00", "d02")), DuplicateGroup("d04", ("d04", "d05")))
    assert found.others == ["d00", "d02", "d05"]
    assert found.pairs[0] == DuplicatePair("d04", "d05", 1.0)
    assert [pair.similarity for pair in found.pairs[1:]] == pytest.approx([np.cos(np.radians(10))] * 2)
    assert store.space.embedding.calls == []  # type: ignore[union-attr]


def test_filters_and_modalities(find: Callable[..., Duplicates]) -> None:
    """Only documents that match are compared."""
    metadata = [{"modality": modality, "year": year} for modality in ("image", "text") for year in (1, 2)]
    store = store_of_rows([[1, 0]] * 4, metadata)
    assert find(store).pair_count == 6
    assert find(store, filter={"year": 1}).pairs == (DuplicatePair("d00", "d02", 1.0),)
    assert find(store, modalities=["text"]).pairs == (DuplicatePair("d02", "d03", 1.0),)
    assert find(store, modalities=["text"], filter={"year": 1}).compared == 1


def test_an_empty_store_has_none(find: Callable[..., Duplicates]) -> None:
    """An empty store has no duplicates."""
    empty = LocalVectorStore(":memory:", WordEmbeddings())
    assert find(empty) == Duplicates((), (), 0, 0)


def test_the_best_pairs_are_kept(find: Callable[..., Duplicates], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the best pairs are kept; count and groups include all of them."""
    monkeypatch.setattr(stored_vectors, "BLOCK_ROWS", 7)
    rows = random_rows(30, 3)
    everything, best = (find(store_of_rows(rows), threshold=0.2, max_pairs=n) for n in (1000, 10))
    assert best.pairs == everything.pairs[:10]
    assert (best.groups, best.pair_count) == (everything.groups, everything.pair_count)


def test_equal_vectors() -> None:
    """In the worst case, where every pair is a near-duplicate, there is one group and memory stays bounded."""
    found = find_duplicates(store_of_rows(np.ones((3000, 2)), ids=[f"x{n:05}" for n in range(3000)]), max_pairs=5)
    assert (found.pair_count, len(found.groups), len(found.others)) == (3000 * 2999 // 2, 1, 2999)
    assert found.groups[0].representative == "x00000"


def test_progress_counts_documents(find: Callable[..., Duplicates], monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is reported after each block, up to the number of documents."""
    monkeypatch.setattr(stored_vectors, "BLOCK_ROWS", 4)
    reported: list[int] = []
    find(store_of_rows(random_rows(10, 3)), progress=reported.append)
    assert reported == [4, 8, 10]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        pytest.param({"threshold": 1.5}, ValueError, "from 0 to 1, got 1.5", id="above 1"),
        pytest.param({"threshold": float("nan")}, ValueError, "got nan", id="nan"),
        pytest.param({"threshold": "high"}, TypeError, "got 'high'", id="a word"),
        pytest.param({"max_pairs": 0}, ValueError, "max_pairs", id="no pairs"),
        pytest.param({"modalities": "image"}, TypeError, r"write modalities=\['image'\]", id="modality as a str"),
        pytest.param({"modalities": []}, ValueError, "modalities is empty", id="no modality"),
        pytest.param({"modalities": ["imag"]}, ValueError, r"no modality 'imag' .*Did you mean 'image'\?", id="a typo"),
        pytest.param({"filter": lambda _: True}, TypeError, "filter must be a dict", id="a function"),
    ],
)
def test_invalid_arguments_are_named(options: dict[str, Any], error: type[Exception], words: str) -> None:
    """The error names argument and value, before any vector is read."""
    with pytest.raises(error, match=words):
        find_duplicates(store_of_rows([[1, 0]]), **options)


@pytest.mark.parametrize("max_pairs", [1, 7, 60, 10_000])
@pytest.mark.parametrize("block", [5, 16, 100])
def test_many_copies_are_one_group_with_the_best_pairs(
    max_pairs: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more pairs than are kept, the most similar ones are, and of equal ones the first."""
    monkeypatch.setattr(stored_vectors, "BLOCK_ROWS", block)
    copies, others = [[1.0, 0.0, 0.0]] * 30, [[0.0, 1.0, 0.01 * i] for i in range(20)]
    rows = unit_rows([*copies, *others])
    found = find_duplicates(store_of_rows(rows.tolist()), threshold=0.99, max_pairs=max_pairs)
    groups, pairs = brute_force(rows.astype(np.float64), 0.99)
    assert {frozenset(group.ids) for group in found.groups} == groups
    assert found.pair_count == len(pairs)
    names = [f"d{i:02}" for i in range(len(rows))]
    similarity = rows @ rows.T
    ranked = sorted(pairs, key=lambda pair: (-similarity[names.index(pair[0]), names.index(pair[1])], pair))
    shown = [(pair.first, pair.second) for pair in found.pairs]
    assert len(shown) == min(max_pairs, len(pairs))
    assert set(shown[:30]) <= set(ranked)
    least = min(pair.similarity for pair in found.pairs)
    assert least >= similarity[names.index(ranked[len(shown) - 1][0]), names.index(ranked[len(shown) - 1][1])] - 1e-6
