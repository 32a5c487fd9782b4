"""One request on the wire: its bytes, its time and size limits, and every kind of malformed response."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall, encoded_body, parse, read_answer
from langchain_gemini_mm.embeddings.service.client import ServiceSettings
from langchain_gemini_mm.embeddings.service.connections import Connections
from langchain_gemini_mm.embeddings.service.exchange import asend, send
from langchain_gemini_mm.errors import IncompleteAnswerError, QuotaError, ServiceError
from langchain_gemini_mm.testing import GeminiEmulator, mp4, png
from tests.embeddings.raw_server import Play, RawServer, http, play

DIMENSIONS = 128
Start = Callable[[Play], RawServer]


def call_of(*texts: str, **options: Any) -> EmbedCall:
    """A request for texts."""
    defaults: dict[str, Any] = {
        "model": "gemini-embedding-2",
        "contents": [[{"text": text}] for text in texts],
        "positions": tuple(range(len(texts))),
        "dimensions": DIMENSIONS,
    }
    return EmbedCall(**(defaults | options))


def connect(url: str, **options: Any) -> Connections:
    """Connections to a server."""
    return Connections(ServiceSettings(**({"backend": "gemini", "api_key": "emulator-key", "base_url": url} | options)))


def sent(how: str, connections: Connections, call: EmbedCall) -> Answer:
    """Send a request, sync or async, and close."""

    async def task() -> Answer:
        try:
            return await asend(connections, call)
        finally:
            await connections.aclose()
            if connections.given is not None:
                await connections.given.aio.aclose()

    if how == "async":
        return asyncio.run(task())
    try:
        return send(connections, call)
    finally:
        connections.close()


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[RawServer, Connections]]:
    """A server whose `play` a test sets, and connections to it."""
    server = RawServer(play(lambda _: b""))
    connections = connect(server.url, timeout=10)
    yield server, connections
    connections.close()
    server.close()


def outcome(how: str, scripted: tuple[RawServer, Connections], script: Play, *, count: int = 3) -> Answer:
    """Send a request for some texts, which is answered by `script`."""
    server, connections = scripted
    server.play = script
    server.requests.clear()
    call = call_of(*"abc"[:count])
    return send(connections, call) if how == "sync" else asyncio.run(asend(connections, call))


def rows(count: int, **fields: object) -> dict[str, object]:
    """A valid response."""
    return {"embeddings": [{"values": [0.1 * (n + 1)] + [0.1] * (DIMENSIONS - 1)} for n in range(count)], **fields}


def values(what: object) -> Play:
    """A response in which each vector is `what`."""
    return play(lambda count: http(200, {"embeddings": [{"values": what}] * count}))


def quota_error(**fields: object) -> Play:
    """A 429 with these fields."""
    return play(lambda _: http(429, {"error": {"code": 429, "message": "x", **fields}}))


UNREADABLE: dict[str, Play] = {
    "HTML": play(lambda _: http(200, "<html>login</html>")),
    "an empty body": play(lambda _: http(200, "")),
    "null": play(lambda _: http(200, "null")),
    "204": play(lambda _: http(204, "")),
    "nested too deeply": play(lambda _: http(200, "[" * 200_000)),
    "not UTF-8": play(lambda _: http(200, b'{"embeddings":[{"values":[\xff')),
    "Infinity": play(lambda n: http(200, json.dumps(rows(n)).replace("0.1", "Infinity", 1))),
    "1e999": play(lambda n: http(200, json.dumps(rows(n)).replace("0.1", "1e999", 1))),
    "not gzip": play(lambda _: http(200, b"notgzip", "Content-Encoding: gzip")),
    "an encoding that was not asked for": play(lambda n: http(200, rows(n), "Content-Encoding: br")),
    "garbage": play(lambda _: b"\x00\x01garbage\r\n\r\n"),
    "a negative length": play(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"),
    "two lengths": play(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "a wrong chunk": play(lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
    "a huge header": play(lambda _: b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2_000_000 + b"\r\n\r\n"),
}
INCOMPLETE: dict[str, Play] = {
    "a list": play(lambda _: http(200, [1, 2])),
    "a string": play(lambda _: http(200, '"x"')),
    "a number": play(lambda _: http(200, "7")),
    "embeddings are a string": play(lambda _: http(200, {"embeddings": "x"})),
    "embeddings are an object": play(lambda _: http(200, {"embeddings": {"values": [0.1] * DIMENSIONS}})),
    "embeddings are null": play(lambda n: http(200, {"embeddings": [None] * n})),
    "values are a string": values("abc"),
    "values are strings": values(["0.1"] * DIMENSIONS),
    "values are objects": values([{}] * DIMENSIONS),
    "values are booleans": values([True] * DIMENSIONS),
    "values are null": values([None] * DIMENSIONS),
    "values are too small": values([1e-320] * DIMENSIONS),
    "the length overflows": values([1e200] * DIMENSIONS),
    "integers over 64 bits": values([10**30, "x"]),
    "one too few": play(lambda n: http(200, rows(n - 1))),
    "one too many": play(lambda n: http(200, rows(n + 1))),
}
REFUSED: dict[str, tuple[Play, int, bool, str]] = {
    "502 with HTML": (play(lambda _: http(502, "<html>bad</html>")), 502, True, "request"),
    "403 with HTML": (play(lambda _: http(403, "<html>no</html>")), 403, False, "run"),
    "500, nested": (play(lambda _: http(500, '{"error":' * 5000)), 500, True, "request"),
    "507": (play(lambda _: http(507, "{}")), 507, True, "request"),
    "418": (play(lambda _: http(418, "{}")), 418, False, "request"),
    "400 with text": (play(lambda _: http(400, "no")), 400, False, "input"),
    "400 in a list": (play(lambda _: http(400, [{"error": {"code": 400, "message": "x"}}])), 400, False, "input"),
    "400 with odd types": (
        play(lambda _: http(400, {"error": {"code": 400, "message": ["a"], "details": "x"}})), 400, False, "input"
    ),
    "400 about the key": (
        play(lambda _: http(400, {"error": {"message": "API key not valid. Please pass a valid API key."}})),
        400, False, "run",
    ),
    "400 about the location": (
        play(lambda _: http(400, {"error": {"message": "User location is not supported for the API use."}})),
        400, False, "run",
    ),
    "413": (play(lambda _: http(413, "")), 413, False, "input"),
    "404": (play(lambda _: http(404, {"error": {"message": "models/x is not found"}})), 404, False, "run"),
    "200 with an error": (play(lambda _: http(200, {"error": {"code": 503, "message": "x"}})), 503, True, "request"),
    "429 with text": (play(lambda _: http(429, {"error": "slow down"})), 429, True, "request"),
    "200 with a quota error": (
        play(lambda _: http(200, {"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}})),
        429, True, "request",
    ),
    "429 with a negative delay": (quota_error(details=[{"retryDelay": "-5s"}]), 429, True, "request"),
    "429 with a delay of NaN": (quota_error(details=[{"retryDelay": "nans"}]), 429, True, "request"),
    "a redirect without a place": (play(lambda _: http(301, "")), 301, False, "run"),
    "a redirect to itself": (play(lambda _: http(302, "", "Location: /")), 302, False, "run"),
    "304": (play(lambda _: http(304, "")), 304, False, "run"),
}  # fmt: skip
ACCEPTED: dict[str, Play] = {
    "tokens are a text": play(lambda n: http(200, rows(n, usageMetadata={"promptTokenCount": "many"}))),
    "tokens are negative": play(lambda n: http(200, rows(n, usageMetadata={"promptTokenCount": -5}))),
    "usage is a list": play(lambda n: http(200, rows(n, usageMetadata=[1]))),
    "whole numbers": play(lambda n: http(200, {"embeddings": [{"values": [1] * DIMENSIONS}] * n})),
    "a key twice": play(lambda n: http(200, '{"embeddings":[],' + json.dumps(rows(n))[1:])),
    "gzip": play(lambda n: http(200, gzip.compress(json.dumps(rows(n)).encode()), "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_response_may_be_charged_and_can_be_tried_again(
    name: str, how: str, scripted: tuple[RawServer, Connections]
) -> None:
    """It is a transient error of the service that names the inputs, whatever the HTTP library makes of it."""
    with pytest.raises(ServiceError, match=r"^inputs 0 to 2: ") as caught:
        outcome(how, scripted, UNREADABLE[name])

    error = caught.value
    assert (error.transient, error.sent, error.scope) == (True, True, "request")
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("name", INCOMPLETE)
def test_a_response_of_another_form_is_incomplete(name: str, how: str, scripted: tuple[RawServer, Connections]) -> None:
    """Nothing of it is taken for a vector."""
    with pytest.raises(IncompleteAnswerError) as caught:
        outcome(how, scripted, INCOMPLETE[name])

    assert (caught.value.transient, caught.value.vectors, caught.value.__context__) == (True, {}, None)


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("name", REFUSED)
def test_an_error_response_of_any_form(name: str, how: str, scripted: tuple[RawServer, Connections]) -> None:
    """Status, whether to try again, and what is refused are read from it; one request is sent."""
    script, code, transient, scope = REFUSED[name]

    with pytest.raises(ServiceError) as caught:
        outcome(how, scripted, script)

    error = caught.value
    assert (error.code, error.transient, error.scope, error.sent) == (code, transient, scope, False)
    assert isinstance(error, QuotaError) == (code == 429)
    assert error.retry_after is None
    assert len(scripted[0].requests) == 1


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_response_is_not_lost_over_its_other_fields(
    name: str, how: str, scripted: tuple[RawServer, Connections]
) -> None:
    """Odd usage metadata costs no vectors."""
    answer = outcome(how, scripted, ACCEPTED[name])

    assert answer.vectors.shape == (3, DIMENSIONS)
    assert answer.reported_tokens == 0
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-6)


def test_whole_vectors_of_an_incomplete_response_are_kept() -> None:
    """They are listed by the position of their input; the error names the others."""
    good = rows(2)["embeddings"]
    assert isinstance(good, list)
    response = {"embeddings": [good[0], {"values": [0.1]}, good[1], {}]}

    with pytest.raises(IncompleteAnswerError, match=r"input 7: .*1 values instead of 128") as caught:
        read_answer(call_of("a", "b", "c", "d", positions=(3, 7, 8, 9)), response)

    whole = read_answer(call_of("a", "c"), rows(2)).vectors
    assert set(caught.value.vectors) == {3, 8}
    np.testing.assert_array_equal([caught.value.vectors[3], caught.value.vectors[8]], whole)


LARGE: dict[str, Callable[[list[Any]], object]] = {
    "whole": lambda embeddings: None,
    "without values": lambda embeddings: embeddings[3].clear(),
    "one value less": lambda embeddings: embeddings[3]["values"].pop(),
    "no values": lambda embeddings: embeddings[3]["values"].clear(),
    "a null": lambda embeddings: embeddings[3]["values"].insert(0, None),
    "a nested list": lambda embeddings: embeddings[3].update(values=[embeddings[3]["values"]]),
    "integers": lambda embeddings: embeddings[3].update(values=[1] * 3072),
    "a number for a vector": lambda embeddings: embeddings[3].update(values=3),
    "null for an embedding": lambda embeddings: embeddings.insert(3, None),
    "vectors elsewhere": lambda embeddings: embeddings[3].update(other={"values": embeddings[3].pop("values")}),
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", LARGE)
def test_a_large_response_is_read_like_a_small_one(name: str, indent: int | None) -> None:
    """Its vectors are parsed one by one, which changes nothing."""
    values = np.random.default_rng(0).normal(size=(40, 3072)).tolist()
    embeddings: list[Any] = [{"values": row} for row in values]
    LARGE[name](embeddings)
    body = json.dumps({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": 5}}, indent=indent).encode()
    call = call_of(*map(str, range(40)), dimensions=3072)

    def outcome_of(payload: Any) -> dict[int, Any]:
        try:
            answer = read_answer(call, payload)
        except IncompleteAnswerError as error:
            return error.vectors
        assert answer.reported_tokens == 5
        return dict(enumerate(answer.vectors))

    found, expected = outcome_of(parse(body)), outcome_of(json.loads(body))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[position], expected[position]) for position in expected)
    assert 3 not in found or name in ("whole", "integers")


def test_inputs_that_were_truncated_are_named() -> None:
    """By the flag of the response, or that of one embedding."""
    listed = {"embeddings": [{"values": [1.0] * DIMENSIONS, "truncated": flag} for flag in (False, True, None)]}
    single = {"embedding": {"values": [1.0] * DIMENSIONS}, "truncated": True, "usageMetadata": {"promptTokenCount": 9}}
    statistics = {"token_count": 4.0, "truncated": True}
    predicted = {"predictions": [{"embeddings": {"values": [1.0] * DIMENSIONS, "statistics": statistics}}]}

    assert read_answer(call_of("a", "b", "c", positions=(4, 5, 6)), listed).truncated == (5,)
    one, other = read_answer(call_of("a"), single), read_answer(call_of("a"), predicted)
    assert (one.truncated, one.reported_tokens) == ((0,), 9)
    assert (other.truncated, other.reported_tokens) == ((0,), 4)


def drip(connection: socket.socket, count: int) -> None:
    """Send a byte every tenth of a second."""
    for byte in http(200, rows(count)):
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def endless_headers(connection: socket.socket, _: int) -> None:
    """Send headers for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-A: y\r\n")
        time.sleep(0.05)


def gzip_bomb(connection: socket.socket, _: int) -> None:
    """Send 600 kB that become 600 MB."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    data = b"".join([packer.compress(b" " * 10_000_000) for _ in range(60)]) + packer.flush()
    connection.sendall(http(200, data, "Content-Encoding: gzip"))


def huge(connection: socket.socket, _: int) -> None:
    """Send more than fits."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n{")
    for _ in range(400):
        connection.sendall(b" " * 1_000_000)


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("script", [drip, endless_headers])
def test_the_timeout_ends_a_slow_response(script: Play, how: str, raw_server: Start) -> None:
    """It is for the whole request, not for the time between two bytes."""
    begun = time.monotonic()
    with pytest.raises(ServiceError, match="no answer") as caught:
        sent(how, connect(raw_server(script).url, timeout=0.6), call_of("a"))

    assert time.monotonic() - begun < 5
    assert (caught.value.transient, caught.value.sent) == (True, True)


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("script", [gzip_bomb, huge])
def test_a_response_is_bounded(script: Play, how: str, raw_server: Start) -> None:
    """Also one that is small on the wire."""
    with pytest.raises(ServiceError, match="over 128,000,000 bytes"):
        sent(how, connect(raw_server(script).url), call_of("a"))


def test_a_slow_reader_does_not_hold_a_request(raw_server: Start) -> None:
    """The timeout also covers sending."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    begun = time.monotonic()

    with pytest.raises(ServiceError, match="no answer"):
        sent("sync", connect(url, timeout=0.5), call_of("x" * 10_000_000))

    assert time.monotonic() - begun < 5
    listener.close()


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_redirect_is_not_followed(how: str, raw_server: Start) -> None:
    """Key, headers and contents would go wherever it points."""
    other = raw_server(play(lambda n: http(200, rows(n))))
    first = raw_server(play(lambda _: http(307, "", f"Location: {other.url}/x")))

    with pytest.raises(ServiceError, match=r"307.*Redirects are not followed.*base_url"):
        sent(how, connect(first.url, headers={"x-corp-token": "TOKEN"}), call_of("private words"))

    assert other.requests == []


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_refused_connection_names_the_address(how: str) -> None:
    """And what to check; nothing was sent."""
    with pytest.raises(ServiceError, match=r"cannot connect to http://127.0.0.1:9: check base_url") as caught:
        sent(how, connect("http://127.0.0.1:9"), call_of("a"))

    assert (caught.value.transient, caught.value.sent) == (True, False)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_no_secret_reaches_an_error(how: str, raw_server: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Neither key, header value nor password of a URL, even if the service repeats them."""
    caplog.set_level(logging.DEBUG)
    said = "key KEY-123456, token Bearer TOKEN-123456, password PASS-123456"
    server = raw_server(play(lambda _: http(400, {"error": {"message": said}})))
    url = server.url.replace("http://", "http://user:PASS-123456@")
    connections = connect(url, api_key="KEY-123456", headers={"x-token": "Bearer TOKEN-123456"})

    with pytest.raises(ServiceError, match=r"key \*\*\*, token \*\*\*, password \*\*\*") as caught:
        sent(how, connections, call_of("a"))

    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(connections.settings)
    assert "123456" not in shown
    assert "authorization: basic " in server.requests[0][0].lower()


def test_a_key_of_one_letter_leaves_messages_readable(raw_server: Start) -> None:
    """Nobody's secret has one letter."""
    server = raw_server(play(lambda _: http(400, {"error": {"message": "a bad argument"}})))

    with pytest.raises(ServiceError, match="a bad argument"):
        sent("sync", connect(server.url, api_key="a", headers={"x": "b"}), call_of("a"))


MEDIA = {"inline_data": {"data": png("a dog") + bytes(range(256)), "mime_type": "image/png"}}
VIDEO = {"inline_data": {"data": mp4(0.2), "mime_type": "video/mp4"}, "video_metadata": {"fps": 2.0}}
FILE = {"file_data": {"file_uri": "gs://bucket/name.mp4", "mime_type": "video/mp4"}}
BODIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "texts": ({}, {"contents": [[{"text": "a"}], [{"text": 'ü "quoted" 漢字 😀\n'}]]}),
    "media": ({}, {"contents": [[{"text": "a"}, MEDIA], [VIDEO], [FILE]]}),
    "fields": ({}, {"model": "gemini-embedding-001", "task_type": "RETRIEVAL_DOCUMENT", "title": "T"}),
    "one on Vertex AI": ({"backend": "vertex"}, {"contents": [[{"text": "a"}, MEDIA]]}),
    "options on Vertex AI": (
        {"backend": "vertex"},
        {"contents": [[VIDEO]], "options": {"document_ocr": True, "audio_track_extraction": True}},
    ),
    "text models on Vertex AI": (
        {"backend": "vertex"},
        {"model": "text-embedding-005", "text_only": True, "task_type": "RETRIEVAL_DOCUMENT", "title": "T"},
    ),
    "another publisher": ({"backend": "vertex"}, {"model": "acme/model-1", "text_only": True}),
}


def camel_case(value: Any) -> Any:
    """JSON values with the names of the REST reference; the SDK sends some in the other form that is accepted."""
    if isinstance(value, list):
        return [camel_case(one) for one in value]
    if not isinstance(value, dict):
        return value
    names = {"inline_data": "inlineData", "file_data": "fileData", "mime_type": "mimeType", "file_uri": "fileUri"}
    names |= {"video_metadata": "videoMetadata"}
    return {names.get(name, name): camel_case(inner) for name, inner in value.items()}


@pytest.mark.parametrize("name", BODIES)
def test_requests_are_those_of_the_sdk(name: str, raw_server: Start) -> None:
    """Path, body and headers are those of its `embed_content`, without its validation of each part."""
    from google.genai import Client, types

    settings, fields = BODIES[name]
    call = call_of("a", "b", **fields)
    server = raw_server(lambda connection, _: connection.sendall(http(200, "{}")))
    connections = connect(server.url, **settings)
    with pytest.raises(ServiceError):
        sent("sync", connections, call)
    with pytest.raises(ServiceError):
        sent("async", connections, call)
    options = types.HttpOptions(
        base_url=server.url,
        api_version="v1beta" if connections.settings.backend == "gemini" else "v1beta1",
        timeout=120_000,
    )
    bare = Client(vertexai=connections.settings.backend == "vertex", api_key="emulator-key", http_options=options)
    contents = [types.Content(role="user", parts=[types.Part(**part) for part in parts]) for parts in call.contents]
    bare.models.embed_content(model=call.model, contents=contents, config=call.config)  # type: ignore[arg-type]
    bare.close()

    (head, body), (ahead, abody), (expected_head, expected_body) = server.requests
    assert body == abody == camel_case(expected_body)
    ignored = ("user-agent", "x-goog-api-client", "accept-encoding", "connection", "host", "content-length")

    def kept(text: str) -> set[str]:
        return {line.lower() for line in text.splitlines() if not line.lower().startswith(ignored)}

    assert kept(head) == kept(ahead) == kept(expected_head)
    assert "langchain-gemini-mm/" in head
    assert "langchain-gemini-mm/" in ahead


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("backend", ["gemini", "vertex"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_client_of_the_caller_and_an_sdk_without_raw_requests(
    count: int, backend: str, how: str, emulator: GeminiEmulator
) -> None:
    """Both give the same vectors, the second through the typed request."""
    from google.genai import Client, version

    if backend == "vertex" and count > 1 and version.__version__.startswith("2."):
        pytest.skip("the typed request of google-genai 2.x takes one content on Vertex AI")
    options: Any = {"base_url": emulator.url, "api_version": "v1beta1" if backend == "vertex" else "v1beta"}
    call = call_of(*"abc"[:count])
    expected = sent(how, connect(emulator.url, backend=backend), call)

    class Typed:
        """A client without the private API."""

        def __init__(self, client: Client) -> None:
            self._api_client = object()
            self.models, self.aio = client.models, client.aio

    settings = ServiceSettings(backend=backend)  # type: ignore[arg-type]
    kinds: list[Any] = [lambda client: client, Typed]
    for kind in kinds:
        with Client(vertexai=backend == "vertex", api_key=emulator.api_key, http_options=options) as client:
            answer = sent(how, Connections(settings, kind(client)), call)
        np.testing.assert_allclose(answer.vectors, expected.vectors, atol=1e-6)
        assert answer.reported_tokens in (expected.reported_tokens, 0)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_malformed_responses_to_a_client_of_the_caller(how: str, raw_server: Start) -> None:
    """Its parsing of errors raises exceptions of many types, which become one."""
    from google.genai import Client

    server = raw_server(play(lambda _: b""))
    options: Any = {"base_url": server.url, "timeout": 5000}
    # The HTTP library leaves an encoding that it does not know as it is.
    unreadable = [script for name, script in UNREADABLE.items() if "encoding" not in name]
    for script in (*unreadable, *INCOMPLETE.values(), *(script for script, *_ in REFUSED.values())):
        server.play = script
        with Client(api_key="k", http_options=options) as client, pytest.raises(ServiceError):
            sent(how, Connections(ServiceSettings(backend="gemini"), client), call_of("a", "b", "c"))


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("status", [404, 501])
def test_vertex_without_batches_gets_one_content_a_request(status: int, how: str, raw_server: Start) -> None:
    """The limit of `batchEmbedContents` on Vertex AI is not published; a refusal is remembered."""

    def answer(connection: socket.socket, count: int) -> None:
        one = {"embedding": {"values": [1.0] * DIMENSIONS}, "usageMetadata": {"promptTokenCount": 2}}
        batch = "batchEmbedContents" in server.requests[-1][0]
        connection.sendall(http(status, {"error": {"message": "method unknown"}}) if batch else http(200, one))

    server = raw_server(answer)
    connections = connect(server.url, backend="vertex")

    first = sent(how, connections, call_of("a", "b", "c"))
    second = sent(how, connections, call_of("a", "b"))

    assert (first.vectors.shape, first.reported_tokens) == ((3, DIMENSIONS), 6)
    assert second.vectors.shape == (2, DIMENSIONS)
    assert sum("batchEmbedContents" in head for head, _ in server.requests) == 1


def test_vertex_without_the_model_is_not_asked_for_each_content(raw_server: Start) -> None:
    """A 404 for the model is raised after one more request."""
    server = raw_server(play(lambda _: http(404, {"error": {"message": "Publisher Model not found"}})))

    with pytest.raises(ServiceError, match=r"^inputs 0 to 2: .*404"):
        sent("sync", connect(server.url, backend="vertex"), call_of("a", "b", "c"))

    assert len(server.requests) == 2


def test_large_media_are_copied_once_besides_base64() -> None:
    """The peak of building a request is its base64 and its body."""
    import tracemalloc

    data = bytes(12_000_000)
    call = call_of(contents=[[{"inline_data": {"data": data, "mime_type": "image/png"}}]], positions=(0,))
    tracemalloc.start()
    body = encoded_body(call, "gemini")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(body) > 16_000_000
    # base64 itself takes two buffers of 16 MB for a moment.
    assert peak < 2.1 * 16_000_000
