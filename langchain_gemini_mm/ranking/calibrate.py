"""Calibrating a collection: search for labelled queries, compare what is found with the labels, learn, store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.flows import Flow, arun, blocking, run
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.ranking.calibration import Calibration, Example, fitted, pair_of, store_flow
from langchain_gemini_mm.ranking.modalities import query_kind
from langchain_gemini_mm.ranking.search import candidates_flow, similarity_plan
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.query import Query
from langchain_gemini_mm.vectorstores.search import query_vectors_flow

DEPTH = 10
"""Documents of each kind that are compared with the labels of a query, when nothing is said."""


def calibrate(
    store: MultimodalVectorStore, labelled: Iterable[LabelledQuery], *, task_type: str | None = None, depth: int = DEPTH
) -> Calibration:
    """Learn from labelled queries how sure a match is, for `ranking="calibrated"`; stored with the collection.

    Five to ten queries are enough to begin with. Those with nothing relevant count, too: they show what noise looks
    like. What is found and not labelled counts as not relevant.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore
    from langchain_gemini_mm.ranking import LabelledQuery, calibrate

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts([f"text {number}" for number in range(20)], ids=[f"{number}" for number in range(20)])
    calibration = calibrate(store, [LabelledQuery("text 3", ["3"]), LabelledQuery("something else", [])])
    assert (calibration.queries, calibration.unanswered) == (2, 1)
    ```

    Args:
        store: one of ours.
        labelled: queries and what they should find.
        task_type: of the queries, where the embedding knows tasks.
        depth: how many documents of each modality are compared with the labels of each query.

    Raises:
        ValueError: no query, or none with a relevant document.
        ContentError: a label names a document that is not stored.
    """
    return run(calibrating_flow(store, _checked(labelled), task_type, positive_int("depth", depth)))


async def acalibrate(
    store: MultimodalVectorStore, labelled: Iterable[LabelledQuery], *, task_type: str | None = None, depth: int = DEPTH
) -> Calibration:
    """Async twin of `calibrate`."""
    return await arun(calibrating_flow(store, _checked(labelled), task_type, positive_int("depth", depth)))


def calibrating_flow(
    store: MultimodalVectorStore, labelled: Sequence[LabelledQuery], task_type: str | None, depth: int
) -> Flow[Calibration]:
    """Search for each query, learn, and store what was learned."""
    yield from _require_stored_flow(store, labelled)
    plan = similarity_plan(store, depth, {} if task_type is None else {"task_type": task_type})
    asked = [one.query if isinstance(one.query, Query) else Query(one.query) for one in labelled]
    vectors = yield from query_vectors_flow(store.backend, asked, task_type)
    examples: list[Example] = []
    for number, (one, query, vector) in enumerate(zip(labelled, asked, vectors, strict=True)):
        kind = one.modality or query_kind(query, store.space.media)
        found = yield from candidates_flow(store, vector, plan, None, query.ids)
        examples += [
            Example(
                number,
                pair_of(kind, candidate.kind),
                candidate.scored.score,
                candidate.deviation,
                candidate.scored.record.id in one.relevant,
            )
            for candidate in found
        ]
    calibration: Calibration = yield blocking(
        fitted,
        examples,
        queries=len(labelled),
        unanswered=sum(not one.relevant for one in labelled),
        relevant=sum(len(one.relevant) for one in labelled),
    )
    yield from store_flow(store, calibration)
    return calibration


def _checked(labelled: Iterable[LabelledQuery]) -> list[LabelledQuery]:
    found = list(labelled)
    for one in found:
        if not isinstance(one, LabelledQuery):
            raise TypeError(f"labelled holds LabelledQuery(query, relevant), got {type(one).__name__}")
    if not any(one.relevant for one in found):
        raise ValueError(
            f"of {len(found)} labelled queries none has a relevant document; without one there is nothing to learn"
        )
    return found


def _require_stored_flow(store: MultimodalVectorStore, labelled: Sequence[LabelledQuery]) -> Flow[None]:
    ids = list(dict.fromkeys(id_ for one in labelled for id_ in one.relevant))
    records = yield from store.backend.fetch(ids)
    unknown = sorted(set(ids) - {record.id for record in records})
    if unknown:
        raise ContentError(f"the labels name ids that are not stored: {', '.join(map(repr, unknown[:10]))}")
