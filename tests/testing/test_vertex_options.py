"""Options of Vertex AI that the Gemini API does not have: frames per second, audio of videos, text of PDF pages."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from langchain_gemini_mm.testing import mp4, pdf
from langchain_gemini_mm.testing.samples.clips import tone

VERTEX = "/v1/publishers/google/models/gemini-embedding-2:embedContent"


def request(data: bytes, mime_type: str, *, fps: float | None = None, **config: bool) -> dict[str, Any]:
    """The body of a request for one file."""
    part: dict[str, Any] = {"inlineData": {"data": base64.b64encode(data).decode(), "mimeType": mime_type}}
    if fps is not None:
        part["videoMetadata"] = {"fps": fps}
    return {"content": {"parts": [part]}, "embedContentConfig": config}


def film(seconds: float, *, heard: bool = False) -> bytes:
    """A small video."""
    return mp4(seconds, fps=1, size=(16, 16), samples=tone(seconds) if heard else None)


TOKENS = {
    "frames": (request(film(20), "video/mp4", fps=0.5), {"VIDEO": 10 * 66}),
    "audio": (
        request(film(20, heard=True), "video/mp4", audioTrackExtraction=True),
        {"VIDEO": 20 * 66, "AUDIO": 20 * 25, "TEXT": 20 * 10},
    ),
    "a video without audio": (request(film(20), "video/mp4", audioTrackExtraction=True), {"VIDEO": 20 * 66}),
    "words": (request(pdf(["forty letters and spaces, all of them here"]), "application/pdf", documentOcr=True), None),
}


@pytest.mark.parametrize("case", TOKENS.values(), ids=TOKENS)
def test_options_cost_tokens(http_call, case):
    """Each option changes what is counted, by modality."""
    body, expected = case
    status, answer = http_call("POST", VERTEX, body)
    assert status == 200
    counted = {row["modality"]: row["tokenCount"] for row in answer["usageMetadata"]["promptTokensDetails"]}
    assert counted == (expected or {"DOCUMENT": 258, "TEXT": 11})


LIMITS = {
    "60 s at 2 a second": (request(film(60), "video/mp4", fps=2), None),
    "61 s at 2 a second": (request(film(61), "video/mp4", fps=2), "61.0 seconds long; the limit is 60"),
    "240 s at one in two": (request(film(240), "video/mp4", fps=0.5), None),
    "25 a second": (request(film(1), "video/mp4", fps=25), "fps must be in (0, 24]"),
    "80 s heard": (request(film(80), "video/mp4", audioTrackExtraction=True), None),
    "81 s heard": (request(film(81), "video/mp4", audioTrackExtraction=True), "81.0 seconds long; the limit is 80"),
}


@pytest.mark.parametrize("case", LIMITS.values(), ids=LIMITS)
def test_options_change_the_limits(http_call, case):
    """A video is limited by its frames, and by the duration of its processed audio."""
    body, message = case
    status, answer = http_call("POST", VERTEX, body)
    assert (status, message is None or message in answer["error"]["message"]) == (400 if message else 200, True)


@pytest.mark.parametrize("option", ["documentOcr", "audioTrackExtraction"])
def test_the_gemini_api_has_no_such_options(http_call, option):
    """The request fields belong to Vertex AI."""
    status, answer = http_call.embed({"parts": [{"text": "a"}]}, **{option: True})
    assert (status, option in answer["error"]["message"]) == (400, True)
