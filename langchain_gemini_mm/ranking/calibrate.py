"""Calibration of a collection: search for labelled queries, compare the hits with the labels, learn and store."""

from __future__ import annotations

from collections.abc import Iterable

from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError
from langchain_gemini_mm.flows import Flow, asynchronous, blocking, synchronous
from langchain_gemini_mm.labelled_query import LabelledQuery
from langchain_gemini_mm.ranking.calibration import Calibration, Example, fit, pair_of, store_calibration_flow
from langchain_gemini_mm.ranking.modalities import query_modality
from langchain_gemini_mm.ranking.search import candidates_flow, plan_ranking
from langchain_gemini_mm.validation import positive_int
from langchain_gemini_mm.vectorstores.base import MultimodalVectorStore
from langchain_gemini_mm.vectorstores.query import Query
from langchain_gemini_mm.vectorstores.search import query_vectors_flow

DEPTH = 10
"""Default number of documents of each modality that are compared with the labels of a query."""


@synchronous
def calibrate(
    store: MultimodalVectorStore, labelled: Iterable[LabelledQuery], *, task_type: str | None = None, depth: int = DEPTH
) -> Flow[Calibration]:
    """Learn from labelled queries how probable a match is, for `ranking="calibrated"`; stored with the collection.

    Five to ten queries are enough to begin with. Queries without a relevant document count as well: they show the
    scores of documents that do not match. Hits that are not labelled count as not relevant.

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
        store: a store of this package.
        labelled: queries and the documents they should find.
        task_type: what the queries are for, for embeddings that know tasks.
        depth: number of documents of each modality that are compared with the labels of each query.

    Raises:
        ValueError: there is no query, or none with a relevant document.
        ContentError: a label names a document that is not stored.
    """
    labelled, backend = _checked(labelled), store.backend
    plan = plan_ranking(backend, positive_int("depth", depth), task_type=task_type)
    ids = list(dict.fromkeys(id_ for one in labelled for id_ in one.relevant))
    records = yield from backend.fetch(ids)
    unknown = sorted(set(ids) - {record.id for record in records})
    if unknown:
        raise ContentError(f"the labels name ids that are not stored: {', '.join(map(repr, unknown[:10]))}")
    queries = [one.query if isinstance(one.query, Query) else Query(one.query) for one in labelled]
    vectors = yield from query_vectors_flow(backend, queries, task_type)
    examples: list[Example] = []
    for number, (one, query, vector) in enumerate(zip(labelled, queries, vectors, strict=True)):
        modality = one.modality or query_modality(query, backend.space.media)
        for found in (yield from candidates_flow(vector, plan, query.ids)):
            pair, id_ = pair_of(modality, found.modality), found.scored.record.id
            examples.append(Example(number, pair, found.scored.score, found.deviation, id_ in one.relevant))
    calibration = yield blocking(
        fit,
        examples,
        queries=len(labelled),
        unanswered=sum(not one.relevant for one in labelled),
        relevant=sum(len(one.relevant) for one in labelled),
    )
    return (yield from store_calibration_flow(backend, calibration))


acalibrate = asynchronous(calibrate)


def _checked(labelled: Iterable[LabelledQuery]) -> list[LabelledQuery]:
    found = list(labelled)
    for one in found:
        if not isinstance(one, LabelledQuery):
            raise InvalidTypeError(f"labelled holds LabelledQuery(query, relevant), got {type(one).__name__}")
    if not any(one.relevant for one in found):
        raise InvalidValueError(
            f"of {len(found)} labelled queries none has a relevant document; without one there is nothing to learn"
        )
    return found
