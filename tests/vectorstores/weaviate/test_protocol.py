"""How the Weaviate store handles responses that a real server cannot be made to give."""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from grpc import StatusCode
from langchain_core.documents import Document
from weaviate.classes.config import Configure
from weaviate.classes.init import Auth

from langchain_gemini_mm import WeaviateVectorStore
from langchain_gemini_mm.errors import (
    ContentError,
    FilterError,
    GeminiMMError,
    PartialWriteError,
    ServiceError,
    SpaceMismatchError,
    StoreError,
)
from langchain_gemini_mm.vectorstores.weaviate.reader import SINGLE
from tests.vectorstores.contract_base import Call, cases, ids_of
from tests.vectorstores.fakes import AnswerEmbeddings, WordEmbeddings
from tests.vectorstores.weaviate.fake_server import CUT, FakeWeaviate, refuse, some_fail

if TYPE_CHECKING:
    from weaviate import WeaviateAsyncClient, WeaviateClient

DEADLINES: dict[str, Any] = {"timeout": 2.0, "write_timeout": 3.0}
PATIENCE = 30.0
"""Seconds within which every error has come, on a busy machine too: far from the minute that the client alone takes."""
NAMES = ["one", "two", "three", "four"]
SECRET = "xyzzy"
KEY = "plugh-key"


@pytest.fixture
def server() -> Iterator[FakeWeaviate]:
    """The fake server with its defaults."""
    with FakeWeaviate() as server:
        yield server


@pytest.fixture
def client(server: FakeWeaviate) -> Iterator[WeaviateClient]:
    """The real client."""
    with server.client() as client:
        yield client


@pytest.fixture
async def async_client(server: FakeWeaviate) -> AsyncIterator[WeaviateAsyncClient]:
    """The real asynchronous client."""
    async with server.async_client() as client:
        yield client


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Sync or async."""
    return Call(asynchronous=request.param == "async")


@pytest.fixture
def store(client: WeaviateClient, async_client: WeaviateAsyncClient) -> WeaviateVectorStore:
    """A store with both clients and short deadlines."""
    return WeaviateVectorStore(client, "Docs", WordEmbeddings(), async_client=async_client, **DEADLINES)


async def add(call: Call, store: WeaviateVectorStore, names: list[str] = NAMES) -> Any:
    """Add a document for each name."""
    return await call(store, "add_texts", [f"number {name}" for name in names], ids=names)


def held(server: FakeWeaviate) -> set[str]:
    """Ids of the documents on the server."""
    return {str(item.properties["doc_id"]) for item in server.objects.get("Docs_v1", {}).values()}


@pytest.mark.parametrize("bad", [{0}, {3}, {1, 2}, {0, 1, 3}])
async def test_refused_objects_are_listed(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call, bad: set[int]
) -> None:
    """If some objects are refused, both lists are exact, reasons are those of the server, nothing is sent again."""
    server.answers["BatchObjects"] = some_fail({i: f"vector {i} is odd" for i in bad})
    with pytest.raises(PartialWriteError, match=r"is odd.*Calling again with the same ids is safe") as caught:
        await add(call, store)
    assert caught.value.stored == [name for i, name in enumerate(NAMES) if i not in bad]
    assert caught.value.failed == {NAMES[i]: f"vector {i} is odd" for i in bad}
    assert set(caught.value.stored) == held(server)
    assert len(server.calls("BatchObjects")) == 1


async def test_all_objects_refused(server: FakeWeaviate, store: WeaviateVectorStore, call: Call) -> None:
    """Nothing is stored: the error says so, with a reason."""
    server.answers["BatchObjects"] = some_fail(dict.fromkeys(range(4), "no such thing"))
    with pytest.raises(StoreError, match=r"none of 4 documents could be stored.*no such thing"):
        await add(call, store)


async def test_objects_that_may_succeed_later_are_sent_again(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call
) -> None:
    """If a replica was down, only failed objects are sent again, and the call succeeds."""
    server.answers["BatchObjects"] = some_fail({1: "cannot reach consistency level QUORUM", 2: "timeout"}, times=1)
    assert await add(call, store) == NAMES
    first, second = server.calls("BatchObjects")
    # The fake server removes refused objects from the request.
    assert (len(first.objects), len(second.objects)) == (2, 2)
    assert held(server) == set(NAMES)


async def test_objects_that_never_succeed_end_in_an_error(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call
) -> None:
    """After `write_timeout` the remaining objects count as failed."""
    server.answers["BatchObjects"] = lambda request, _, usual: some_fail(
        {i: "not enough replicas" for i, item in enumerate(request.objects) if "two" in str(item)}
    )(request, _, usual)
    start = time.monotonic()
    with pytest.raises(PartialWriteError) as caught:
        await add(call, store)
    assert 1 < time.monotonic() - start < PATIENCE
    assert (caught.value.stored, list(caught.value.failed)) == (["one", "three", "four"], ["two"])
    assert len(server.calls("BatchObjects")) > 2


@pytest.mark.parametrize("index", [4, 99, -1])
async def test_an_answer_about_objects_never_sent(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call, index: int
) -> None:
    """Such a response is unreliable, so no document counts as stored."""
    server.answers["BatchObjects"] = some_fail({index: "what?"})
    with pytest.raises(StoreError, match=r"none of 4 documents.*were not sent"):
        await add(call, store)


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.DEADLINE_EXCEEDED])
async def test_a_refused_batch_is_sent_again(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call, code: StatusCode
) -> None:
    """The whole call failed once, with a temporary error."""
    server.answers["BatchObjects"] = refuse(code, "come back later", times=1)
    assert await add(call, store) == NAMES
    assert held(server) == set(NAMES)


async def test_a_batch_that_is_too_large_is_halved(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call
) -> None:
    """A server with a low message limit gets smaller batches; the error names an object that is too large alone."""

    def narrow(request: Any, context: Any, usual: Any) -> Any:
        if len(request.objects) > 2 or "three" in str(request):
            context.abort(StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max (9 vs. 8)")
        return usual()

    server.answers["BatchObjects"] = narrow
    with pytest.raises(PartialWriteError, match="larger than max") as caught:
        await add(call, store)
    assert (caught.value.stored, list(caught.value.failed)) == (["one", "two", "four"], ["three"])


async def test_a_batch_that_fails_inside_the_server(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call
) -> None:
    """A permanent error is not retried."""
    server.answers["BatchObjects"] = refuse(StatusCode.INTERNAL, "panic")
    with pytest.raises(StoreError, match="panic"):
        await add(call, store)
    assert len(server.calls("BatchObjects")) == 1


REFUSALS = [
    ("inside the server", StatusCode.INTERNAL, "panic: index", "panic: index"),
    ("away", StatusCode.UNAVAILABLE, "no route", "raise the timeout"),
    ("overloaded", StatusCode.RESOURCE_EXHAUSTED, "too many requests", "could not be reached.*too many requests"),
    ("too large", StatusCode.RESOURCE_EXHAUSTED, "message larger than max (2 vs. 1)", "Ask for fewer at once"),
    ("too slow", StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "raise the timeout"),
    ("not allowed", StatusCode.PERMISSION_DENIED, "rbac: nobody", "roles of its key"),
    ("not logged in", StatusCode.UNAUTHENTICATED, "who are you", "Check auth_credentials"),
]


@pytest.mark.parametrize(("code", "details", "message"), cases(REFUSALS))
async def test_a_refused_search_has_a_reason(
    server: FakeWeaviate, store: WeaviateVectorStore, call: Call, code: StatusCode, details: str, message: str
) -> None:
    """Every gRPC status becomes one of our errors, in time, with a remedy."""
    await add(call, store)
    server.answers["Search"] = server.answers["Aggregate"] = server.answers["BatchDelete"] = refuse(code, details)
    many = ["one", *map(str, range(SINGLE))]  # a few are deleted one by one, by REST
    for name, argument in (("search", ("one",)), ("count", ()), ("delete", (many,)), ("get_by_ids", (["one"],))):
        start = time.monotonic()
        with pytest.raises(StoreError, match=f"failed: .*{message}"):
            await call(store, name, *argument)
        assert time.monotonic() - start < PATIENCE
    server.answers.clear()
    assert ids_of(await call(store, "search", "number one", k=1)) == ["one"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_revoked_key(server: FakeWeaviate, store: WeaviateVectorStore, call: Call, status: int) -> None:
    """A key that is refused after connecting: the error says where to look."""
    server.answers["REST"] = lambda *_: (status, {"code": status, "message": "invalid api key"})
    with pytest.raises(StoreError, match=r"refused the key .*invalid api key.* Check auth_credentials"):
        await add(call, store)


VERSIONS = [
    ("too old", "1.31.9", {}, "1.31.9; at least 1.32.0"),
    ("no version", "main", {}, "calls its version 'main'"),
    ("rq1", "1.32.4", {"quantizer": "rq1"}, "needs Weaviate 1.33.0"),
    ("rq4", "1.38.9", {"quantizer": "rq4"}, "needs Weaviate 1.39.0"),
    ("flat with codes", "1.34.0", {"index": "flat", "quantizer": "rq8"}, "needs Weaviate 1.35.0"),
    ("hfresh", "1.35.2", {"index": "hfresh"}, "needs Weaviate 1.36.0"),
    *((f"copies on {v}", v, {"replication": 3}, "can lose") for v in ("1.36.0", "1.37.13", "1.38.0", "1.38.6")),
]
ENOUGH = [
    ("the oldest", "1.32.0", {}),
    ("flat", "1.32.0", {"index": "flat"}),
    ("rq1", "1.33.0", {"quantizer": "rq1"}),
    ("rq4", "1.39.0", {"quantizer": "rq4"}),
    ("flat with codes", "1.35.0", {"index": "flat", "quantizer": "rq8"}),
    ("hfresh", "1.36.0-rc.1", {"index": "hfresh"}),
    *((f"copies on {v}", v, {"replication": 3}) for v in ("1.37.14", "1.38.7", "1.39.0", "2.0.0")),
]


@pytest.mark.parametrize(("version", "options", "message"), cases(VERSIONS))
def test_old_servers_without_a_feature_are_refused(version: str, options: dict[str, Any], message: str) -> None:
    """The error is raised before anything is created, and has the required version."""
    with FakeWeaviate(version if version != "main" else "1.39.0") as server, server.client() as client:
        server.version = version
        with pytest.raises(StoreError, match=re.escape(message)):
            WeaviateVectorStore(client, "Docs", WordEmbeddings(), **options).add_texts(["a"])
        assert not server.classes


@pytest.mark.parametrize(("version", "options"), cases(ENOUGH))
def test_servers_with_the_feature_are_not_refused(version: str, options: dict[str, Any]) -> None:
    """The first version that has it works."""
    with FakeWeaviate(version) as server, server.client() as client:
        WeaviateVectorStore(client, "Docs", WordEmbeddings(), **options).add_texts(["a"], ids=["a"])
        assert held(server) == {"a"}


def test_a_replicated_collection_is_not_read_from_a_server_that_damages_it() -> None:
    """Reading causes the loss of properties on such servers."""
    with FakeWeaviate("1.38.7") as server, server.client() as client:
        WeaviateVectorStore(client, "Docs", WordEmbeddings(), replication=3).add_texts(["a"], ids=["a"])
        server.version = "1.38.6"
        with pytest.raises(StoreError, match=r"1\.38\.6, which can lose"):
            WeaviateVectorStore(client, "Docs", WordEmbeddings())


@pytest.mark.parametrize(("version", "native"), [("1.37.2", False), ("1.37.3", True)])
async def test_mmr_runs_on_the_server_if_possible(version: str, native: bool, call: Call) -> None:
    """Otherwise candidates with vectors are selected by the client; both give k hits."""
    with FakeWeaviate(version) as server, server.client() as client:
        store = WeaviateVectorStore(client, "Docs", WordEmbeddings())
        await add(call, store)
        found = await call(store, "search", "number one", k=2, search_type="mmr")
        (request,) = server.calls("Search")
        assert ("mmr" in str(request), bool(request.metadata.vectors)) == (native, not native)
        assert ids_of(found)[0] == "one"
        assert len(found) == 2


@pytest.mark.parametrize(("version", "newer"), [("1.32.0", False), ("1.33.0", True)])
async def test_negations_use_features_of_the_server(version: str, newer: bool, call: Call) -> None:
    """Before 1.33 they are rewritten, and the one that cannot be is refused by key and version."""
    with FakeWeaviate(version) as server, server.client() as client:
        store = WeaviateVectorStore(client, "Docs", WordEmbeddings(), fields={"years": list[int]})
        await add(call, store)
        for given in ({"track": {"$ne": "a"}}, {"track": {"$nin": ["a", "b"]}}, {"$not": {"position": {"$gt": 3}}}):
            await call(store, "search", "one", filter=given)
        said = "".join(map(str, server.calls("Search")))
        assert ("OPERATOR_NOT\n" in said or "CONTAINS_NONE" in said) is newer
        if not newer:
            with pytest.raises(FilterError, match=r"'years' needs Weaviate 1\.33\.0, and the server is 1\.32\.0"):
                await call(store, "search", "one", filter={"$not": {"years": {"$gt": 1999}}})
            assert len(server.calls("Search")) == 3


def said(**changes: Any) -> str:
    """The description of a collection, with changes."""
    ours = {"writer": "langchain_gemini_mm", "format": 1, "fingerprint": None, "dimensions": None}
    return json.dumps(ours | changes)


FOREIGN = [
    ("no description", "Docs_v1", None, "was not created by this package"),
    ("words", "Docs_v1", "All our documents", "was not created by this package"),
    ("other JSON", "Docs_v1", "[1]", "was not created by this package"),
    ("another writer", "Docs_v1", said(writer="someone"), "was not created by this package"),
    ("no version in its name", "Docs", said(), "was not created by this package"),
    ("a newer format", "Docs_v1", said(format=99), "has format 99.*Upgrade langchain-gemini-mm"),
    ("no format", "Docs_v1", json.dumps({"writer": "langchain_gemini_mm"}), "has format None"),
]


@pytest.mark.parametrize(("name", "description", "message"), cases(FOREIGN))
async def test_foreign_collections_are_not_changed(
    server: FakeWeaviate, client: WeaviateClient, call: Call, name: str, description: str | None, message: str
) -> None:
    """A collection of another program is neither read nor written, even if it appears later."""
    store = WeaviateVectorStore(client, "Docs", WordEmbeddings())
    client.collections.create(
        name, description=description, vector_config=Configure.Vectors.self_provided(name="media")
    )
    server.aliases["Docs"] = name
    server.seen.clear()
    with pytest.raises(StoreError, match=message):
        WeaviateVectorStore(client, "Docs", WordEmbeddings())
    for method, argument in (("add_texts", ["a"]), ("search", "a"), ("get_by_ids", ["a"]), ("delete", ["a"])):
        with pytest.raises(StoreError, match=message):
            await call(store, method, argument)
    with pytest.raises(StoreError, match=message):
        await call(store, "delete_all")
    assert held(server) == set()
    assert {seen.partition(" ")[0] for seen, _ in server.seen} == {"GET"}


def test_a_schema_that_the_client_cannot_read(server: FakeWeaviate, client: WeaviateClient) -> None:
    """A newer server may have index types that the client does not know."""
    WeaviateVectorStore(client, "Docs", WordEmbeddings()).add_texts(["a"])
    server.classes["Docs_v1"]["vectorConfig"]["media"]["vectorIndexType"] = "newfangled"
    with pytest.raises(StoreError, match="Upgrade weaviate-client"):
        WeaviateVectorStore(client, "Docs", WordEmbeddings())


NAN = float("nan")


@pytest.mark.parametrize("vector", [[1.0, NAN, 0.0], [float("inf"), 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0]])
async def test_unusable_vectors_are_not_sent(
    server: FakeWeaviate, client: WeaviateClient, call: Call, vector: list[float]
) -> None:
    """Weaviate would store them without an error."""
    good = WeaviateVectorStore(client, "Docs", AnswerEmbeddings([[1.0, 0.0, 0.0]]))
    good.add_texts(["a"], ids=["a"])
    embedding = AnswerEmbeddings([vector])
    store = WeaviateVectorStore(client, "Docs", embedding)
    with pytest.raises((ServiceError, SpaceMismatchError)):
        await call(store, "add_texts", ["b"])
    with pytest.raises((ContentError, SpaceMismatchError)):
        await call(store, "add_vectors", [Document("b")], [vector])
    embedding.answer = vector
    with pytest.raises((ServiceError, SpaceMismatchError)):
        await call(store, "search", "b")
    with pytest.raises((ContentError, SpaceMismatchError)):
        await call(store, "search_by_vector", vector)
    assert (len(server.calls("BatchObjects")), len(server.calls("Search"))) == (1, 0)


MISHAPS = [
    ("some refused", "BatchObjects", some_fail({0: "odd"})),
    ("all refused", "BatchObjects", some_fail({0: "odd", 1: "odd"})),
    ("an odd answer", "BatchObjects", some_fail({7: "odd"})),
    ("inside the server", "BatchObjects", refuse(StatusCode.INTERNAL, "odd")),
    ("away", "BatchObjects", refuse(StatusCode.UNAVAILABLE, "odd")),
    ("cut", "REST", lambda *_: CUT),
    ("a search", "Search", refuse(StatusCode.INTERNAL, "odd")),
]


@pytest.mark.parametrize(("name", "answer"), cases(MISHAPS))
async def test_no_payload_in_logs_and_errors(
    server: FakeWeaviate, call: Call, caplog: pytest.LogCaptureFixture, name: str, answer: Any
) -> None:
    """No text, value, vector or key is in any logger at debug level, in errors or in tracebacks."""
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    credentials = {"auth_credentials": Auth.api_key(KEY)}
    with server.client(**credentials) as client:
        async with server.async_client(**credentials) as async_client:
            store = WeaviateVectorStore(client, "Docs", WordEmbeddings(), async_client=async_client, **DEADLINES)
            server.answers[name] = answer
            documents = [Document(f"{SECRET} {i}", id=str(i), metadata={"source": SECRET}) for i in range(2)]
            for logger in loggers:
                caplog.set_level(logging.DEBUG, logger.name)
            with pytest.raises(GeminiMMError) as caught:  # noqa: PT012 - the first or the second fails
                await call(store, "add_documents", documents)
                await call(store, "search", SECRET, filter={"source": SECRET})
    shown = [*traceback.format_exception(caught.value), repr(caught.value), str(vars(caught.value))]
    shown += [f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records]
    vector = WordEmbeddings().embed([f"{SECRET} 0"])[0]
    for secret in (SECRET, KEY, f"{vector[0]:.5f}"[:-1], f"{vector[1]:.5f}"[:-1]):
        assert [line for line in shown if secret in line] == []
