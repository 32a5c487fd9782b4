"""Errors, delays and wrong responses of the service."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from langchain_gemini_mm import GeminiEmbeddings, MediaStore, PartialEmbeddingError, QuotaError, ServiceError
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.testing import Failure, GeminiEmulator, jpeg, pdf, png, wav

MIXED = 250


@pytest.fixture(scope="module")
def flaky() -> Iterator[GeminiEmulator]:
    """A service with random delays, of which one call in four fails at first."""
    failures = [Failure(status=429, retry_delay=0.05), Failure(status=503), Failure(cut="before")]
    with GeminiEmulator(latency=(0.0, 0.1), failure_rate=0.25, failures=failures) as emulator:
        yield emulator


def embed(ours: GeminiEmbeddings, how: str, contents: list[Any], **options: Any) -> list[list[float]]:
    """Embed sync or async."""
    if how == "sync":
        return ours.embed_documents(contents, **options)
    return asyncio.run(ours.aembed_documents(contents, **options))


def mixed_contents(media: MediaStore) -> list[Any]:
    """250 different contents of all types, in a fixed random order."""
    makers = [
        lambda n: f"text number {n}",
        lambda n: png(f"picture {n}", size=(8, 8)),
        lambda n: [f"caption {n}", jpeg(f"photo {n}", size=(8, 8))],
        lambda n: media.put(wav(0.05, f"sound {n}")).markdown,
        lambda n: f"before ![]({media.put(pdf([f'page {n}']))}) after {n}",
    ]
    contents = [makers[n % len(makers)](n) for n in range(MIXED)]
    random.Random(3).shuffle(contents)
    return contents


@dataclass(frozen=True)
class Mixture:
    """Contents, and the vector of each when it is embedded alone without faults."""

    media: MediaStore
    contents: list[Any]
    expected: Vectors


@pytest.fixture(scope="module")
def mixture() -> Iterator[Mixture]:
    """250 contents with their vectors."""
    media = MediaStore.memory()
    contents = mixed_contents(media)
    with GeminiEmulator() as calm:
        one_by_one = GeminiEmbeddings(
            media=media, output_dimensionality=256, api_key=calm.api_key, base_url=calm.url, max_concurrency=4
        )
        yield Mixture(media, contents, np.array(one_by_one.embed_documents(contents, batch_size=1)))


@pytest.mark.parametrize("how", ["sync", "async"])
def test_250_mixed_inputs_in_order_despite_faults(how: str, flaky: GeminiEmulator, mixture: Mixture) -> None:
    """With random delays, 429s, 503s and lost connections, every input gets its own vector in its position."""
    ours = GeminiEmbeddings(
        media=mixture.media,
        output_dimensionality=256,
        api_key=flaky.api_key,
        base_url=flaky.url,
        batch_bytes=20_000,
        max_retries=20,
    )

    vectors = embed(ours, how, mixture.contents, batch_size=7)

    np.testing.assert_allclose(np.array(vectors), mixture.expected, atol=1e-6)
    assert ours.usage.retries > 0


WRONG_ANSWERS = [
    ("short", r"^inputs 0 to 2: .*0 vectors for 1 content"),
    ("extra", r"^inputs 0 to 2: .*2 vectors for 1 content"),
    ("nothing", r"^inputs 0 to 2: .*0 vectors for 1 content"),
    ("missing", r"no vector"),
    ("empty", r"no vector"),
    ("nan", r"not JSON"),
    ("zero", r"zero"),
    ("dimension", r"3071 values instead of 3072"),
]


@pytest.mark.parametrize(("damage", "message"), WRONG_ANSWERS)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_wrong_responses_raise(damage: str, message: str, how: str, emulator: GeminiEmulator) -> None:
    """Responses that never match their request are an error, never a shifted, dropped or padded vector."""
    emulator.fail_next(damage, times=20)

    with pytest.raises((ServiceError, PartialEmbeddingError), match=message):
        embed(GeminiEmbeddings(max_retries=1), how, ["a", "b", "c"])


@pytest.mark.parametrize("trouble", [408, 429, 500, 502, 503, 504, "cut", "cut-middle", "malformed", "html"])
def test_temporary_errors_are_retried(trouble: object, embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Temporary errors are retried, and counted."""
    emulator.fail_next(trouble)

    assert len(embeddings.embed_query("a")) == 3072
    assert embeddings.usage.retries == 1


@pytest.mark.parametrize(("status", "message"), [(401, "GOOGLE_API_KEY"), (403, "may not"), (404, "name")])
def test_permanent_errors_are_not_retried(
    status: int, message: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator
) -> None:
    """Permanent errors are raised at once, with code, remedy and inputs."""
    emulator.fail_next(status)

    with pytest.raises(ServiceError, match=rf"^inputs 0, 1: .*{status}.*{message}") as caught:
        embeddings.embed_documents(["a", "b"])

    assert (caught.value.code, caught.value.transient) == (status, False)
    assert len(emulator.embed_requests) == 1


def test_the_services_delay_is_obeyed(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """The delay before a retry is that of RetryInfo."""
    emulator.fail_next(429, retry_delay=1.5)

    begun = time.monotonic()
    embeddings.embed_query("a")

    assert 1.5 <= time.monotonic() - begun < 30


def test_a_daily_quota_fails_at_once(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """It fails at once, however short the delay in the response is."""
    emulator.fail_next("per-day")

    with pytest.raises(QuotaError, match="try again tomorrow") as caught:
        embeddings.embed_documents(["a"])

    assert caught.value.per_day
    assert len(emulator.embed_requests) == 1


def test_a_delay_beyond_the_deadline_fails_at_once(emulator: GeminiEmulator) -> None:
    """A delay that ends after the deadline is not waited for."""
    emulator.fail_next(429, retry_delay=100)

    begun = time.monotonic()
    with pytest.raises(QuotaError, match="requests_per_minute") as caught:
        GeminiEmbeddings(deadline=30).embed_query("a")

    assert (caught.value.retry_after, caught.value.per_day) == (100, False)
    assert time.monotonic() - begun < 30


def test_retries_end(emulator: GeminiEmulator) -> None:
    """After the last retry the error is raised."""
    emulator.fail_next(503, times=5)

    with pytest.raises(ServiceError, match="503"):
        GeminiEmbeddings(max_retries=1).embed_query("a")

    assert len(emulator.embed_requests) == 2


def test_a_timeout_is_a_service_error(emulator: GeminiEmulator) -> None:
    """A late response counts as none."""
    emulator.fail_next("slow", times=2)

    with pytest.raises(ServiceError, match="no answer"):
        GeminiEmbeddings(timeout=0.3, max_retries=0).embed_query("a")
    with pytest.raises(ServiceError, match="no answer"):
        asyncio.run(GeminiEmbeddings(timeout=0.3, max_retries=0).aembed_query("a"))


def test_no_network_is_a_service_error() -> None:
    """If nothing listens on the port, a typed error says so."""
    ours = GeminiEmbeddings(api_key="k", base_url="http://127.0.0.1:9", max_retries=1)

    with pytest.raises(ServiceError, match="no answer from the embedding service"):
        ours.embed_query("a")


def test_events_are_logged_without_secrets(emulator: GeminiEmulator, caplog: pytest.LogCaptureFixture) -> None:
    """Retries are logged by the package's logger, without keys and contents."""
    caplog.set_level(logging.DEBUG, logger="langchain_gemini_mm")
    emulator.fail_next(503)

    GeminiEmbeddings().embed_query("a very private question")

    text = "\n".join(record.getMessage() for record in caplog.records if record.name == "langchain_gemini_mm")
    assert "attempt 1 failed, trying again in" in text
    assert emulator.api_key not in text
    assert "private" not in text


def test_quotas_per_minute_delay_calls(emulator: GeminiEmulator) -> None:
    """Calls fit into the quota of a minute, and further ones wait; a small share is kept for queries."""
    ours = GeminiEmbeddings(requests_per_minute=4)

    ours.embed_documents(["a", "b", "c"])
    ours.embed_query("d")
    assert [request.count for request in emulator.embed_requests] == [3, 1]

    async def impatient() -> None:
        async with asyncio.timeout(0.5):
            await ours.aembed_query("e")

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    assert len(emulator.embed_requests) == 2


def test_a_wrong_key_says_so(emulator: GeminiEmulator) -> None:
    """No message contains the key itself."""
    with pytest.raises(ServiceError, match="API key") as caught:
        GeminiEmbeddings(api_key="a-wrong-key").embed_query("a")

    assert "a-wrong-key" not in str(caught.value)
