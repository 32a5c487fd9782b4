"""Tasks: what an embedding is for, and the text prefix or request field that passes it to a model.

`gemini-embedding-2` reads its task from the text, and only where a content is text alone; `gemini-embedding-001` reads
a request field. Source: https://ai.google.dev/gemini-api/docs/embeddings (read 2026-11-21).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.interfaces import Role
from langchain_gemini_mm.models import ModelSpec
from langchain_gemini_mm.validation import did_you_mean, one_of


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an embedding is for."""

    name: str
    """The service's name, as in `task_type`."""
    prefix: str
    """The name inside a prefix; the two differ for several tasks."""
    symmetric: bool = False
    """Whether queries and documents get the same prefix; otherwise documents get the document prefix."""


_DOCUMENT = "RETRIEVAL_DOCUMENT"
_QUERY = "RETRIEVAL_QUERY"
UNSPECIFIED = "TASK_TYPE_UNSPECIFIED"

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(name=_QUERY, prefix="search result"),
            Task(name=_DOCUMENT, prefix="document"),
            Task(name="QUESTION_ANSWERING", prefix="question answering"),
            Task(name="FACT_VERIFICATION", prefix="fact checking"),
            Task(name="CODE_RETRIEVAL_QUERY", prefix="code retrieval"),
            Task(name="CLASSIFICATION", prefix="classification", symmetric=True),
            Task(name="CLUSTERING", prefix="clustering", symmetric=True),
            Task(name="SEMANTIC_SIMILARITY", prefix="sentence similarity", symmetric=True),
            Task(name=UNSPECIFIED, prefix="none", symmetric=True),
        )
    }
)
"""Every task by its service name. `TASK_TYPE_UNSPECIFIED` leaves the text as it is."""

_BY_PREFIX = {task.prefix: task for task in TASKS.values()} | {"search": TASKS[_QUERY]}
_TITLE_BREAKERS = re.compile(r"\s*(?:\||[\r\n\v\f\x85\u2028\u2029])+\s*")


@dataclass(frozen=True)
class Recipe:
    """How role and task are passed to a model: as a prefix of the text, or in request fields."""

    template: str | None = None
    """A prefix, optionally with `{title}`, then `{content}`; None leaves the text unchanged."""
    task_type: str | None = None
    """The request field, for models that read it."""

    @cached_property
    def prefix(self) -> str:
        """What stands before a text that has no title."""
        return self.text("")

    @cached_property
    def takes_title(self) -> bool:
        """Whether the recipe has a place for a title."""
        return self.task_type == _DOCUMENT or "{title}" in (self.template or "")

    def text(self, content: str, title: str | None = None) -> str:
        """Return the text with its prefix."""
        if self.template is None:
            return content
        # Not str.format: content and title may hold braces of their own.
        return f"{self.template.removesuffix('{content}').replace('{title}', flat_title(title))}{content}"


def find_task(name: str) -> Task:
    """Look up a task by its service name or prefix name, ignoring case.

    ```python
    from langchain_gemini_mm.embeddings.tasks import find_task

    assert find_task("fact checking").name == "FACT_VERIFICATION"
    ```

    Raises:
        ValueError: no such task; the message lists the existing ones.
    """
    if not isinstance(name, str):
        raise InvalidTypeError(f"a task is a name such as 'QUESTION_ANSWERING', got {type(name).__name__}")
    task = TASKS.get(name.strip().upper()) or _BY_PREFIX.get(name.strip().lower().replace("_", " "))
    if task is None:
        raise InvalidValueError(
            f"unknown task {name!r}{did_you_mean(name.upper(), TASKS) or '.'} Tasks: {', '.join(TASKS)}"
        )
    return task


def recipe(spec: ModelSpec, role: Role, task: str | None = None, *, literal: bool = False) -> Recipe:
    """How a text is prefixed for a task, on its side of the search.

    Documents of an asymmetric task (search, question answering, fact checking, code retrieval) get the document prefix,
    and queries never do: `"RETRIEVAL_QUERY"` and `"RETRIEVAL_DOCUMENT"` are two names of the task search.

    Args:
        spec: the model.
        role: `"query"` or `"document"`.
        task: a name as in `find_task`; search by default.
        literal: whether these two names, as the service writes them, choose the side instead of `role`, as they do
            in a call of `GoogleGenerativeAIEmbeddings`.

    Raises:
        ValueError: no such role or task.
    """
    one_of("role", role, ("query", "document"))
    side = TASKS[_QUERY if role == "query" else _DOCUMENT]
    found = side if task is None else find_task(task)
    retrieval = found.name in (_QUERY, _DOCUMENT)
    if not (literal and retrieval and task == found.name) and (
        retrieval or (side.name == _DOCUMENT and not found.symmetric)
    ):
        found = side
    if spec.task_style == "field":
        return Recipe(task_type=None if found.name == UNSPECIFIED else found.name)
    if found.name == UNSPECIFIED:
        return Recipe()
    if found.name == _DOCUMENT:
        return Recipe(template="title: {title} | text: {content}")
    return Recipe(template=f"task: {found.prefix} | query: {{content}}")


def flat_title(title: str | None) -> str:
    """Remove line breaks and bars from a title, which would end the title field of a prefix; `none` for no title."""
    return _TITLE_BREAKERS.sub(" ", title or "").strip() or "none"
