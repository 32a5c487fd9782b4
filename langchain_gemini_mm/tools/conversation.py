"""What a tool knows of the agent that calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_REFERENCES: ContextVar[bool] = ContextVar("media_references", default=False)


@contextmanager
def references_wanted() -> Iterator[None]:
    """Have the tools called within return references instead of bytes."""
    token = _REFERENCES.set(True)
    try:
        yield
    finally:
        _REFERENCES.reset(token)


def are_references_wanted(given: bool | None) -> bool:
    """Whether to return references: as `given`, else as the middleware around this call wants it."""
    return _REFERENCES.get() if given is None else given


def messages_in(runtime: Any) -> Sequence[Any]:
    """The messages of the conversation that a tool node hands over; none outside of an agent."""
    state = getattr(runtime, "state", None)
    if isinstance(state, Mapping):
        state = state.get("messages", ())
    elif state is not None and not isinstance(state, list):
        state = getattr(state, "messages", ())
    return state if isinstance(state, list | tuple) else ()
