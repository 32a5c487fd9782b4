"""How to reach the service, and the SDK client for it."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies

from langchain_gemini_mm.embeddings.service.http_client import http_clients
from langchain_gemini_mm.interfaces import Backend

if TYPE_CHECKING:
    from google.genai import Client

DEFAULT_API_VERSIONS: Mapping[Backend, str] = {"gemini": "v1beta", "vertex": "v1beta1"}
"""Pinned, because the SDK's default for the Gemini API moved from v1beta to v1 in 3.x."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """How to connect to the service."""

    backend: Backend
    api_key: str | None = field(default=None, repr=False)
    """Key of the Gemini API; on Vertex AI only a key that the caller gave, as the SDK prefers a project to the
    environment's key."""
    project: str | None = None
    location: str | None = None
    credentials: Any = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
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

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may contain, longest first; short ones would blacken ordinary words."""
        headers = [*self.headers.values(), *dict(self.client_args.get("headers") or {}).values()]
        words = [word for text in headers for word in str(text).split()]
        keys = [self.api_key, *map(os.environ.get, ("GOOGLE_API_KEY", "GEMINI_API_KEY"))]
        found = {str(value) for value in (*keys, *headers, *words, *_passwords(self)) if value}
        return tuple(sorted((text for text in found if len(text) >= _LEAST_SECRET), key=len, reverse=True))


_LEAST_SECRET = 6


def _passwords(settings: ServiceSettings) -> Iterator[str | None]:
    """Passwords in URLs, as written and decoded."""
    proxy = settings.client_args.get("proxy")
    yield (getattr(proxy, "auth", None) or ("", None))[1]
    for url in (settings.base_url, str(proxy or ""), *getproxies().values()):
        password = urlsplit(url or "").password
        yield password
        yield unquote(password or "")


@dataclass(frozen=True)
class OpenClient:
    """A client of the SDK and the HTTP clients below it, which the SDK does not close."""

    sdk: Client
    http: Any
    """For threads; None where the SDK has its own."""
    async_http: Any
    """For one event loop; None where the SDK has its own."""

    def close(self) -> None:
        """Close the connections of threads."""
        (self.http or self.sdk).close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await (self.async_http or self.sdk.aio).aclose()


def has_own_http(settings: ServiceSettings) -> bool:
    """Whether the HTTP clients are ours; with a client certificate for Vertex AI, the SDK needs its own."""
    certificate = os.environ.get("GOOGLE_API_USE_CLIENT_CERTIFICATE", "").lower() == "true"
    return not (certificate and settings.backend == "vertex")


def new_client(settings: ServiceSettings, tls: Any) -> OpenClient:
    """Build an SDK client.

    Args:
        settings: how to connect.
        tls: the certificates to trust, of `tls_context`.
    """
    from google import genai

    url = None if settings.base_url is None else urlsplit(settings.base_url)
    arguments = dict(settings.client_args)
    http, ahttp = None, None
    if has_own_http(settings):
        http, ahttp = http_clients(arguments, tls, settings.timeout)
    options = genai.types.HttpOptions(
        base_url=None if url is None else without_password(url),
        api_version=settings.api_version or DEFAULT_API_VERSIONS[settings.backend],
        headers=_headers(settings, url),
        timeout=max(1, int(settings.timeout * 1000)),
        client_args=arguments,
        # Without this argument, the SDK reads all certificates again for web sockets.
        async_client_args={**arguments, **({} if ahttp is None else {"ssl": tls})},
        httpx_client=http,
        httpx_async_client=ahttp,
    )
    if settings.backend == "gemini":
        client = genai.Client(vertexai=False, api_key=settings.api_key, http_options=options)
    else:
        client = genai.Client(
            vertexai=True,
            api_key=settings.api_key,
            project=settings.project,
            location=settings.location,
            credentials=settings.credentials,
            http_options=options,
        )
    return OpenClient(client, http, ahttp)


def without_password(url: SplitResult) -> str:
    """The URL without a user and a password."""
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


def _headers(settings: ServiceSettings, url: SplitResult | None) -> dict[str, str]:
    """The caller's headers, a user agent, and the user and password of the URL, which HTTP libraries write to logs."""
    names = {name.lower() for name in settings.headers}
    headers = dict(settings.headers)
    if "user-agent" not in names:
        headers["user-agent"] = _user_agent()
    if url is not None and url.username is not None and "authorization" not in names:
        user = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["authorization"] = f"Basic {b64encode(user.encode()).decode()}"
    return headers


@cache
def _user_agent() -> str:
    try:
        return f"langchain-gemini-mm/{version('langchain-gemini-mm')}"
    except PackageNotFoundError:
        return "langchain-gemini-mm"
