"""Requests that the service accepts and refuses, over plain HTTP."""

from __future__ import annotations

import base64
import io
import sys

import pytest
from PIL import Image

from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from langchain_gemini_mm.testing.space.describe_media import Prober

MODEL = "gemini-embedding-2"
VERTEX = f"/v1beta1/publishers/google/models/{MODEL}:embedContent"


def inline(data: bytes, mime_type: str) -> dict:
    """A part with bytes."""
    return {"inline_data": {"mime_type": mime_type, "data": base64.urlsafe_b64encode(data).decode()}}


def text(words: str = "a") -> dict:
    """A part with text."""
    return {"text": words}


def parts(*listed: dict) -> dict:
    """A content."""
    return {"parts": list(listed)}


def webp() -> bytes:
    """A WebP image."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "WEBP")
    return buffer.getvalue()


PDF = "application/pdf"
IMAGE = inline(png(size=(8, 8)), "image/png")
UNCACHED_IMAGE = png("not seen by another test")
LONG_AUDIO = wav(181)

REFUSED = {
    "101 items": ([parts(text())] * 101, "Request.requests: at most 100 requests can be in one batch"),
    "no items": ([], "at least one request is required"),
    "empty text": ([parts(text(""))], "EmbedContentRequest.content contains an empty Part"),
    "empty part next to a full one": ([parts(text(), {})], "contains an empty Part"),
    "no parts": ([{}], "content is required"),
    "seven images": ([parts(*[IMAGE] * 7)], "7 image parts; the model takes at most 6"),
    "audio over 180 s": ([parts(inline(LONG_AUDIO, "audio/wav"))], "audio is 181.0 seconds long; the limit is 180"),
    "seven pages": ([parts(inline(pdf(7), "application/pdf"))], "7 pages; the limit is 6 pages"),
    "WebP": ([parts(inline(webp(), "image/webp"))], "Unsupported MIME type: image/webp"),
    "GIF": ([parts(inline(b"GIF89a", "image/gif"))], "Unsupported MIME type: image/gif"),
    "video called WAV": ([parts(inline(mp4(1), "video/wav"))], "Unsupported MIME type: video/wav"),
    "text as bytes": ([parts(inline(b"words", "text/plain"))], "Unsupported MIME type: text/plain"),
    "no type": ([parts({"inline_data": {"data": "AAAA"}})], "Unsupported MIME type: none given"),
    "truncated image": ([parts(inline(png()[:-30], "image/png"))], "Unable to process input image"),
    "cut-off JPEG": ([parts(inline(jpeg(size=(99, 99))[:-200], "image/jpeg"))], "Unable to process input image"),
    "cut-off PDF": ([parts(inline(pdf(2)[:99], "application/pdf"))], "Unable to process input pdf"),
    "cut-off video": ([parts(inline(mp4(1)[:300], "video/mp4"))], "Unable to process input video"),
    "noise declared as audio": ([parts(inline(b"\x00" * 500, "audio/mp3"))], "Unable to process input audio"),
    "image declared as audio": ([parts(inline(png(), "audio/wav"))], "Unable to process input audio"),
    "empty bytes": ([parts(inline(b"", "image/png"))], "Unable to process input image"),
    "too many values": ([parts(text())], "3073 is not within 1 and 3072", {"outputDimensionality": 3073}),
    "no values": ([parts(text())], "output_dimensionality: 0 is not", {"outputDimensionality": 0}),
    "size is a word": ([parts(text())], "(TYPE_INT32)", {"outputDimensionality": "many"}),
    "unknown field": ([parts(text())], '"tasktype" at \'requests[0]\': Cannot find field', {"tasktype": "A"}),
    "unknown part": ([parts({"image": "x"})], "Unknown name \"image\" at 'requests[0].content.parts[0]'"),
    "text is a number": ([parts({"text": 3})], "(TYPE_STRING)"),
    "content is a text": (["hello"], "'requests[0].content' (an object)"),
    "not base64": ([parts({"inlineData": {"mimeType": "image/png", "data": "%%%"}})], "Base64 decoding failed"),
    "no such file": ([parts({"fileData": {"fileUri": "https://example.org/a.png"}})], "Unsupported file uri"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(http_call, emulator, case):
    """Invalid requests get 400 INVALID_ARGUMENT with a reason, and nothing is embedded."""
    contents, message, *fields = case
    status, answer = http_call.embed(*contents, **(fields[0] if fields else {}))
    assert message in answer["error"]["message"]
    assert (status, answer["error"]["code"], answer["error"]["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert emulator.embedded == 0


ACCEPTED = {
    "100 items": [parts(text())] * 100,
    "six images": [parts(*[IMAGE] * 6)],
    "seven images in two contents": [parts(*[IMAGE] * 4), parts(*[IMAGE] * 3)],
    "everything in one content": [
        parts(text(), IMAGE, inline(wav(1), "audio/wav"), inline(mp4(1), "video/mp4"), inline(pdf(), PDF))
    ],
    "JPEG": [parts(inline(jpeg(size=(9, 9)), "image/jpeg"))],
    "MP3": [parts(inline(mp3(1), "audio/mp3"))],
    "MP3 by its other name": [parts(inline(mp3(1), "audio/mpeg"))],
    "audio of 180 s": [parts(inline(wav(180), "audio/wav"))],
    "video of 120 s": [parts(inline(mp4(120, fps=1, size=(16, 16)), "video/mp4"))],
    "MOV": [parts(inline(mp4(1, container="mov"), "video/quicktime"))],
    "six pages": [parts(inline(pdf(6), "application/pdf"))],
    "JPEG called PNG": [parts(inline(jpeg(), "image/png"))],
    "camel case": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(png()).decode()}}]}],
    "one part, not in a list": [{"parts": {"text": "a"}}],
    "base64 without padding": [
        parts({"inline_data": {"mime_type": "image/png", "data": base64.b64encode(png()).decode().rstrip("=")}})
    ],
    "spaces": [parts(text(" "))],
}  # fmt: skip


@pytest.mark.parametrize("contents", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(http_call, contents):
    """Requests within the limits get one vector per content."""
    status, answer = http_call.embed(*contents)
    assert (status, answer.get("error")) == (200, None)
    assert [len(one["values"]) for one in answer["embeddings"]] == [3072] * len(contents)


def test_video_over_120_seconds(http_call):
    """A video of 121 seconds is refused on both backends."""
    video = inline(mp4(121, fps=1, size=(16, 16)), "video/mp4")
    assert "121.0 seconds long; the limit is 120" in http_call.embed(parts(video))[1]["error"]["message"]
    status, answer = http_call("POST", VERTEX, {"content": parts(video)})
    assert (status, "limit is 120" in answer["error"]["message"]) == (400, True)


VERTEX_CASES = {
    "WebP is taken": (parts(inline(webp(), "image/webp")), None),
    "two videos": (parts(*[inline(mp4(1), "video/mp4")] * 2), "2 video parts; the model takes at most 1"),
    "two PDFs": (parts(*[inline(pdf(1), "application/pdf")] * 2), "2 pdf parts; the model takes at most 1"),
    "GIF": (parts(inline(b"GIF89a", "image/gif")), "Unsupported MIME type"),
    "files of the Gemini API": (parts({"fileData": {"fileUri": "https://x/v1beta/files/a"}}), "Cannot fetch content"),
}


@pytest.mark.parametrize("case", VERTEX_CASES.values(), ids=VERTEX_CASES)
def test_vertex_limits(http_call, case):
    """Vertex has different limits."""
    content, message = case
    status, answer = http_call("POST", VERTEX, {"content": content})
    assert status == (400 if message else 200)
    assert message is None or message in answer["error"]["message"]


def test_vertex_embed_content_takes_one_content(http_call):
    """`:embedContent` takes one content; `:batchEmbedContents` takes several."""
    status, answer = http_call("POST", VERTEX, {"requests": [{"content": parts(text())}]})
    assert (status, 'Unknown name "requests"' in answer["error"]["message"]) == (400, True)
    batch = VERTEX.replace("embedContent", "batchEmbedContents")
    config = {"embedContentConfig": {"outputDimensionality": 128}}
    status, answer = http_call("POST", batch, {"requests": [{"content": parts(text()), **config}] * 3})
    assert [len(one["values"]) for one in answer["embeddings"]] == [128] * 3


def test_predict_takes_250_instances(http_call):
    """`:predict` refuses more than 250 instances, and none."""
    path = "/v1beta1/publishers/google/models/gemini-embedding-001:predict"
    status, answer = http_call("POST", path, {"instances": [{"content": "a"}] * 251})
    assert (status, "maximum number of instances is 250" in answer["error"]["message"]) == (400, True)
    assert http_call("POST", path, {"instances": []})[1]["error"]["message"] == "Empty instances."


def test_text_model_takes_no_media(http_call):
    """gemini-embedding-001 refuses images."""
    status, answer = http_call.embed(parts(IMAGE), model="gemini-embedding-001")
    assert (status, "takes text only" in answer["error"]["message"]) == (400, True)


@pytest.mark.parametrize("dimensions", [1, 10, 127, 128, 3072])
def test_small_sizes_are_not_enforced(http_call, dimensions):
    """Sizes below 128 are served, although the documents begin at 128."""
    _, answer = http_call.embed(parts(text()), outputDimensionality=dimensions)
    assert len(answer["embeddings"][0]["values"]) == dimensions


def test_unsupported_type_may_give_no_values(emulator, http_call):
    """An unsupported type may get status 200 with an embedding without values; other items are embedded."""
    emulator.settings.unsupported_mime = "empty"
    _, answer = http_call.embed(parts(text()), parts(inline(mp4(1), "video/wav")))
    assert [len(one.get("values", ())) for one in answer["embeddings"]] == [3072, 0]


def test_images_counted_per_call(emulator, http_call):
    """The limit of six images may apply to a request."""
    emulator.settings.images_per = "call"
    status, answer = http_call.embed(parts(*[IMAGE] * 4), parts(*[IMAGE] * 3))
    assert (status, "7 image parts" in answer["error"]["message"]) == (400, True)


def test_request_over_the_inline_ceiling(emulator, http_call):
    """A request with inline data over the ceiling is refused; text of that size is not inline data."""
    emulator.settings.inline_bytes = 1000
    status, answer = http_call.embed(parts(inline(wav(1), "audio/wav")))
    assert (status, "payload size exceeds the limit: 1000 bytes" in answer["error"]["message"]) == (400, True)
    assert http_call.embed(parts(text("word " * 400)))[0] == 200


def test_model_in_the_body_must_match(http_call):
    """A request of a batch that names another model is refused."""
    body = {"requests": [{"model": "models/gemini-embedding-001", "content": parts(text())}]}
    status, answer = http_call("POST", f"/v1beta/models/{MODEL}:batchEmbedContents", body)
    assert (status, "is not the model of the request" in answer["error"]["message"]) == (400, True)


def test_single_embed(http_call):
    """`:embedContent` of the Gemini API answers one embedding; old and new places of the options are read."""
    path = f"/v1beta/models/{MODEL}:embedContent"
    old = {"content": parts(text()), "output_dimensionality": 128}
    new = {"content": parts(text()), "embedContentConfig": {"outputDimensionality": 128}}
    first, second = (http_call("POST", path, body)[1]["embedding"]["values"] for body in (old, new))
    assert len(first) == 128
    assert first == second


MALFORMED = {
    "not JSON": (b"{", "Invalid JSON payload"),
    "a list": (b"[]", "root must be an object"),
    "requests is no list": (b'{"requests": 3}', "'requests' (a list)"),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED)
def test_malformed_bodies(http_call, case):
    """A malformed body gets 400."""
    body, message = case
    status, answer = http_call("POST", f"/v1beta/models/{MODEL}:batchEmbedContents", body)
    assert (status, message in answer["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", f"/v1beta/models/{MODEL}:embedContent", 404),
        ("POST", f"/v9/models/{MODEL}:embedContent", 404),
        ("PATCH", "/v1beta/files/abc", 405),
        ("GET", "/v1beta/files/abc", 403),
        ("GET", "/v1beta/models/nothing", 404),
    ],
)
def test_other_paths(http_call, method, path, status):
    """Unknown paths and methods get an error status with a JSON body."""
    got, answer = http_call(method, path)
    assert (got, answer["error"]["code"]) == (status, status)


def test_keys(emulator, http_call):
    """A key may be in the query; without a key the status is 403."""
    path = f"/v1beta/models/{MODEL}:embedContent"
    body = {"content": parts(text())}
    assert http_call("POST", f"{path}?key={emulator.api_key}", body, x_goog_api_key="")[0] == 200
    status, answer = http_call("POST", path, body, x_goog_api_key="")
    assert (status, answer["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_video_frames_are_counted_per_backend(http_call):
    """A 40 s video costs 32 frames on the Gemini API and 40 on Vertex, more with a higher frame rate."""
    video = inline(mp4(40, fps=1, size=(16, 16)), "video/mp4")
    assert http_call.embed(parts(video))[1]["usageMetadata"]["promptTokenCount"] == 32 * 66
    faster = video | {"videoMetadata": {"fps": 2}}
    counts = [
        http_call("POST", VERTEX, {"content": parts(part)})[1]["usageMetadata"]["promptTokenCount"]
        for part in (video, faster)
    ]
    assert counts == [40 * 66, 80 * 66]


def test_page_tokens(http_call):
    """A PDF costs 258 tokens a page."""
    _, answer = http_call.embed(parts(inline(pdf(3), PDF)))
    assert answer["usageMetadata"]["promptTokenDetails"] == [{"modality": "DOCUMENT", "tokenCount": 3 * 258}]


def test_media_libraries_may_be_missing(http_call, monkeypatch):
    """Without Pillow text is embedded, and the error for an image names the extra."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert http_call.embed(parts(text()))[0] == 200
    status, answer = http_call.embed(parts(inline(UNCACHED_IMAGE, "image/png")))
    assert (status, "langchain-gemini-mm[testing]" in answer["error"]["message"]) == (501, True)


def test_same_file_is_opened_once():
    """Facts about a file are cached by its hash."""
    prober = Prober()
    first = prober(png(), "digest")
    assert prober(b"anything else", "digest") is first
