"""`MediaMiddleware`: an agent's state holds references to media, and its model receives the media.

What it depends on (`tests/tools` pass with LangChain 1.0 to 1.5):

* `AgentMiddleware` hooks and `ModelRequest.override`, which are public.
* `BaseChatModel` passes messages to callbacks and caches first and to `_generate`, `_stream` and their async twins
  afterwards. LangChain documents these methods as what a chat model implements. Whatever a request holds is traced, so
  `request.override(messages=...)` would put all bytes into every trace; `model_with_media` puts them in below instead.
* An instance of a pydantic model keeps its state in the attributes of `pydantic.BaseModel.__slots__`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableBinding, RunnableWithFallbacks
from pydantic import BaseModel

from langchain_gemini_mm.errors import InvalidTypeError, MissingExtraError
from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.rendering import accepts_of
from langchain_gemini_mm.tools.attachments import REFERENCES_FOR, with_references
from langchain_gemini_mm.tools.media_budget import BlockCache, show_media
from langchain_gemini_mm.validation import explains_unknown_options, positive_int

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
"""Default number of media in one model call; Gemini accepts ten videos."""


class MediaMiddleware(AgentMiddleware):
    """Keeps media out of an agent's state, checkpoints and traces, and shows them to its model.

    Tools of this package return references while the middleware is active, media of other tools and of the user are
    put into the media store, and references become media just before the model is called, after its callbacks.

    ```python
    from langchain.agents import create_agent
    from langchain_core.language_models import FakeListChatModel

    from langchain_gemini_mm import MediaMiddleware, MediaStore

    media = MediaStore.memory()
    agent = create_agent(FakeListChatModel(responses=["Hello."]), middleware=[MediaMiddleware(media)])
    ```

    Put it last in the list of middlewares: a later one that replaces the model would send references to that model.

    Args:
        media: holds what references name; attachments are stored in it.
        model: what the chat model accepts, where its class does not say: `gemini`, `openai`, `anthropic`, `text`.
        max_bytes: bytes of the media in one model call, base64 included; None is what the model accepts.
        keep: number of media in one model call. Those of the last question are kept, then the newest.

    Raises:
        MissingExtraError: langchain is not installed.
        TypeError: `media` is not a media store.
    """

    @explains_unknown_options("MediaMiddleware")
    def __init__(self, media: MediaStore, *, model: Any = None, max_bytes: int | None = None, keep: int = KEEP) -> None:
        super().__init__()
        given: Any = media
        if not isinstance(given, MediaSource) or not hasattr(given, "put"):
            raise InvalidTypeError(f"media is the MediaStore that references name, got {type(given).__name__}")
        self._media = media
        self._cache = BlockCache(media)
        self._accepts = None if model is None else accepts_of(model)
        self._max_bytes = None if max_bytes is None else positive_int("max_bytes", max_bytes)
        self._keep = positive_int("keep", keep)
        self._classes: dict[type[BaseChatModel], type[BaseChatModel]] = {}

    def take_in(self, message: Any) -> Any:
        """Store the media of a message and return it with references, to be given to the agent.

        The agent does this itself, but only after the first checkpoint, which holds the input as it was given.
        """
        return with_references(message, self._media)

    async def atake_in(self, message: Any) -> Any:
        """Async twin of `take_in`."""
        return await asyncio.to_thread(self.take_in, message)

    def before_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002 - as in LangChain
        """Put the user's attachments into the media store."""
        changed = []
        for message in state["messages"]:
            stored = with_references(message, self._media) if isinstance(message, HumanMessage) else message
            if stored is not message:
                changed.append(stored)
        return {"messages": changed} if changed else None

    async def abefore_agent(self, state: Any, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Async twin of `before_agent`."""
        return await asyncio.to_thread(self.before_agent, state, runtime)

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Have a tool return references, and store media that it returns nevertheless."""
        token = REFERENCES_FOR.set(request.tool_call["name"])
        try:
            result = handler(request)
        finally:
            REFERENCES_FOR.reset(token)
        stored: ToolMessage | Command[Any] = self._without_media(result)
        return stored

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Async twin of `wrap_tool_call`."""
        token = REFERENCES_FOR.set(request.tool_call["name"])
        try:
            result = await handler(request)
        finally:
            REFERENCES_FOR.reset(token)
        stored: ToolMessage | Command[Any] = await asyncio.to_thread(self._without_media, result)
        return stored

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelCallResult[Any]:
        """Send the model the media that the references name."""
        model = self._wrapped(request.model)
        return handler(self._with_media(request) if model is None else request.override(model=model))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelCallResult[Any]:
        """Async twin of `wrap_model_call`."""
        model = self._wrapped(request.model)
        if model is None:
            return await handler(await asyncio.to_thread(self._with_media, request))
        return await handler(request.override(model=model))

    def _wrapped(self, model: Any) -> Any:
        """The model as one that is shown media; each fallback is shown what it accepts itself. None for others."""
        if isinstance(model, BaseChatModel):
            return model_with_media(model, self._show, self._classes)
        if isinstance(model, RunnableWithFallbacks):
            first, *others = [self._wrapped(one) for one in (model.runnable, *model.fallbacks)]
            if first is None or None in others:
                return None
            return model.model_copy(update={"runnable": first, "fallbacks": others})
        if isinstance(model, RunnableBinding):
            bound = self._wrapped(model.bound)
            return None if bound is None else model.model_copy(update={"bound": bound})
        return None

    def _with_media(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """Put media into the messages for a model that is not a `BaseChatModel`, such as an unnamed `init_chat_model`.

        Such a model receives the media, and so do its callbacks.
        """
        return request.override(messages=cast("list[AnyMessage]", self._show(request.model, list(request.messages))))

    def _show(self, model: Any, messages: list[BaseMessage]) -> list[BaseMessage]:
        accepts = self._accepts or accepts_of(model)
        max_bytes = min(self._max_bytes or accepts.max_bytes, accepts.max_bytes)
        return show_media(messages, self._cache.expand, accepts=accepts, max_bytes=max_bytes, keep=self._keep)

    def _without_media(self, result: Any) -> Any:
        """Return a tool's result, a message or a `Command` with messages, with references for its media."""
        if isinstance(result, ToolMessage):
            return with_references(result, self._media)
        if isinstance(result, list):
            return [self._without_media(one) for one in result]
        update = getattr(result, "update", None)
        if not isinstance(update, Mapping) or not isinstance(update.get("messages"), list):
            return result
        return replace(result, update={**update, "messages": self._without_media(update["messages"])})

    def __repr__(self) -> str:
        return f"MediaMiddleware({self._media!r}, keep={self._keep})"


Show: TypeAlias = Callable[[BaseChatModel, list[BaseMessage]], list[BaseMessage]]
"""Returns messages with media in place of references, for a given model."""


def model_with_media(
    model: BaseChatModel, show: Show, classes: dict[type[BaseChatModel], type[BaseChatModel]]
) -> BaseChatModel:
    """Return the same model, as one that calls `show` on its messages after its callbacks and caches received them.

    It shares all state and connections with `model`, is an instance of its class, and has its name in traces, so that
    `create_agent` chooses the same strategies for it.

    Args:
        model: a chat model.
        show: puts media into messages.
        classes: the subclasses made so far, by class; `show` must be the same for all of them.
    """
    model_class = type(model)
    if model_class not in classes:
        namespace: dict[str, Any] = {
            name: getattr(model_class, name) for name in ("__module__", "__qualname__", "__doc__")
        }
        for name, wrapper in _WRAPPERS.items():
            method = getattr(model_class, name, None)
            # LangChain asks whether a model overrides `_stream`, so inherited defaults stay as they are.
            if method is not getattr(BaseChatModel, name, None):
                namespace[name] = wrapper(method, show)
        metaclass: Any = type(model_class)
        classes[model_class] = metaclass(model_class.__name__, (model_class,), namespace)
    twin = object.__new__(classes[model_class])
    for slot in BaseModel.__slots__:
        object.__setattr__(twin, slot, getattr(model, slot))
    return twin


def _plain(method: Callable[..., Any], show: Show) -> Callable[..., Any]:
    """Wrap a method that returns a result or an iterator."""

    @wraps(method)
    def call(self: BaseChatModel, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        return method(self, show(self, messages), *args, **kwargs)

    return call


def _awaited(method: Callable[..., Awaitable[Any]], show: Show) -> Callable[..., Awaitable[Any]]:
    """Wrap a coroutine function."""

    @wraps(method)
    async def call(self: BaseChatModel, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        return await method(self, await asyncio.to_thread(show, self, messages), *args, **kwargs)

    return call


def _async_iterated(method: Callable[..., AsyncIterator[Any]], show: Show) -> Callable[..., AsyncIterator[Any]]:
    """Wrap an async generator function."""

    @wraps(method)
    async def call(self: BaseChatModel, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for piece in method(self, await asyncio.to_thread(show, self, messages), *args, **kwargs):
            yield piece

    return call


_WRAPPERS: Mapping[str, Callable[[Any, Show], Callable[..., Any]]] = {
    "_generate": _plain,
    "_agenerate": _awaited,
    "_stream": _plain,
    "_astream": _async_iterated,
    "_stream_chat_model_events": _plain,
    "_astream_chat_model_events": _async_iterated,
}
