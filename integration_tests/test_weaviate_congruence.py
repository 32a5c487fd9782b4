"""The local store and Weaviate return the same results.

After any history of writes both get the same queries. Scores may differ by 1e-4 (float32 sums in another order). Ids
and documents agree exactly; the vectors are random, so that no two scores are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from langchain_core.documents import Document

from langchain_gemini_mm import LocalVectorStore, Query, WeaviateVectorStore
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from tests.vectorstores.fakes import WordEmbeddings

if TYPE_CHECKING:
    from weaviate import WeaviateClient

    from langchain_gemini_mm import Hit

pytestmark = pytest.mark.weaviate

DIMENSIONS = 8
TOLERANCE = 1e-4
FIELDS: dict[str, Any] = {
    "count": int,
    "price": float,
    "name": str,
    "draft": bool,
    "tags": list[str],
    "sizes": list[float],
}

IDS = st.sampled_from([f"id {i}" for i in range(25)] + ["3f2b1c9e-7a4d-4f6b-9c1d-2e8a7b5c4d10", "画像 🐕", " "])
TEXTS = st.sampled_from(
    ["", "x", "X", "xy", "x ", " x", "é", "画像", "a b", "'\"\\", "\x01x", "\x00", "\u3000x", "\x85", "\xa0y"]
)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.25, 2.0, 1e300, 2**53, -(2**53)])
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "count": st.none() | st.integers(-3, 3) | st.sampled_from([2.0, 2**53]),
        "price": st.none() | NUMBERS,
        "name": st.none() | TEXTS,
        "draft": st.none() | st.booleans(),
        "tags": st.none() | st.lists(TEXTS | st.none(), max_size=3),
        "sizes": st.lists(NUMBERS, max_size=3),
        "modality": st.sampled_from(["image", "video"]),
        "undeclared": st.just({"deep": [1, None, "x"]}),
    },
)
KEYS = st.sampled_from(["count", "price", "name", "draft", "tags", "sizes", "modality", "track"])
OPERANDS = TEXTS | NUMBERS | st.booleans() | st.sampled_from([2**70, -(2**70), "image"])
RANGES = st.sampled_from(
    ["", "x", "x ", " x", "é", "a b", "\u3000", "\x85a", "\x00", "\x01x", "\xa0", 0, 0.5, -2, 1e300, 2**70, -(2**70)]
)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    """One condition on one key."""
    key = draw(KEYS)
    operator = draw(
        st.sampled_from(["$eq", "$ne", "$in", "$nin", "$exists", "$gt", "$gte", "$lt", "$lte", "$startswith"])
    )
    if operator in ("$in", "$nin"):
        return {key: {operator: draw(st.lists(OPERANDS | st.none(), max_size=3))}}
    if operator == "$exists":
        return {key: {operator: draw(st.booleans())}}
    if operator == "$startswith":
        return {key: {operator: draw(TEXTS.filter(bool))}}
    return {key: {operator: draw(RANGES if operator[1] in "gl" else OPERANDS | st.none())}}


FILTERS = st.recursive(
    conditions(),
    lambda inner: (
        st.builds(
            lambda word, parts: {word: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
        )
        | st.builds(lambda part: {"$not": part}, inner)
    ),
    max_leaves=4,
)


class BothStores(RuleBasedStateMachine):
    """One history of writes on two stores."""

    def __init__(self, client: WeaviateClient, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        embedding = WordEmbeddings(size=DIMENSIONS)
        self.local = LocalVectorStore(":memory:", embedding)
        self.remote = WeaviateVectorStore(client, name, embedding, fields=FIELDS, **options)
        self.random = np.random.default_rng(0)

    @property
    def both(self) -> tuple[MultimodalVectorStore, MultimodalVectorStore]:
        """Both stores, the local one first."""
        return self.local, self.remote

    @initialize()
    def begin(self) -> None:
        """Delete everything."""
        self.remote.delete_all()

    @rule(rows=st.lists(st.tuples(IDS, METADATA), max_size=12))
    def add(self, rows: list[tuple[str, dict[str, Any]]]) -> None:
        """Add or replace."""
        documents = [Document(id=id_, page_content=f"text of {id_}", metadata=metadata) for id_, metadata in rows]
        vectors = self.random.standard_normal((len(rows), DIMENSIONS))
        assert self.local.add_vectors(documents, vectors) == self.remote.add_vectors(documents, vectors)

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[str]) -> None:
        """Delete by id."""
        for store in self.both:
            store.delete(ids)

    @rule(given=FILTERS)
    def delete_where(self, given: dict[str, Any]) -> None:
        """Delete by filter."""
        for store in self.both:
            store.delete(filter=given)

    @rule(metadata=METADATA, replace=st.booleans(), data=st.data())
    def update(self, metadata: dict[str, Any], replace: bool, data: st.DataObject) -> None:
        """Update the metadata of some documents."""
        there = sorted(str(document.id) for document in self.local.iterate())
        ids = data.draw(st.lists(st.sampled_from(there), max_size=3)) if there else []
        for store in self.both:
            store.update_metadata(ids, metadata, replace=replace)

    @rule(
        k=st.integers(1, 30),
        given=st.none() | FILTERS,
        threshold=st.none() | st.floats(-0.9, 0.9),
        mmr=st.none() | st.tuples(st.integers(0, 20), st.floats(0, 1)),
    )
    def search(
        self, k: int, given: dict[str, Any] | None, threshold: float | None, mmr: tuple[int, float] | None
    ) -> None:
        """Searches return the same hits in the same order."""
        vector = self.random.standard_normal(DIMENSIONS).astype(np.float32)
        options: dict[str, Any] = {"filter": given, "score_threshold": threshold}
        if mmr is not None:
            options |= {"search_type": "mmr", "fetch_k": k + mmr[0], "lambda_mult": mmr[1]}
        self.require_same(*(store.search_by_vector(vector, k=k, **options) for store in self.both))

    @rule(k=st.integers(1, 9), data=st.data())
    def search_by_example(self, k: int, data: st.DataObject) -> None:
        """Queries by stored documents return the same hits."""
        there = sorted(str(document.id) for document in self.local.iterate())
        if len(there) > 1:
            like, unlike = data.draw(st.permutations(there))[:2]
            query = Query(like=[like], unlike=[unlike], weights=[1, 0.4])
            self.require_same(*(store.search(query, k=k) for store in self.both))

    @rule(given=FILTERS)
    def look(self, given: dict[str, Any]) -> None:
        """Counting and iterating with a filter agree."""
        local, remote = ({str(doc.id): doc for doc in store.iterate(filter=given, batch_size=7)} for store in self.both)
        assert local == remote
        assert self.local.count(filter=given) == self.remote.count(filter=given) == len(local)

    @invariant()
    def hold_the_same(self) -> None:
        """Documents and vectors agree."""
        assert self.local.count() == self.remote.count()
        rows: list[dict[str, Any]] = [
            {id_: row for ids, some in store.vectors(batch_size=9) for id_, row in zip(ids, some, strict=True)}
            for store in self.both
        ]
        assert rows[0].keys() == rows[1].keys()
        for id_, row in rows[0].items():
            np.testing.assert_allclose(row, rows[1][id_], atol=1e-6)

    def require_same(self, local: list[Hit], remote: list[Hit]) -> None:
        """Ids, documents and ranks agree; scores agree within the tolerance."""
        assert [hit.document for hit in local] == [hit.document for hit in remote]
        np.testing.assert_allclose([hit.score for hit in local], [hit.score for hit in remote], atol=TOLERANCE)
        assert [hit.rank for hit in local] == [hit.rank for hit in remote]

    def teardown(self) -> None:
        """Close the file."""
        self.local.close()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("options", "examples"),
    [
        pytest.param({"index": "flat"}, 20, id="flat"),
        pytest.param({"index": "hnsw", "quantizer": "rq8"}, 10, id="quantized"),
    ],
)
def test_local_and_weaviate_agree(
    weaviate_client: WeaviateClient,
    weaviate_name: str,
    rounds: Callable[..., Iterable[int]],
    options: dict[str, Any],
    examples: int,
) -> None:
    """Results agree after any writes, for any query."""

    class Machine(BothStores):
        def __init__(self) -> None:
            super().__init__(weaviate_client, weaviate_name, options)

    for number in rounds(1, parts=2):
        run_state_machine_as_test(
            seed(number)(Machine),
            settings=settings(
                max_examples=examples,
                stateful_step_count=20,
                phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes on a server
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
