"""Zero-shot classification by descriptions of the labels, and k-nearest-neighbour classification by stored labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from langchain_core.documents import Document

from langchain_gemini_mm.analysis.stored_vectors import narrowed
from langchain_gemini_mm.batching import slices
from langchain_gemini_mm.errors import ContentError, InvalidTypeError, InvalidValueError
from langchain_gemini_mm.flows import Flow, asynchronous, synchronous
from langchain_gemini_mm.interfaces import Content, Filter, Vectors
from langchain_gemini_mm.validation import did_you_mean, number_in, positive_int, unknown_option
from langchain_gemini_mm.vectors import unit_rows
from langchain_gemini_mm.vectorstores import Hit, MultimodalVectorStore, Query
from langchain_gemini_mm.vectorstores.filters import Exists
from langchain_gemini_mm.vectorstores.search import plan_search, query_vectors_flow, search_flow

Label: TypeAlias = str | int | float | bool
"""A label: a name, or a value in the metadata of a stored document."""

Labels: TypeAlias = str | Mapping[str, Any]
"""A metadata key; or examples by label: one content each, or a list of contents whose mean vector is used."""

_SAMPLE = 100
"""Documents whose keys are compared with a key that none has."""
_BATCH_SIZE = 256


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate label and its similarity."""

    label: Label
    score: float
    """Cosine similarity."""
    document: Document | None = None
    """The labelled neighbour; None where the label was described by examples."""

    @property
    def source(self) -> str | None:
        """The source of the labelled neighbour."""
        found = self.document.metadata.get("source") if self.document is not None else None
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class Classification:
    """The predicted label, and the candidates it was chosen from."""

    label: Label | None
    """The predicted label; None if no label fits."""
    matches: tuple[Match, ...]
    """All labels or all labelled neighbours, the most similar first, including those below `min_similarity`."""
    best: Label | None = None
    """The best label, even if it is below a threshold; None if no neighbour is labelled."""
    share: float = 1.0
    """Share of the votes for `best`, 0 to 1; 1 where labels are described by examples."""

    @property
    def unknown(self) -> bool:
        """Whether no label fits."""
        return self.label is None


@synchronous
def classify(
    store: MultimodalVectorStore,
    content: Content | Query,
    *,
    labels: Labels,
    k: int = 5,
    min_similarity: float | None = None,
    min_share: float | None = None,
    filter: Filter | None = None,  # noqa: A002 - LangChain's word
    modalities: Iterable[str] | None = None,
    task_type: str | None = None,
) -> Flow[Classification]:
    """Classify a content or a stored document.

    ```python
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from langchain_gemini_mm import LocalVectorStore, Query
    from langchain_gemini_mm.analysis import classify

    store = LocalVectorStore(":memory:", DeterministicFakeEmbedding(size=8))
    store.add_texts(["miaow", "miaow!", "wow"], [{"label": "cat"}, {"label": "cat"}, {"label": "dog"}], ids=list("abc"))
    assert classify(store, "miaow", labels="label", k=1).label == "cat"
    assert classify(store, Query(like=["a"]), labels={"cat": "miaow", "dog": "wow"}).label == "cat"
    ```

    With a metadata key, the `k` nearest documents that have this key vote for their value. The label with the most
    votes wins; ties go to the greater sum of similarities, then to the nearest neighbour. With examples by label, the
    most similar label wins. Stored vectors are reused; only `content` and examples are embedded.

    Args:
        store: a store of this package.
        content: any content, or `Query(like=[id])` for a stored document, which then does not vote.
        labels: a metadata key; or examples by label, such as `{"cat": "a photo of a cat", "dog": Query(like=["d1"])}`.
            A list contains several examples of a label, each a content (or a tuple of parts) or a `Query`; the label is
            represented by the mean of their vectors.
        k: number of neighbours that vote.
        min_similarity: lowest cosine similarity, -1 to 1, of a neighbour that votes or of a label; below it the
            result is unknown.
        min_share: smallest share of the votes, 0 to 1, with which a label wins.
        filter: a metadata filter for the documents that vote.
        modalities: modalities of the documents that vote. Similarities within the modality of `content` are higher than
            across modalities.
        task_type: the task of contents and examples, for embeddings that have tasks.

    Raises:
        ContentError: a content cannot be embedded, or a label in the metadata is not a str, number or bool.
        ValueError: an option is out of range, or does not apply to this type of `labels`.
    """
    options = {
        "k": k,
        "min_similarity": min_similarity,
        "min_share": min_share,
        "filter": filter,
        "modalities": modalities,
        "task_type": task_type,
    }
    (found,) = yield from _classified_flow(store, [content], labels, options)
    return found


aclassify = asynchronous(classify)


@synchronous
def classify_many(
    store: MultimodalVectorStore, contents: Iterable[Content | Query], *, labels: Labels, **options: Any
) -> Flow[list[Classification]]:
    """Classify several contents, which are embedded together; examples of labels are embedded once.

    Args:
        store: a store of this package.
        contents: any contents, or `Query(like=[id])` for stored documents.
        labels: a metadata key, or examples by label, as in `classify`.
        options: the other options of `classify`.
    """
    if isinstance(contents, str | bytes | Query):
        raise InvalidTypeError(f"contents must be a list, got one {type(contents).__name__}; write [content]")
    return (yield from _classified_flow(store, list(contents), labels, options))


aclassify_many = asynchronous(classify_many)


@dataclass(frozen=True, slots=True)
class _Rule:
    """The options of a classification, checked."""

    k: int = 5
    min_similarity: float | None = None
    min_share: float | None = None
    filter: Filter | None = None
    modalities: Iterable[str] | None = None
    task_type: str | None = None

    def __post_init__(self) -> None:
        positive_int("k", self.k)
        for name, low in (("min_similarity", -1), ("min_share", 0)):
            value = getattr(self, name)
            if value is not None:
                number_in(name, value, low, 1)


def _classified_flow(
    store: MultimodalVectorStore, contents: Sequence[Content | Query], labels: Labels, options: Mapping[str, Any]
) -> Flow[list[Classification]]:
    names = [field.name for field in fields(_Rule)]
    unknown = [name for name in options if name not in names]
    if unknown:
        raise unknown_option(unknown[0], ["labels", *names], "classify")
    rule = _Rule(**options)
    given = narrowed(rule.filter, rule.modalities)
    if isinstance(labels, Mapping) and labels:
        for name, value in (("min_share", rule.min_share), ("filter or modalities", given)):
            if value is not None:
                raise InvalidValueError(f"{name} applies to labels in metadata, and labels={{...}} gives examples")
        return (yield from _described_flow(store, contents, labels, rule))
    if not isinstance(labels, str) or not labels:
        raise InvalidTypeError(f"labels must be a metadata key or a dict of examples by label, got {labels!r:.60}")
    voters = narrowed(given, None, {labels: {"$exists": True}})
    plan = plan_search(store.backend, rule.k, filter=voters, task_type=rule.task_type)
    found: list[Classification] = []
    for some in slices(contents, _BATCH_SIZE):
        answers = yield from search_flow(some, plan)
        if not any(answers):
            yield from _require_labels_flow(store, labels)
        found += [_vote(hits, labels, rule) for hits in answers]
    return found


def _require_labels_flow(store: MultimodalVectorStore, key: str) -> Flow[None]:
    """Refuse a metadata key that no document has, where documents have one with a similar name."""
    if (yield from store.backend.count(Exists(key))):
        return
    records = yield from store.backend.page(None, _SAMPLE)
    if hint := did_you_mean(key, {name for record in records for name in record.document.metadata}):
        raise InvalidValueError(f"no document has the metadata key {key!r}, which labels names{hint}")


def _described_flow(
    store: MultimodalVectorStore, contents: Sequence[Content | Query], labels: Mapping[str, Any], rule: _Rule
) -> Flow[list[Classification]]:
    examples = {label: value if isinstance(value, list) else [value] for label, value in labels.items()}
    empty = [label for label, given in examples.items() if not given]
    if empty:
        raise ContentError(f"the label {empty[0]!r} has no example")
    rows = yield from _rows_flow(store, [item for given in examples.values() for item in given], rule)
    ends = np.cumsum([len(given) for given in examples.values()])
    described = unit_rows([part.mean(axis=0, dtype=np.float64) for part in np.split(rows, ends[:-1])])
    found: list[Classification] = []
    for some in slices(contents, _BATCH_SIZE):
        similarity = np.clip((yield from _rows_flow(store, some, rule)) @ described.T, -1, 1)
        found += [_most_similar(list(examples), scores.tolist(), rule) for scores in similarity]
    return found


def _rows_flow(store: MultimodalVectorStore, items: Sequence[Content | Query], rule: _Rule) -> Flow[Vectors]:
    queries = [item if isinstance(item, Query) else Query(item) for item in items]
    return np.stack((yield from query_vectors_flow(store.backend, queries, rule.task_type)))


def _most_similar(labels: Sequence[str], scores: Sequence[float], rule: _Rule) -> Classification:
    ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])
    best, score = ranked[0]
    far = rule.min_similarity is not None and score < rule.min_similarity
    return Classification(None if far else best, tuple(Match(*pair) for pair in ranked), best)


def _vote(hits: Sequence[Hit], key: str, rule: _Rule) -> Classification:
    matches = tuple(Match(_label(hit.document, key), hit.score, hit.document) for hit in hits)
    voters = [match for match in matches if rule.min_similarity is None or match.score >= rule.min_similarity]
    if not voters:
        return Classification(None, matches, matches[0].label if matches else None, 0.0)
    votes = Counter(match.label for match in voters)
    sums: defaultdict[Label, float] = defaultdict(float)
    nearest: dict[Label, int] = {}
    for position, match in enumerate(voters):
        sums[match.label] += match.score
        nearest.setdefault(match.label, position)
    best = max(votes, key=lambda label: (votes[label], sums[label], -nearest[label]))
    share = votes[best] / len(voters)
    few = rule.min_share is not None and share < rule.min_share
    return Classification(None if few else best, matches, best, share)


def _label(document: Document, key: str) -> Label:
    value = document.metadata[key]
    if not isinstance(value, str | int | float | bool):
        raise ContentError(
            f"document {document.id!r} has a {type(value).__name__} under {key!r}; a label must be a str, number or "
            "bool. Change it with update_metadata, or exclude the document with filter"
        )
    return value
