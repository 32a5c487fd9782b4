"""Live checks of the service: each one is a line of docs/api-assumptions.md.

Needs GOOGLE_API_KEY or GEMINI_API_KEY and costs less than a cent; two checks that would cost more run only with
GEMINI_MM_LIVE_COSTLY=1. Every check is also made on the emulator, and the summary at the end lists where the two
differ. GEMINI_MM_LIVE_BASE_URL points the checks at another server, such as the emulator itself.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from integration_tests.gemini_api import MODEL, Answer, Api, UsedUpError
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, mp3, mp4, pdf, png, wav
from langchain_gemini_mm.testing.samples import drawings

pytestmark = [pytest.mark.live, pytest.mark.enable_socket]

SERVICE = "https://generativelanguage.googleapis.com"
SCONES = "https://storage.googleapis.com/generativeai-downloads/images/scones.jpg"
PUBLIC_IMAGE = {"file_data": {"file_uri": SCONES, "mime_type": "image/jpeg"}}


@dataclass(frozen=True)
class Check:
    """One assumption: how to check it, and the expected result."""

    number: str
    title: str
    observe: Callable[[Api], Any]
    expected: Any = None
    """None for an open question: whatever is seen is only reported."""
    costly: bool = False


def inline(data: bytes, mime_type: str) -> dict[str, Any]:
    """A part with bytes."""
    return {"inline_data": {"mime_type": mime_type, "data": base64.urlsafe_b64encode(data).decode()}}


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine similarity of two vectors."""
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


PUPPY = inline(png("a brown puppy dog", image=drawings.puppy()), "image/png")
PIZZA = inline(png("a pizza", image=drawings.pizza()), "image/png")
TINY = inline(png(size=(32, 32)), "image/png")


def n_in_n_out(api: Api) -> Any:
    """Number and size of the vectors, and whether each equals the vector of its text alone."""
    texts = ["a puppy", "quarterly revenue", "a recipe"]
    together = api.embed(*texts).vectors
    alone = np.vstack([api.embed(text).vectors for text in texts])
    return together.shape, np.argmax(together @ alone.T, axis=1).tolist()


def lengths(api: Api) -> Any:
    """Lengths of vectors at two sizes."""
    return [round(float(np.linalg.norm(api.embed("a puppy", outputDimensionality=d).vectors)), 3) for d in (3072, 768)]


def head_of_full(api: Api) -> Any:
    """Whether the short vector is the start of the long one."""
    full, short = (api.embed("a puppy", outputDimensionality=d).vectors[0] for d in (3072, 768))
    return cosine(full[:768], short) > 0.999


def task_ignored(api: Api) -> Any:
    """Whether a task type does not change the vector, for both models."""
    return [
        cosine(
            api.embed("a puppy", model=model).vectors[0],
            api.embed("a puppy", model=model, taskType="RETRIEVAL_QUERY").vectors[0],
        )
        > 0.9999
        for model in (MODEL, "gemini-embedding-001")
    ]


def shorter_than_one(api: Api) -> Any:
    """Whether the first 768 values of gemini-embedding-001 have a length below 1."""
    return bool(np.linalg.norm(api.embed("a", model="gemini-embedding-001", outputDimensionality=768).vectors) < 0.99)


def sides(api: Api) -> Any:
    """Whether the query and document prefixes give similar but different vectors."""
    query, document = api.embed("task: search result | query: a puppy", "title: none | text: a puppy").vectors
    return 0.5 < cosine(query, document) < 0.9999


def spellings(api: Api) -> Any:
    """Whether snake_case with URL-safe base64 and camelCase with the standard alphabet are equivalent."""
    data = png(colour="red", size=(40, 40))
    camel = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}}
    first, second = api.embed([inline(data, "image/png")], [camel]).vectors
    return cosine(first, second) > 0.9999


def fused(api: Api) -> Any:
    """Whether the vector of text and image is closer to the image than their mean is."""
    text, image, both = api.embed("a brown puppy", [PUPPY], ["a brown puppy", PUPPY]).vectors
    mean = text / np.linalg.norm(text) + image / np.linalg.norm(image)
    return {"nearer to the image": cosine(both, image) > cosine(both, text), "the mean": cosine(both, mean) > 0.98}


def cross_modal(api: Api) -> Any:
    """Whether a text is closer to the drawing that it describes."""
    text, puppy, pizza = api.embed("task: search result | query: a dog", [PUPPY], [PIZZA]).vectors
    return cosine(text, puppy) > cosine(text, pizza)


def files(api: Api) -> Any:
    """State after upload, whether the vector equals that of the inline bytes, and status after deletion."""
    data = png(image=drawings.apple())
    file = api.upload(data, "image/png")
    part = {"file_data": {"file_uri": file["uri"], "mime_type": "image/png"}}
    by_uri, directly = api.embed([part], [inline(data, "image/png")]).vectors
    api(f"/v1beta/{file['name']}", method="DELETE")
    gone = api(f"/v1beta/{file['name']}", method="GET")
    return file["state"], cosine(by_uri, directly) > 0.9999, gone.refusal


def long_text(api: Api) -> Any:
    """Status for a text over the limit, and whether its end was ignored."""
    first, second = (api.embed("puppy " * 9000 + end) for end in ("pizza " * 50, "beach " * 50))
    same = first.status == 200 and cosine(first.vectors[0], second.vectors[0]) > 0.99999
    return first.refusal, "cut" if same else "not cut"


def values_or_status(answer: Answer) -> Any:
    """The result of an undocumented request: the error, or whether there are values."""
    if answer.status != 200:
        return answer.refusal
    return 200, "values" if answer.body["embeddings"][-1].get("values") else "no values"


def preview(api: Api) -> Any:
    """Whether the preview id is still served and gives the vectors of the GA id."""
    answer = api.embed("a puppy", model="gemini-embedding-2-preview")
    if answer.status != 200:
        return answer.refusal
    return "same vectors" if cosine(answer.vectors[0], api.embed("a puppy").vectors[0]) > 0.9999 else "other vectors"


def unrelated_spaces(api: Api) -> Any:
    """Whether the vectors of two models are unrelated."""
    first, second = (api.embed("a puppy", model=model).vectors[0] for model in (MODEL, "gemini-embedding-001"))
    return abs(cosine(first, second)) < 0.2


def embed_single(api: Api) -> Any:
    """Structure of the response of `:embedContent`."""
    answer = api(f"/v1beta/models/{MODEL}:embedContent", {"content": {"parts": [{"text": "a"}]}})
    return answer.status, len(answer.body["embedding"]["values"])


def wrong_key(api: Api) -> Any:
    """The error for an invalid key, with its reason."""
    answer = Api(api.base_url, "not-a-key").embed("a")
    return answer.status, [one.get("reason") for one in answer.body["error"].get("details", [])][:1]


REFUSED = (400, "INVALID_ARGUMENT")
CHECKS = [
    Check("A01", "one vector per content, in order, 3072 values", n_in_n_out, ((3, 3072), [0, 1, 2])),
    Check("A02", "parts of one content give one vector", lambda api: len(api.embed(["a", "b"]).vectors), 1),
    Check("A03", "unit length at every size", lengths, [1.0, 1.0]),
    Check("A04", "a short vector is the head of the long one", head_of_full, True),
    Check("A05", "task type: ignored by embedding-2, used by 001", task_ignored, [True, False]),
    Check("A06", "query and document prefix: near, not equal", sides, True),
    Check("A07", "001 is not normalised below 3072", shorter_than_one, True),
    Check("A08", "embedding-2 and 001 share no space", unrelated_spaces, True),
    Check("A09", "at most 100 items in a batch", lambda api: api.embed(*["a"] * 101).refusal, REFUSED),
    Check("A10", "an empty text is refused", lambda api: api.embed("").refusal, REFUSED),
    Check("A11", "a content without parts is refused", lambda api: api.embed([]).refusal, REFUSED),
    Check("A12", "unknown model", lambda api: api.embed("a", model="gemini-embedding-9").refusal, (404, "NOT_FOUND")),
    Check("A13", "wrong key", wrong_key, (400, ["API_KEY_INVALID"])),
    Check("A14", "no key", lambda api: Api(api.base_url, "").embed("a").refusal, (403, "PERMISSION_DENIED")),
    Check("A15", "unknown fields are refused", lambda api: api.embed("a", tasktype="x").refusal, REFUSED),
    Check("A16", "both spellings of keys and of base64", spellings, True),
    Check("A17", "an image is 258 tokens", lambda api: api.embed([TINY]).tokens.get("IMAGE"), 258),
    Check("A18", "a second of audio is 25 tokens",
          lambda api: api.embed([inline(wav(1), "audio/wav")]).tokens.get("AUDIO"), 25),
    Check("A19", "a video of one second is one frame of 66 tokens",
          lambda api: api.embed([inline(mp4(1), "video/mp4")]).tokens.get("VIDEO"), 66),
    Check("A20", "a PDF page is 258 tokens",
          lambda api: api.embed([inline(pdf(2), "application/pdf")]).tokens.get("DOCUMENT"), 516),
    Check("A21", "six images in a content", lambda api: api.embed([TINY] * 6).status, 200),
    Check("A22", "seven images in a content are refused", lambda api: api.embed([TINY] * 7).refusal, REFUSED),
    Check("A23", "six images per content or per call?",
          lambda api: values_or_status(api.embed([TINY] * 4, [TINY] * 3))),
    Check("A24", "GIF is refused", lambda api: api.embed([inline(b"GIF89a", "image/gif")]).refusal, REFUSED),
    Check("A25", "video bytes as video/wav: 400, or 200 without values?",
          lambda api: values_or_status(api.embed([inline(mp4(1), "video/wav")]))),
    Check("A26", "MP3 as audio/mpeg?", lambda api: values_or_status(api.embed([inline(mp3(1), "audio/mpeg")]))),
    Check("A27", "seven pages are refused",
          lambda api: api.embed([inline(pdf(7), "application/pdf")]).refusal, REFUSED),
    Check("A28", "a truncated image is refused",
          lambda api: api.embed([inline(png()[:60], "image/png")]).refusal, REFUSED),
    Check("A29", "JPEG bytes called PNG?", lambda api: values_or_status(api.embed([inline(jpeg(), "image/png")]))),
    Check("A30", "sizes below 128?", lambda api: values_or_status(api.embed("a", outputDimensionality=10))),
    Check("A31", "sizes above 3072 are refused",
          lambda api: api.embed("a", outputDimensionality=3073).refusal, REFUSED),
    Check("A32", "text over 8192 tokens: cut or refused?", long_text),
    Check("A33", "countTokens on an embedding model?",
          lambda api: api(f"/v1beta/models/{MODEL}:countTokens", {"contents": [{"parts": [{"text": "a"}]}]}).refusal),
    Check("A34", "usage is reported under these names",
          lambda api: sorted(api.embed("a").body.get("usageMetadata", {})), ["promptTokenCount", "promptTokenDetails"]),
    Check("A35", "fused input is closer to the image than the mean", fused,
          {"nearer to the image": True, "the mean": False}),
    Check("A36", "a text is closer to the image it describes", cross_modal, True),
    Check("A37", "Files API: upload, embed, delete", files, ("ACTIVE", True, (403, "PERMISSION_DENIED"))),
    Check("A38", "https addresses as file_uri?",
          lambda api: values_or_status(api.embed([PUBLIC_IMAGE]))),
    Check("A39", "inline requests over 20 MB?",
          lambda api: values_or_status(api.embed([inline(jpeg() + bytes(16_000_000), "image/jpeg")]))),
    Check("A40", "preview id: served, same vectors?", preview),
    Check("A41", "single embedContent", embed_single, (200, 3072)),
    Check("A42", "version v1 of the API?", lambda api: values_or_status(api.embed("a", version="v1"))),
    Check("A43", "audio over 180 s is refused",
          lambda api: api.embed([inline(wav(181), "audio/wav")]).refusal, REFUSED, costly=True),
    Check("A44", "video over 120 s is refused",
          lambda api: api.embed([inline(mp4(121, fps=1), "video/mp4")]).refusal, REFUSED, costly=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def service() -> Api:
    """The service, or the server of GEMINI_MM_LIVE_BASE_URL."""
    key = os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")
    if not key:
        pytest.skip("no GOOGLE_API_KEY or GEMINI_API_KEY: the real service cannot be asked")
    return Api(os.environ.get("GEMINI_MM_LIVE_BASE_URL", SERVICE).rstrip("/"), key)


@pytest.fixture(scope="module")
def local() -> Iterator[Api]:
    """The emulator with its defaults."""
    with GeminiEmulator() as emulator:
        yield Api(emulator.url, emulator.api_key)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.number)
def test_assumption(check: Check, service: Api, local: Api, observations: list[Any]) -> None:
    """The service behaves as assumed; the summary answers open questions."""
    if check.costly and not os.environ.get("GEMINI_MM_LIVE_COSTLY"):
        pytest.skip("costs about 3 cents when the service does not refuse; set GEMINI_MM_LIVE_COSTLY=1")
    try:
        seen = check.observe(service)
    except UsedUpError as error:
        pytest.skip(f"quota used up: {str(error)[:200]}")
    here = check.observe(local)
    observations.append((check.number, check.title, seen, here, check.expected))
    assert check.expected is None or seen == check.expected
