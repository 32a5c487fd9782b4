"""A chat model of another package that is handed references: what it sends, and what its callbacks are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_openai import ChatOpenAI

from langchain_gemini_mm import MediaMiddleware, MediaStore
from langchain_gemini_mm.testing import png
from langchain_gemini_mm.tools.middleware import seeing, seeing_class

ANSWER = {
    "id": "1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A square."}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


class Service(BaseHTTPRequestHandler):
    """Answers as a chat service, and keeps what it was sent."""

    sent: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """One completion."""
        self.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the library
        """Nothing."""


@pytest.fixture
def model() -> Iterator[ChatOpenAI]:
    """A chat model of OpenAI that talks to this machine."""
    Service.sent.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/v1"
        yield ChatOpenAI(model="gpt-4o-mini", api_key="none", base_url=address, max_retries=0)
        server.shutdown()


class Told(BaseCallbackHandler):
    """Keeps the messages that callbacks are told."""

    def __init__(self) -> None:
        self.messages: list[BaseMessage] = []
        self.names: list[object] = []

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], **kwargs: Any) -> None:
        """A model is called."""
        self.messages += messages[0]
        self.names.append((serialized["id"][-1], kwargs["metadata"]["ls_provider"]))


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_media_are_sent_and_not_told(model: ChatOpenAI, media: MediaStore, asynchronous: bool) -> None:
    """The service gets the picture, callbacks get its reference, and the model goes by its own name."""
    told = Told()
    agent = create_agent(model, middleware=[MediaMiddleware(media)])
    asked: Any = {
        "messages": [HumanMessage([{"type": "image", "url": media.put(png()).uri, "mime_type": "image/png"}])]
    }
    config: Any = {"callbacks": [told]}
    answer = (await agent.ainvoke(asked, config)) if asynchronous else agent.invoke(asked, config)
    assert answer["messages"][-1].text == "A square."
    name, picture = Service.sent[0]["messages"][0]["content"]
    assert name["text"] == "[attachment:1]"
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert media.put(png()).uri in repr(told.messages)
    assert "base64" not in repr(told.messages)
    assert told.names == [("ChatOpenAI", "openai")]


def test_the_twin_shares_everything(model: ChatOpenAI) -> None:
    """It is the same model: settings, connections, and what it can do, such as streaming."""
    kind = seeing_class(ChatOpenAI, lambda model, messages: messages)
    twin = seeing(model, kind)
    assert isinstance(twin, ChatOpenAI)
    assert twin == model or vars(twin) is vars(model)
    assert (kind.__name__, kind.__module__) == ("ChatOpenAI", ChatOpenAI.__module__)
    assert twin.root_client is model.root_client
    assert twin.invoke("?").text == "A square."
