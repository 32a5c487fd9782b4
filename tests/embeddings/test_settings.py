"""Arguments: refused values, in the constructor and in calls."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.testing import GeminiEmulator

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "typo": ({"output_dimension": 768}, TypeError, r"'output_dimension'\. Did you mean 'output_dimensionality'"),
    "unknown": ({"zebra": 1}, TypeError, "no option 'zebra'"),
    "no model": ({"model": ""}, TypeError, "model must be a name such as 'gemini-embedding-2' or a ModelSpec"),
    "too few dimensions": ({"output_dimensionality": 64}, ValueError, "128 to 3072.*got 64"),
    "too many dimensions": ({"output_dimensionality": 4096}, ValueError, "got 4096"),
    "dimensions as text": ({"output_dimensionality": "x"}, ValueError, "output_dimensionality"),
    "unknown task": ({"task_type": "SEARCH_STUFF"}, ValueError, "unknown task 'SEARCH_STUFF'"),
    "no concurrency": ({"max_concurrency": 0}, ValueError, "max_concurrency"),
    "negative timeout": ({"timeout": -1}, ValueError, "timeout"),
    "bad request timeout": ({"request_options": {"timeout": 0}}, ValueError, "positive number of seconds, got 0"),
    "media of a wrong type": ({"media": "/some/folder"}, ValueError, "media"),
    "cache of a wrong type": ({"cache": {}}, ValueError, "cache"),
    "unresolved": ({"unresolved": "ignore"}, ValueError, "unresolved"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_constructor_refusals(name: str) -> None:
    """A wrong argument is refused by name in the constructor."""
    arguments, error, message = REFUSED[name]

    with pytest.raises(error, match=message):
        GeminiEmbeddings(api_key="k", **arguments)


def test_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key the error names the variables; the first one that is set is used."""
    with pytest.raises(ValueError, match=r"GOOGLE_API_KEY \(or GEMINI_API_KEY\)"):
        GeminiEmbeddings()

    monkeypatch.setenv("GEMINI_API_KEY", "second")
    assert GeminiEmbeddings().google_api_key.get_secret_value() == "second"  # type: ignore[union-attr]
    monkeypatch.setenv("GOOGLE_API_KEY", "first")
    assert GeminiEmbeddings().google_api_key.get_secret_value() == "first"  # type: ignore[union-attr]


CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = {
    "one text for many": ("embed_documents", ("hello",), {}, TypeError, "list of contents.*got one str"),
    "one number": ("embed_documents", (3,), {}, TypeError, "got one int"),
    "batch size 0": ("embed_documents", (["a"],), {"batch_size": 0}, ValueError, "batch_size.*got 0"),
    "batch size True": ("embed_documents", (["a"],), {"batch_size": True}, TypeError, "got True"),
    "titles too few": ("embed_documents", (["a", "b"],), {"titles": ["A"]}, ValueError, "1 titles for 2 contents"),
    "unknown task": ("embed_query", ("a",), {"task_type": "nope"}, ValueError, "unknown task 'nope'"),
    "dimensions True": ("embed_query", ("a",), {"output_dimensionality": True}, TypeError, "got True"),
    "dimensions 0": ("embed_query", ("a",), {"output_dimensionality": 0}, ValueError, "got 0"),
    "unknown keyword": ("embed_query", ("a",), {"dims": 3}, TypeError, "dims"),
    "wrong role": ("embed", (["a"],), {"role": "doc"}, ValueError, "'query', 'document', got 'doc'"),
}


@pytest.mark.parametrize("name", CALLS)
def test_call_refusals(name: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Wrong arguments of a call are refused before anything is sent."""
    method, positional, named, error, message = CALLS[name]

    with pytest.raises(error, match=message):
        getattr(embeddings, method)(*positional, **named)
    assert not emulator.embed_requests


def test_an_empty_list_gives_an_empty_list(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """An empty list gives an empty list, without a request."""
    assert embeddings.embed_documents([]) == []
    assert embeddings.embed([]).shape == (0, 3072)
    assert not emulator.embed_requests
