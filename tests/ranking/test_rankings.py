"""The hits of ranked searches, for every ranking, sync and async."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from langchain_gemini_mm import LocalVectorStore, Query
from langchain_gemini_mm.errors import FilterError, SpaceMismatchError
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.ranking import LabelledQuery, calibrate
from langchain_gemini_mm.ranking.search import default_ranking_flow, plan_ranking
from tests.ranking.conftest import (
    GivenEmbeddings,
    add_answer,
    by_modality_flow,
    fill,
    ids_of,
    query_vector,
    ranked_flow,
)

FILTERS: list[Any] = [
    pytest.param({}, id="nothing"),
    pytest.param({"filter": {"number": {"$lt": 7}}}, id="filter"),
    pytest.param({"filter": lambda document: document.metadata["number"] % 2 == 0}, id="function"),
    pytest.param({"score_threshold": 0.3}, id="threshold"),
]


def brute(store: LocalVectorStore, query: str) -> dict[str, float]:
    """Compute every score."""
    return {
        id_: float(score)
        for ids, rows in store.vectors()
        for id_, score in zip(ids, rows @ query_vector(query), strict=True)
    }


def ranked(store: LocalVectorStore, query: Any, k: int = 5, ranking: str | None = "normalized", **options: Any) -> Any:
    """Run a ranked search."""
    return run(ranked_flow(store, query, k, ranking=ranking, **options))


@pytest.mark.parametrize("options", FILTERS)
async def test_each_modality_is_a_filtered_search(store: LocalVectorStore, drive: Any, options: dict[str, Any]) -> None:
    """`by_modality` finds in each modality what a search with that filter finds."""
    found = await drive(by_modality_flow(store, Query("a", like=["text-1"]), 3, **options))
    alone = LocalVectorStore(":memory:", GivenEmbeddings())
    for modality, hits in found.items():
        restriction = {"modality": None if modality == "other" else modality}
        given = options.get("filter")
        both = given if given is None or callable(given) else {"$and": [given, restriction]}
        if callable(given):
            both = lambda document, restriction=restriction, given=given: (  # noqa: E731
                document.metadata.get("modality") == restriction["modality"] and given(document)
            )
        expected = store.search(Query("a", like=["text-1"]), 3, **{**options, "filter": both or restriction})
        assert [(hit.document, hit.rank, hit.score_kind) for hit in hits] == [
            (hit.document, hit.rank, "cosine") for hit in expected
        ]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    assert list(found) == [modality for modality in ("text", "image", "audio", "other") if modality in found]
    alone.close()


async def test_requested_modalities_are_in_the_result(store: LocalVectorStore, drive: Any) -> None:
    """Requested modalities are in the result, in that order, also without hits."""
    found = await drive(by_modality_flow(store, "a", 1, modalities=["video", "image"]))
    assert {modality: len(hits) for modality, hits in found.items()} == {"video": 0, "image": 1}
    assert list(found) == ["video", "image"]


@pytest.mark.parametrize("options", FILTERS)
@pytest.mark.parametrize("ranking", ["raw", "normalized"])
async def test_hits_are_those_of_brute_force(
    store: LocalVectorStore, drive: Any, ranking: str, options: dict[str, Any]
) -> None:
    """Cosine similarities are exact, and the best five are the first five of all documents."""
    scores = brute(store, "a")
    few = await drive(ranked_flow(store, "a", 5, **options, ranking=ranking))
    everything = await drive(ranked_flow(store, "a", 1000, **options, ranking=ranking))
    assert ids_of(few) == ids_of(everything)[:5]
    assert [hit.cosine for hit in everything] == pytest.approx([scores[id_] for id_ in ids_of(everything)], abs=1e-5)
    assert len(everything) == len(store.search("a", 1000, **options))
    assert [hit.rank for hit in everything] == list(range(1, len(everything) + 1))
    assert [hit.score for hit in everything] == sorted((hit.score for hit in everything), reverse=True)
    assert {hit.score_kind for hit in everything} == {"cosine" if ranking == "raw" else "deviation"}
    assert all((hit.confidence is None) == (ranking == "raw") for hit in everything)


async def test_raw_is_the_search_of_the_store(store: LocalVectorStore, drive: Any) -> None:
    """Raw ranking with modalities is a search with that filter."""
    assert await drive(ranked_flow(store, "a", 3, ranking="raw")) == store.search("a", 3)
    only = await drive(ranked_flow(store, "a", 3, ranking="raw", modalities=["image", "audio"]))
    assert only == store.search("a", 3, filter={"modality": {"$in": ["image", "audio"]}})


async def test_an_answer_of_a_distant_modality_comes_first(store: LocalVectorStore, drive: Any) -> None:
    """Normalized ranking puts a matching audio clip before texts with higher similarities that do not match."""
    add_answer(store, "answer", "a", "audio", strength=0.6)
    raw = await drive(ranked_flow(store, "a", 1, ranking="raw"))
    fair = await drive(ranked_flow(store, "a", 1, ranking="normalized"))
    assert ids_of(raw) != ["answer"]
    assert ids_of(fair) == ["answer"]
    assert fair[0].score > 3
    assert fair[0].cosine == pytest.approx(brute(store, "a")["answer"], abs=1e-5)


def test_a_modality_of_one_document_can_be_found(store: LocalVectorStore) -> None:
    """The only document of a modality is not compared with itself."""
    add_answer(store, "film", "a", "video", strength=0.9)
    assert ids_of(ranked(store, "a", 1)) == ["film"]


@pytest.mark.parametrize("sizes", [{}, {"text": 1}, {"text": 1, "image": 1}, {"none": 2}], ids=str)
def test_tiny_collections_are_ranked(sizes: dict[str, int]) -> None:
    """All documents are found, and the confidence is 0 in a collection of one."""
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    fill(store, sizes)
    hits = ranked(store, "a", 5)
    assert len(hits) == sum(sizes.values())
    assert all(np.isfinite([hit.score, hit.confidence]).all() for hit in hits)
    if sum(sizes.values()) == 1:
        assert ranked(store, "a", 5, min_confidence=0.01) == []


def test_equal_documents_are_ranked() -> None:
    """Documents with equal vectors do not cause a division by zero."""
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    for number in range(5):
        add_answer(store, f"same-{number}", "a", "text")
    assert len(ranked(store, "a", 5)) == 5
    assert ranked(store, "a", 5, min_confidence=0.9) == []


def test_a_new_modality_is_found_at_once(store: LocalVectorStore) -> None:
    """A modality that was added after the background was drawn is found."""
    assert "film" not in ids_of(ranked(store, "a", 3))
    add_answer(store, "film", "a", "video")
    assert ids_of(ranked(store, "a", 1)) == ["film"]
    assert ids_of(ranked(store, "a", 1, modalities=["video"])) == ["film"]


def test_named_documents_are_left_out(store: LocalVectorStore) -> None:
    """A query by stored documents finds `k` other documents."""
    hits = ranked(store, Query(like=["image-3", "image-4"]), 5)
    assert len(hits) == 5
    assert not {"image-3", "image-4"} & set(ids_of(hits))


def test_a_document_of_two_modalities_is_listed_once() -> None:
    """A document of two modalities is listed once."""
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    fill(store, {"text": 5, "image": 5})
    store.update_metadata({"text-0": {"modality": ["text", "image"]}})
    assert sorted(ids_of(ranked(store, "a", 20))) == sorted(brute(store, "a"))


async def test_nothing_matches_is_an_empty_list(store: LocalVectorStore, drive: Any) -> None:
    """`min_confidence` leaves out noise and keeps an answer."""
    add_answer(store, "answer", "a", "audio")
    asked = {name: ranked_flow(store, name, 3, ranking="normalized", min_confidence=0.8) for name in ("a", "zz")}
    assert {name: ids_of(await drive(flow)) for name, flow in asked.items()} == {"a": ["answer"], "zz": []}


def test_rankings_do_not_depend_on_chance() -> None:
    """Two collections of the same documents give the same hits, in whatever order they were written."""
    first, second = (LocalVectorStore(":memory:", GivenEmbeddings()) for _ in range(2))
    fill(first, {"text": 400, "image": 250})
    documents = list(first.iterate())
    rows = {id_: row for ids, some in first.vectors() for id_, row in zip(ids, some, strict=True)}
    second.add_vectors(documents[::-1], [rows[str(document.id)] for document in documents[::-1]])
    seen = [[(hit.document.id, hit.confidence) for hit in ranked(store, "a", 50)] for store in (first, second)]
    assert [id_ for id_, _ in seen[0]] == [id_ for id_, _ in seen[1]]
    assert [sure for _, sure in seen[0]] == pytest.approx([sure for _, sure in seen[1]], abs=1e-4)


LABELS = [LabelledQuery("a", ["answer"]), LabelledQuery("b", [])]


@pytest.mark.parametrize(
    ("sizes", "options", "is_calibrated", "expected"),
    [
        pytest.param({"text": 9}, {}, False, "raw", id="one modality"),
        pytest.param({"text": 9}, {"min_confidence": 0.5}, False, "normalized", id="one modality, with a confidence"),
        pytest.param({"text": 9, "image": 9}, {}, False, "normalized", id="two modalities"),
        pytest.param({"text": 9, "none": 9}, {}, False, "normalized", id="one modality and others"),
        pytest.param({"text": 9, "image": 9}, {"modalities": ["image"]}, False, "raw", id="one asked for"),
        pytest.param({"text": 9, "image": 9}, {"modalities": ["image", "pdf"]}, False, "raw", id="one there"),
        pytest.param({"text": 9, "image": 9}, {}, True, "calibrated", id="calibrated"),
        pytest.param({}, {}, False, "raw", id="empty"),
    ],
)
async def test_default(
    sizes: dict[str, int], options: dict[str, Any], is_calibrated: bool, expected: str, drive: Any
) -> None:
    """By default one modality is ranked raw, several calibrated or normalized, as is any with a confidence."""
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    fill(store, sizes)
    if is_calibrated:
        add_answer(store, "answer", "a", "text")
        calibrate(store, LABELS)
    assert await drive(default_ranking_flow(plan_ranking(store.backend, **options))) == expected
    if sizes:
        score_kind = {"raw": "cosine", "normalized": "deviation", "calibrated": "probability"}[expected]
        hits = await drive(ranked_flow(store, "a", 1, ranking=None, **{**options, "min_confidence": None}))
        assert hits[0].score_kind == score_kind or options.get("min_confidence")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        pytest.param({"ranking": "fair"}, ValueError, "'raw', 'normalized', 'calibrated', got 'fair'", id="ranking"),
        pytest.param({"ranking": "raw", "min_confidence": 0.5}, ValueError, "Use score_threshold", id="raw"),
        pytest.param({"min_confidence": 1.5}, ValueError, "from 0 to 1, got 1.5", id="too sure"),
        pytest.param({"min_confidence": float("nan")}, ValueError, "from 0 to 1", id="nan"),
        pytest.param({"min_confidence": True}, TypeError, "a number from 0 to 1, got True", id="not a number"),
        pytest.param({"ranking": "calibrated"}, ValueError, r"calibrate\(store", id="not calibrated"),
        pytest.param({"modalities": "image"}, TypeError, r"write modalities=\['image'\]", id="one modality"),
        pytest.param({"modalities": []}, ValueError, "modalities is empty", id="no modality"),
        pytest.param(
            {"modalities": ["picture"]}, ValueError, r"there is no modality 'picture' \(modalities: text", id="unknown"
        ),
        pytest.param(
            {"search_type": "mmr"}, ValueError, "search_type='similarity', got search_type='mmr'", id="search type"
        ),
        pytest.param({"fliter": {}}, TypeError, "Did you mean 'filter'", id="option"),
        pytest.param({"filter": {"a": {"$foo": 1}}}, FilterError, "unknown operator", id="filter"),
        pytest.param({"k": 0}, ValueError, "k must be", id="k"),
    ],
)
def test_what_is_refused(store: LocalVectorStore, given: dict[str, Any], error: type[Exception], message: str) -> None:
    """Wrong options are refused by name before anything is embedded."""
    with pytest.raises(error, match=message):
        ranked(store, "a", **given)


def test_a_calibration_of_another_space_is_refused(store: LocalVectorStore) -> None:
    """A calibration of another embedding space is refused."""
    add_answer(store, "answer", "a", "text")
    calibrate(store, LABELS)
    store.set_info("ranking_calibration", {**store.get_info("ranking_calibration"), "fingerprint": {"model": "old"}})
    other = LocalVectorStore(":memory:", GivenEmbeddings())
    fill(other, {"text": 5, "image": 5})
    other.set_info("ranking_calibration", store.get_info("ranking_calibration"))
    with pytest.raises(SpaceMismatchError, match="calibration of the ranking"):
        ranked(other, "a", ranking="calibrated")
    assert run(default_ranking_flow(plan_ranking(other.backend))) == "normalized"
