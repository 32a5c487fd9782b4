"""Confidence of the normalized ranking, whatever share of a collection matches, and after its vectors have changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import LocalVectorStore, MultimodalRetriever
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.ranking.background import background_flow
from langchain_gemini_mm.ranking.normalize import compare
from tests.ranking.conftest import GivenEmbeddings, query_vector

if TYPE_CHECKING:
    from pathlib import Path

QUERY = "q"


def with_cosines(cosines: Any, dice: np.random.Generator) -> Any:
    """Draw unit vectors with these cosine similarities to the query."""
    axis = query_vector(QUERY)
    rows = dice.standard_normal((len(cosines), len(axis)))
    rows -= np.outer(rows @ axis, axis)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.outer(cosines, axis) + np.sqrt(1 - cosines**2)[:, None] * rows


def refill(store: LocalVectorStore, cosines: Any, seed: int = 0) -> None:
    """Store texts and images in turn with these cosine similarities, under the same ids each time."""
    documents = [
        Document(page_content=f"d{i}", metadata={"modality": "image" if i % 2 else "text"}) for i in range(len(cosines))
    ]
    rows = with_cosines(cosines, np.random.default_rng(seed))
    store.add_vectors(documents, rows, ids=[f"d{i}" for i in range(len(cosines))])


def collection(size: int, matching: int, seed: int) -> MultimodalRetriever:
    """Make a collection of which some documents match the query, 8 to 10 standard deviations above the others."""
    dice = np.random.default_rng(seed)
    cosines = 0.3 + 0.04 * dice.standard_normal(size)
    cosines[:matching] = 0.66 + 0.02 * dice.standard_normal(matching)
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    refill(store, cosines, seed)
    return MultimodalRetriever(store=store, k=size)


@pytest.mark.parametrize("size", [30, 100, 600])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.09, 0.11, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6])
def test_confidence_does_not_depend_on_the_share_that_matches(size: int, share: float) -> None:
    """From one document to 60 % of the collection, exactly those that match have a confidence of one half."""
    matching = 0 if share == 0 else max(1, round(share * size))
    hits = collection(size, matching, seed=round(size + 1000 * share)).search(
        QUERY, ranking="normalized", min_confidence=0.5
    )
    found = {hit.document.id for hit in hits}
    assert {f"d{i}" for i in range(matching)} <= found
    assert len(found) <= matching + 1  # the best of many that do not match exceeds one half for one query in six


@pytest.mark.parametrize("size", [20, 60, 200, 1000])
def test_one_group_of_scores_is_not_split(size: int) -> None:
    """Normal, skew and even scores without an answer are taken for one group in practically every collection."""
    dice = np.random.default_rng(size)
    draws = (dice.standard_normal, lambda n: dice.gumbel(size=n) * 0.78, lambda n: (dice.random(n) - 0.5) * 3.4)
    split = 0
    for number in range(60):
        store = LocalVectorStore(":memory:", GivenEmbeddings())
        refill(store, 0.3 + 0.04 * draws[number % 3](size), number)
        compared = compare(run(background_flow(store.backend)), query_vector(QUERY))
        split += any(math.isfinite(level.limit) for level in compared.levels.values())
    assert split <= 1


def test_the_background_follows_changes_at_once() -> None:
    """Documents replaced under the same ids, or deleted and added again, are compared with what they are now."""
    dice = np.random.default_rng(1)
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    retriever = MultimodalRetriever(store=store, k=5)
    for level in (0.3, 0.6, 0.8):
        if level == 0.8:
            store.delete_all()
        refill(store, np.clip(level + 0.03 * dice.standard_normal(400), -1, 1))
        assert max(hit.confidence or 0 for hit in retriever.search(QUERY, ranking="normalized")) < 0.95
        first = run(background_flow(store.backend))
        assert run(background_flow(store.backend)) is first


def test_another_store_object_sees_changes(tmp_path: Path) -> None:
    """Two objects on one file, as in two processes: what one replaces, the other compares with."""
    dice = np.random.default_rng(2)
    with (
        LocalVectorStore(tmp_path / "index.db", GivenEmbeddings()) as writer,
        LocalVectorStore(tmp_path / "index.db", GivenEmbeddings()) as reader,
    ):
        retriever = MultimodalRetriever(store=reader, k=5)
        for level in (0.3, 0.6):
            refill(writer, level + 0.03 * dice.standard_normal(400))
            assert max(hit.confidence or 0 for hit in retriever.search(QUERY, ranking="normalized")) < 0.95


@pytest.mark.parametrize("copies", [1, 2, 5])
@pytest.mark.parametrize("texts", [1, 10, 40])
def test_copies_of_what_is_asked_are_found_first(copies: int, texts: int) -> None:
    """A few images that are all copies of the query do not become their own background."""
    dice = np.random.default_rng(copies)
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    modalities = ["image"] * copies + ["text"] * texts
    documents = [Document(page_content=f"d{i}", metadata={"modality": name}) for i, name in enumerate(modalities)]
    cosines = np.concatenate([np.full(copies, 1 - 1e-6), 0.15 - 0.02 * dice.random(texts)])
    store.add_vectors(documents, with_cosines(cosines, dice), ids=[f"d{i}" for i in range(len(documents))])
    retriever = MultimodalRetriever(store=store, k=copies)
    assert {hit.document.id for hit in retriever.search(QUERY, ranking="normalized")} == {
        f"d{i}" for i in range(copies)
    }
    if texts > 1:
        found = retriever.search(QUERY, min_confidence=0.5)
        assert {hit.document.id for hit in found} == {f"d{i}" for i in range(copies)}


def test_rounding_does_not_change_a_deviation() -> None:
    """Stores round the score of a document differently; the highest one below copies of the query is no exception."""
    dice = np.random.default_rng(0)
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    refill(store, np.concatenate([0.2 + 0.1 * dice.random(20), np.ones(2)]))
    compared = compare(run(background_flow(store.backend)), query_vector(QUERY))
    for level in compared.levels.values():
        highest = level.mean + 2 * level.spread
        assert highest < level.limit < 1.0
    (hit,) = store.search(QUERY, k=3)[2:]
    level = compared.levels[hit.document.metadata["modality"]]
    deviations = [level.deviation(hit.score + error, is_sampled=True) for error in (-1e-6, 0.0, 1e-6)]
    assert np.ptp(deviations) < 1e-4
