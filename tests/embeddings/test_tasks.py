"""Tasks: the prefixes and fields of each model."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore
from langchain_gemini_mm.embeddings.tasks import TASKS, find_task, flat_title, recipe
from langchain_gemini_mm.models import model_spec

if TYPE_CHECKING:
    from langchain_gemini_mm.testing import GeminiEmulator


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
    Case("search by name", "query", "search", None, "task: search result | query: X"),
    Case("search by prefix name", "document", "search result", "T", "title: T | text: X"),
    Case("a document of the task search", "document", "RETRIEVAL_QUERY", "T", "title: T | text: X"),
    Case("a query of the document task", "query", "RETRIEVAL_DOCUMENT", None, "task: search result | query: X"),
    Case("a query of the document task by name", "query", "document", None, "task: search result | query: X"),
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
    ("query", "RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"),
    ("document", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),
    ("document", "search", "RETRIEVAL_DOCUMENT"),
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


SYMMETRIC = {"CLASSIFICATION", "CLUSTERING", "SEMANTIC_SIMILARITY"}


def test_the_table_of_the_documentation(emulator: GeminiEmulator) -> None:
    """Every task on both sides is sent as docs/embedding.md says, as task of the object and, by its name, of a call."""
    table = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:none, )?`[A-Z_`, ]+)\| (.+?) \| (.+?) \|$", table.replace("\\|", "¦"), re.MULTILINE)
    found: dict[str, tuple[str, str]] = {}
    above = ""
    for names, query, document in rows:
        above = document if document.startswith("`") else above
        side = {"as above": above, "the same": query}.get(document, document)
        texts = [re.sub("^the text alone$", "…", text.strip("`").replace("¦", "|")) for text in (query, side)]
        for name in re.findall(r"[A-Z_]{2,}", names):
            found[name] = (texts[0].replace("…", "X"), texts[1].replace("title: …", "title: none").replace("…", "X"))
    assert set(found) == set(TASKS)
    for name, expected in found.items():
        with GeminiEmbeddings(task_type=name, output_dimensionality=128) as ours:
            ours.embed_query("X")
            ours.embed_documents(["X"])
        with GeminiEmbeddings(output_dimensionality=128) as ours:
            ours.embed_query("X", task_type=TASKS[name].prefix)
            asyncio.run(ours.aembed_documents(["X"], task_type=TASKS[name].prefix))
        sent = [text for request in emulator.embed_requests[-4:] for text in request.texts]
        assert sent == [*expected, *expected], name


@pytest.mark.parametrize("model", ["gemini-embedding-2", "gemini-embedding-001"])
def test_the_service_names_of_search_are_literal_in_a_call(model: str, emulator: GeminiEmulator) -> None:
    """As in `GoogleGenerativeAIEmbeddings`, a call can choose the side by the service's name; an object cannot."""
    with GeminiEmbeddings(model=model, output_dimensionality=128) as ours:
        ours.embed_query("X", task_type="RETRIEVAL_DOCUMENT")
        ours.embed_documents(["X"], task_type="RETRIEVAL_QUERY")
    sent = [(item.parts[0].text, item.task_type) for request in emulator.embed_requests for item in request.items]
    if model == "gemini-embedding-2":
        assert sent == [("title: none | text: X", None), ("task: search result | query: X", None)]
    else:
        assert sent == [("X", "RETRIEVAL_DOCUMENT"), ("X", "RETRIEVAL_QUERY")]


@pytest.mark.parametrize("task", ["RETRIEVAL_QUERY", "search", "retrieval_document", "document", "search result"])
def test_every_name_of_search_is_one_space(task: str, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """An index made with the default task is searched by an object with any name of it, and queries stay queries."""
    LocalVectorStore(tmp_path / "x.db", GeminiEmbeddings(output_dimensionality=128)).add_texts(["d"])
    ours = GeminiEmbeddings(output_dimensionality=128, task_type=task)

    LocalVectorStore(tmp_path / "x.db", ours).similarity_search("q")

    assert emulator.embed_requests[-1].texts == ("task: search result | query: q",)


def test_vectors_without_prefixes(emulator: GeminiEmulator) -> None:
    """`TASK_TYPE_UNSPECIFIED` sends the text alone on both sides, as the text-only class does on this model."""
    with GeminiEmbeddings(task_type="TASK_TYPE_UNSPECIFIED", output_dimensionality=128) as ours:
        ours.embed_query("X")
        ours.embed_documents(["X", Document(page_content="Y", metadata={"title": "T"})])
    sent = [(item.parts[0].text, item.task_type) for request in emulator.embed_requests for item in request.items]
    assert sent == [("X", None), ("X", None), ("Y", None)]


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
