"""Programs written for `GoogleGenerativeAIEmbeddings` run after changing the import; docs/embedding.md lists the rest.

Each program runs with both classes against the emulator. `gemini-embedding-001` gets the same request fields from both,
so that vectors can be compared.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import SecretStr

from langchain_gemini_mm import ContentError, GeminiEmbeddings, GeminiMMError
from langchain_gemini_mm.testing import GeminiEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXT_MODEL = "gemini-embedding-001"
# The other class leaves the connections of event loops open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def collect_here() -> Iterator[None]:
    """Collect what the other class leaves open: a later test would be blamed for it."""
    yield
    gc.collect()


def _other_class() -> Any:
    """`GoogleGenerativeAIEmbeddings`; its package is not installed with the oldest versions."""
    module = pytest.importorskip("langchain_google_genai", reason="installed in the environment of the group `rivals`")
    return module.GoogleGenerativeAIEmbeddings


@pytest.mark.rivals
def test_every_field_exists_with_its_default() -> None:
    """Each field of the other class is a field of ours, with the same alias and default; only `model` has a default."""
    theirs, ours = _other_class().model_fields, GeminiEmbeddings.model_fields

    assert set(theirs) - set(ours) == set()
    assert {name: field.alias for name, field in theirs.items()} == {name: ours[name].alias for name in theirs}
    assert {name: field.default for name, field in theirs.items() if name != "model"} == {
        name: ours[name].default for name in theirs if name != "model"
    }
    assert [name for name, field in ours.items() if field.is_required()] == []


@pytest.mark.rivals
def test_every_method_takes_the_same_arguments() -> None:
    """Each public method of the other class exists, and its parameters have the same names, kinds and defaults."""
    theirs = _other_class()
    methods = [
        name
        for name, value in inspect.getmembers(theirs, inspect.isfunction)
        if not name.startswith("_") and value.__module__ == theirs.__module__
    ]
    assert {"embed_query", "embed_documents", "aembed_query", "aembed_documents"} <= set(methods)
    for method in methods:
        expected = inspect.signature(getattr(theirs, method)).parameters
        given = inspect.signature(getattr(GeminiEmbeddings, method)).parameters
        assert {name: (parameter.kind, parameter.default) for name, parameter in expected.items()} == {
            name: (given[name].kind, given[name].default) for name in expected
        }, method


def _calls(embeddings: Any) -> list[Any]:
    """Every way to call the four methods."""
    return [
        embeddings.embed_query("a question"),
        embeddings.embed_query("a question", task_type="QUESTION_ANSWERING"),
        embeddings.embed_query("a text", task_type="RETRIEVAL_DOCUMENT", title="A"),
        embeddings.embed_query("a question", task_type="semantic_similarity", output_dimensionality=256),
        embeddings.embed_query("a question", task_type=None, title=None, output_dimensionality=None),
        embeddings.embed_query("a question", task_type=""),
        embeddings.embed_documents(["a", "b", "a"]),
        embeddings.embed_documents(("a", "b")),
        embeddings.embed_documents([f"text {i}" for i in range(250)], batch_size=100),
        embeddings.embed_documents(["a", "b", "c"], batch_size=2, output_dimensionality=256),
        embeddings.embed_documents(["a"], task_type="CLASSIFICATION"),
        embeddings.embed_documents(["a"], titles=["A"]),
        embeddings.embed_documents(["a"], titles=[]),
        embeddings.embed_documents([]),
        asyncio.run(embeddings.aembed_query("a question", task_type="FACT_VERIFICATION")),
        asyncio.run(embeddings.aembed_documents(["a", "b"], batch_size=1)),
    ]


ARGUMENTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "a prefix in the name": {"model": f"models/{TEXT_MODEL}"},
    "a symmetric task": {"task_type": "CLUSTERING"},
    "a task in lower case": {"task_type": "classification"},
    "an empty task": {"task_type": ""},
    "dimensions": {"output_dimensionality": 768},
    "key by alias": {"api_key": "KEY"},
    "key by name": {"google_api_key": "KEY"},
    "secret key": {"google_api_key": SecretStr("KEY")},
    "headers": {"additional_headers": {"x-team": "search"}},
    "client arguments": {"client_args": {"headers": {"x-proxy": "yes"}}},
    "API version": {"api_version": "v1"},
    "time-out": {"request_options": {"timeout": 10}},
    "no time-out": {"request_options": {"timeout": None}},
    "the Gemini API": {"vertexai": False},
    "no options": dict.fromkeys(
        ("task_type", "request_options", "client_args", "additional_headers", "project", "output_dimensionality")
    ),
}


@pytest.mark.rivals
@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_same_program_gives_the_same_vectors(name: str, emulator: GeminiEmulator) -> None:
    """Only the class differs: arguments, calls, vectors, and the headers and paths of requests are the same."""
    arguments = {"model": TEXT_MODEL, "base_url": emulator.url, **ARGUMENTS[name]}
    for field in ("api_key", "google_api_key"):
        if field in arguments:
            key = emulator.api_key
            arguments[field] = SecretStr(key) if isinstance(arguments[field], SecretStr) else key

    def program(class_: Any) -> tuple[list[Any], set[tuple[str | None, ...]]]:
        emulator.reset()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*title.* no effect")
            vectors = _calls(class_(**arguments))
        headers = ("x-team", "x-proxy", "x-goog-api-key")
        sent = emulator.embed_requests
        return vectors, {tuple(request.headers.get(header) for header in headers) for request in sent}

    (ours, our_headers), (theirs, their_headers) = program(GeminiEmbeddings), program(_other_class())

    assert our_headers == their_headers
    for ours_of_call, theirs_of_call in zip(ours, theirs, strict=True):
        assert isinstance(ours_of_call, list)
        assert np.shape(ours_of_call) == np.shape(theirs_of_call)
        theirs_unit = np.asarray(theirs_of_call)
        if theirs_unit.size:  # the other class does not normalize vectors of fewer dimensions
            theirs_unit = theirs_unit / np.linalg.norm(theirs_unit, axis=-1, keepdims=True)
        assert np.allclose(ours_of_call, theirs_unit, atol=1e-6)


@pytest.mark.rivals
def test_vectors_without_prefixes_can_be_reproduced(emulator: GeminiEmulator) -> None:
    """The other class sends no prefixes to `gemini-embedding-2`; the task `TASK_TYPE_UNSPECIFIED` gives its vectors."""
    arguments = {"model": "gemini-embedding-2", "base_url": emulator.url}
    theirs = _other_class()(**arguments)
    ours = GeminiEmbeddings(**arguments, task_type="TASK_TYPE_UNSPECIFIED")

    assert np.allclose(ours.embed_documents(["a text"]), theirs.embed_documents(["a text"]), atol=1e-6)
    assert np.allclose(ours.embed_query("a text"), theirs.embed_query("a text"), atol=1e-6)
    assert not np.allclose(GeminiEmbeddings(**arguments).embed_query("a text"), theirs.embed_query("a text"), atol=1e-3)


def _credentials() -> Any:
    from google.oauth2.credentials import Credentials

    return Credentials("token")


ENVIRONMENTS: dict[str, tuple[dict[str, str], Callable[[], dict[str, Any]], dict[str, Any]]] = {
    "the second key": ({"GEMINI_API_KEY": "KEY"}, dict, {"vertexai": False}),
    "both keys": ({"GOOGLE_API_KEY": "KEY", "GEMINI_API_KEY": "wrong"}, dict, {"vertexai": False}),
    "an argument before the environment": (
        {"GOOGLE_API_KEY": "wrong"},
        lambda: {"api_key": "KEY"},
        {"vertexai": False},
    ),
    "a project": ({}, lambda: {"project": "p", "credentials": _credentials()}, {"vertexai": True, "project": "p"}),
    "credentials": (
        {"GOOGLE_CLOUD_PROJECT": "p"},
        lambda: {"credentials": _credentials()},
        {"vertexai": True, "project": "p"},
    ),
    "Vertex AI by the environment": (
        {"GOOGLE_GENAI_USE_VERTEXAI": "true", "GOOGLE_CLOUD_PROJECT": "p"},
        lambda: {"credentials": _credentials(), "api_key": None},
        {"vertexai": True, "project": "p"},
    ),
    "the Gemini API by the environment": (
        {"GOOGLE_GENAI_USE_VERTEXAI": "0", "GOOGLE_API_KEY": "KEY"},
        dict,
        {"vertexai": False},
    ),
}


@pytest.mark.rivals
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment_variables_choose_the_same_service(
    name: str, emulator: GeminiEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both classes send to the same service, of the same project and location, with the same key."""
    variables, arguments, expected = ENVIRONMENTS[name]
    monkeypatch.delenv("GOOGLE_API_KEY")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", emulator.url)
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, emulator.api_key if value == "KEY" else value)

    def program(class_: Any) -> set[str]:
        emulator.reset()
        given = {field: emulator.api_key if value == "KEY" else value for field, value in arguments().items()}
        embeddings = class_(model="gemini-embedding-2", **given)
        embeddings.embed_query("a question")
        # The other class uses the SDK's version of the API.
        return {re.sub(r"^/v\w+|/models/.*", "", request.path) for request in emulator.embed_requests}

    ours = program(GeminiEmbeddings)

    if "GOOGLE_CLOUD_PROJECT" not in variables:  # with a base URL, the other class drops a project of the environment
        assert ours == program(_other_class())
    assert any("projects/p/locations/us" in path for path in ours) == expected["vertexai"]


IGNORED: dict[str, tuple[dict[str, Any], str]] = {
    "transport": ({"transport": "rest"}, "transport has no effect"),
    "client options": ({"client_options": {"api_endpoint": "x"}}, "client_options has no effect.*base_url"),
    "request options": (
        {"request_options": {"timeout": 10, "retry": None}},
        r"request_options\['retry'\] has no effect",
    ),
}


@pytest.mark.parametrize("name", IGNORED)
def test_arguments_of_older_versions_are_ignored_with_a_warning(name: str, embeddings: GeminiEmbeddings) -> None:
    """What version 4 of the other class ignores silently is ignored with a warning that says what to use."""
    arguments, message = IGNORED[name]

    with pytest.warns(UserWarning, match=message):
        ours = GeminiEmbeddings(model=TEXT_MODEL, **arguments)
    assert len(ours.embed_query("a question")) == 3072


def test_the_object_can_be_used_like_a_pydantic_model(emulator: GeminiEmulator) -> None:
    """Fields can be read, set and copied; the key is a secret."""
    ours = GeminiEmbeddings(model=TEXT_MODEL, api_key=emulator.api_key, task_type="CLUSTERING")

    assert isinstance(ours, Embeddings)
    assert isinstance(ours.google_api_key, SecretStr)
    assert emulator.api_key not in f"{ours!r}{ours}{ours.model_dump()}"
    assert (ours.model, ours.task_type, ours.output_dimensionality) == (TEXT_MODEL, "CLUSTERING", None)
    ours.output_dimensionality = 256
    assert len(ours.embed_query("a")) == 256
    assert len(ours.model_copy(update={"output_dimensionality": 128}).embed_query("a")) == 128
    with pytest.raises(ValueError, match="no field"):
        ours.unknown = 1


def test_stores_and_indexing_take_the_object(embeddings: GeminiEmbeddings) -> None:
    """A vector store of LangChain, a retriever with callbacks, and `index()` work with the object."""
    from langchain_core.callbacks import BaseCallbackHandler

    class Recorder(BaseCallbackHandler):
        found: list[str]

        def on_retriever_end(self, documents: Any, **_: Any) -> None:
            self.found = [document.page_content for document in documents]

    recorder = Recorder()
    store = InMemoryVectorStore.from_texts(["cats purr", "cars drive"], embeddings)
    retriever = store.as_retriever(search_kwargs={"k": 1})
    assert retriever.invoke("a cat", config={"callbacks": [recorder]})[0].page_content == "cats purr"
    assert recorder.found == ["cats purr"]

    manager = InMemoryRecordManager("test")
    manager.create_schema()
    documents = [Document("cats purr", metadata={"source": "a"})]
    result = index(documents, manager, store, cleanup="full", source_id_key="source", key_encoder="sha256")
    assert result["num_added"] == 1


DIFFERENT: dict[str, tuple[Callable[[GeminiEmbeddings], Any], type[Exception], str]] = {
    "unknown argument": (lambda ours: GeminiEmbeddings(zebra=1), TypeError, "no option 'zebra'"),
    "unknown task": (lambda ours: GeminiEmbeddings(task_type="FOO"), ValueError, "unknown task 'FOO'"),
    "too few titles": (lambda ours: ours.embed_documents(["a", "b"], titles=["A"]), ValueError, "1 titles for 2"),
    "blank text": (
        lambda ours: ours.embed_query(" "),
        ContentError,
        "input 0: there is nothing to embed: the text is empty",
    ),
    "text over the limit": (lambda ours: ours.embed_query("word " * 100_000), ContentError, "8,192"),
    "refused key": (
        lambda ours: ours.model_copy(update={"google_api_key": "no"}).embed_query("a"),
        GeminiMMError,
        "key",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_listed_differences_are_typed_errors(name: str, embeddings: GeminiEmbeddings) -> None:
    """What is different on purpose is a typed error that names what was wrong."""
    call, error, message = DIFFERENT[name]

    with pytest.raises(error, match=message):
        call(embeddings)


def test_the_sdk_client_is_not_an_attribute(embeddings: GeminiEmbeddings) -> None:
    """`client` is the client that the caller gave; the other class keeps its own client there."""
    assert embeddings.client is None
