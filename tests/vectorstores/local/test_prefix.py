"""Searching by prefixes: results, when prefixes are used, and memory."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.flows import run
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.vectors import unit_rows
from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.backend import VectorRequest
from langchain_gemini_mm.vectorstores.local.backend import LocalBackend
from langchain_gemini_mm.vectorstores.local.database import Database
from langchain_gemini_mm.vectorstores.local.prefix import PrefixPlan, Recall, exact_scores, prefix_rows, shares
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DIMENSIONS = 64
ROWS = 1200


def decaying(rows: int = ROWS, seed: int = 0) -> Vectors:
    """Vectors whose first values have the largest magnitude, as those of Matryoshka embeddings."""
    weights = np.arange(1, DIMENSIONS + 1) ** -1.0
    return unit_rows(np.random.default_rng(seed).standard_normal((rows, DIMENSIONS)) * weights)


def flat(rows: int = ROWS) -> Vectors:
    """Vectors whose prefixes contain no information: the first halves are nearly equal."""
    vectors = np.random.default_rng(1).standard_normal((rows, DIMENSIONS))
    vectors[:, : DIMENSIONS // 2] *= 0.01
    return unit_rows(vectors)


def documents(rows: int = ROWS) -> list[Document]:
    """One document for each vector."""
    return [
        Document(id=f"{i:04}", page_content=f"text {i}", metadata={"half": i % 2, "few": i % 60}) for i in range(rows)
    ]


def opened(path: Any, **options: Any) -> LocalVectorStore:
    """A store with these vectors."""
    return LocalVectorStore(path, WordEmbeddings(size=DIMENSIONS), **options)


def answers(store: LocalVectorStore, queries: Vectors, **options: Any) -> list[list[tuple[str | None, float]]]:
    """Ids and rounded scores of hits."""
    return [
        [(hit.document.id, round(hit.score, 4)) for hit in store.search_by_vector(query, **options)]
        for query in queries
    ]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"k": 10}, id="as it is"),
        pytest.param({"k": 30}, id="more than a few"),
        pytest.param({"k": 10, "filter": {"half": 1}}, id="half"),
        pytest.param({"k": 10, "filter": {"few": 7}}, id="few"),
        pytest.param({"k": 10, "filter": {"few": {"$ne": 7}}}, id="most"),
        pytest.param({"k": 10, "score_threshold": 0.5}, id="threshold"),
        pytest.param({"k": 5, "search_type": "mmr", "fetch_k": 25, "lambda_mult": 0.3}, id="mmr"),
        pytest.param({"k": 4, "filter": lambda document: document.metadata["few"] == 3}, id="function"),
    ],
)
def test_prefixes_find_the_same_as_whole_vectors(tmp_path: Path, options: dict[str, Any]) -> None:
    """For vectors with large first values; scores are cosine similarities of whole vectors."""
    with opened(tmp_path / "index.db", prefix=False) as whole, opened(tmp_path / "index.db", prefix=16) as short:
        whole.add_vectors(documents(), decaying())
        whole.delete([f"{i:04}" for i in range(0, ROWS, 7)])
        whole.add_vectors(documents(40), decaying(40, seed=5))
        queries = decaying(10, seed=2)
        assert answers(short, queries, **options) == answers(whole, queries, **options)


def test_only_prefixes_are_in_memory(tmp_path: Path) -> None:
    """The report says so, also after documents were added."""
    with opened(tmp_path / "index.db", prefix=16) as store:
        for start in range(0, ROWS, 400):
            store.add_vectors(documents()[start : start + 400], decaying()[start : start + 400])
            store.search("x")
            assert store.check_recall(sample=5).prefix == 16
        assert store.backend._matrix._rows.shape[1] == 16


@pytest.mark.slow
@pytest.mark.parametrize("candidates", [1, 5, 200])
def test_recall_is_measured_on_stored_vectors(tmp_path: Path, candidates: int) -> None:
    """Recall equals a comparison with an exact store; at least ten candidates are scored for each hit."""
    path = tmp_path / "index.db"
    with opened(path, prefix=False) as whole, opened(path, prefix=4, candidates=candidates) as short:
        whole.add_vectors(documents(), decaying())
        assert whole.check_recall(k=3) == Recall(recall=1.0, worst=1.0, sample=100, k=3, prefix=None)
        measured = short.check_recall(sample=ROWS, k=3)
        found = []
        for vector, document in zip(decaying(), documents(), strict=True):
            exact, tried = (
                [hit.document.id for hit in store.search_by_vector(vector, k=4) if hit.document.id != document.id][:3]
                for store in (whole, short)
            )
            found.append(len(set(exact) & set(tried)) / 3)
        assert (measured.sample, measured.k, measured.prefix) == (ROWS, 3, 4)
        assert measured.recall == pytest.approx(np.mean(found), abs=1e-3)
        assert measured.worst == pytest.approx(min(found), abs=1e-3)
        assert measured.recall < 1


async def test_recall_of_few_documents_is_one(tmp_path: Path) -> None:
    """Nothing can be missed; the async twin returns the same."""
    with opened(tmp_path / "index.db", prefix=4) as store:
        assert store.check_recall() == Recall(recall=1.0, worst=1.0, sample=0, k=10, prefix=None)
        store.add_vectors(documents(2), decaying(2))
        assert await store.acheck_recall(k=5) == Recall(recall=1.0, worst=1.0, sample=2, k=5, prefix=4)
        store.delete_all()
        assert store.check_recall().recall == 1.0


@pytest.mark.parametrize(
    ("vectors", "held"),
    [pytest.param(decaying(), 32, id="prefixes that suffice"), pytest.param(flat(), None, id="prefixes that do not")],
)
def test_a_large_collection_uses_sufficient_prefixes(
    tmp_path: Path, vectors: Vectors, held: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Prefixes are used automatically above a size; results are right before and after."""
    plan = PrefixPlan(None, 30, above=1000 * 4 * DIMENSIONS, default_prefix=32)
    path = tmp_path / "index.db"
    with opened(path, prefix=False) as store, caplog.at_level(logging.INFO):
        store.add_vectors(documents()[:900], vectors[:900])
        database = Database(path, 5.0)
        search = LocalBackend(store.space, database, "default", plan)
        for prefix in (None, held):
            for query in vectors[::100]:
                best, *_ = run(search.search_vectors(VectorRequest(vector=query, k=3)))
                assert best.score == pytest.approx(store.search_by_vector(query, k=1)[0].score, abs=1e-5)
            assert search.prefix == prefix
            store.add_vectors(documents()[900:], vectors[900:])
        database.close()
    assert ("whole vectors are held instead" in caplog.text) == (held is None)


def test_a_prefix_without_direction_is_found_by_its_rest(tmp_path: Path) -> None:
    """Leading zeros neither fail nor hide a row, if it is among the candidates."""
    vectors = np.eye(8, dtype=np.float32)
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings(size=8), prefix=4) as store:
        store.add_vectors(documents(8), vectors)
        assert [store.search_by_vector(vector, k=1)[0].document.id for vector in vectors] == [
            f"{i:04}" for i in range(8)
        ]


def test_a_prefix_longer_than_the_vectors_is_the_whole_vector(tmp_path: Path) -> None:
    """Nothing is lost, nothing is read again."""
    with opened(tmp_path / "index.db", prefix=256) as store:
        store.add_vectors(documents(50), decaying(50))
        assert store.check_recall(k=3) == Recall(recall=1.0, worst=1.0, sample=50, k=3, prefix=None)


def test_a_damaged_candidate_is_left_out(tmp_path: Path) -> None:
    """A vector that was truncated in the file is not found, the others are."""
    path = tmp_path / "index.db"
    with opened(path, prefix=16) as store:
        store.add_vectors(documents(10), decaying(10))
        store.search("x")
        with store._database.writing() as connection:
            connection.execute("UPDATE doc SET vector = x'00' WHERE id = '0003'")
        assert "0003" not in {hit.document.id for hit in store.search("x", k=10)}
        assert len(store.search("x", k=10)) == 9


def test_the_plan_is_pickled(tmp_path: Path) -> None:
    """The unpickled store uses prefixes, too."""
    with opened(tmp_path / "index.db", prefix=16, candidates=33) as store:
        store.add_vectors(documents(300), decaying(300))
        with pickle.loads(pickle.dumps(store)) as copy:
            copy.search("x")
            assert (copy.check_recall().prefix, copy.backend.plan) == (16, PrefixPlan(16, 33))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": 0}, "prefix is a number of dimensions such as 256, False for none, or None, got 0"),
        ({"prefix": True}, "got True"),
        ({"prefix": "256"}, "got '256'"),
        ({"candidates": 0}, "candidates must be at least 1, got 0"),
        ({"candidates": 2.5}, "got 2.5"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_bad_plans_are_refused(options: dict[str, Any], message: str) -> None:
    """Invalid plans are refused before anything is opened."""
    with pytest.raises(ValueError, match=message):
        opened(":memory:", **options)


@pytest.mark.parametrize("options", [{"sample": 0}, {"k": 0}])
def test_a_recall_of_no_documents_is_refused(options: dict[str, Any]) -> None:
    """Both numbers are at least one."""
    with opened(":memory:") as store, pytest.raises(ValueError, match="must be"):
        store.check_recall(**options)


def test_prefix_rows_have_unit_length() -> None:
    """Prefixes have unit length, except for zeros."""
    rows = prefix_rows(np.array([[3, 4, 5], [0, 0, 1]], dtype=np.float32), 2)
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0, 0]]), rtol=1e-6)
    assert rows.dtype == np.float32


def test_exact_scores_do_not_depend_on_batches() -> None:
    """The highest scores of all batches, ascending; -inf if there are fewer."""
    rows, queries = decaying(50), decaying(3, seed=9)
    expected = np.sort(queries @ rows.T, axis=1)
    for size in (1, 7, 50):
        batches = (rows[start : start + size] for start in range(0, 50, size))
        np.testing.assert_allclose(exact_scores(batches, queries, 4), expected[:, -4:], atol=1e-6)
    few = exact_scores([rows[:2]], queries, 4)
    assert np.isneginf(few[:, :2]).all()
    assert shares(few, [[1.0], [1.0, 1.0], []]) == [0.5, 1.0, 0.0]


GAP = 64
"""In which of the first numbers the vectors below differ between documents and queries."""


def with_gap(count: int, size: int = 512) -> tuple[Vectors, Vectors]:
    """Documents whose prefixes say which are near to each other, and queries whose prefixes are all the same.

    The vectors of two modalities may differ so.
    """
    random = np.random.default_rng(0)
    centres = random.standard_normal((count // 11 + 1, GAP))
    short = np.repeat(centres, 11, axis=0)[:count] + 0.01 * random.standard_normal((count, GAP))
    rest = random.standard_normal((count, size - GAP))
    rows = np.concatenate([0.714 * unit_rows(short), 0.7 * unit_rows(rest)], axis=1)
    other = np.tile(0.714 * unit_rows(random.standard_normal((1, GAP))), (50, 1))
    queries = np.concatenate([other, rows[: 50 * 7 : 7, GAP:]], axis=1)
    return unit_rows(rows), unit_rows(queries)


def test_recall_is_measured_with_queries_of_another_modality(tmp_path: Path) -> None:
    """Stored vectors as queries do not show what such queries miss."""
    rows, queries = with_gap(3000)
    table = {f"query {i}": query for i, query in enumerate(queries)}

    class Table(WordEmbeddings):
        """Vectors of known queries."""

        def embed(self, contents: Sequence[Any], *, role: Any = "document", task_type: str | None = None) -> Vectors:
            """Return the vectors of the queries."""
            del role, task_type
            return np.stack([table[str(content)] for content in contents])

    with LocalVectorStore(tmp_path / "index.db", Table(512), prefix=GAP) as store:
        store.add_vectors([Document(str(i)) for i in range(len(rows))], rows)
        assert store.check_recall(sample=50).recall == 1.0
        measured = store.check_recall(queries=table, k=10)
        assert measured.sample == 50
        assert measured.recall < 0.95
    with LocalVectorStore(tmp_path / "index.db", Table(512), prefix=False) as store:
        assert store.check_recall(queries=table).recall == 1.0


@pytest.mark.parametrize("apart", [False, True], ids=["the first query", "stored vectors of two modalities"])
def test_prefixes_are_not_used_for_queries_that_they_fail(tmp_path: Path, apart: bool) -> None:
    """The automatic choice is tested with the first queries, and with stored vectors across modalities."""
    rows, queries = with_gap(3000)
    stored, documents_ = rows, [Document(str(i), metadata={"modality": "image"}) for i in range(len(rows))]
    if apart:
        stored = np.concatenate([rows, *[queries] * 20])
        documents_ += [Document(f"q{i}", metadata={"modality": "text"}) for i in range(len(queries) * 20)]
    plan = PrefixPlan(None, 200, above=1000, default_prefix=GAP)
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings(512), prefix=False) as store:
        store.add_vectors(documents_, stored)
        database = Database(tmp_path / "index.db", 5.0)
        search = LocalBackend(store.space, database, "default", plan)
        asked = rows[:1] if apart else queries[:1]
        run(search.search_vectors(VectorRequest(vector=asked[0], k=10)))
        assert search.prefix is None
        database.close()


def test_prefixes_on_trial_are_given_up_for_later_queries(tmp_path: Path) -> None:
    """The first query is answered well, the following ones are not."""
    rows, queries = with_gap(3000)
    plan = PrefixPlan(None, 200, above=1000, default_prefix=GAP)
    with LocalVectorStore(tmp_path / "index.db", WordEmbeddings(512), prefix=False) as store:
        store.add_vectors([Document(str(i)) for i in range(len(rows))], rows)
        database = Database(tmp_path / "index.db", 5.0)
        search = LocalBackend(store.space, database, "default", plan)
        run(search.search_vectors(VectorRequest(vector=rows[0], k=10)))
        held, found = [search.prefix], []
        for query in queries[:31]:
            found = run(search.search_vectors(VectorRequest(vector=query, k=10)))
        held.append(search.prefix)
        assert held == [GAP, None]
        expected = store.search_by_vector(queries[30], k=10)
        assert [one.record.id for one in found] == [hit.document.id for hit in expected]
        database.close()


@pytest.mark.parametrize("prefix", [False, 32])
def test_half_precision_halves_memory_and_finds_the_same(tmp_path: Path, prefix: Any) -> None:
    """Scores are those of the vectors in the file; an old file needs no change."""
    path = tmp_path / "index.db"
    with opened(path, prefix=False) as whole, opened(path, prefix=prefix, precision="half") as half:
        whole.add_vectors(documents(), decaying())
        queries = decaying(10, seed=2)
        for options in ({"k": 10}, {"k": 10, "filter": {"few": 7}}, {"k": 5, "search_type": "mmr"}):
            assert answers(half, queries, **options) == answers(whole, queries, **options)
        assert half.backend._matrix._rows.itemsize == 2
        assert half.check_recall(k=5).recall == 1.0
        assert half.check_recall(k=5, queries=["text 1", "text 2"]).recall == 1.0
        many = half.search_many(["a", "b"], k=3)
        assert [[hit.document.id for hit in hits] for hits in many] == [
            [hit.document.id for hit in whole.search(query, k=3)] for query in ("a", "b")
        ]
        with pickle.loads(pickle.dumps(half)) as copy:
            assert copy.backend.plan == half.backend.plan


def test_a_repeated_search_gives_the_same_scores() -> None:
    """To the last digit, although the faster of two functions is chosen by measuring."""
    with opened(":memory:", prefix=None) as store:
        store.add_vectors(documents(), decaying())
        query = decaying(1, seed=7)[0]
        first = [hit.score for hit in store.search_by_vector(query, k=20)]
        for _ in range(50):
            assert [hit.score for hit in store.search_by_vector(query, k=20)] == first
