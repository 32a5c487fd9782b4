"""The SDK client and the options of its HTTP library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.interfaces import Backend

if TYPE_CHECKING:
    from google.genai import Client

DEFAULT_API_VERSIONS: Mapping[Backend, str] = {"gemini": "v1beta", "vertex": "v1beta1"}
"""Pinned, because the SDK's default for the Gemini API moved from v1beta to v1 in 3.x."""

POOL_CONNECTIONS = 256
"""Idle connections kept per client. With fewer than are in use at once, httpx closes and reopens connections and
occasionally loses a request (measured on google-genai 2.34 with 64 threads: one in 10,000 with the default of 20, none
with enough)."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """How to connect to the service."""

    backend: Backend
    api_key: str | None = field(default=None, repr=False)
    project: str | None = None
    location: str | None = None
    credentials: Any = field(default=None, repr=False)
    base_url: str | None = None
    api_version: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    client_args: Mapping[str, Any] = field(default_factory=dict, repr=False)
    timeout: float = 120.0
    """Seconds for one request."""
    max_retries: int = 6
    deadline: float = 300.0
    """Seconds for one request including its retries."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@cache
def sdk_version() -> tuple[int, ...]:
    """Major and minor version of google-genai."""
    from google.genai import version

    return tuple(int(number) for number in version.__version__.split(".")[:2])


def new_client(settings: ServiceSettings) -> Client:
    """Build an SDK client, with enough keep-alive connections for all that are in use."""
    from google import genai

    options = genai.types.HttpOptions(
        base_url=settings.base_url,
        api_version=settings.api_version or DEFAULT_API_VERSIONS[settings.backend],
        headers=dict(settings.headers),
        timeout=max(1, int(settings.timeout * 1000)),
        client_args=_http_arguments(settings.client_args, _release),
        async_client_args=_http_arguments(settings.client_args, _arelease),
    )
    if settings.backend == "gemini":
        return genai.Client(vertexai=False, api_key=settings.api_key, http_options=options)
    if settings.project or settings.credentials or not settings.api_key:
        return genai.Client(
            vertexai=True,
            project=settings.project,
            location=settings.location,
            credentials=settings.credentials,
            http_options=options,
        )
    return genai.Client(vertexai=True, api_key=settings.api_key, http_options=options)


def _http_arguments(given: Mapping[str, Any], release: Callable[..., object]) -> dict[str, Any]:
    """Arguments of the SDK's HTTP client; the SDK uses httpx up to 2.x and httpx2 from 3.x."""
    modern = sdk_version() >= (3, 0)
    http = import_module("httpx2" if modern else "httpx")
    limits = http.Limits(max_connections=POOL_CONNECTIONS, max_keepalive_connections=POOL_CONNECTIONS)
    arguments = {"limits": limits, **given}
    if not modern:
        hooks = dict(given.get("event_hooks") or {})
        arguments["event_hooks"] = {**hooks, "response": [*hooks.get("response", ()), release]}
    return arguments


def _release(response: Any) -> None:
    """Break the reference cycle that keeps an answered httpx request, with its body, until a full garbage collection.

    Indexing 2 GB peaked at 1.23 times the memory of indexing 100 MB, and at 1.08 with this (benchmarks/memory.py).
    """
    response.read()
    response.stream = import_module("httpx").ByteStream(b"")


async def _arelease(response: Any) -> None:
    """Async twin of `_release`."""
    await response.aread()
    response.stream = import_module("httpx").ByteStream(b"")
