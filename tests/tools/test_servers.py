"""Agents whose model is on a server with strict rules, or has fallbacks: media reach the model in a form it accepts."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_gemini_mm import MediaMiddleware, MediaStore, MultimodalRetriever, create_multimodal_retriever_tool
from langchain_gemini_mm.rendering import ACCEPTS
from langchain_gemini_mm.testing import png
from tests.tools.chat import ScriptedModel, call, media_in, references_in, text_in

ROWS = [name for name in ACCEPTS if name != "openai-audio"]


def last_request(
    retriever: MultimodalRetriever, row: str, question: Any = "which colour is the puppy?"
) -> list[BaseMessage]:
    """What an agent sends after one call of the search tool."""
    assert retriever.media_store is not None
    model = ScriptedModel(script=[call("search", query="a puppy", modalities=["image"], k=2), AIMessage("Brown.")])
    tool = create_multimodal_retriever_tool(retriever, "search", "Searches.")
    agent = create_agent(model, tools=[tool], middleware=[MediaMiddleware(retriever.media_store, model=row)])
    agent.invoke({"messages": [HumanMessage(question)]})
    return model.received[-1]


@pytest.mark.parametrize("row", ROWS)
def test_every_row_keeps_its_rules(retriever: MultimodalRetriever, row: str) -> None:
    """Images are where the row allows them; a result without media is a string; roles are in an allowed order."""
    accepts, messages = ACCEPTS[row], last_request(retriever, row)
    types = [message.type for message in messages]
    assert not references_in(messages)
    assert len(media_in(messages)) == (2 if accepts.max_bytes else 0)
    (result,) = [message for message in messages if message.type == "tool"]
    assert len(media_in([result])) == (2 if "image" in accepts.in_tools else 0)
    assert isinstance(result.content, str) == (not accepts.in_tools)
    if accepts.in_tools or not accepts.user_after_tools or not accepts.max_bytes:
        assert types == ["human", "ai", "tool"]
    else:
        assert types == ["human", "ai", "tool", "human"]
    assert "[pictures/puppy.png]" in text_in(messages)


def test_images_of_results_are_added_to_the_question(retriever: MultimodalRetriever) -> None:
    """Where nothing may follow a tool result, its images follow the question, each after its citation."""
    question, _, result = last_request(retriever, "mistral")
    texts = [block["text"] for block in question.content if block["type"] == "text"]  # type: ignore[index]
    assert texts[:2] == ["which colour is the puppy?", "The media of the results of tools that follow:"]
    assert "[pictures/puppy.png]" in texts[2:]
    assert "(shown with the question)" in result.text
    attached = {"type": "image", "base64": media_in([question])[0]["base64"], "mime_type": "image/png"}
    (question, *_) = last_request(retriever, "mistral", [{"type": "text", "text": "like this?"}, attached])
    assert [block["type"] for block in question.content][:3] == ["text", "text", "image"]  # type: ignore[index]


def test_the_number_of_images_is_limited(media: MediaStore) -> None:
    """With more images than a row allows, the newest are shown and the others are mentioned."""
    refs = [media.put(png(f"image {number}")) for number in range(7)]
    blocks: list[Any] = [[{"type": "image", "url": ref.uri, "mime_type": "image/png"}] for ref in refs]
    middleware = MediaMiddleware(media, model="groq")
    shown = middleware._show(None, [HumanMessage(block) for block in blocks])
    assert len(media_in(shown)) == ACCEPTS["groq"].max_images == 5
    assert text_in(shown).count("no longer shown") == 2
    assert media_in(shown[2:]) == media_in(shown)


class Broken(ScriptedModel):
    """A model whose service is out of order."""

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        super()._next(messages)
        raise ConnectionError("out of order")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("way", ["with_fallbacks", "ModelFallbackMiddleware"])
async def test_fallback_models_receive_media(media: MediaStore, way: str, asynchronous: bool) -> None:
    """When the first model fails, the fallback is shown the same media."""
    first, second = Broken(script=[AIMessage("")]), ScriptedModel(script=[AIMessage("A square.")])
    middleware: list[Any] = [MediaMiddleware(media, model="openai")]
    model: Any = first
    if way == "with_fallbacks":
        model = first.with_fallbacks([second])
    else:
        middleware.insert(0, ModelFallbackMiddleware(second))
    agent = create_agent(model, middleware=middleware)
    asked: Any = {
        "messages": [HumanMessage([{"type": "image", "url": media.put(png()).uri, "mime_type": "image/png"}])]
    }
    answer = (await agent.ainvoke(asked)) if asynchronous else agent.invoke(asked)
    assert answer["messages"][-1].text == "A square."
    for received in (first.received[0], second.received[0]):
        assert len(media_in(received)) == 1
    assert not media_in(answer["messages"])
