"""The contract of searches for files instead of segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.vectorstores import Group, MultimodalVectorStore, Query
from tests.vectorstores.contract_base import Call, ContractBase, cases, ids_of


def summary(groups: list[Group]) -> list[tuple[Any, list[Any]]]:
    """The value and the ids of each group."""
    return [(group.value, ids_of(list(group.hits))) for group in groups]


class GroupsContract(ContractBase):
    """Requirements for `search_groups`."""

    @pytest.fixture
    def files(self, store: Any) -> MultimodalVectorStore:
        """Three files with segments of decreasing similarity to the word `dog`, and one text without a file."""
        dog = store.space.embedding.embed(["dog"])[0]
        aside = np.zeros_like(dog)
        aside[np.argmin(np.abs(dog))] = 1
        rows, documents = [], []
        for place, (source, name) in enumerate(
            [("a.mp4", "a1"), ("b.mp4", "b1"), ("a.mp4", "a2"), (None, "note"), ("a.mp4", "a3"), ("c.pdf", "c1")]
            + [("a.mp4", f"a{number}") for number in range(4, 120)]
            + [("b.mp4", "b2"), ("d.pdf", "d1")]
        ):
            rows.append(dog + 0.01 * place * aside)
            metadata = {"modality": "pdf" if name[0] in "cd" else "video"} | ({"source": source} if source else {})
            documents.append(Document(id=name, page_content=f"moment {name}", metadata=metadata))
        store.add_vectors(documents, rows)
        found: MultimodalVectorStore = store
        return found

    async def test_groups_come_by_their_best_hit(self, files: Any, call: Call) -> None:
        """Each group has its own best hits, also with low scores; a document without a value is a group by itself."""
        groups = await call(files, "search_groups", "dog", k=4, per_source=2)
        assert summary(groups) == [
            ("a.mp4", ["a1", "a2"]),
            ("b.mp4", ["b1", "b2"]),
            (None, ["note"]),
            ("c.pdf", ["c1"]),
        ]
        assert groups[0].hits[0].score == pytest.approx(1, abs=1e-5)

    async def test_the_requested_number_of_groups_is_found(self, files: Any, call: Call) -> None:
        """All groups are found if the nearest hundred hits are from few of them, but no more than exist."""
        for k, count in ((1, 1), (5, 5), (50, 5)):
            assert len(await call(files, "search_groups", "dog", k=k, per_source=1)) == count
        assert summary(await call(files, "search_groups", "dog", k=9, per_source=1))[-1] == ("d.pdf", ["d1"])

    async def test_search_options_apply(self, files: Any, call: Call) -> None:
        """Filter, threshold, other keys and queries by example work."""
        groups = await call(files, "search_groups", "dog", filter={"modality": "pdf"})
        assert summary(groups) == [("c.pdf", ["c1"]), ("d.pdf", ["d1"])]
        groups = await call(files, "search_groups", "dog", by="modality", per_source=1)
        assert summary(groups) == [("video", ["a1"]), ("pdf", ["c1"])]
        groups = await call(files, "search_groups", Query(like=["a1"]), k=1, per_source=1)
        assert summary(groups) == [("b.mp4", ["b1"])]
        assert await call(files, "search_groups", "dog", filter={"modality": "none"}) == []

    async def test_the_query_is_embedded_once(self, files: Any, call: Call) -> None:
        """The query is embedded once, even if several searches are needed."""
        before = len(files.space.embedding.calls)
        await call(files, "search_groups", "dog", k=5, per_source=3)
        assert len(files.space.embedding.calls) == before + 1

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        cases(
            [
                ("k", {"k": 0}, ValueError, "k must be"),
                ("per_source", {"per_source": 0}, ValueError, "per_source must be"),
                ("by", {"by": 5}, TypeError, "by is the metadata key of the groups, got 5"),
                (
                    "search type",
                    {"search_type": "mmr"},
                    ValueError,
                    "groups are made of search_type='similarity', got search_type='mmr'",
                ),
                ("misspelt", {"fliter": {}}, TypeError, "Did you mean 'filter'"),
                ("filter", {"filter": {"modality": {"eq": 1}}}, FilterError, "Did you mean"),
            ]
        ),
    )
    async def test_bad_options_fail_by_name(
        self, files: Any, call: Call, options: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        """Options are checked as in `search`."""
        with pytest.raises(error, match=message):
            await call(files, "search_groups", "dog", **options)
