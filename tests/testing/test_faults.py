"""Scripted and random failures."""

from __future__ import annotations

import http.client
import json
import math
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.genai import errors
from google.genai.types import Content, Part

from langchain_gemini_mm.testing import Failure, GeminiEmulator

MODEL = "gemini-embedding-2"
PATH = f"/v1beta/models/{MODEL}:batchEmbedContents"
TEXTS = ("one", "two", "three")


def ask(emulator: GeminiEmulator) -> tuple[int, bytes]:
    """Status and raw body of a batch of three texts."""
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc)
    body = {"requests": [{"content": {"parts": [{"text": text}]}, "outputDimensionality": 128} for text in TEXTS]}
    try:
        connection.request("POST", PATH, json.dumps(body), {"x-goog-api-key": emulator.api_key})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def vectors(emulator: GeminiEmulator) -> list[Any]:
    """The values of a batch of three texts."""
    return [one.get("values") for one in json.loads(ask(emulator)[1]).get("embeddings", [])]


@pytest.mark.parametrize("status", [400, 401, 403, 408, 429, 499, 500, 502, 503, 504])
def test_statuses(emulator, client, status):
    """A scripted status arrives as the SDK's error once; the next call works."""
    emulator.fail_next(status)
    contents = [Content(parts=[Part(text="a")])]
    with pytest.raises(errors.APIError) as caught:
        client.models.embed_content(model=MODEL, contents=contents)
    assert caught.value.code == status
    assert client.models.embed_content(model=MODEL, contents=contents).embeddings
    assert [record.status for record in emulator.requests] == [status, 200]


def test_retry_info(emulator):
    """A 429 carries RetryInfo only when it is given; a daily one names the day."""
    emulator.script([429, Failure(status=429, retry_delay=0.25), "per-day"])
    plain, hinted, daily = (json.loads(ask(emulator)[1])["error"]["details"] for _ in range(3))
    assert len(plain) == 2
    assert hinted[2]["retryDelay"] == "0.250s"
    assert "PerDay" in daily[1]["violations"][0]["quotaId"]


def test_script_runs_in_order(emulator):
    """Each step of a script is for one call; None lets it through; afterwards everything works."""
    emulator.script([503, None, 500])
    assert [ask(emulator)[0] for _ in range(4)] == [503, 200, 500, 200]


def test_fail_next_repeats(emulator):
    """`times` says how many calls fail."""
    emulator.fail_next(503, times=2, message="Come back later.")
    answers = [ask(emulator) for _ in range(3)]
    assert [status for status, _ in answers] == [503, 503, 200]
    assert json.loads(answers[0][1])["error"]["message"] == "Come back later."


def test_connection_cut_before_the_answer(emulator):
    """The connection ends without a byte; the request is on record."""
    emulator.fail_next("cut")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(emulator)
    assert [record.status for record in emulator.requests] == [0]
    assert len(vectors(emulator)) == 3


def test_connection_cut_in_the_middle(emulator):
    """Half of the body arrives, then the connection ends."""
    emulator.fail_next("cut-middle")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(emulator)


def test_damaged_answers(emulator):
    """Each damage has only the effect that its documentation describes."""
    whole = vectors(emulator)
    first, second, third = whole
    expected = {
        "short": [first, second],
        "extra": [first, second, third, third],
        "reordered": [third, second, first],
        "missing": [first, second, None],
        "empty": [first, second, []],
        "dimension": [first, second, third[:-1]],
        "zero": [first, second, [0.0] * 128],
        "null": [first, second, [None, *third[1:]]],
        "nothing": [],
    }
    for damage, answer in expected.items():
        emulator.fail_next(damage)
        assert vectors(emulator) == answer, damage
    assert vectors(emulator) == whole


def test_nan_in_an_answer(emulator):
    """NaN is sent in the format that Python's JSON parser accepts."""
    emulator.fail_next("nan")
    *whole, broken = vectors(emulator)
    assert math.isnan(broken[0])
    assert all(math.isfinite(number) for values in whole for number in values)


@pytest.mark.parametrize("damage", ["malformed", "html"])
def test_bodies_that_are_not_json(emulator, damage):
    """The status is 200, and the body is not JSON."""
    emulator.fail_next(damage)
    status, body = ask(emulator)
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_unknown_failure_is_refused(emulator):
    """The error for an unknown failure lists the known ones."""
    with pytest.raises(ValueError, match=r"unknown failure 'shorter'.*reordered"):
        emulator.fail_next("shorter")
    with pytest.raises(ValueError, match="unknown failure 200"):
        emulator.script([200])


def test_random_failures_follow_the_seed(emulator):
    """The share of failed requests is about the failure rate; equal seeds give equal failures."""
    emulator.settings.failure_rate = 0.3

    def run(seed: int) -> list[int]:
        emulator.settings.seed = seed
        emulator.reset()
        return [ask(emulator)[0] for _ in range(60)]

    first = run(1)
    assert run(1) == first
    assert run(2) != first
    assert 8 <= sum(status != 200 for status in first) <= 30
    assert set(first) == {200, 429, 503}


@pytest.mark.parametrize("latency", [0.05, (0.05, 0.06), lambda: 0.05], ids=["fixed", "range", "function"])
def test_latency(emulator, latency):
    """The latency may be a number, a range or a function."""
    emulator.settings.latency = latency
    start = time.monotonic()
    ask(emulator)
    assert 0.05 <= time.monotonic() - start < 30


def test_slow_answer(emulator):
    """A failure may be only a delay."""
    emulator.fail_next("slow", delay=0.1)
    start = time.monotonic()
    assert ask(emulator)[0] == 200
    assert time.monotonic() - start >= 0.1


def test_files_do_not_use_up_the_script(emulator, client):
    """Scripted failures apply to embedding requests only."""
    emulator.fail_next(503)
    client.models.get(model=MODEL)
    assert ask(emulator)[0] == 503
