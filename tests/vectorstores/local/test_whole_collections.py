"""Removing a collection, and reading all of one: linear with a filter, bounded with many queries."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.testing import png
from langchain_gemini_mm.vectorstores import LocalVectorStore, Query
from langchain_gemini_mm.vectorstores.local import scoring
from tests.vectorstores.contract_base import ids_of
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from pathlib import Path


def tables(path: Path) -> set[str]:
    """The names of all tables of a file."""
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def size_of(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


async def test_a_removed_collection_leaves_nothing(tmp_path: Path) -> None:
    """Rows, words, information and space are gone; other collections stay, and open stores follow."""
    path, media = tmp_path / "index.db", MediaStore.memory()
    mine, shared = media.put(png("mine")), media.put(png("shared"))
    with (
        LocalVectorStore(path, WordEmbeddings()) as store,
        LocalVectorStore(path, WordEmbeddings()) as reader,
        LocalVectorStore(path, WordEmbeddings(8, "other"), collection="other") as other,
    ):
        store.add_texts([f"{mine.markdown} {shared.markdown}", *(["secret words"] * 300)])
        store.set_info("calibration", {"a": 1})
        other.add_texts([f"kept {shared.markdown}"], ids=["kept"])
        assert len(reader.search("secret", k=3)) == 3
        before = size_of(tmp_path)
        await store.aremove(media=media)
        store.remove()
        for gone in (store, reader):
            assert gone.count() == 0
            assert gone.search("secret") == gone.search("secret", search_type="keyword") == []
            assert gone.get_info("calibration") is gone.get_info("fingerprint") is None
        assert size_of(tmp_path) < before
        assert b"secret" not in path.read_bytes()
        assert not {"keywords_1", "words_1"} & tables(path)
        assert mine not in media
        assert shared in media
        assert ids_of(other.search("kept")) == ["kept"]
        store.add_texts(["new"], ids=["new"])
        assert ids_of(reader.search("new", k=9)) == ids_of(store.search("new", k=9)) == ["new"]
        assert store.check().problems == ()


def test_a_new_collection_is_not_taken_for_a_removed_one(tmp_path: Path) -> None:
    """It has the number of the removed one, and as many changes."""
    path = tmp_path / "index.db"
    with LocalVectorStore(path, WordEmbeddings()) as store, LocalVectorStore(path, WordEmbeddings()) as reader:
        for text in ("old", "new"):
            store.add_texts([text], ids=[text])
            assert ids_of(reader.search("x", k=9)) == [text]
            store.remove()


def steps_of(store: LocalVectorStore, operation: Callable[[], object]) -> int:
    """How many thousands of steps SQLite takes for an operation that reads."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    store._database._reader.set_progress_handler(count, 1000)
    operation()
    store._database._reader.set_progress_handler(None, 1000)
    return steps


@pytest.mark.parametrize(
    "given",
    [
        {"modality": "text"},
        {"modality": {"$ne": "image"}},
        {"$or": [{"modality": "text"}, {"modality": "image"}]},
        {"n": {"$gte": 0}},
        {"modality": {"$exists": True}},
        {"$and": [{"modality": "text"}, {"half": 1}]},
    ],
    ids=str,
)
def test_iterating_with_a_filter_takes_linear_time(given: dict[str, Any]) -> None:
    """Four times as many documents take about four times as many steps."""
    steps = []
    for count in (1000, 4000):
        with LocalVectorStore(":memory:", WordEmbeddings(2)) as store:
            store.add_vectors(
                (
                    Document("x", id=f"{i:05}", metadata={"modality": "text", "n": i, "half": i % 2})
                    for i in range(count)
                ),
                ([1.0, i] for i in range(count)),
                batch_size=4000,
            )
            found = [doc.id for doc in store.iterate(filter=given, batch_size=40)]
            expected = [f"{i:05}" for i in range(count) if i % 2 or "$and" not in given]
            assert found == expected
            assert [id_ for ids, _ in store.vectors(filter=given, batch_size=40) for id_ in ids] == expected
            steps.append(steps_of(store, lambda: list(store.iterate(filter=given, batch_size=40))))
    assert steps[1] < 7 * steps[0]


def test_iterating_with_a_filter_while_documents_change(tmp_path: Path) -> None:
    """Documents that nobody adds or deletes are read exactly once, whatever happens to others."""
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings()) as store:
        ids = [f"{i:04}" for i in range(200)]
        store.add_documents(Document("x", id=id_, metadata={"k": 1, "n": i}) for i, id_ in enumerate(ids))
        for given in ({"k": 1}, {"n": {"$lt": 50}}):
            seen = []
            for document in store.iterate(filter=given, batch_size=7):
                seen.append(document.id)
                store.update_metadata([ids[10]], {"z": len(seen)})
                store.add_texts(["y"], [{"k": 1, "n": 0}], ids=["0000a"])
                store.delete(["0000a"])
            assert [id_ for id_ in seen if id_ != "0000a"] == [id_ for id_ in ids if "k" in given or int(id_) < 50]


def test_many_queries_at_once_are_scored_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the first call after opening, when nothing is loaded."""
    path, count = tmp_path / "index.db", 4000
    with LocalVectorStore(path, WordEmbeddings(8)) as store:
        vectors = np.random.default_rng(0).standard_normal((count, 8))
        store.add_vectors([Document("x") for _ in range(count)], vectors)
    monkeypatch.setattr(scoring, "SCORES_AT_ONCE", 10 * count)
    peaks = []
    for number in (20, 400):
        queries = [Query(*[f"text {i}"]) for i in range(number)]
        with LocalVectorStore(path, WordEmbeddings(8)) as store:
            tracemalloc.start()
            hits = store.search_many(queries, k=1)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert [ids_of(found) for found in hits[:5]] == [ids_of(store.search(query, k=1)) for query in queries[:5]]
    assert peaks[1] < peaks[0] + 2_000_000  # not 380 times 16 kB of scores
