"""Uploads that the service has lost, that are still being processed, or that have expired."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from langchain_gemini_mm import GeminiEmbeddings, ServiceError
from langchain_gemini_mm.embeddings.service.http_client import http_library
from langchain_gemini_mm.embeddings.service.uploads import KEPT_S, Upload
from langchain_gemini_mm.testing import GeminiEmulator, png

PICTURE = png("a dog")


@pytest.fixture
def ours(emulator: GeminiEmulator) -> GeminiEmbeddings:
    """Embeddings that upload every picture."""
    return GeminiEmbeddings(output_dimensionality=128, inline_limit=200)


def embed(ours: GeminiEmbeddings, how: str) -> list[list[float]]:
    """Embed the picture, sync or async."""
    if how == "sync":
        return ours.embed_documents([PICTURE])
    return asyncio.run(ours.aembed_documents([PICTURE]))


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_lost_upload_is_uploaded_again(how: str, ours: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Another program may have deleted it; the service answers 403, which is otherwise about the key."""
    from google.genai import Client

    expected = embed(ours, how)
    first = emulator.uploads[0]
    options = {"base_url": emulator.url}
    with Client(api_key=emulator.api_key, http_options=options) as client:  # type: ignore[arg-type]
        client.files.delete(name=first.name)

    assert embed(ours, how) == expected
    (second,) = emulator.uploads
    assert second.name != first.name


def test_a_failed_poll_does_not_upload_again(emulator: GeminiEmulator) -> None:
    """While the service processes a file, a lost connection costs a poll, not an upload."""
    emulator.settings.file_processing = 1.0
    polls = []

    def lose_the_first_poll(response: Any) -> None:
        if response.request.method == "GET":
            polls.append(response.status_code)
            if len(polls) == 1:
                raise http_library({}).ReadError("lost", request=response.request)

    hooks = {"event_hooks": {"response": [lose_the_first_poll]}}
    GeminiEmbeddings(output_dimensionality=128, inline_limit=200, client_args=hooks).embed_documents([PICTURE])

    assert len(polls) > 1
    assert len(emulator.uploads) == 1


def test_an_upload_waits_as_long_as_the_service_asks(emulator: GeminiEmulator) -> None:
    """`Retry-After` holds for uploads as for other requests."""
    attempts: list[float] = []

    def refuse_the_first_upload(response: Any) -> None:
        if "/upload/" in str(response.request.url) and response.request.method == "POST":
            attempts.append(time.monotonic())
            if len(attempts) == 1:
                response.status_code = 503
                response.headers["Retry-After"] = "2"

    hooks = {"event_hooks": {"response": [refuse_the_first_upload]}}
    ours = GeminiEmbeddings(output_dimensionality=128, inline_limit=200, client_args=hooks)

    assert len(ours.embed_documents([PICTURE])) == 1
    assert attempts[1] - attempts[0] >= 2.0


@pytest.mark.parametrize("clock", ["wall clock", "monotonic"])
def test_an_upload_expires_by_the_clock_that_shows_more(clock: str) -> None:
    """The monotonic clock stops in standby, and the wall clock may be set back."""
    old = KEPT_S + 60
    since = time.time(), time.monotonic()
    since = (since[0] - old, since[1]) if clock == "wall clock" else (since[0] + old, since[1] - old)

    assert Upload("files/a", "uri", "image/png", since).age > KEPT_S


def test_a_refusal_for_the_key_is_not_taken_for_a_lost_upload(ours: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """It is raised, and the upload is kept."""
    ours.embed_documents([PICTURE])
    emulator.fail_next(403)

    with pytest.raises(ServiceError, match="403"):
        ours.embed_documents([PICTURE])
    assert len(emulator.uploads) == 1
