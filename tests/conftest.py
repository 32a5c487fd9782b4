"""What every test gets: a clean environment, and on request the emulator, a media store and sample files."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_gemini_mm import GeminiEmbeddings, MediaStore
    from langchain_gemini_mm.testing import GeminiEmulator

_FOREIGN = ("GOOGLE_", "GEMINI_", "GCLOUD_", "CLOUDSDK_", "LANGCHAIN_", "LANGSMITH_", "WEAVIATE_")
_PIPELINE = str(Path("embeddings", "pipeline.py"))
_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own keys, projects, tracing and proxies from every test."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def emulator_server() -> Iterator[GeminiEmulator]:
    """One emulator for the whole run; tests use `emulator`, which is this one, reset."""
    from langchain_gemini_mm.testing import GeminiEmulator

    with GeminiEmulator() as server:
        yield server


def as_new(server: GeminiEmulator) -> None:
    """Forget what other tests asked and set."""
    server.reset()
    settings = server.settings
    for field in dataclasses.fields(settings):
        setattr(settings, field.name, getattr(type(settings)(), field.name))


@pytest.fixture
def emulator(emulator_server: GeminiEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiEmulator]:
    """The emulator without memories of other tests; environment variables point to it."""
    as_new(emulator_server)
    monkeypatch.setenv("GOOGLE_API_KEY", emulator_server.api_key)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", emulator_server.url)
    yield emulator_server
    wait_for_runs()


def wait_for_runs(seconds: float = 10.0) -> None:
    """Fail if threads of a test go on embedding: their requests would be counted in another test."""
    end = time.monotonic() + seconds
    while running := embedding_threads():
        if time.monotonic() > end:
            pytest.fail(f"embeds after the end of the test: {', '.join(running)}")
        time.sleep(0.01)


def embedding_threads() -> list[str]:
    """The names of other threads that wait for a run of an embedding pipeline."""
    frames, names = sys._current_frames(), {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        str(names.get(ident, ident))
        for ident, frame in frames.items()
        if ident != threading.get_ident()
        and any(where.f_code.co_filename.endswith(_PIPELINE) for where, _ in traceback.walk_stack(frame))
    ]


@pytest.fixture
def media() -> MediaStore:
    """An empty media store in memory."""
    from langchain_gemini_mm import MediaStore

    return MediaStore.memory()


@pytest.fixture
def embeddings(emulator: GeminiEmulator, media: MediaStore) -> Iterator[GeminiEmbeddings]:
    """Embeddings over `media` that talk to `emulator`."""
    from langchain_gemini_mm import GeminiEmbeddings

    with GeminiEmbeddings(media=media) as ours:
        yield ours


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small real files: images, sound, video, a PDF and texts. Shared: do not change it."""
    from langchain_gemini_mm.testing import write_samples

    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder
