"""The one place that talks to Gemini: the only module that imports `google.genai`.

`GeminiService` holds the SDK's clients: one for all threads, one for each event loop, made on first use. A pickled or
copied service is an unconnected one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.stop import stop_any, stop_before_delay
from tenacity.wait import wait_base, wait_exponential_jitter

from langchain_gemini_mm._failures import translate
from langchain_gemini_mm.batching import Stop
from langchain_gemini_mm.errors import QuotaError, ServiceError
from langchain_gemini_mm.models import ITEMS_PER_CALL
from langchain_gemini_mm.quotas import MinuteQuota
from langchain_gemini_mm.types import Backend, Vectors
from langchain_gemini_mm.vectors import unit_rows

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.types import Content, EmbedContentResponse

R = TypeVar("R")
_ByLoop: TypeAlias = "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, R]"

logger = logging.getLogger("langchain_gemini_mm")

DEFAULT_API_VERSIONS: Mapping[Backend, str] = {"gemini": "v1beta", "vertex": "v1beta1"}
"""Pinned, because the SDK's default for the Gemini API moved from v1beta to v1 in 3.x."""

POOL_CONNECTIONS = 256
"""Idle connections kept per client. With fewer than are in use at once, httpx closes and reopens them and now and then
loses a call (measured on google-genai 2.34: one in 10,000 at 64 threads with the default of 20, none with enough)."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """How to reach the service."""

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
    """Seconds for one request with all its retries."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, kw_only=True)
class EmbedCall:
    """One request: contents in the SDK's plain form, and what is expected back."""

    model: str
    contents: Sequence[Mapping[str, Any]] = field(repr=False)
    names: Sequence[str]
    """A name for each content, for messages."""
    dimensions: int
    task_type: str | None = None
    title: str | None = None
    tokens: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a call gave."""

    vectors: Vectors = field(repr=False)
    """`(n, d)` float32, unit rows, in the order of the contents."""
    reported_tokens: int
    attempts: int


class GeminiService:
    """Sends calls, from any thread or event loop, with retries and within the minute's quota."""

    def __init__(self, settings: ServiceSettings, client: Client | None = None) -> None:
        self.settings = settings
        self._quota = MinuteQuota(settings.requests_per_minute, settings.tokens_per_minute)
        self._given = client
        self._lock = threading.Lock()
        self._shared: Client | None = None
        self._closer: Callable[[], object]
        self._loop_clients: _ByLoop[Client] = weakref.WeakKeyDictionary()
        self._lifetimes: _ByLoop[AsyncGenerator[Client]] = weakref.WeakKeyDictionary()
        self._opening: _ByLoop[asyncio.Future[Client]] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without connections."""
        return GeminiService, (self.settings, self._given)

    def __deepcopy__(self, memo: object) -> GeminiService:
        """Copies share no connections."""
        return GeminiService(self.settings, self._given)

    @cached_property
    def items_per_call(self) -> int:
        """How many contents the SDK lets through at once: on Vertex only from 3.4 on more than one."""
        if self.settings.backend == "vertex" and _sdk_version() < (3, 4):
            return 1
        return ITEMS_PER_CALL

    @property
    def client(self) -> Client:
        """The SDK client shared by all threads."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._shared is None:
                self._shared = new_client(self.settings)
                # The SDK closes in __del__, which in a cycle can come after its sockets were found unclosed.
                self._closer = weakref.finalize(self, self._shared.close)
            return self._shared

    async def aclient(self) -> Client:
        """The SDK client of the running event loop, closed by the loop when it shuts down."""
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        if loop in self._loop_clients:
            return self._loop_clients[loop]
        if loop not in self._opening:
            self._opening[loop] = asyncio.ensure_future(self._open(loop))
        return await asyncio.shield(self._opening[loop])

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Client:
        """Connect aside: importing the SDK and reading certificates takes up to a second."""
        try:
            client = await asyncio.to_thread(new_client, self.settings)
            lifetime = _closing(client)
            # A running asynchronous generator is closed by the loop's shutdown_asyncgens(), as asyncio.run() calls it;
            # no other hook tells a library that its loop ends.
            await anext(lifetime)
            self._loop_clients[loop], self._lifetimes[loop] = client, lifetime
            return client
        finally:
            self._opening.pop(loop, None)

    def embed(self, call: EmbedCall, stop: Stop) -> Answer:
        """Send `call` and read the answer.

        Raises:
            QuotaError: a quota is used up.
            ServiceError: refused, failed for good, or answered wrongly.
        """
        retrying = Retrying(sleep=stop.sleep, **self._policy(stop))
        response = retrying(self._attempt, call, stop)
        return _answer(call, response, attempts=retrying.statistics["attempt_number"])

    async def aembed(self, call: EmbedCall) -> Answer:
        """Async twin of `embed`."""
        retrying = AsyncRetrying(**self._policy(Stop()))
        response: EmbedContentResponse = await retrying(self._aattempt, call)
        return _answer(call, response, attempts=retrying.statistics["attempt_number"])

    def persist(self, work: Callable[[], R], stop: Stop) -> R:
        """Run other work on the service, such as an upload, with the same patience."""
        return Retrying(sleep=stop.sleep, **self._policy(stop))(work)

    def _attempt(self, call: EmbedCall, stop: Stop) -> EmbedContentResponse:
        stop.sleep(self._reserve(call))
        try:
            return self.client.models.embed_content(**_arguments(call))
        except Exception as error:
            raise self._translated(error, call) from error

    async def _aattempt(self, call: EmbedCall) -> EmbedContentResponse:
        client = await self.aclient()
        await asyncio.sleep(self._reserve(call))
        try:
            return await client.aio.models.embed_content(**_arguments(call))
        except Exception as error:
            raise self._translated(error, call) from error

    def _reserve(self, call: EmbedCall) -> float:
        seconds = self._quota.reserve(len(call.contents), call.tokens)
        if seconds > 0:
            logger.info("waiting %.1f s to stay within the quota per minute", seconds)
        return seconds

    def _translated(self, error: Exception, call: EmbedCall) -> Exception:
        ours = translate(error, (self.settings.api_key or "",))
        if ours is None:
            return error
        ours.args = (f"{ours.args[0]} ({_described(call.names)})",)
        if isinstance(ours, QuotaError) and ours.retry_after and not ours.per_day:
            self._quota.hold(min(ours.retry_after, self.settings.deadline))
        return ours

    def _policy(self, stop: Stop) -> dict[str, Any]:
        def again(error: BaseException) -> bool:
            return isinstance(error, ServiceError) and error.transient and not stop.requested

        return {
            "retry": retry_if_exception(again),
            "wait": _Wait(),
            "stop": stop_any(
                stop_after_attempt(self.settings.max_retries + 1), stop_before_delay(self.settings.deadline)
            ),
            "before_sleep": _log_retry,
            "reraise": True,
        }

    def close(self) -> None:
        """Close the connections of threads; those of event loops are closed by their loops, or by `aclose`."""
        with self._lock:
            client, self._shared = self._shared, None
        if client is not None:
            self._closer()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and those of threads."""
        loop = asyncio.get_running_loop()
        self._loop_clients.pop(loop, None)
        lifetime = self._lifetimes.pop(loop, None)
        if lifetime is not None:
            await lifetime.aclose()
        self.close()


class _Wait(wait_base):
    """As long as the service asks, or a jittered exponential back-off where it does not say."""

    _backoff = wait_exponential_jitter(initial=0.5, max=30, jitter=0.5)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = getattr(error, "retry_after", None)
        backoff = self._backoff(retry_state)
        # The jitter keeps callers that were told the same delay from coming back in one burst.
        return backoff if asked is None else asked + min(0.5, backoff)


def _log_retry(retry_state: RetryCallState) -> None:
    error = retry_state.outcome.exception() if retry_state.outcome else None
    wait = retry_state.next_action.sleep if retry_state.next_action else 0.0
    logger.info("attempt %d failed, trying again in %.1f s: %s", retry_state.attempt_number, wait, error)


async def _closing(client: Client) -> AsyncGenerator[Client]:
    try:
        yield client
    finally:
        await client.aio.aclose()
        client.close()


@cache
def _sdk_version() -> tuple[int, ...]:
    from google.genai import version

    return tuple(int(number) for number in version.__version__.split(".")[:2])


def new_client(settings: ServiceSettings) -> Client:
    """Build an SDK client; the keep-alive limit is at least the connections in use."""
    from google import genai

    client_args = {"limits": _limits(), **settings.client_args}
    options = genai.types.HttpOptions(
        base_url=settings.base_url,
        api_version=settings.api_version or DEFAULT_API_VERSIONS[settings.backend],
        headers=dict(settings.headers),
        timeout=max(1, int(settings.timeout * 1000)),
        client_args=client_args,
        async_client_args=client_args,
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


def _limits() -> Any:
    """The SDK took httpx up to 2.x and takes httpx2 since; each wants its own kind of limits."""
    http = import_module("httpx2" if _sdk_version() >= (3, 0) else "httpx")
    return http.Limits(max_connections=POOL_CONNECTIONS, max_keepalive_connections=POOL_CONNECTIONS)


def _arguments(call: EmbedCall) -> dict[str, Any]:
    config = {
        "output_dimensionality": call.dimensions,
        "task_type": call.task_type,
        "title": call.title,
        **call.options,
    }
    return {"model": call.model, "contents": [_content(content) for content in call.contents], "config": config}


def _content(content: Mapping[str, Any]) -> Content:
    """The SDK takes plain mappings too, and then spends longer on checking them than on all the rest."""
    from google.genai import types

    return types.Content(role=content["role"], parts=[types.Part(**part) for part in content["parts"]])


def _answer(call: EmbedCall, response: EmbedContentResponse, *, attempts: int) -> Answer:
    """Check an answer against its call: as many vectors as contents, each whole, finite and of the size asked for."""
    embeddings = response.embeddings or []
    if len(embeddings) != len(call.contents):
        raise ServiceError(
            f"the embedding service answered with {len(embeddings)} vectors for {len(call.contents)} contents "
            f"({_described(call.names)}); none is used, since which belongs to which is not known"
        )
    for name, embedding in zip(call.names, embeddings, strict=True):
        length = len(embedding.values or ())
        if length != call.dimensions:
            what = f"a vector of {length} values instead of {call.dimensions}" if length else "no vector"
            raise ServiceError(f"the embedding service answered with {what} for {name}")
    try:
        vectors = unit_rows(np.array([embedding.values for embedding in embeddings], dtype=np.float64))
    except ValueError as error:
        raise ServiceError(
            f"the embedding service answered with an unusable vector: {error} ({_described(call.names)})"
        ) from error
    return Answer(vectors, _reported_tokens(response), attempts)


def _reported_tokens(response: EmbedContentResponse) -> int:
    usage = getattr(response, "usage_metadata", None)
    if usage is not None and usage.prompt_token_count:
        return int(usage.prompt_token_count)
    statistics = [embedding.statistics for embedding in response.embeddings or ()]
    return int(sum((item.token_count or 0) for item in statistics if item is not None))


def _described(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
