"""The size of an agent's checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langchain_gemini_mm import (
    GeminiEmbeddings,
    LocalVectorStore,
    MediaMiddleware,
    MediaStore,
    MultimodalRetriever,
    create_multimodal_retriever_tool,
)
from langchain_gemini_mm.testing import mp4
from langchain_gemini_mm.testing.samples.clips import tone
from tests.tools.chat import ScriptedModel, call, media_in

VIDEOS = 10
LIMIT = 50_000
THREAD: Any = {"configurable": {"thread_id": "1"}}
SUBJECTS = ("tides", "bees", "glass", "chess", "bread", "owls", "maps", "drums", "ice", "clay")


@pytest.fixture(scope="module")
def videos() -> list[bytes]:
    """Ten clips of about 60 kB each."""
    return [mp4(20, f"a film about {subject}", fps=4, samples=tone(20)) for subject in SUBJECTS]


def sizes(saver: InMemorySaver) -> list[int]:
    """Return the serialised size of each checkpoint in bytes, newest first."""
    serializer = JsonPlusSerializer()
    return [
        len(serializer.dumps_typed((found.checkpoint, found.metadata, found.pending_writes))[1])
        for found in saver.list(THREAD)
    ]


def test_ten_videos_need_checkpoints_of_50_kb(
    embeddings: GeminiEmbeddings, media: MediaStore, videos: list[bytes]
) -> None:
    """The model receives ten videos, one after the other, and no checkpoint is larger than 50 kB."""
    with LocalVectorStore(":memory:", embeddings) as store:
        retriever = MultimodalRetriever(store=store, k=1)
        for subject, video in zip(SUBJECTS, videos, strict=True):
            retriever.add([video], metadata={"source": f"{subject}.mp4"})
        tool = create_multimodal_retriever_tool(retriever, "search", "Searches films.")
        script = [call("search", number, query="a film", source=f"{name}.mp4") for number, name in enumerate(SUBJECTS)]
        model = ScriptedModel(script=[*script, AIMessage("All seen.")])
        saver = InMemorySaver()
        agent = create_agent(model, [tool], middleware=[MediaMiddleware(media, model="gemini")], checkpointer=saver)
        agent.invoke({"messages": [HumanMessage("Look at all ten.")]}, THREAD | {"recursion_limit": 50})
    assert len(media_in(model.received[-1])) == VIDEOS
    assert sum(len(block["base64"]) for block in media_in(model.received[-1])) > VIDEOS * LIMIT
    assert len(sizes(saver)) > 2 * VIDEOS
    assert max(sizes(saver)) < LIMIT


def test_take_in_keeps_attachments_out_of_checkpoints(media: MediaStore, videos: list[bytes]) -> None:
    """An attachment passed to the agent is in the first checkpoints; with `take_in`, it is in none."""
    import base64

    block = {"type": "file", "base64": base64.b64encode(videos[0]).decode(), "mime_type": "video/mp4"}
    middleware = MediaMiddleware(media, model="gemini")
    found = []
    for message in (HumanMessage([block]), middleware.take_in(HumanMessage([block]))):
        saver = InMemorySaver()
        model = ScriptedModel(script=[AIMessage("A film.")])
        create_agent(model, middleware=[middleware], checkpointer=saver).invoke({"messages": [message]}, THREAD)
        assert len(media_in(model.received[0])) == 1
        found.append(sizes(saver))
    given, taken_in = found
    assert given[0] < 5000 < LIMIT < given[-1]
    assert max(taken_in) < 5000
