"""The background of a collection: what is stored, its size, and when it is drawn again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from langchain_gemini_mm import LocalVectorStore
from langchain_gemini_mm.flows import run
from langchain_gemini_mm.ranking import asample_background, sample_background
from langchain_gemini_mm.ranking.background import INFO_KEY, Background, background_flow
from langchain_gemini_mm.vectorstores.local.backend import LocalBackend
from tests.ranking.conftest import GivenEmbeddings, fill

if TYPE_CHECKING:
    from pathlib import Path


def sampled(background: Background) -> dict[str, int]:
    """Return the number of sampled documents of each modality."""
    return {modality: len(sample.ids) for modality, sample in background.samples.items()}


def stored_ids(store: LocalVectorStore) -> dict[str, list[str]]:
    """Return the stored ids."""
    return {modality: sample["ids"] for modality, sample in store.get_info(INFO_KEY)["kinds"].items()}


async def test_samples_are_drawn_of_each_modality(store: LocalVectorStore) -> None:
    """The sample has the requested size where there are enough documents; the async twin draws the same."""
    assert sample_background(store) == {"text": 250, "image": 100, "audio": 20, "other": 10}
    assert sample_background(store, per_modality=30) == {"text": 30, "image": 30, "audio": 20, "other": 10}
    first = stored_ids(store)
    assert await asample_background(store, per_modality=30) == {"text": 30, "image": 30, "audio": 20, "other": 10}
    assert stored_ids(store) == first
    sample_background(store, per_modality=30, seed=2)
    assert stored_ids(store) != first


def test_a_sample_is_spread_over_the_collection(store: LocalVectorStore) -> None:
    """The sample is not taken from one end of the order of ids."""
    sample_background(store, per_modality=50)
    numbers = sorted(int(id_.removeprefix("text-")) for id_ in stored_ids(store)["text"])
    assert numbers[0] < 40
    assert numbers[-1] > 260
    assert 110 < sum(numbers) / len(numbers) < 190


@pytest.mark.parametrize("count", [3, 60, 400])
def test_in_a_random_order_runs_are_drawn(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend whose order is random, as in Weaviate, each document is drawn at most once."""
    monkeypatch.setattr(LocalBackend, "ordered_by_hash", True)
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    fill(store, {"text": count, "image": 2})
    assert sample_background(store, per_modality=100) == {"text": min(count, 100), "image": 2}
    assert len(set(stored_ids(store)["text"])) == min(count, 100)


def test_only_ids_are_stored_and_few() -> None:
    """The stored JSON has less than 64 kB, however long the ids are."""
    store = LocalVectorStore(":memory:", GivenEmbeddings())
    fill(store, dict.fromkeys(("text", "image", "audio", "video", "pdf", "none"), 250), prefix="long " * 60)
    counts = sample_background(store)
    stored = store.get_info(INFO_KEY)
    assert len(json.dumps(stored).encode()) < 64_000
    assert all(count > 20 for count in counts.values())
    assert sorted(stored) == ["fingerprint", "format", "kinds", "per_modality", "seed"]


def test_it_is_made_once_and_read_by_others(tmp_path: Path) -> None:
    """Another store object on the same file reads the stored sample."""
    with LocalVectorStore(tmp_path / "index.db", GivenEmbeddings()) as store:
        fill(store, {"text": 300, "image": 300})
        run(background_flow(store.backend))
        made = stored_ids(store)
    with LocalVectorStore(tmp_path / "index.db", GivenEmbeddings()) as store:
        store.delete(["text-0"])
        found = run(background_flow(store.backend))
        assert stored_ids(store) == made
        assert sum(sampled(found).values()) >= 599


def drawn_again(store: LocalVectorStore, change: Any) -> bool:
    """Whether a new sample is drawn after a change."""
    run(background_flow(store.backend))
    before = store.get_info(INFO_KEY)
    change(store)
    run(background_flow(store.backend))
    return bool(store.get_info(INFO_KEY) != before)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda store: fill(store, {"text": 5}, prefix="new "), False, id="few more"),
        pytest.param(lambda store: fill(store, {"text": 900}, prefix="new "), True, id="many more"),
        pytest.param(lambda store: fill(store, {"audio": 60}, prefix="new "), True, id="many more of one modality"),
        pytest.param(lambda store: store.delete(["text-1"]), False, id="one gone"),
        pytest.param(lambda store: store.delete(filter={"modality": "image"}), True, id="a deleted modality"),
        pytest.param(lambda store: store.delete(filter={"number": {"$lt": 150}}), True, id="half gone"),
    ],
)
def test_it_is_drawn_again_after_large_changes(store: LocalVectorStore, change: Any, expected: bool) -> None:
    """A new sample is drawn after large changes, not for every document."""
    assert drawn_again(store, change) is expected


def test_it_is_drawn_again_after_everything_was_replaced(store: LocalVectorStore) -> None:
    """After `delete_all` the stored ids are not used any more."""

    def replace_all(store: LocalVectorStore) -> None:
        store.delete_all()
        fill(store, {"text": 10, "image": 10}, prefix="new ")

    assert drawn_again(store, replace_all)
    assert sampled(run(background_flow(store.backend))) == {"text": 10, "image": 10}


@pytest.mark.parametrize(
    "stored",
    [
        {},
        [],
        "x",
        {"format": 99},
        {"format": 1, "fingerprint": {"model": "old"}},
        {"format": 1, "fingerprint": {"model": "given", "dimensions": 32}},
    ],
    ids=str,
)
def test_an_unreadable_background_is_drawn_again(store: LocalVectorStore, stored: Any) -> None:
    """A stored sample of another version or space, or an invalid one, is drawn again."""
    store.set_info(INFO_KEY, stored)
    assert sampled(run(background_flow(store.backend)))["text"] == 250
    assert store.get_info(INFO_KEY)["format"] == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [({"per_modality": 0}, ValueError), ({"seed": 1.5}, TypeError), ({"seed": True}, TypeError)],
    ids=str,
)
def test_what_is_refused(store: LocalVectorStore, options: Any, error: type[Exception]) -> None:
    """Sizes below 1 and seeds that are not ints are refused."""
    with pytest.raises(error):
        sample_background(store, **options)
