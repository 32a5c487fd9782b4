"""`GeminiService`: sends requests from any thread or event loop, with retries and a rate limit."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall, arguments, read_answer
from langchain_gemini_mm.embeddings.service.client import ServiceSettings, sdk_version
from langchain_gemini_mm.embeddings.service.connections import Connections
from langchain_gemini_mm.embeddings.service.errors import translate
from langchain_gemini_mm.embeddings.service.rate_limit import Admission, MinuteQuota
from langchain_gemini_mm.errors import QuotaError, ServiceError
from langchain_gemini_mm.models import ITEMS_PER_CALL

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.types import EmbedContentResponse
    from tenacity import RetryCallState


_FIRST_S, _LONGEST_S, _JITTER_S = 0.5, 30.0, 0.5


def retry_policy(max_retries: int, deadline: float) -> dict[str, Any]:
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`.

    Args:
        max_retries: most attempts after the first one.
        deadline: seconds for all attempts; a wait that would end later is not started.
    """
    from tenacity import retry_if_exception, stop_after_attempt, stop_any, stop_before_delay, wait_exponential_jitter

    backoff = wait_exponential_jitter(initial=_FIRST_S, max=_LONGEST_S, jitter=_JITTER_S)

    def wait(state: RetryCallState) -> float:
        """The delay that the service asks for, plus jitter, so that callers with equal delays do not return at once."""
        asked = getattr(_error(state), "retry_after", None)
        return backoff(state) if asked is None else asked + min(_JITTER_S, backoff(state))

    return {
        "retry": retry_if_exception(lambda error: isinstance(error, ServiceError) and error.transient),
        "wait": wait,
        "stop": stop_any(stop_after_attempt(max_retries + 1), stop_before_delay(deadline)),
        "before_sleep": _log_retry,
        "reraise": True,
    }


def _log_retry(state: RetryCallState) -> None:
    seconds = state.next_action.sleep if state.next_action else 0.0
    logger.info("attempt %d failed, trying again in %.1f s: %s", state.attempt_number, seconds, _error(state))


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


R = TypeVar("R")

logger = logging.getLogger("langchain_gemini_mm")


class GeminiService:
    """Sends requests from any thread or event loop, with retries and a rate limit."""

    def __init__(self, settings: ServiceSettings, client: Client | None = None) -> None:
        self.settings = settings
        self._quotas: dict[str, MinuteQuota] = {}
        self._lock = threading.Lock()
        self.connections = Connections(settings, client)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without connections."""
        return GeminiService, (self.settings, self.connections.given)

    def __deepcopy__(self, memo: object) -> GeminiService:
        """Copies share no connections."""
        return GeminiService(self.settings, self.connections.given)

    @cached_property
    def items_per_call(self) -> int:
        """Most contents in one request; on Vertex AI the SDK before 3.4 allows one."""
        if self.settings.backend == "vertex" and sdk_version() < (3, 4):
            return 1
        return ITEMS_PER_CALL

    def quota(self, model: str) -> MinuteQuota:
        """The requests and tokens per minute of a model, with the limits learnt from the service."""
        with self._lock:
            settings = self.settings
            if model not in self._quotas:
                self._quotas[model] = MinuteQuota(settings.requests_per_minute, settings.tokens_per_minute)
            return self._quotas[model]

    @cached_property
    def _retries(self) -> dict[str, Any]:
        return retry_policy(self.settings.max_retries, self.settings.deadline)

    def embed(self, call: EmbedCall, cancel: CancelToken) -> Answer:
        """Send a request and validate the response.

        Args:
            call: the request.
            cancel: ends waiting and retries when the response is no longer needed.

        Raises:
            QuotaError: a quota is used up.
            ServiceError: the request was refused, failed after all retries, or got an invalid response.
        """
        from tenacity import Retrying, sleep_using_event

        retrying = Retrying(sleep=sleep_using_event(cancel), **self._retries)
        response = retrying(self._attempt, call, cancel)
        return read_answer(call, response, attempts=retrying.statistics["attempt_number"])

    async def aembed(self, call: EmbedCall) -> Answer:
        """Async twin of `embed`."""
        from tenacity import AsyncRetrying

        retrying = AsyncRetrying(**self._retries)
        response: EmbedContentResponse = await retrying(self._aattempt, call)
        return read_answer(call, response, attempts=retrying.statistics["attempt_number"])

    def persist(self, work: Callable[[], R], cancel: CancelToken) -> R:
        """Run other work that uses the service, such as an upload, with the same retries."""
        from tenacity import Retrying, sleep_using_event

        return Retrying(sleep=sleep_using_event(cancel), **self._retries)(work)

    def _attempt(self, call: EmbedCall, cancel: CancelToken) -> EmbedContentResponse:
        while not (admission := self._admit(call)).count:
            if cancel.wait(admission.wait_s):
                break
        if cancel.is_set():
            message = "not sent, because another request of the same call failed"
            raise ServiceError(message).about_input(*call.positions)
        with self._translating(call), self.connections.lend() as client:
            return client.models.embed_content(**arguments(call))

    async def _aattempt(self, call: EmbedCall) -> EmbedContentResponse:
        while not (admission := self._admit(call)).count:
            await asyncio.sleep(admission.wait_s)  # noqa: ASYNC110
        with self._translating(call):
            async with self.connections.alend() as client:
                return await client.aio.models.embed_content(**arguments(call))

    def _admit(self, call: EmbedCall) -> Admission:
        admission = self.quota(call.model).admit([call.tokens])
        admission.settle()
        return admission

    @contextmanager
    def _translating(self, call: EmbedCall) -> Iterator[None]:
        """Raise errors of the SDK as ours, with the inputs of the call."""
        try:
            yield
        except Exception as error:
            ours = translate(error, (self.settings.api_key or "",))
            if ours is None:
                raise
            if isinstance(ours, QuotaError) and ours.retry_after and not ours.per_day:
                self.quota(call.model).hold(ours.retry_after)
            raise ours.about_input(*call.positions) from error

    def close(self) -> None:
        """Close the client of threads; clients of event loops are closed by their loop or by `aclose`."""
        self.connections.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop and that of threads."""
        await self.connections.aclose()
