"""The emulator through the SDK: responses, recorded requests, files, both backends."""

from __future__ import annotations

import asyncio
import base64
import http.client
import importlib.util
import io
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from google.genai import Client, errors
from google.genai.types import Content, EmbedContentConfig, HttpOptions, Part
from google.oauth2.credentials import Credentials

from langchain_gemini_mm.errors import MissingExtraError
from langchain_gemini_mm.testing import GeminiEmulator, png, wav

MODEL = "gemini-embedding-2"


def content(*parts) -> Content:
    """A content of texts and parts."""
    return Content(parts=[Part(text=part) if isinstance(part, str) else part for part in parts])


def image_part(data: bytes | None = None) -> Part:
    """A part with an image that has a description."""
    return Part.from_bytes(data=data or png("a puppy"), mime_type="image/png")


def test_one_vector_per_content_in_order(client, emulator):
    """Contents of a batch get one vector each, in their order, of the size asked for and unit length."""
    contents = [content(f"text {n}") for n in range(5)]
    config = EmbedContentConfig(output_dimensionality=256)
    together = client.models.embed_content(model=MODEL, contents=contents, config=config).embeddings
    alone = [client.models.embed_content(model=MODEL, contents=[one], config=config).embeddings[0] for one in contents]
    assert [one.values for one in together] == [one.values for one in alone]
    assert np.linalg.norm([one.values for one in together], axis=1) == pytest.approx(1.0, abs=1e-6)
    assert {len(one.values) for one in together} == {256}
    assert emulator.requests[0].count == 5


def test_default_size_is_3072(client):
    """Without a size the vectors have 3072 values."""
    answer = client.models.embed_content(model=MODEL, contents=[content("a")])
    assert len(answer.embeddings[0].values) == 3072


def test_loose_parts_become_one_vector(client, emulator):
    """A bare list of strings is sent by the SDK as one content, and one vector comes back."""
    answer = client.models.embed_content(model=MODEL, contents=["a", "b"])
    assert len(answer.embeddings) == 1
    assert emulator.requests[-1].texts == ("a", "b")


async def test_async_calls_are_served_at_the_same_time(emulator):
    """Ten concurrent calls of 0.2 seconds are in flight together."""
    emulator.settings.latency = 0.2
    options = HttpOptions(base_url=emulator.url, api_version="v1beta")
    async with Client(api_key=emulator.api_key, http_options=options).aio as client:
        calls = [client.models.embed_content(model=MODEL, contents=[content(f"{n}")]) for n in range(10)]
        answers = await asyncio.gather(*calls)
    assert len(answers) == 10
    assert emulator.most_in_flight == 10


async def test_entered_asynchronously():
    """`async with` works as `with` does."""
    async with GeminiEmulator() as emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.url


def test_requests_are_recorded_without_secrets_in_the_repr(client, emulator):
    """A recorded request has items and media bytes; its repr has neither bytes nor key."""
    data = png("a puppy")
    client.models.embed_content(model=MODEL, contents=[content("look", image_part(data))])
    (record,) = emulator.requests
    assert record.path == f"/v1beta/models/{MODEL}:batchEmbedContents"
    assert (record.method, record.status, record.count) == ("POST", 200, 1)
    assert [part.mime_type for part in record.parts] == [None, "image/png"]
    assert record.parts[1].data == data
    assert record.body["requests"][0]["model"] == f"models/{MODEL}"
    assert record.headers["x-goog-api-key"] == emulator.api_key
    assert emulator.api_key not in repr(record)
    assert "PNG" not in repr(record.parts)


def test_media_bytes_are_kept_up_to_a_limit(emulator, client):
    """Beyond `keep_bytes` only size and hash of media are recorded."""
    emulator.settings.keep_bytes = 0
    client.models.embed_content(model=MODEL, contents=[content(image_part())])
    (part,) = emulator.requests[0].parts
    assert part.data is None
    assert part.size == len(png("a puppy"))


def test_only_the_newest_requests_are_kept(emulator, client):
    """`keep_requests` bounds the record."""
    emulator.settings.keep_requests = 2
    for n in range(4):
        client.models.embed_content(model=MODEL, contents=[content(f"{n}")])
    assert [record.texts for record in emulator.requests] == [("2",), ("3",)]
    assert emulator.embedded == 4


def test_reset_clears_everything_except_settings(client, emulator):
    """After a reset there are no requests, files, scripts or used quotas."""
    emulator.settings.rpm = 1
    client.models.embed_content(model=MODEL, contents=[content("a")])
    client.files.upload(file=io.BytesIO(png()), config={"mime_type": "image/png"})
    emulator.fail_next(503)
    emulator.reset()
    assert emulator.requests == []
    assert emulator.uploads == []
    assert client.models.embed_content(model=MODEL, contents=[content("a")]).embeddings


def test_wrong_key(emulator):
    """Another key is refused as the service refuses it: 400, reason API_KEY_INVALID."""
    client = Client(api_key="another", http_options=HttpOptions(base_url=emulator.url))
    with pytest.raises(errors.ClientError, match="API key not valid") as caught:
        client.models.embed_content(model=MODEL, contents=[content("a")])
    client.close()
    assert caught.value.code == 400
    assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def test_unknown_model(client):
    """A model that does not exist is 404 NOT_FOUND."""
    with pytest.raises(errors.ClientError, match="models/gemini-embedding-9 is not found") as caught:
        client.models.embed_content(model="gemini-embedding-9", contents=[content("a")])
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_embedding_2_ignores_the_task(embed):
    """Task type and title make no difference to gemini-embedding-2."""
    plain, query = embed("a", "b"), embed("a", "b", task_type="RETRIEVAL_QUERY")
    assert np.array_equal(plain, query)


def test_embedding_001_uses_the_task(embed):
    """For gemini-embedding-001 query and document vectors of one text are near, not equal."""
    (document,) = embed("a puppy", model="gemini-embedding-001", task_type="RETRIEVAL_DOCUMENT")
    (query,) = embed("a puppy", model="gemini-embedding-001", task_type="RETRIEVAL_QUERY")
    assert 0.8 < document @ query < 0.999


def test_embedding_001_is_not_normalised_when_cut(embed):
    """Below 3072 values gemini-embedding-001 returns the start of the full vector, not normalized."""
    (full,), (cut,) = (embed("a puppy", model="gemini-embedding-001", output_dimensionality=d) for d in (3072, 768))
    assert np.array_equal(full[:768], cut)
    assert np.linalg.norm(full) == pytest.approx(1.0, abs=1e-6)
    assert np.linalg.norm(cut) < 0.95


def test_the_two_models_share_no_space(embed):
    """The same text has unrelated vectors in gemini-embedding-001 and gemini-embedding-2."""
    (first,), (second,) = embed("a puppy", model="gemini-embedding-001"), embed("a puppy")
    assert abs(first @ second) < 0.1


def test_preview_shares_the_space(embed):
    """The preview id gives the vectors of its successor."""
    assert np.array_equal(embed("a puppy", model="gemini-embedding-2-preview"), embed("a puppy"))


def test_usage_is_reported(emulator, http_call):
    """Tokens are counted by modality; the two services name the field differently."""
    audio = {"inline_data": {"mime_type": "audio/wav", "data": _base64(wav(2))}}
    _, answer = http_call.embed({"parts": [{"text": "x" * 40}, audio]})
    assert answer["usageMetadata"] == {
        "promptTokenCount": 60,
        "promptTokenDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "AUDIO", "tokenCount": 50}],
    }
    path = f"/v1beta1/publishers/google/models/{MODEL}:embedContent"
    _, answer = http_call("POST", path, {"content": {"parts": [{"text": "x" * 40}]}})
    assert answer["usageMetadata"]["promptTokensDetails"] == [{"modality": "TEXT", "tokenCount": 10}]
    assert answer["truncated"] is False


def test_count_tokens(client):
    """`:countTokens` counts without embedding."""
    assert client.models.count_tokens(model=MODEL, contents="x" * 40).total_tokens == 10


def test_models_are_listed(client):
    """The known models can be looked up."""
    assert client.models.get(model=MODEL).input_token_limit == 8192
    assert any(model.name == f"models/{MODEL}" for model in client.models.list())


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_both_versions_of_the_api(emulator, version):
    """The paths of v1 and v1beta are served alike."""
    options = HttpOptions(base_url=emulator.url, api_version=version)
    client = Client(api_key=emulator.api_key, http_options=options)
    assert client.models.embed_content(model=MODEL, contents=[content("a")]).embeddings
    uploaded = client.files.upload(file=io.BytesIO(png()), config={"mime_type": "image/png"})
    client.files.delete(name=str(uploaded.name))
    client.close()


@pytest.mark.parametrize("project", ["my-project", None], ids=["project", "express"])
def test_vertex(emulator, project):
    """Vertex paths are served with a project and in express mode; statistics come with the embedding."""
    options = HttpOptions(base_url=emulator.url)
    if project:
        account = Credentials(token="token")
        client = Client(vertexai=True, project=project, location="us", credentials=account, http_options=options)
    else:
        client = Client(vertexai=True, api_key=emulator.api_key, http_options=options)
    answer = client.models.embed_content(model=MODEL, contents=[content("a puppy", image_part())])
    client.close()
    assert answer.embeddings
    embedding: Any = answer.embeddings[0]
    assert len(embedding.values) == 3072
    assert not embedding.statistics.truncated
    assert embedding.statistics.token_count == 2 + 258
    assert ("projects/my-project/locations/us" in emulator.requests[-1].path) is bool(project)


def test_vertex_truncates_long_text(emulator):
    """Vertex truncates text over 8192 tokens and reports it; the rest is not counted."""
    client = Client(vertexai=True, api_key=emulator.api_key, http_options=HttpOptions(base_url=emulator.url))
    head = "puppy " * 8000
    ask: Any = client.models.embed_content
    first, second = (
        ask(model=MODEL, contents=[content(head + tail)]).embeddings[0] for tail in ("pizza " * 100, "beach " * 100)
    )
    client.close()
    assert first.statistics.truncated
    assert first.values == second.values


def test_long_text_on_the_gemini_api(emulator, embed):
    """What the Gemini API does with over-long text is not documented: truncation or an error, as set."""
    assert embed("puppy " * 8000).shape == (1, 3072)
    emulator.settings.long_text = "error"
    with pytest.raises(errors.ClientError, match="12000 tokens; the model takes at most 8192"):
        embed("puppy " * 8000)


def test_predict(http_call):
    """Vertex `:predict` answers with statistics per instance."""
    body = {"instances": [{"content": "a"}, {"content": "b", "task_type": "RETRIEVAL_QUERY"}]}
    path = "/v1beta1/projects/p/locations/l/publishers/google/models/gemini-embedding-001:predict"
    status, answer = http_call("POST", path, body | {"parameters": {"outputDimensionality": 128}})
    assert status == 200
    assert [len(one["embeddings"]["values"]) for one in answer["predictions"]] == [128, 128]
    assert answer["predictions"][0]["embeddings"]["statistics"] == {"token_count": 1, "truncated": False}


def test_files(client, embed):
    """An uploaded file has the state, size and type of the service, can be embedded, listed and deleted."""
    data = png("a puppy")
    uploaded = client.files.upload(file=io.BytesIO(data), config={"mime_type": "image/png", "display_name": "dog"})
    assert (uploaded.state.name, uploaded.size_bytes, uploaded.mime_type) == ("ACTIVE", len(data), "image/png")
    assert uploaded.display_name == "dog"
    by_uri = embed(Part.from_uri(file_uri=uploaded.uri, mime_type="image/png"))
    assert np.array_equal(by_uri, embed(image_part(data)))
    assert [file.name for file in client.files.list()] == [uploaded.name]
    client.files.delete(name=uploaded.name)
    with pytest.raises(errors.ClientError, match="do not have permission to access the File"):
        client.files.get(name=uploaded.name)


def test_file_that_is_processed(client, emulator, embed):
    """A file in state PROCESSING cannot be embedded yet."""
    emulator.settings.file_processing = 1000
    uploaded = client.files.upload(file=io.BytesIO(png()), config={"mime_type": "image/png"})
    assert uploaded.state.name == "PROCESSING"
    part = Part.from_uri(file_uri=uploaded.uri, mime_type="image/png")
    with pytest.raises(errors.ClientError, match="not in an ACTIVE state"):
        embed(part)
    emulator.settings.file_processing = 0
    assert embed(part).shape == (1, 3072)


def test_a_large_upload_has_several_requests(client, emulator):
    """The SDK sends more than 8 MB in several requests; the file is complete."""
    data = wav(600)
    uploaded = client.files.upload(file=io.BytesIO(data), config={"mime_type": "audio/wav"})
    assert uploaded.size_bytes == len(data) > 8 * 1024 * 1024
    assert emulator.uploads[0].data == data


def test_upload_can_be_queried(emulator, http_call):
    """The query command returns the number of received bytes."""
    client = http_call
    client("POST", "/upload/v1beta/files", {"file": {}}, x_goog_upload_command="start")
    session = "/upload/v1beta/files?upload_id=upload-000001"
    client("POST", session, b"12345", x_goog_upload_command="upload", x_goog_upload_offset="0")
    assert client("POST", session, b"", x_goog_upload_command="query") == (200, {})
    status, answer = client("POST", session, b"6", x_goog_upload_command="upload", x_goog_upload_offset="3")
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    status, answer = client("POST", session, b"6", x_goog_upload_command="upload, finalize", x_goog_upload_offset="5")
    assert answer["file"]["sizeBytes"] == "6"


def test_objects_replace_buckets(emulator, embed):
    """A `gs://` URI references data stored by `add_object`; another one is refused."""
    emulator.add_object("gs://bucket/dog.png", png("a puppy"), "image/png")
    stored = embed(Part.from_uri(file_uri="gs://bucket/dog.png", mime_type="image/png"))
    assert np.array_equal(stored, embed(image_part()))
    with pytest.raises(errors.ClientError, match="Unsupported file uri"):
        embed(Part.from_uri(file_uri="gs://bucket/cat.png", mime_type="image/png"))


def test_unknown_setting_is_refused():
    """The error names a misspelt setting."""
    with pytest.raises(TypeError, match=r"no option 'latencey'. Did you mean 'latency'"):
        GeminiEmulator(latencey=1)
    with pytest.raises(ValueError, match="modality_gap must be a number from 0 to 1, got 2"):
        GeminiEmulator(modality_gap=2)


def test_missing_uvicorn_is_an_error_of_the_constructor(monkeypatch):
    """Without the extra, importing works, and the constructor raises an error that names it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"langchain-gemini-mm\[testing\]"):
        GeminiEmulator()


def test_stopping_drops_waiting_requests():
    """Stopping does not wait for slow responses; their connections are dropped."""
    emulator = GeminiEmulator(latency=90).start()
    waiting = http.client.HTTPConnection(urlsplit(emulator.url).netloc)
    body = b'{"content": {"parts": [{"text": "a"}]}}'
    waiting.request("POST", f"/v1beta/models/{MODEL}:embedContent", body, {"x-goog-api-key": emulator.api_key})
    while not emulator.requests:
        pass
    start = time.monotonic()
    emulator.stop()
    assert time.monotonic() - start < 30
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        waiting.getresponse()
    waiting.close()


def test_starting_twice_is_refused():
    """An emulator that runs cannot be started again; stopping twice is harmless."""
    emulator = GeminiEmulator().start()
    with pytest.raises(RuntimeError, match="already running"):
        emulator.start()
    emulator.stop()
    emulator.stop()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
