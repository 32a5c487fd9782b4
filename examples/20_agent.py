"""An agent that searches all modalities, sees what it finds, and keeps only references in its state; and a chain.

Run: python examples/20_agent.py     (without GOOGLE_API_KEY on the emulator; the chat model is scripted)
     python examples/20_agent.py --model google_genai:gemini-flash-latest     (with langchain-google-genai and a key)
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import Field

from langchain_gemini_mm import (
    GeminiEmbeddings,
    LocalVectorStore,
    MediaMiddleware,
    MediaStore,
    MultimodalRetriever,
    to_message,
)
from langchain_gemini_mm.testing import GeminiEmulator, write_samples
from langchain_gemini_mm.tools import MultimodalToolkit


class Scripted(BaseChatModel):
    """Replace a chat model: search with the user's image, open the hit it finds, and answer."""

    seen: list[list[str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - it knows them by heart
        """Accept tools."""
        return self

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:  # noqa: ARG002 - it needs no settings
        blocks = [block for message in messages for block in message.content if isinstance(block, dict)]
        self.seen.append([block["mime_type"] for block in blocks if "base64" in block])
        if messages[-1].type == "human" and "[videos/" not in messages[-1].text:
            answer = call("search_library", like="attachment:1", modalities=["video"], k=1)
        elif messages[-1].name == "search_library":
            answer = call("open_hit", id=re.findall(r"id=([\w-]+)", messages[-1].text)[0])
        else:
            answer = AIMessage("It plays with a red ball [videos/puppy-playing.mp4].")
        return ChatResult(generations=[ChatGeneration(message=answer)])


def call(name: str, **arguments: Any) -> AIMessage:
    """Return a tool call."""
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": name, "type": "tool_call"}])


parser = argparse.ArgumentParser(description="An agent that searches images, audio, video, PDFs and notes.")
parser.add_argument("--model", help="a chat model for init_chat_model (default: a scripted one)")
chosen = parser.parse_args().model
model: Any = chosen or Scripted()

with ExitStack() as stack:
    work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    write_samples(work / "samples")
    service: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        service = {"api_key": emulator.api_key, "base_url": emulator.url}
    media = MediaStore(work / "library/media")
    embeddings = stack.enter_context(GeminiEmbeddings(media=media, output_dimensionality=768, **service))
    store = stack.enter_context(LocalVectorStore(work / "library/index.db", embeddings))
    retriever = MultimodalRetriever(store=store)
    retriever.add(work / "samples")

    middleware = MediaMiddleware(media, model=None if chosen else "gemini")
    tools = MultimodalToolkit(retriever=retriever, what="our photos, videos, recordings and papers").get_tools()
    agent = create_agent(model, tools, middleware=[middleware], checkpointer=(saver := InMemorySaver()))

    photo = base64.b64encode((work / "samples/pictures/puppy.png").read_bytes()).decode()
    asked: list[Any] = [
        {"type": "text", "text": "Do we have a video of a dog like this? What does it do?"},
        {"type": "image", "base64": photo, "mime_type": "image/png"},
    ]
    thread: Any = {"configurable": {"thread_id": "1"}}
    for message in agent.invoke({"messages": [middleware.take_in(HumanMessage(asked))]}, thread)["messages"]:
        print(f"{message.type:6} {message.text or [made['args'] for made in message.tool_calls]}"[:200])

    sizes = [len(JsonPlusSerializer().dumps_typed(kept.checkpoint)[1]) for kept in saver.list(thread)]
    print(f"{len(sizes)} checkpoints of at most {max(sizes):,} bytes")
    assert max(sizes) < 50_000
    if not chosen:
        print(f"the model received {model.seen}")
        assert model.seen == [["image/png"], ["image/png", "video/mp4"], ["image/png", "video/mp4"]]

        # The same index in a chain that searches first and then asks the model.
        found: Any = RunnableLambda(lambda asked: retriever.search(asked, modalities=["video"], k=1))
        ask: Any = RunnableLambda(lambda both: [to_message(both["question"], both["hits"], model="gemini")])
        chain = {"question": RunnablePassthrough(), "hits": found} | ask | model
        print(f"chain  {chain.invoke('What does the puppy in our videos play with?').text}")
        assert model.seen[-1] == ["video/mp4"]
