"""The middleware by which an agent's state names media and its model sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import wraps
from types import new_class
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, BaseMessage, ToolMessage

from langchain_gemini_mm.errors import MissingExtraError
from langchain_gemini_mm.rendering import accepts_of
from langchain_gemini_mm.tools.attachments import all_with_references, references_wanted, with_references
from langchain_gemini_mm.tools.media_budget import Expansions, show_media
from langchain_gemini_mm.validation import positive_int

try:
    from langchain.agents.middleware import AgentMiddleware
except ImportError as error:
    raise MissingExtraError("MediaMiddleware", package="langchain", extra="agents") from error

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ModelCallResult, ModelRequest, ModelResponse, ToolCallRequest
    from langgraph.runtime import Runtime
    from langgraph.types import Command

    from langchain_gemini_mm.storage import MediaStore

KEEP = 10
"""Media in one model call; Gemini takes ten videos."""


class MediaMiddleware(AgentMiddleware[Any, Any, Any]):
    """Keeps media out of an agent's state, its checkpoints and its traces, and shows them to its model.

    Tools of this package return references while it is around them, other tools' media and the user's attachments are
    put into the media store, and references become media just before the model is called, beneath its callbacks.

    ```python
    from langchain.agents import create_agent
    from langchain_core.language_models import FakeListChatModel

    from langchain_gemini_mm import MediaMiddleware, MediaStore

    media = MediaStore.memory()
    agent = create_agent(FakeListChatModel(responses=["Hello."]), middleware=[MediaMiddleware(media)])
    ```

    Put it last in the list of middlewares: one behind it that takes another model would send that one references.

    Args:
        media: where references are looked up, and attachments are put.
        model: what the chat model takes, where its class does not tell: `gemini`, `openai`, `anthropic`, `text`.
        max_bytes: of the media in one model call, as base64; None is what the model takes.
        keep: most media in one model call. Those of the last question stay, then the newest.

    Raises:
        MissingExtraError: langchain is not installed.
    """

    def __init__(self, media: MediaStore, *, model: Any = None, max_bytes: int | None = None, keep: int = KEEP) -> None:
        super().__init__()
        self._media = media
        self._expansions = Expansions(media)
        self._accepts = None if model is None else accepts_of(model)
        self._max_bytes = None if max_bytes is None else positive_int("max_bytes", max_bytes)
        self._keep = positive_int("keep", keep)
        self._kinds: dict[type[BaseChatModel], type[BaseChatModel]] = {}

    def take_in(self, message: Any) -> Any:
        """A message whose media are in the store and named by reference: give it to the agent in place of its own.

        The agent does this by itself, but after the first checkpoint, which holds what it was given.
        """
        return with_references(message, self._media) or message

    async def atake_in(self, message: Any) -> Any:
        """Async twin of `take_in`."""
        return await asyncio.to_thread(self.take_in, message)

    def before_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002 - as in LangChain
        """Put the user's attachments into the media store."""
        changed = all_with_references(state["messages"], self._media)
        return {"messages": changed} if changed else None

    async def abefore_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Async twin of `before_agent`."""
        return await asyncio.to_thread(self.before_agent, state, runtime)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Have a tool return references; media that it returns nevertheless are put into the store."""
        with references_wanted(request.tool_call["name"]):
            result = handler(request)
        without: ToolMessage | Command[Any] = self._without_media(result)
        return without

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Async twin of `wrap_tool_call`."""
        with references_wanted(request.tool_call["name"]):
            result = await handler(request)
        without: ToolMessage | Command[Any] = await asyncio.to_thread(self._without_media, result)
        return without

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelCallResult[Any]:
        """Show the model what the references name."""
        return handler(self._with_seeing_model(request) or self._with_media(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelCallResult[Any]:
        """Async twin of `wrap_model_call`."""
        seeing_request = self._with_seeing_model(request)
        if seeing_request is None:
            seeing_request = await asyncio.to_thread(self._with_media, request)
        return await handler(seeing_request)

    def _with_seeing_model(self, request: ModelRequest[Any]) -> ModelRequest[Any] | None:
        model: Any = request.model
        if not isinstance(model, BaseChatModel):
            return None
        kind = type(model)
        if kind not in self._kinds:
            self._kinds[kind] = seeing_class(kind, self._show)
        return request.override(model=seeing(model, self._kinds[kind]))

    def _with_media(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """For a stand-in that is no chat model itself, such as that of `init_chat_model` without a name."""
        return request.override(messages=cast("list[AnyMessage]", self._show(request.model, list(request.messages))))

    def _show(self, model: Any, messages: list[BaseMessage]) -> list[BaseMessage]:
        accepts = self._accepts or accepts_of(model)
        max_bytes = min(self._max_bytes or accepts.max_bytes, accepts.max_bytes)
        return show_media(messages, self._expansions.blocks, accepts=accepts, max_bytes=max_bytes, keep=self._keep)

    def _without_media(self, result: Any) -> Any:
        """What a tool gave back, with references for its media: a message, or a `Command` that holds some."""
        if isinstance(result, ToolMessage):
            return with_references(result, self._media) or result
        if isinstance(result, list):
            return [self._without_media(one) for one in result]
        update = getattr(result, "update", None)
        if not isinstance(update, Mapping) or not isinstance(update.get("messages"), list):
            return result
        return replace(result, update={**update, "messages": self._without_media(update["messages"])})

    def __repr__(self) -> str:
        return f"MediaMiddleware({self._media!r}, keep={self._keep})"


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
