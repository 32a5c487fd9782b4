"""The local store compared with a model: after any writes, a search equals brute force."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from langchain_core.documents import Document

from langchain_gemini_mm.vectorstores import LocalVectorStore
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter
from tests.vectorstores.fakes import WordEmbeddings

DIMENSIONS = 3
IDS = st.sampled_from([f"id {i}" for i in range(12)])
VECTORS = st.lists(st.integers(-3, 3), min_size=DIMENSIONS, max_size=DIMENSIONS).filter(any)
METADATA = st.fixed_dictionaries({}, optional={"x": st.integers(0, 3), "y": st.sampled_from(["a", "b"])})
ROWS = st.lists(st.tuples(IDS, VECTORS, METADATA), max_size=6)
FILTERS = st.sampled_from(
    [
        None,
        {},
        {"x": 1},
        {"x": {"$gte": 2}},
        {"y": {"$ne": "a"}},
        {"y": None},
        {"$or": [{"x": 0}, {"y": "b"}]},
        {"x": 9},
    ]
)


class Histories(RuleBasedStateMachine):
    """Two stores on one collection used in turn, and a dict with the expected content."""

    options: ClassVar[dict[str, Any]] = {"prefix": False}

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}

    @initialize()
    def open(self) -> None:
        """Start with an empty store in memory."""
        self.store = LocalVectorStore(":memory:", WordEmbeddings(size=DIMENSIONS), **self.options)

    @rule(rows=ROWS, batch_size=st.integers(1, 7))
    def add(self, rows: list[tuple[str, list[int], dict[str, Any]]], batch_size: int) -> None:
        """Add or replace."""
        documents = [Document(id=id_, page_content=f"text of {id_}", metadata=metadata) for id_, _, metadata in rows]
        vectors = [vector for _, vector, _ in rows]
        assert self.store.add_vectors(documents, vectors, batch_size=batch_size) == [id_ for id_, _, _ in rows]
        for id_, vector, metadata in rows:
            self.model[id_] = (np.array(vector) / np.linalg.norm(vector), metadata)

    @rule(ids=st.lists(IDS, max_size=4))
    def delete(self, ids: list[str]) -> None:
        """Delete by id."""
        self.store.delete(ids)
        for id_ in ids:
            self.model.pop(id_, None)

    @rule(given=FILTERS.filter(bool))
    def delete_where(self, given: dict[str, Any]) -> None:
        """Delete by filter."""
        self.store.delete(filter=given)
        self.model = {id_: row for id_, row in self.model.items() if not matches(parse_filter(given), row[1])}

    @rule()
    def delete_all(self) -> None:
        """Delete everything."""
        self.store.delete_all()
        self.model = {}

    @rule(
        vector=VECTORS,
        k=st.integers(1, 15),
        given=FILTERS,
        threshold=st.sampled_from([None, -0.4567, 0.1234, 0.7654]),
        as_call=st.booleans(),
    )
    def search(
        self, vector: list[int], k: int, given: dict[str, Any] | None, threshold: float | None, as_call: bool
    ) -> None:
        """A search returns the best scores of brute force, each with its own document."""
        query = np.array(vector) / np.linalg.norm(vector)
        node = parse_filter(given or {})
        scores = {id_: float(row[0] @ query) for id_, row in self.model.items() if matches(node, row[1])}
        condition: Any = (lambda document: matches(node, document.metadata)) if as_call and given is not None else given
        hits = self.store.search_by_vector(vector, k=k, filter=condition, score_threshold=threshold)
        expected = sorted(
            (score for score in scores.values() if threshold is None or score >= threshold), reverse=True
        )[:k]
        np.testing.assert_allclose([hit.score for hit in hits], expected, atol=1e-5)
        assert len({hit.document.id for hit in hits}) == len(hits)
        for hit in hits:
            id_ = hit.document.id or ""
            assert abs(scores[id_] - hit.score) < 1e-5
            assert hit.document == Document(id=id_, page_content=f"text of {id_}", metadata=self.model[id_][1])

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """Count, ids and vectors equal those of the model."""
        assert self.store.count() == len(self.model)
        for ids, rows in self.store.vectors(batch_size=5):
            np.testing.assert_allclose(rows, [self.model[id_][0] for id_ in ids], atol=1e-6)

    def teardown(self) -> None:
        """Close the store."""
        self.store.close()


class PrefixHistories(Histories):
    """The same with prefixes if all candidates are scored exactly, so that nothing is missed."""

    options: ClassVar[dict[str, Any]] = {"prefix": 2, "candidates": 50}


@pytest.mark.soak
@pytest.mark.parametrize("machine", [Histories, PrefixHistories])
def test_histories(machine: type[Histories], rounds: Callable[..., Iterable[int]]) -> None:
    """Run random histories."""
    for number in rounds(1, parts=2):
        run_state_machine_as_test(seed(number)(machine), settings=settings(max_examples=30, stateful_step_count=25))
