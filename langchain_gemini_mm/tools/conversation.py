"""What a tool knows of the agent that calls it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_REFERENCES: ContextVar[str | None] = ContextVar("media_references", default=None)
"""Name of the tool that is to return references; tools of an agent that this one asks in turn are not meant."""


@contextmanager
def references_wanted(tool: str) -> Iterator[None]:
    """Have the tool of this name, called within, return references instead of bytes."""
    token = _REFERENCES.set(tool)
    try:
        yield
    finally:
        _REFERENCES.reset(token)


def are_references_wanted(given: bool | None, tool: str) -> bool:
    """Whether a tool is to return references: as `given`, else as the middleware around its call wants it."""
    return _REFERENCES.get() == tool if given is None else given


def messages_in(runtime: Any) -> Sequence[Any]:
    """The messages of the conversation that a tool node hands over; none outside of an agent."""
    state = getattr(runtime, "state", None)
    if isinstance(state, Mapping):
        state = state.get("messages", ())
    elif state is not None and not isinstance(state, list):
        state = getattr(state, "messages", ())
    return state if isinstance(state, list | tuple) else ()
