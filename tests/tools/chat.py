"""A chat model that follows a script and records the messages it receives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool
from pydantic import Field

Step = AIMessage | Callable[[list[BaseMessage]], AIMessage]


class ScriptedModel(BaseChatModel):
    """Returns the answers of a script, one per call; a step may be a function of the messages."""

    script: Sequence[Any]
    received: list[list[BaseMessage]] = Field(default_factory=list)
    tools: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> ScriptedModel:
        """Record the names of the tools."""
        self.tools[:] = [tool.name for tool in tools if isinstance(tool, BaseTool)]
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        self.received.append(list(messages))
        step = self.script[len(self.received) - 1]
        answer = step(messages) if callable(step) else step
        assert isinstance(answer, AIMessage)
        return answer


class StreamingModel(ScriptedModel):
    """A `ScriptedModel` that streams."""

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._next(messages)
        chunk = AIMessageChunk(content=answer.content, tool_calls=answer.tool_calls)
        yield ChatGenerationChunk(message=chunk)


def call(name: str, number: int = 1, **arguments: Any) -> AIMessage:
    """Make an answer that calls a tool."""
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{number}", "type": "tool_call"}])


def media_in(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """List the blocks of the messages that hold bytes."""
    return [block for block in blocks_in(messages) if block.get("base64")]


def references_in(messages: Sequence[BaseMessage]) -> list[str]:
    """List the `mm://` references in the blocks of the messages."""
    return [block["url"] for block in blocks_in(messages) if str(block.get("url", "")).startswith("mm://")]


def blocks_in(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """List the content blocks of the messages, in order."""
    return [
        block
        for message in messages
        if isinstance(message.content, list)
        for block in message.content
        if isinstance(block, dict)
    ]


def text_in(messages: Sequence[BaseMessage]) -> str:
    """Return the text of the messages."""
    return "\n".join(message.text for message in messages)
