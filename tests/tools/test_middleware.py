"""A chat model of another package with references: the requests it sends, and the data of its callbacks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_openai import ChatOpenAI

from langchain_gemini_mm import MediaMiddleware, MediaStore
from langchain_gemini_mm.testing import png
from langchain_gemini_mm.tools.middleware import model_with_media
from tests.tools.chat import ScriptedModel, StreamingModel

ANSWER = {
    "id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A square."}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


class Service(BaseHTTPRequestHandler):
    """A chat service that records its requests."""

    sent: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Answer with one completion."""
        self.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the library
        """Log nothing."""


@pytest.fixture
def model() -> Iterator[ChatOpenAI]:
    """A chat model of OpenAI with a local service."""
    Service.sent.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1"
        yield ChatOpenAI(model="gpt-4o-mini", api_key="none", base_url=address, max_retries=0)
        server.shutdown()


class Recorder(BaseCallbackHandler):
    """Records the messages that callbacks receive."""

    def __init__(self) -> None:
        self.messages: list[BaseMessage] = []
        self.names: list[object] = []

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], **kwargs: Any) -> None:
        """Record a model call."""
        self.messages += messages[0]
        self.names.append((serialized["id"][-1], (kwargs["metadata"] or {}).get("ls_provider")))


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_media_are_sent_and_not_traced(model: ChatOpenAI, media: MediaStore, asynchronous: bool) -> None:
    """The service receives the image, callbacks receive its reference and the name of the model."""
    recorder = Recorder()
    agent = create_agent(model, middleware=[MediaMiddleware(media)])
    asked: Any = {
        "messages": [HumanMessage([{"type": "image", "url": media.put(png()).uri, "mime_type": "image/png"}])]
    }
    config: Any = {"callbacks": [recorder]}
    answer = (await agent.ainvoke(asked, config)) if asynchronous else agent.invoke(asked, config)
    assert answer["messages"][-1].text == "A square."
    name, image = Service.sent[0]["messages"][0]["content"]
    assert name["text"] == "[attachment:1]"
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert media.put(png()).uri in repr(recorder.messages)
    assert "base64" not in repr(recorder.messages)
    assert recorder.names == [("ChatOpenAI", "openai")]


def test_the_model_keeps_its_class_and_state(model: ChatOpenAI) -> None:
    """The returned model shares settings and connections, and has the class and name of the original."""
    classes: dict[Any, Any] = {}
    twin = model_with_media(model, lambda model, messages: messages, classes)
    assert isinstance(twin, ChatOpenAI)
    assert vars(twin) is vars(model)
    assert (type(twin).__name__, type(twin).__module__) == ("ChatOpenAI", ChatOpenAI.__module__)
    assert twin.root_client is model.root_client
    assert twin.invoke("?").text == "A square."
    assert type(model_with_media(model, lambda model, messages: messages, classes)) is type(twin)


CALLS: dict[str, Callable[[BaseChatModel, Any], Awaitable[Any]]] = {
    "invoke": lambda model, config: asyncio.to_thread(model.invoke, "mm", config),
    "stream": lambda model, config: asyncio.to_thread(lambda: list(model.stream("mm", config))),
    "batch": lambda model, config: asyncio.to_thread(model.batch, ["mm"], config),
    "ainvoke": lambda model, config: model.ainvoke("mm", config),
    "astream": lambda model, config: _read(model.astream("mm", config)),
    "astream_events": lambda model, config: _read(model.astream_events("mm", config, version="v2")),
}


async def _read(pieces: AsyncIterator[Any]) -> list[Any]:
    return [piece async for piece in pieces]


@pytest.mark.parametrize("model_class", [ScriptedModel, StreamingModel])
@pytest.mark.parametrize("way", CALLS)
async def test_every_call_of_a_model_shows_media(way: str, model_class: type[ScriptedModel]) -> None:
    """In every kind of call, callbacks and caches receive the given messages and the model the expanded ones."""
    scripted = model_class(script=[AIMessage("Seen.")], cache=InMemoryCache())
    recorder = Recorder()
    twin = model_with_media(scripted, lambda model, messages: [*messages, HumanMessage("shown")], {})
    await CALLS[way](twin, {"callbacks": [recorder]})
    assert [message.text for message in scripted.received[0]] == ["mm", "shown"]
    assert [message.text for message in recorder.messages] == ["mm"]
    assert "shown" not in repr(scripted.cache)
    assert len(scripted.received) == 1
