"""The contract of several queries in one call: the results equal those of single queries."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_gemini_mm.errors import ContentError, ServiceError
from langchain_gemini_mm.vectorstores import MultimodalVectorStore, Query
from tests.vectorstores.contract_base import Call, ContractBase, cases, ids_of
from tests.vectorstores.fakes import WordEmbeddings

QUERIES: list[Any] = [
    "a black dog",
    Query("report", unlike=["summary"]),
    [b"wind", "rain"],
    "a black dog",
    Query(like=["cat", "noise"], weights=[2, 1]),
]


class SearchingManyContract(ContractBase):
    """Requirements for `search_many`, and for `batch` of a retriever."""

    @pytest.mark.parametrize(
        "options",
        cases(
            [
                ("as it is", {}),
                ("filter", {"filter": {"modality": {"$ne": "pdf"}}}),
                ("threshold", {"score_threshold": 0.3}),
                ("mmr", {"search_type": "mmr", "fetch_k": 5}),
                ("narrow filter", {"filter": {"first_page": 7}}),
            ]
        ),
    )
    async def test_many_queries_get_the_results_of_each(
        self, animals: MultimodalVectorStore, call: Call, options: dict[str, Any]
    ) -> None:
        """Results are in order, with every option and type of query; equal queries get equal results."""
        answers = await call(animals, "search_many", QUERIES, 3, **options)
        assert len(answers) == len(QUERIES)
        for query, hits in zip(QUERIES, answers, strict=True):
            alone = animals.search(query, 3, **options)
            assert ids_of(hits) == ids_of(alone)
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in alone], abs=1e-5)
            assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))

    async def test_many_contents_are_embedded_in_one_call(
        self, animals: MultimodalVectorStore, call: Call, embedding: WordEmbeddings
    ) -> None:
        """Queries that name only stored documents are not embedded."""
        embedding.calls.clear()
        await call(animals, "search_many", QUERIES)
        contents, role, _ = embedding.calls.pop()
        assert (len(contents), role, embedding.calls) == (4, "query", [])

    async def test_no_queries_get_no_results(
        self, animals: MultimodalVectorStore, call: Call, embedding: WordEmbeddings
    ) -> None:
        """Nothing is embedded; a generator of queries is accepted."""
        embedding.calls.clear()
        assert await call(animals, "search_many", iter(())) == []
        assert embedding.calls == []

    async def test_an_empty_store_has_a_result_for_each(self, store: MultimodalVectorStore, call: Call) -> None:
        """N queries have N results."""
        assert await call(store, "search_many", ["a", "b"]) == [[], []]

    @pytest.mark.parametrize(
        ("queries", "options", "error", "message"),
        cases(
            [
                ("one query", "a black dog", {}, TypeError, r"got one str; write \[query\]"),
                ("unknown id", [Query(like=["nobody"])], {}, ContentError, "not stored: 'nobody'"),
                ("one fails", ["dog", "poison"], {}, ServiceError, "poison"),
                ("no such option", ["dog"], {"fliter": {}}, TypeError, "Did you mean 'filter'"),
                ("bad k", ["dog"], {"k": 0}, ValueError, "k must be"),
                (
                    "task without content",
                    ["dog", Query(like=["cat"])],
                    {"task_type": "t"},
                    ValueError,
                    "only stored ids",
                ),
            ]
        ),
    )
    async def test_an_invalid_query_fails_all(
        self,
        animals: MultimodalVectorStore,
        call: Call,
        queries: Any,
        options: dict[str, Any],
        error: type[Exception],
        message: str,
    ) -> None:
        """The error is that of a single search."""
        with pytest.raises(error, match=message):
            await call(animals, "search_many", queries, **options)

    @pytest.mark.parametrize(
        "options",
        cases(
            [
                ("similarity", {"search_kwargs": {"k": 2}}),
                ("mmr", {"search_type": "mmr", "search_kwargs": {"k": 2, "fetch_k": 4}}),
                ("filter", {"search_kwargs": {"filter": {"modality": "pdf"}}}),
            ]
        ),
    )
    async def test_a_batch_of_a_retriever_embeds_once(
        self, animals: MultimodalVectorStore, call: Call, embedding: WordEmbeddings, options: dict[str, Any]
    ) -> None:
        """Each query has the result of `invoke`, also if queries are equal."""
        retriever = animals.as_retriever(**options)
        queries = ["a black dog", "report", "a black dog"]
        expected = [retriever.invoke(query) for query in queries]
        embedding.calls.clear()
        assert await call(retriever, "batch", queries) == expected
        assert len(embedding.calls) == 1

    async def test_a_batch_with_returned_exceptions(self, animals: MultimodalVectorStore, call: Call) -> None:
        """The queries are searched one by one, and valid ones have results."""
        retriever = animals.as_retriever(search_kwargs={"k": 1})
        good, bad = await call(retriever, "batch", ["report", "poison"], return_exceptions=True)
        assert (ids_of(good), type(bad)) == (["report"], ServiceError)

    async def test_a_batch_with_a_relevance_threshold_works(self, animals: MultimodalVectorStore, call: Call) -> None:
        """The queries are searched one by one, as in LangChain."""
        retriever = animals.as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.8, "k": 2}
        )
        found = await call(retriever, "batch", ["report summary", "a small black dog"])
        assert [ids_of(documents)[0] for documents in found] == ["summary", "puppy"]
