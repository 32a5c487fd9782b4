"""Classification with labels by description, or by the votes of labelled neighbours, with "unknown" as a result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_gemini_mm import ContentError, LocalVectorStore, Query
from langchain_gemini_mm.analysis import Classification, aclassify, aclassify_many, classify, classify_many
from tests.analysis.stores import both, random_rows, store_of_rows
from tests.vectorstores.fakes import WordEmbeddings


@pytest.fixture(params=["sync", "async"])
def one(request: pytest.FixtureRequest) -> Callable[..., Classification]:
    """`classify`, or its async twin."""
    return both(classify, aclassify, request.param)


@pytest.fixture(params=["sync", "async"])
def many(request: pytest.FixtureRequest) -> Callable[..., list[Classification]]:
    """`classify_many`, or its async twin."""
    return both(classify_many, aclassify_many, request.param)


@pytest.fixture
def animals() -> LocalVectorStore:
    """A store with four labelled images and one without a label."""
    store = LocalVectorStore(":memory:", WordEmbeddings(size=256))
    rows = {"c1": "cat fur", "c2": "cat tail", "d1": "dog bark", "d2": "dog tail", "x": "cat cat"}
    labels = {"c": {"label": "cat"}, "d": {"label": "dog"}, "x": {}}
    metadata = [{**labels[id_[0]], "source": f"{id_}.png", "modality": "image"} for id_ in rows]
    store.add_texts(list(rows.values()), metadata, ids=list(rows))
    return store


def at(degrees: float) -> list[float]:
    """A unit vector in the plane."""
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def labelled(*pairs: tuple[float, Any]) -> LocalVectorStore:
    """A store of labelled unit vectors; `d00` at 0 degrees is the query."""
    return store_of_rows([at(0), *(at(d) for d, _ in pairs)], [{}, *({"label": label} for _, label in pairs)])


ASK = Query(like=["d00"])


def test_neighbours_vote(animals: LocalVectorStore, one: Callable[..., Classification]) -> None:
    """The result has label, share and labelled neighbours with score and source; unlabelled documents do not vote."""
    found = one(animals, "cat", labels="label", k=3)
    assert (found.label, found.best, found.unknown) == ("cat", "cat", False)
    assert found.share == pytest.approx(2 / 3)
    assert [(match.label, match.source) for match in found.matches[:2]] == [("cat", "c1.png"), ("cat", "c2.png")]
    assert found.matches[0].document is not None
    assert found.matches[0].score > found.matches[2].score
    embedding: Any = animals.space.embedding
    assert [contents for contents, role, _ in embedding.calls if role == "query"] == [["cat"]]


def test_a_stored_document_is_classified_without_embedding(
    animals: LocalVectorStore, one: Callable[..., Classification]
) -> None:
    """A stored document is classified by its id, and does not vote."""
    embedding: Any = animals.space.embedding
    calls = len(embedding.calls)
    found = one(animals, Query(like=["c1"]), labels="label", k=9)
    assert found.label == "dog"  # one cat is left, and two dogs
    assert [match.document.id for match in found.matches if match.document] == ["c2", *["d1", "d2"]] or found.matches
    assert "c1" not in {match.document.id for match in found.matches if match.document}
    assert len(embedding.calls) == calls


VOTES: list[Any] = [
    ("most votes", [(10, "a"), (20, "b"), (30, "b")], {}, "b", 2 / 3),
    ("of equals the nearer in sum", [(10, "a"), (20, "b"), (30, "b"), (60, "a")], {}, "b", 0.5),
    ("of equal sums the nearest", [(10, "a"), (50, "b"), (-50, "b"), (10, "a")], {"k": 4}, "a", 0.5),
    ("the k nearest alone", [(10, "a"), (20, "b"), (30, "b")], {"k": 1}, "a", 1.0),
    ("k above the collection", [(10, "a")], {"k": 100}, "a", 1.0),
    ("too small a share", [(10, "a"), (20, "b"), (30, "b")], {"min_share": 0.7}, None, 2 / 3),
    ("enough of a share", [(10, "a"), (20, "b"), (30, "b")], {"min_share": 0.6}, "b", 2 / 3),
    ("the far have no vote", [(10, "a"), (80, "b"), (81, "b")], {"min_similarity": 0.5}, "a", 1.0),
    ("all are far", [(80, "a")], {"min_similarity": 0.5}, None, 0.0),
    ("numbers", [(10, 7), (20, 7)], {}, 7, 1.0),
    ("truth", [(10, True)], {}, True, 1.0),
]


@pytest.mark.parametrize(
    ("pairs", "options", "label", "share"), [pytest.param(*case[1:], id=case[0]) for case in VOTES]
)
def test_ties_and_thresholds(
    one: Callable[..., Classification], pairs: list[Any], options: dict[str, Any], label: Any, share: float
) -> None:
    """Votes decide, then sums of similarities, then the nearest; below a threshold the result is unknown."""
    found = one(labelled(*pairs), ASK, labels="label", **options)
    assert found.label == label
    assert found.unknown == (label is None)
    assert found.share == pytest.approx(share)
    assert found.best is not None


def test_without_labels_the_result_is_unknown(one: Callable[..., Classification]) -> None:
    """An empty store and a store without labels give unknown."""
    nothing = Classification(None, (), None, 0.0)
    assert one(labelled(), ASK, labels="label") == nothing
    assert one(LocalVectorStore(":memory:", WordEmbeddings()), "cat", labels="label") == nothing


def test_filters_restrict_the_voters(animals: LocalVectorStore, one: Callable[..., Classification]) -> None:
    """Voters are restricted by filter and by modality."""
    assert one(animals, "cat", labels="label", filter={"source": "d1.png"}).label == "dog"
    assert one(animals, "cat", labels="label", modalities=["audio"]).unknown


@given(seed=st.integers(0, 40), k=st.integers(1, 25), classes=st.integers(1, 4))
def test_a_vote_equals_brute_force(seed: int, k: int, classes: int) -> None:
    """A brute-force count gives the same label and share."""
    rows = random_rows(20, 4, seed)
    labels = [f"l{(n * 7 + seed) % classes}" for n in range(20)]
    scores = rows @ rows[0]
    nearest = sorted(range(1, 20), key=lambda n: -scores[n])[:k]
    votes = {label: [float(scores[n]) for n in nearest if labels[n] == label] for label in set(labels)}
    best = max(votes, key=lambda label: (len(votes[label]), sum(votes[label])))
    found = classify(store_of_rows(rows, [{"label": label} for label in labels]), ASK, labels="label", k=k)
    assert found.label == best
    assert found.share == pytest.approx(len(votes[best]) / len(nearest))


def test_labels_by_one_example(animals: LocalVectorStore, one: Callable[..., Classification]) -> None:
    """The most similar example wins; all labels are ranked; below a threshold the result is unknown."""
    labels = {"cat": "a cat", "dog": "a dog", "car": "a car"}
    found = one(animals, "fur of a cat", labels=labels)
    assert found.label == "cat"
    assert {match.label for match in found.matches} == set(labels)
    assert [match.score for match in found.matches] == sorted((m.score for m in found.matches), reverse=True)
    far = one(animals, "train", labels=labels, min_similarity=0.5)
    assert far.unknown
    assert far.best == far.matches[0].label


def test_labels_by_several_examples(animals: LocalVectorStore, one: Callable[..., Classification]) -> None:
    """A list contains examples whose mean is used: contents, stored documents, contents of several parts."""
    labels = {"cat": [Query(like=["c1"]), Query(like=["c2"])], "dog": ["dog bark", ("dog", "tail")]}
    assert one(animals, Query(like=["x"]), labels=labels).label == "cat"
    assert one(animals, "bark", labels=labels).label == "dog"
    (best, _) = one(animals, ["tail", "bark"], labels={"a": ("tail", "bark"), "b": "cat"}).matches
    assert best.label == "a"
    assert best.score == pytest.approx(1.0)


def test_many_are_embedded_together(animals: LocalVectorStore, many: Callable[..., list[Classification]]) -> None:
    """Labels are embedded once, contents in one call; results are in input order."""
    embedding: Any = animals.space.embedding
    calls = len(embedding.calls)
    found = many(animals, ["dog", "cat", Query(like=["d1"])], labels={"cat": "a cat", "dog": "a dog"})
    assert [one.label for one in found] == ["dog", "cat", "dog"]
    assert [contents for contents, _, _ in embedding.calls[calls:]] == [["a cat", "a dog"], ["dog", "cat"]]
    assert [one.label for one in many(animals, ["dog", "cat"], labels="label", k=2)] == ["dog", "cat"]
    assert many(animals, [], labels="label") == []


MISTAKES: list[Any] = [
    ("no labels", {"labels": {}}, TypeError, "labels must be a metadata key or a dict"),
    ("a list of labels", {"labels": ["cat"]}, TypeError, r"got \['cat'\]"),
    ("a label without examples", {"labels": {"cat": []}}, ContentError, "'cat' has no example"),
    (
        "a share of described labels",
        {"labels": {"a": "b"}, "min_share": 0.5},
        ValueError,
        "min_share applies to labels in metadata",
    ),
    (
        "a filter of described labels",
        {"labels": {"a": "b"}, "filter": {"x": 1}},
        ValueError,
        "filter or modalities applies to",
    ),
    ("too high a share", {"labels": "label", "min_share": 2}, ValueError, "from 0 to 1, got 2"),
    ("a share that is a word", {"labels": "label", "min_share": "half"}, TypeError, "got 'half'"),
    ("no neighbours", {"labels": "label", "k": 0}, ValueError, "k must be"),
    ("an unknown option", {"labels": "label", "neighbours": 3}, TypeError, "neighbours"),
    ("an unknown id", {"labels": "label", "content": Query(like=["ghost"])}, ContentError, "'ghost'"),
]


@pytest.mark.parametrize(("options", "error", "words"), [pytest.param(*case[1:], id=case[0]) for case in MISTAKES])
def test_invalid_arguments_are_named(
    animals: LocalVectorStore, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The error names argument and value, in `classify` and `classify_many`."""
    content = options.pop("content", "cat") if "content" in options else "cat"
    with pytest.raises(error, match=words):
        classify(animals, content, **options)
    with pytest.raises(error, match=words):
        classify_many(animals, [content], **options)


def test_one_content_is_not_a_list_of_them(animals: LocalVectorStore) -> None:
    """One content in the place of a list is refused."""
    with pytest.raises(TypeError, match=r"write \[content\]"):
        classify_many(animals, "cat", labels="label")


def test_a_label_must_be_one_value() -> None:
    """A list as label is an error that names the document."""
    with pytest.raises(ContentError, match="'d01' has a list under 'label'"):
        classify(labelled((10, ["a", "b"])), ASK, labels="label")
