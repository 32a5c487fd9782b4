"""Tasks: the prefixes and fields of each model."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from langchain_gemini_mm.embeddings.tasks import TASKS, find_task, flat_title, recipe
from langchain_gemini_mm.models import model_spec


@dataclass(frozen=True)
class Case:
    """One documented rule: the task, and the text that the model must receive."""

    id: str
    role: str
    task: str | None
    title: str | None
    text: str


PREFIXES = [
    Case("search is the default of a query", "query", None, None, "task: search result | query: X"),
    Case("a document without title says none", "document", None, None, "title: none | text: X"),
    Case("a document with title", "document", None, "A talk", "title: A talk | text: X"),
    Case("an explicit search query", "query", "RETRIEVAL_QUERY", None, "task: search result | query: X"),
    Case("a query in document form, when asked for", "query", "RETRIEVAL_DOCUMENT", None, "title: none | text: X"),
    Case(
        "a document in query form, when asked for",
        "document",
        "RETRIEVAL_QUERY",
        None,
        "task: search result | query: X",
    ),
    Case("question answering", "query", "QUESTION_ANSWERING", None, "task: question answering | query: X"),
    Case("its documents are plain documents", "document", "QUESTION_ANSWERING", None, "title: none | text: X"),
    Case(
        "FACT_VERIFICATION is worded fact checking",
        "query",
        "FACT_VERIFICATION",
        None,
        "task: fact checking | query: X",
    ),
    Case("fact checking documents", "document", "fact checking", None, "title: none | text: X"),
    Case("code retrieval", "query", "CODE_RETRIEVAL_QUERY", None, "task: code retrieval | query: X"),
    Case("code documents", "document", "CODE_RETRIEVAL_QUERY", None, "title: none | text: X"),
    Case("classification, query", "query", "CLASSIFICATION", None, "task: classification | query: X"),
    Case("classification, document alike", "document", "CLASSIFICATION", None, "task: classification | query: X"),
    Case("clustering, document alike", "document", "clustering", None, "task: clustering | query: X"),
    Case(
        "similarity is worded sentence similarity",
        "document",
        "SEMANTIC_SIMILARITY",
        None,
        "task: sentence similarity | query: X",
    ),
    Case("unspecified leaves the text alone", "query", "TASK_TYPE_UNSPECIFIED", None, "X"),
]


@pytest.mark.parametrize("case", PREFIXES, ids=lambda case: case.id)
@pytest.mark.parametrize("model", ["gemini-embedding-2", "gemini-embedding-2-preview"])
def test_prefixes(case: Case, model: str) -> None:
    """Models that read the task from the text receive exactly the documented prefix."""
    found = recipe(model_spec(model), case.role, case.task)  # type: ignore[arg-type]

    assert found.text("X", case.title) == case.text
    assert found.task_type is None


FIELDS = [
    ("query", None, "RETRIEVAL_QUERY"),
    ("document", None, "RETRIEVAL_DOCUMENT"),
    ("query", "QUESTION_ANSWERING", "QUESTION_ANSWERING"),
    ("document", "QUESTION_ANSWERING", "RETRIEVAL_DOCUMENT"),
    ("document", "FACT_VERIFICATION", "RETRIEVAL_DOCUMENT"),
    ("document", "CLUSTERING", "CLUSTERING"),
    ("query", "TASK_TYPE_UNSPECIFIED", None),
]


@pytest.mark.parametrize(("role", "task", "field"), FIELDS)
def test_fields(role: str, task: str | None, field: str | None) -> None:
    """`gemini-embedding-001` reads a request field, and its text is unchanged."""
    found = recipe(model_spec("gemini-embedding-001"), role, task)  # type: ignore[arg-type]

    assert (found.task_type, found.text("X", "a title")) == (field, "X")


def test_braces_in_content_and_title_stay() -> None:
    """Text that looks like a template is not formatted."""
    found = recipe(model_spec("gemini-embedding-2"), "document")

    assert found.text("{title} {0}", "{content}") == "title: {content} | text: {title} {0}"


@pytest.mark.parametrize(
    ("title", "flat"),
    [
        (None, "none"),
        ("  ", "none"),
        ("A | text: B", "A text: B"),
        ("two\nlines\r\nhere", "two lines here"),
        ("a\u2028b", "a b"),
        ("plain", "plain"),
    ],
)
def test_titles_cannot_break_the_prefix(title: str | None, flat: str) -> None:
    """Bars and line breaks in a title are replaced, so that a title cannot end its field."""
    assert flat_title(title) == flat


def test_every_task_has_two_names() -> None:
    """Service names in any case and prefix names both work."""
    for task in TASKS.values():
        assert find_task(task.name.lower()) is task
        assert find_task(task.prefix) is task


def test_a_wrong_task_is_refused_by_name() -> None:
    """The error for a typo names the nearest task; a wrong type is a TypeError."""
    with pytest.raises(ValueError, match=r"unknown task 'QUESTION_ANSWERNG'. Did you mean 'QUESTION_ANSWERING'"):
        find_task("QUESTION_ANSWERNG")
    with pytest.raises(TypeError, match="int"):
        find_task(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="role must be one of 'query', 'document', got 'doc'"):
        recipe(model_spec("gemini-embedding-2"), "doc")  # type: ignore[arg-type]
