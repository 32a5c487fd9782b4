"""The contract of searching for files rather than pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_gemini_mm.errors import FilterError
from langchain_gemini_mm.vectorstores import Group, MultimodalVectorStore, Query
from tests.vectorstores.contract_base import Call, ContractBase, cases, ids_of


def summary(groups: list[Group]) -> list[tuple[Any, list[Any]]]:
    """Value and ids of each."""
    return [(group.value, ids_of(list(group.hits))) for group in groups]


class GroupsContract(ContractBase):
    """What `search_groups` finds."""

    @pytest.fixture
    def files(self, store: Any) -> MultimodalVectorStore:
        """Three files with moments at falling closeness to the word `dog`, and one text that belongs to none."""
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
        """Each with its own best hits, also those far down; what has no value stands alone."""
        groups = await call(files, "search_groups", "dog", k=4, per_source=2)
        assert summary(groups) == [
            ("a.mp4", ["a1", "a2"]),
            ("b.mp4", ["b1", "b2"]),
            (None, ["note"]),
            ("c.pdf", ["c1"]),
        ]
        assert groups[0].hits[0].score == pytest.approx(1, abs=1e-5)

    async def test_there_are_as_many_groups_as_asked_for(self, files: Any, call: Call) -> None:
        """Though the nearest hundred belong to few, and no more than there are."""
        for k, count in ((1, 1), (5, 5), (50, 5)):
            assert len(await call(files, "search_groups", "dog", k=k, per_source=1)) == count
        assert summary(await call(files, "search_groups", "dog", k=9, per_source=1))[-1] == ("d.pdf", ["d1"])

    async def test_options_of_searching_apply(self, files: Any, call: Call) -> None:
        """Filter, threshold, other keys, queries by example."""
        groups = await call(files, "search_groups", "dog", filter={"modality": "pdf"})
        assert summary(groups) == [("c.pdf", ["c1"]), ("d.pdf", ["d1"])]
        groups = await call(files, "search_groups", "dog", by="modality", per_source=1)
        assert summary(groups) == [("video", ["a1"]), ("pdf", ["c1"])]
        groups = await call(files, "search_groups", Query(like=["a1"]), k=1, per_source=1)
        assert summary(groups) == [("b.mp4", ["b1"])]
        assert await call(files, "search_groups", "dog", filter={"modality": "none"}) == []

    async def test_the_query_is_embedded_once(self, files: Any, call: Call) -> None:
        """However often the store is asked."""
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
        """As in `search`."""
        with pytest.raises(error, match=message):
            await call(files, "search_groups", "dog", **options)
