"""The contract of searches: hits, filters, options, queries of several terms, LangChain's methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_gemini_mm.errors import ContentError, FilterError, SpaceMismatchError
from langchain_gemini_mm.vectors import unit_rows
from langchain_gemini_mm.vectorstores import Query
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter
from tests.vectorstores.contract_base import ANIMALS, Call, ContractBase, cases, ids_of
from tests.vectorstores.fakes import WordEmbeddings

FILTERS: list[dict[str, Any]] = [
    {"modality": "video"},
    {"modality": {"$ne": "video"}},
    {"modality": {"$in": ["pdf", "audio"]}},
    {"modality": {"$nin": ["pdf", "audio"]}},
    {"start_s": {"$gt": 0}},
    {"start_s": {"$gte": 0, "$lt": 60}},
    {"first_page": {"$lte": 1}},
    {"first_page": 7, "modality": "pdf"},
    {"draft": True},
    {"draft": {"$ne": True}},
    {"tags": "pet"},
    {"tags": {"$ne": "night"}},
    {"start_s": {"$exists": True}},
    {"start_s": {"$exists": False}},
    {"start_s": None},
    {"modality": {"$in": []}},
    {"$or": [{"modality": "audio"}, {"first_page": {"$gte": 5}}]},
    {"$and": [{"modality": "video"}, {"$not": {"tags": "pet"}}]},
    {"$not": {"$or": [{"modality": "video"}, {"draft": True}]}},
    {"start_s": {"$not": {"$gt": 30}}},
]

BAD_OPTIONS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("k zero", {"k": 0}, ValueError, "k must be an int >= 1, got 0"),
    ("k negative", {"k": -1}, ValueError, "k must be an int >= 1, got -1"),
    ("k a bool", {"k": True}, TypeError, "k must be an int >= 1, got True"),
    ("k a float", {"k": 2.0}, TypeError, "k must be an int >= 1, got 2.0"),
    (
        "threshold too high",
        {"score_threshold": 1.5},
        ValueError,
        "must be a number from -1 to 1, got 1.5",
    ),
    ("threshold NaN", {"score_threshold": float("nan")}, ValueError, "score_threshold must be a number from -1 to 1"),
    ("threshold text", {"score_threshold": "0.5"}, TypeError, "score_threshold must be a number"),
    (
        "unknown search type",
        {"search_type": "magic"},
        ValueError,
        "'magic' is not among those of .*'similarity', 'mmr'",
    ),
    (
        "fetch_k without mmr",
        {"fetch_k": 10},
        ValueError,
        "an option of search_type='mmr', got search_type='similarity'",
    ),
    (
        "lambda too high",
        {"search_type": "mmr", "lambda_mult": 2},
        ValueError,
        "must be a number from 0 to 1, got 2",
    ),
    (
        "an unknown option",
        {"score_treshold": 0.5},
        TypeError,
        "no option 'score_treshold'. Did you mean 'score_threshold'",
    ),
    ("a malformed filter", {"filter": {"modality": {"eq": 1}}}, FilterError, r"Did you mean '\$eq'"),
    ("a filter that is a list", {"filter": [("a", 1)]}, FilterError, "a filter is a dict"),
    ("a task that is no text", {"task_type": 5}, TypeError, "task_type must be a str, got 5"),
]


class SearchingContract(ContractBase):
    """Requirements for searches."""

    async def test_hits_are_nearest_first_with_cosine_and_rank(self, animals: Any, call: Call) -> None:
        """A hit has the document, its cosine similarity and its rank, starting at 1."""
        hits = await call(animals, "search", "a black dog", k=3)
        assert ids_of(hits) == ["dog", "puppy", "cat"]
        assert hits[0].document == ANIMALS[1]
        assert [(hit.rank, hit.score_kind) for hit in hits] == [(1, "cosine"), (2, "cosine"), (3, "cosine")]
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert hits[0].score >= hits[1].score >= hits[2].score

    async def test_any_content_is_a_query(self, animals: Any, call: Call, embedding: WordEmbeddings) -> None:
        """Bytes and mixed lists are passed to the embedding as one query with its task."""
        assert ids_of(await call(animals, "search", b"a black cat", k=1)) == ["cat"]
        assert ids_of(await call(animals, "search", [b"small", "black dog"], 1, task_type="search")) == ["puppy"]
        assert ids_of(await call(animals, "search", Query(b"small", "black dog"), 1)) == ["puppy"]
        assert embedding.calls[1:] == [
            ([b"a black cat"], "query", None),
            ([[b"small", "black dog"]], "query", "search"),
            ([[b"small", "black dog"]], "query", None),
        ]

    async def test_an_empty_store_finds_nothing(self, store: Any, call: Call) -> None:
        """Searching before the first write is not an error."""
        for search_type in ("similarity", "mmr"):
            assert await call(store, "search", "anything", search_type=search_type) == []
        assert await call(store, "get_by_ids", ["x"]) == []
        assert await call(store, "delete", ["x"]) is True
        assert await call(store, "count") == 0
        assert await call.list(store, "iterate") == []
        assert await call.list(store, "vectors") == []
        assert await call(store, "get_info", "fingerprint") is None
        await call(store, "delete_all")

    async def test_k_larger_than_the_store_finds_everything(self, animals: Any, call: Call) -> None:
        """There are fewer hits than k only if there are fewer documents."""
        assert len(await call(animals, "search", "dog", k=100)) == len(ANIMALS)

    @pytest.mark.parametrize("given", FILTERS, ids=str)
    async def test_filters_mean_what_the_predicate_says(self, animals: Any, call: Call, given: dict[str, Any]) -> None:
        """Searching, counting, iterating and deleting by a filter select exactly the matching documents."""
        expected = {doc.id for doc in ANIMALS if matches(parse_filter(given), doc.metadata)}
        hits = await call(animals, "search", "a black dog", k=100, filter=given)
        assert set(ids_of(hits)) == expected
        assert set(ids_of(await call(animals, "search", "dog", k=100, search_type="mmr", filter=given))) == expected
        assert await call(animals, "count", filter=given) == len(expected)
        assert set(ids_of(await call.list(animals, "iterate", filter=given))) == expected
        assert {id_ for ids, _ in await call.list(animals, "vectors", filter=given) for id_ in ids} == expected
        await call(animals, "delete", filter=given)
        assert {doc.id for doc in ANIMALS} - expected == set(ids_of(await call.list(animals, "iterate")))

    async def test_a_threshold_cuts_by_cosine(self, animals: Any, call: Call) -> None:
        """Hits below the threshold are omitted for both search types."""
        everything = await call(animals, "search", "a black dog", k=6)
        middle = everything[2].score - 1e-4
        assert ids_of(await call(animals, "search", "a black dog", k=6, score_threshold=middle)) == ids_of(
            everything[:3]
        )
        few = await call(animals, "search", "a black dog", k=6, score_threshold=middle, search_type="mmr")
        assert set(ids_of(few)) == set(ids_of(everything[:3]))
        assert len(await call(animals, "search", "a black dog", k=6, score_threshold=-1)) == 6

    # At 0.5 all candidates tie, except the one that is equal to the query.
    @pytest.mark.parametrize("lambda_mult", [0, 0.3, 0.6, 1.0])
    async def test_mmr_equals_that_of_langchain(self, animals: Any, call: Call, lambda_mult: float) -> None:
        """The candidates and their order equal those of LangChain's function."""
        ((ids, rows),) = await call.list(animals, "vectors")
        query = WordEmbeddings().embed(["a black dog"])[0]
        nearest = np.argsort(-(rows @ query))[:5]
        picked = maximal_marginal_relevance(query, rows[nearest].tolist(), lambda_mult=lambda_mult, k=3)
        expected = [ids[nearest[i]] for i in picked]
        options = {"k": 3, "fetch_k": 5, "lambda_mult": lambda_mult}
        hits = await call(animals, "search", "a black dog", search_type="mmr", **options)
        assert ids_of(hits) == expected
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert [hit.score for hit in hits] == pytest.approx(
            [float(rows[ids.index(id_)] @ query) for id_ in expected], abs=1e-5
        )
        assert ids_of(await call(animals, "max_marginal_relevance_search", "a black dog", **options)) == expected
        by_vector = await call(animals, "max_marginal_relevance_search_by_vector", query.tolist(), **options)
        assert ids_of(by_vector) == expected

    async def test_mmr_selects_above_the_threshold(self, store: Any, call: Call) -> None:
        """Documents below the threshold are not selected for their diversity."""
        random = np.random.default_rng(1)
        rows = unit_rows(random.standard_normal((13, 16)))
        await call(store, "add_vectors", [Document(id=str(i), page_content="x") for i in range(13)], rows)
        for _ in range(10):
            query = unit_rows(random.standard_normal((1, 16)))[0]
            near = [i for i in np.argsort(-(rows @ query)) if rows[i] @ query >= 0]
            picked = maximal_marginal_relevance(query, rows[near].tolist(), lambda_mult=0.3, k=13)
            options = {"k": 13, "search_type": "mmr", "lambda_mult": 0.3, "score_threshold": 0.0}
            assert ids_of(await call(store, "search_by_vector", query, **options)) == [str(near[i]) for i in picked]

    async def test_mmr_has_enough_candidates_for_a_large_k(self, animals: Any, call: Call) -> None:
        """The default of fetch_k grows with k."""
        assert len(await call(animals, "max_marginal_relevance_search", "dog", k=6)) == 6
        assert len(await call(animals, "search", "dog", k=50, search_type="mmr")) == 6

    async def test_mmr_finds_no_more_than_its_candidates(self, animals: Any, call: Call) -> None:
        """As in other LangChain stores, `fetch_k` below `k` limits the hits."""
        for options in ({"k": 5, "fetch_k": 3}, {"k": 3, "fetch_k": 3}):
            hits = await call(animals, "search", "dog", search_type="mmr", **options)
            assert [hit.rank for hit in hits] == [1, 2, 3]
        assert len(await call(animals, "max_marginal_relevance_search", "dog", k=4, fetch_k=2)) == 2

    async def test_a_slice_of_hits_has_their_methods(self, animals: Any, call: Call) -> None:
        """`hits[:2]` are `Hits`, `hits[0]` is one hit."""
        hits = await call(animals, "search", "dog", k=4)
        assert hits[:2].documents == hits.documents[:2]
        assert hits[::2].scored == hits.scored[::2]
        assert [hits[0], hits[-1]] == [*hits][::3]

    @pytest.mark.parametrize(("options", "error", "message"), cases(BAD_OPTIONS))
    async def test_bad_options_fail_by_name(
        self, animals: Any, call: Call, options: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        """The error names option and value, before anything is embedded."""
        before = len(animals.space.embedding.calls)
        with pytest.raises(error, match=message):
            await call(animals, "search", "dog", **options)
        assert len(animals.space.embedding.calls) == before

    async def test_searching_by_vector(self, animals: Any, call: Call) -> None:
        """A vector of any length is a query, and nothing is embedded."""
        vector = (3 * WordEmbeddings().embed(["a black dog"])[0]).tolist()
        hits = await call(animals, "search_by_vector", vector, k=2, filter={"modality": "video"})
        assert ids_of(hits) == ["dog", "puppy"]
        assert hits[0].score == pytest.approx(1, abs=1e-5)
        assert ids_of(await call(animals, "similarity_search_by_vector", vector, k=1)) == ["dog"]
        ((document, score),) = await call(animals, "similarity_search_with_score_by_vector", vector, k=1)
        assert (document.id, round(score, 4)) == ("dog", 1)

    @pytest.mark.parametrize(
        ("vector", "error"),
        [
            pytest.param([1.0, 2.0], SpaceMismatchError, id="another length"),
            pytest.param([0.0] * 16, ContentError, id="zeros"),
            pytest.param([float("nan")] * 16, ContentError, id="NaN"),
            pytest.param([[1.0] * 16], ContentError, id="a matrix"),
            pytest.param(["x"] * 16, ContentError, id="texts"),
            pytest.param("dog", ContentError, id="a text"),
        ],
    )
    async def test_unusable_vectors_are_refused(self, animals: Any, call: Call, vector: Any, error: type) -> None:
        """A vector of another space or without direction is refused."""
        with pytest.raises(error):
            await call(animals, "search_by_vector", vector)

    async def test_like_finds_neighbours_without_the_document_itself(self, animals: Any, call: Call) -> None:
        """A query by example uses the stored vector: nothing is embedded."""
        before = len(animals.space.embedding.calls)
        assert ids_of(await call(animals, "search", Query(like=["dog"]), k=2)) == ["puppy", "cat"]
        assert len(await call(animals, "search", Query(like=["dog", "cat"]), k=100)) == len(ANIMALS) - 2
        assert len(animals.space.embedding.calls) == before

    async def test_terms_are_added_and_subtracted(self, animals: Any, call: Call) -> None:
        """The query vector is the weighted sum of content, liked and unliked vectors."""
        embed = WordEmbeddings().embed
        vectors = embed(["a black cat", "a black dog", "quarterly report", "report summary"])
        total = 2 * vectors[0] + 1 * vectors[1] - 0.5 * vectors[2]
        query = Query("a black cat", like=["dog"], unlike=["report"], weights=[2, 1, 0.5])
        hits = await call(animals, "search", query, k=100)
        assert {"dog", "report"}.isdisjoint(ids_of(hits))
        score = next(hit.score for hit in hits if hit.document.id == "summary")
        assert score == pytest.approx(float(total @ vectors[3] / np.linalg.norm(total)), abs=1e-5)

    async def test_unknown_ids_in_a_query_are_named(self, animals: Any, call: Call) -> None:
        """A deleted id is an error, not another query."""
        with pytest.raises(ContentError, match="not stored: 'fox', 'owl'"):
            await call(animals, "search", Query("x", like=["fox", "dog"], unlike=["owl"]))

    async def test_a_query_that_cancels_out_is_refused(self, animals: Any, call: Call) -> None:
        """A sum without direction is refused."""
        with pytest.raises(ContentError, match="cancel each other out"):
            await call(animals, "search", Query("a black cat", unlike=["cat"]))

    async def test_a_task_needs_content(self, animals: Any, call: Call) -> None:
        """A task cannot be applied to stored vectors."""
        with pytest.raises(ValueError, match=r"task_type='search' .* names only stored ids"):
            await call(animals, "search", Query(like=["cat"]), task_type="search")

    async def test_langchains_search_returns_documents(self, animals: Any, call: Call) -> None:
        """With a search type as the second argument, `search` is LangChain's method; `search_type=` is our option."""
        for search_type in ("similarity", "mmr", "similarity_score_threshold"):
            found = await call(animals, "search", "a black dog", search_type, k=2)
            assert [type(document) for document in found] == [Document, Document]
            assert found[0].id == "dog"
        hits = await call(animals, "search", "a black dog", k=2, search_type="mmr")
        assert hits[0].document.id == "dog"
        with pytest.raises(ValueError, match="'similarity_score_threshold' is not among"):
            await call(animals, "search", "a black dog", search_type="similarity_score_threshold")
        with pytest.raises(ValueError, match="search_type of magic not allowed"):
            await call(animals, "search", "a black dog", "magic")

    async def test_scores_are_cosine_and_relevance_is_from_zero_to_one(self, animals: Any, call: Call) -> None:
        """`with_score` gives cosine similarity; relevance is (1 + cosine) / 2."""
        scored = await call(animals, "similarity_search_with_score", "a black dog", k=6)
        relevant = await call(animals, "similarity_search_with_relevance_scores", "a black dog", k=6)
        assert [document.id for document, _ in scored] == [document.id for document, _ in relevant]
        assert [(1 + score) / 2 for _, score in scored] == pytest.approx([score for _, score in relevant])
        assert min(score for _, score in scored) < 0
        assert all(0 <= score <= 1 for _, score in relevant)
        few = await call(animals, "similarity_search_with_relevance_scores", "a black dog", k=6, score_threshold=0.99)
        assert [document.id for document, _ in few] == ["dog"]

    async def test_retrievers_of_every_search_type(self, animals: Any, call: Call) -> None:
        """`as_retriever` works for all three search types, with filters."""
        cases_: list[tuple[str, dict[str, Any], list[str]]] = [
            ("similarity", {"k": 2}, ["dog", "puppy"]),
            ("similarity", {"k": 9, "filter": {"modality": "pdf", "draft": True}}, ["report"]),
            ("similarity_score_threshold", {"k": 4, "score_threshold": 0.99}, ["dog"]),
            ("mmr", {"k": 1, "fetch_k": 3, "lambda_mult": 0.5}, ["dog"]),
        ]
        for search_type, search_kwargs, expected in cases_:
            retriever = animals.as_retriever(search_type=search_type, search_kwargs=search_kwargs)
            assert ids_of(await call(retriever, "invoke", "a black dog")) == expected

    async def test_unknown_arguments_of_langchains_methods_fail(self, animals: Any, call: Call) -> None:
        """A misspelt option is an error."""
        for name in ("similarity_search", "similarity_search_with_score", "max_marginal_relevance_search"):
            with pytest.raises(TypeError, match=r"no option 'fliter'. Did you mean 'filter'"):
                await call(animals, name, "dog", fliter={})
        with pytest.raises(TypeError, match="adding has no option 'id'"):
            await call(animals, "add_documents", [], id=["x"])
        with pytest.raises(TypeError, match="deleting has no option 'where'"):
            await call(animals, "delete", ["x"], where={})
