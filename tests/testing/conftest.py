"""Fixtures for the tests of the emulator: the SDK, plain HTTP, and vectors of contents."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from google.genai import Client
from google.genai.types import Content, EmbedContentConfig, HttpOptions, Part

from langchain_gemini_mm.testing import GeminiEmulator

MODEL = "gemini-embedding-2"


class Http:
    """A plain HTTP client for requests that the SDK cannot send."""

    def __init__(self, emulator: GeminiEmulator) -> None:
        self._host = urlsplit(emulator.url).netloc
        self._key = emulator.api_key

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and parsed body of one request; underscores in header names become hyphens."""
        connection = http.client.HTTPConnection(self._host)
        sent = {"x-goog-api-key": self._key} | {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, raw, sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def embed(self, *contents: dict[str, Any], model: str = MODEL, **fields: Any) -> tuple[int, Any]:
        """`:batchEmbedContents` with one request per content."""
        requests = [{"model": f"models/{model}", "content": content, **fields} for content in contents]
        return self("POST", f"/v1beta/models/{model}:batchEmbedContents", {"requests": requests})


@pytest.fixture(scope="session")
def shared_client(emulator_server: GeminiEmulator) -> Iterator[Client]:
    """One SDK client for all tests, because creating one is slow."""
    options = HttpOptions(base_url=emulator_server.url, api_version="v1beta")
    made = Client(api_key=emulator_server.api_key, http_options=options)
    yield made
    made.close()


@pytest.fixture
def client(emulator: GeminiEmulator, shared_client: Client) -> Client:
    """The SDK, connected to the emulator."""
    return shared_client


@pytest.fixture
def http_call(emulator: GeminiEmulator) -> Http:
    """Requests that the SDK cannot send."""
    return Http(emulator)


@pytest.fixture
def embed(client: Client) -> Callable[..., np.ndarray]:
    """Vectors of contents, through the SDK: a content is a text, a Part, or a list of these."""

    def call(*contents: Any, model: str = MODEL, **config: Any) -> np.ndarray:
        answer = client.models.embed_content(
            model=model, contents=[as_content(content) for content in contents], config=EmbedContentConfig(**config)
        )
        return np.array([embedding.values for embedding in answer.embeddings or []], dtype=np.float32)

    return call


def as_content(content: Any) -> Content:
    """One content of a text, a Part, or a list of these."""
    listed = content if isinstance(content, list) else [content]
    return Content(parts=[Part(text=part) if isinstance(part, str) else part for part in listed])
