"""`GeminiService`: sends requests from any thread or event loop, each once; what to send again is decided by a run."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_gemini_mm.batching import CancelToken
from langchain_gemini_mm.embeddings.service.calls import Answer, EmbedCall
from langchain_gemini_mm.embeddings.service.client import ServiceSettings
from langchain_gemini_mm.embeddings.service.connections import Connections
from langchain_gemini_mm.embeddings.service.errors import retry_delay_s
from langchain_gemini_mm.embeddings.service.exchange import asend, send
from langchain_gemini_mm.embeddings.service.rate_limit import MinuteQuota
from langchain_gemini_mm.errors import ServiceError
from langchain_gemini_mm.models import ITEMS_PER_CALL

if TYPE_CHECKING:
    from google.genai import Client


R = TypeVar("R")

logger = logging.getLogger("langchain_gemini_mm")


class GeminiService:
    """Sends requests from any thread or event loop."""

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

    @property
    def items_per_call(self) -> int:
        """Most contents in one request; one where Vertex AI has refused more."""
        return 1 if self.connections.one_per_call else ITEMS_PER_CALL

    def quota(self, model: str) -> MinuteQuota:
        """The requests and tokens per minute of a model, with the limits learnt from the service."""
        with self._lock:
            settings = self.settings
            if model not in self._quotas:
                self._quotas[model] = MinuteQuota(settings.requests_per_minute, settings.tokens_per_minute)
            return self._quotas[model]

    def embed(self, call: EmbedCall) -> Answer:
        """Send a request once and validate the response.

        Raises:
            QuotaError: a quota is used up.
            IncompleteAnswerError: the response lacks vectors.
            ServiceError: the request was refused, or got no response.
        """
        return send(self.connections, call)

    async def aembed(self, call: EmbedCall) -> Answer:
        """Async twin of `embed`."""
        return await asend(self.connections, call)

    def persist(self, work: Callable[[], R], cancel: CancelToken) -> R:
        """Run other work that uses the service, such as an upload; transient errors are retried.

        Args:
            work: raises `ServiceError` if it fails.
            cancel: ends waiting when the result is no longer needed.
        """
        from tenacity import (
            RetryCallState,
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_attempt,
            stop_any,
            stop_before_delay,
        )

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            assert isinstance(error, ServiceError)  # noqa: S101 - others are not retried
            return retry_delay_s(error, state.attempt_number, random.random())  # noqa: S311

        retrying = Retrying(
            sleep=sleep_using_event(cancel),
            retry=retry_if_exception(lambda error: isinstance(error, ServiceError) and error.transient),
            wait=wait,
            stop=stop_any(stop_after_attempt(self.settings.max_retries + 1), stop_before_delay(self.settings.deadline)),
            reraise=True,
        )
        return retrying(work)

    def close(self) -> None:
        """Close the client of threads; clients of event loops are closed by their loop or by `aclose`."""
        self.connections.close()

    async def aclose(self) -> None:
        """Close the client of the running event loop and that of threads."""
        await self.connections.aclose()
