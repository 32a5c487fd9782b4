"""A chat model that is handed references and sees media: they are put in beneath its callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from types import new_class
from typing import Any, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

Show: TypeAlias = Callable[[BaseChatModel, list[BaseMessage]], list[BaseMessage]]
"""Puts media in the place of references, for a given model."""

_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def seeing_class(kind: type[BaseChatModel], show: Show) -> type[BaseChatModel]:
    """A subclass of `kind` that calls `show` on its messages after callbacks, caches and tracers had them.

    They are told of a model call before its `_generate` or `_stream` runs, so what is put in there is in no trace.
    """
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    methods = {
        name: wrap(getattr(kind, name), show)
        for name, wrap in _WRAPPERS.items()
        if getattr(kind, name, None) is not getattr(BaseChatModel, name, None)
    }
    made = new_class(kind.__name__, (kind,), exec_body=lambda namespace: namespace.update(names | methods))
    return cast("type[BaseChatModel]", made)


def seeing(model: BaseChatModel, kind: type[BaseChatModel]) -> BaseChatModel:
    """The same model, state and connections shared, as one of `kind`, a class from `seeing_class`."""
    twin = kind.__new__(kind)
    for slot in _SLOTS:
        object.__setattr__(twin, slot, getattr(model, slot))
    return twin


def _plain(method: Callable[..., Any], show: Show) -> Callable[..., Any]:
    @wraps(method)
    def call(self: BaseChatModel, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        return method(self, show(self, messages), *args, **kwargs)

    return call


def _awaited(method: Callable[..., Awaitable[Any]], show: Show) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def call(self: BaseChatModel, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        return await method(self, await asyncio.to_thread(show, self, messages), *args, **kwargs)

    return call


def _iterated(method: Callable[..., Iterator[Any]], show: Show) -> Callable[..., Iterator[Any]]:
    @wraps(method)
    def call(self: BaseChatModel, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from method(self, show(self, messages), *args, **kwargs)

    return call


def _async_iterated(method: Callable[..., AsyncIterator[Any]], show: Show) -> Callable[..., AsyncIterator[Any]]:
    @wraps(method)
    async def call(self: BaseChatModel, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for piece in method(self, await asyncio.to_thread(show, self, messages), *args, **kwargs):
            yield piece

    return call


_WRAPPERS: dict[str, Callable[[Any, Show], Callable[..., Any]]] = {
    "_generate": _plain,
    "_agenerate": _awaited,
    "_stream": _iterated,
    "_astream": _async_iterated,
    "_stream_chat_model_events": _iterated,
    "_astream_chat_model_events": _async_iterated,
}
