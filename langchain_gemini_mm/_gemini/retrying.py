"""How long and how often a failed call is tried again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.batching import Stop
from langchain_gemini_mm.errors import ServiceError

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = logging.getLogger("langchain_gemini_mm")

_FIRST_S, _LONGEST_S, _JITTER_S = 0.5, 30.0, 0.5


def policy(max_retries: int, deadline: float, stop: Stop) -> dict[str, Any]:
    """Arguments of tenacity's `Retrying` and `AsyncRetrying`.

    Args:
        max_retries: how often after the first try.
        deadline: seconds in all; a wait that would end later is not begun.
        stop: ends the tries when the result is no longer wanted.
    """
    from tenacity import retry_if_exception, stop_after_attempt, stop_any, stop_before_delay, wait_exponential_jitter

    backoff = wait_exponential_jitter(initial=_FIRST_S, max=_LONGEST_S, jitter=_JITTER_S)

    def again(error: BaseException) -> bool:
        return isinstance(error, ServiceError) and error.transient and not stop.requested

    def wait(state: RetryCallState) -> float:
        """As long as the service asks; the jitter keeps callers told the same delay from coming back in one burst."""
        asked = getattr(_error(state), "retry_after", None)
        return backoff(state) if asked is None else asked + min(_JITTER_S, backoff(state))

    return {
        "retry": retry_if_exception(again),
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
