"""How a model is told what an embedding is for: tables of tasks, and the words or fields they turn into.

`gemini-embedding-2` reads its task from the text, and only where a content is text alone; `gemini-embedding-001` reads
a request field. Source: https://ai.google.dev/gemini-api/docs/embeddings (read 2026-11-21).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from langchain_gemini_mm.interfaces import Role
from langchain_gemini_mm.models import ModelSpec
from langchain_gemini_mm.validation import did_you_mean, one_of


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an embedding is for."""

    name: str
    """The service's name, as in `task_type`."""
    words: str
    """The name inside a prefix; the two differ for several tasks."""
    symmetric: bool = False
    """Both sides are worded alike; otherwise documents take the document form, whatever the query's task."""


_DOCUMENT = "RETRIEVAL_DOCUMENT"
_QUERY = "RETRIEVAL_QUERY"
UNSPECIFIED = "TASK_TYPE_UNSPECIFIED"

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(name=_QUERY, words="search result"),
            Task(name=_DOCUMENT, words="document"),
            Task(name="QUESTION_ANSWERING", words="question answering"),
            Task(name="FACT_VERIFICATION", words="fact checking"),
            Task(name="CODE_RETRIEVAL_QUERY", words="code retrieval"),
            Task(name="CLASSIFICATION", words="classification", symmetric=True),
            Task(name="CLUSTERING", words="clustering", symmetric=True),
            Task(name="SEMANTIC_SIMILARITY", words="sentence similarity", symmetric=True),
            Task(name=UNSPECIFIED, words="none", symmetric=True),
        )
    }
)
"""Every task by its service name. `TASK_TYPE_UNSPECIFIED` leaves the text as it is."""

_BY_WORDS = {task.words: task for task in TASKS.values()} | {"search": TASKS[_QUERY]}
_TITLE_BREAKERS = re.compile(r"\s*(?:\||[\r\n\v\f\x85\u2028\u2029])+\s*")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one side is told to a model: a text template, or request fields."""

    template: str | None = None
    """With `{content}` and perhaps `{title}`; None leaves the text alone."""
    task_type: str | None = None
    """The request field, for models that read it."""

    @property
    def takes_title(self) -> bool:
        """Whether a title has a place in this recipe."""
        return self.task_type == _DOCUMENT or "{title}" in (self.template or "")

    def text(self, content: str, title: str | None = None) -> str:
        """Word a text-only content for the model."""
        if self.template is None:
            return content
        # Not str.format: content and title may hold braces of their own.
        head, _, tail = self.template.partition("{content}")
        return f"{head.replace('{title}', flat_title(title))}{content}{tail}"


def find_task(name: str) -> Task:
    """Look a task up by service name or by its words, in any case.

    ```python
    from langchain_gemini_mm.embeddings.tasks import find_task

    assert find_task("fact checking").name == "FACT_VERIFICATION"
    ```

    Raises:
        ValueError: there is no such task; the message lists those there are.
    """
    if not isinstance(name, str):
        raise TypeError(f"a task is a name such as 'QUESTION_ANSWERING', got {type(name).__name__}")
    task = TASKS.get(name.strip().upper()) or _BY_WORDS.get(name.strip().lower().replace("_", " "))
    if task is None:
        raise ValueError(f"unknown task {name!r}{did_you_mean(name.upper(), TASKS) or '.'} Tasks: {', '.join(TASKS)}")
    return task


def recipe(spec: ModelSpec, role: Role, task: str | None = None) -> Recipe:
    """How `spec` is told that a text stands on side `role` of `task`.

    Without a task, queries search and documents are searched. The document side of an asymmetric task (question
    answering, fact checking, code retrieval) is the plain document form.
    """
    one_of("role", role, ("query", "document"))
    found = find_task(task) if task is not None else TASKS[_QUERY if role == "query" else _DOCUMENT]
    if role == "document" and not found.symmetric and found.name != _QUERY:
        found = TASKS[_DOCUMENT]
    if spec.task_style == "field":
        return Recipe(task_type=None if found.name == UNSPECIFIED else found.name)
    if found.name == UNSPECIFIED:
        return Recipe()
    if found.name == _DOCUMENT:
        return Recipe(template="title: {title} | text: {content}")
    return Recipe(template=f"task: {found.words} | query: {{content}}")


def flat_title(title: str | None) -> str:
    """A title that cannot be mistaken for the prefix around it: one line, no bars; `none` when there is none."""
    return _TITLE_BREAKERS.sub(" ", title or "").strip() or "none"
