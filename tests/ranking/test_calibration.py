"""Calibration: what is learned from a few labelled queries, compared with the best possible decision."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from langchain_gemini_mm import LocalVectorStore, Query
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.ranking import LabelledQuery, acalibrate, calibrate
from langchain_gemini_mm.ranking.calibration import Example, fit
from scripts.compare_rankings import confidence, ndcg, quality
from scripts.ranking_overlaps import Overlap, balanced, best_threshold, known
from scripts.ranking_worlds import World, made
from tests.ranking.conftest import GivenEmbeddings, add_answer, fill, ids_of, ranked_flow

ASKED = [f"query {letter}" for letter in "abcdefghij"]
LABELS = [
    LabelledQuery(name, [f"answer {name}"] if place % 2 == 0 else [], modality="text")
    for place, name in enumerate(ASKED)
]


@pytest.fixture
def answered(store: LocalVectorStore) -> LocalVectorStore:
    """A store in which every other query has an answer, half of them audio."""
    for place, name in enumerate(ASKED):
        if place % 2 == 0:
            add_answer(store, f"answer {name}", name, "audio" if place % 4 == 0 else "text", strength=0.7)
    return store


async def test_six_labelled_queries_are_enough(answered: LocalVectorStore, drive: Any) -> None:
    """After calibration, other queries find their answer, or nothing where there is none."""
    learned = await acalibrate(answered, LABELS[:6])
    assert (learned.queries, learned.unanswered, learned.relevant) == (6, 3, 3)
    for label in LABELS[6:]:
        hits = await drive(ranked_flow(answered, label.query, 3, ranking="calibrated", min_confidence=0.5))
        assert ids_of(hits[:1]) == list(label.relevant)
        for hit in hits:
            assert hit.score_kind == "probability"
            assert 0 <= hit.score <= 1
            assert 0.5 <= (hit.confidence or 0) <= 1


def test_it_is_stored_and_small(answered: LocalVectorStore, tmp_path: Any) -> None:
    """Another store object uses the stored calibration, which has numbers and the embedding space."""
    learned = calibrate(answered, LABELS)
    stored = answered.get_info("ranking_calibration")
    assert len(json.dumps(stored)) < 5000
    assert stored["fingerprint"] == answered.space.fingerprint
    assert calibrate(answered, LABELS) == learned
    with LocalVectorStore(tmp_path / "index.db", GivenEmbeddings()) as other:
        fill(other, {"text": 20, "image": 20})
        other.set_info("ranking_calibration", stored)
        assert run(ranked_flow(other, "a", 1, ranking="calibrated"))[0].score_kind == "probability"


@pytest.mark.parametrize(
    ("labelled", "error", "message"),
    [
        pytest.param([], ValueError, "of 0 labelled queries none", id="nothing"),
        pytest.param([LabelledQuery("a", [])], ValueError, "of 1 labelled queries none", id="no answers"),
        pytest.param([LabelledQuery("a", ["nobody"])], ContentError, "not stored: 'nobody'", id="unknown"),
        pytest.param(["a"], TypeError, r"holds LabelledQuery\(query, relevant\), got str", id="no label"),
    ],
)
def test_what_is_refused(store: LocalVectorStore, labelled: Any, error: type[Exception], message: str) -> None:
    """Labels without a relevant document, or with unknown ids, are refused."""
    with pytest.raises(error, match=message):
        calibrate(store, labelled)


def test_a_calibration_without_unanswered_queries_works(answered: LocalVectorStore) -> None:
    """Without unanswered queries, the best irrelevant documents show the scores of noise."""
    calibrate(answered, [label for label in LABELS if label.relevant][:4])
    assert run(ranked_flow(answered, ASKED[9], 3, ranking="calibrated", min_confidence=0.5)) == []
    assert len(run(ranked_flow(answered, ASKED[8], 3, ranking="calibrated", min_confidence=0.5))) == 1


def test_queries_by_stored_documents_are_ranked(answered: LocalVectorStore) -> None:
    """A pair of modalities without labels uses the shared weights."""
    calibrate(answered, LABELS)
    hits = run(ranked_flow(answered, Query(like=["answer query a"]), 3, ranking="calibrated"))
    assert len(hits) == 3


def test_a_modality_that_never_matches_is_less_probable() -> None:
    """With equal scores, a modality that was relevant before is more probable."""
    dice = np.random.default_rng(0)
    examples = [
        Example(query, f"text>{modality}", 0.5, float(dice.normal(4 if right else 2, 0.5)), right)
        for query in range(10)
        for modality in ("text", "image")
        for right in ((True, False) if modality == "text" else (False, False))
    ]
    learned = fit(examples, queries=10, unanswered=0, relevant=10)
    assert learned.logit("text>text", 0.5, 3.5) > learned.logit("text>image", 0.5, 3.5) + 0.5
    assert learned.probability(learned.logit("text>text", 0.5, 6.0)) > 0.9


@pytest.mark.parametrize("right", [True, False])
def test_examples_of_one_class(right: bool) -> None:
    """All examples may be relevant, or none."""
    examples = [Example(query, "text>text", 0.5, 3.0 + query / 10, right) for query in range(4)]
    learned = fit(examples, queries=4, unanswered=0, relevant=4)
    assert np.isfinite([learned.logit("text>text", 0.5, 3.0), learned.confidence(0.0)]).all()


def test_rankings_are_fair_on_made_up_vectors() -> None:
    """With a large modality gap, normalized and calibrated rankings find much more than raw and fused ones."""
    found = quality(made(World(name="far", gap=1.0, queries=50), seed=3))
    assert found["normalized"] > found["raw"] + 0.2
    assert found["normalized"] > found["fused"] + 0.05
    assert found["calibrated"] > found["fused"] + 0.05


def test_fair_rankings_cost_little_where_raw_is_fair() -> None:
    """Without a modality gap, normalized and calibrated rankings lose at most two points against raw."""
    found = quality(made(World(name="no gap", gap=0.0, queries=50), seed=3))
    assert found["normalized"] > found["raw"] - 0.02
    assert found["calibrated"] > found["raw"] - 0.02


def test_confidence_comes_near_what_is_possible() -> None:
    """The balanced accuracy of confidence is within two points of the best possible decision."""
    modalities = {"text": (0.35, 0.02), "image": (0.15, 0.015)}
    rows = [
        confidence(known(Overlap(name="", distance=distance, modalities=modalities, queries=160), seed))
        for distance, seed in ((5, 1), (6, 2))
    ]
    best, learned = (float(np.mean([row[name] for row in rows])) for name in ("best possible", "calibrated, 20"))
    assert learned > best - 0.02
    assert float(np.mean([row["best cosine"] for row in rows])) < learned - 0.05


def test_measures() -> None:
    """nDCG, balanced accuracy and the best threshold are computed correctly."""
    assert ndcg(["a", "b", "c"], {"a": 2.0, "b": 1.0}) == 1.0
    assert ndcg(["b", "a"], {"a": 2.0, "b": 1.0}) == pytest.approx((1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3)))
    assert ndcg(["c"], {"a": 1.0}) == 0.0
    truth = {"a": True, "b": True, "c": False, "d": False}
    assert balanced({"a": True, "b": False, "c": False, "d": False}, truth) == 0.75
    assert best_threshold({"a": 3.0, "b": 1.0, "c": 2.0, "d": 0.0}, truth) == 0.75
    assert best_threshold({"a": 3.0, "b": 2.0, "c": 1.0, "d": 0.0}, truth) == 1.0
