"""Agents: the tool node of langgraph, and `create_agent` with a chat model that receives the media."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from langchain_gemini_mm import (
    MediaMiddleware,
    MediaStore,
    MultimodalRetriever,
    MultimodalToolkit,
    create_multimodal_retriever_tool,
)
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import jpeg, png
from langchain_gemini_mm.testing.samples.drawings import puppy
from tests.tools.chat import ScriptedModel, StreamingModel, blocks_in, call, media_in, references_in, text_in

SEEN = base64.b64encode(jpeg("a cream puppy dog", image=puppy("wheat"))).decode()
ATTACHED = HumanMessage(
    [
        {"type": "text", "text": "What is this, and do we have more of it?"},
        {"type": "image", "base64": SEEN, "mime_type": "image/jpeg"},
    ]
)


@pytest.fixture
def search(retriever: MultimodalRetriever) -> BaseTool:
    """A search tool of the library."""
    return create_multimodal_retriever_tool(retriever, "search", "Searches the library.")


def graph(*tools: BaseTool) -> Any:
    """Make a graph with only a tool node."""
    built = StateGraph(MessagesState)
    built.add_node("tools", ToolNode(tools))
    built.add_edge(START, "tools")
    built.add_edge("tools", END)
    return built.compile()


def agent(model: ScriptedModel, media: MediaStore | None, *tools: BaseTool, **options: Any) -> Any:
    """Make an agent for a model that accepts all modalities, with the middleware where there is a media store."""
    middleware = [MediaMiddleware(media, model="gemini", **options)] if media else []
    return create_agent(model, tools, middleware=middleware, checkpointer=InMemorySaver())


def run(agent: Any, *messages: BaseMessage, thread: str = "1") -> list[BaseMessage]:
    """Send messages to a thread, and return the messages of its state."""
    found: list[BaseMessage] = agent.invoke({"messages": list(messages)}, {"configurable": {"thread_id": thread}})[
        "messages"
    ]
    return found


@pytest.mark.parametrize("modality", ["image", "audio", "video", "pdf"])
def test_blocks_arrive_as_blocks(search: BaseTool, modality: str) -> None:
    """The tool node passes media on as blocks, not as a JSON string."""
    asked = call("search", query="a puppy", modalities=[modality])
    answer = graph(search).invoke({"messages": [HumanMessage("?"), asked]})["messages"][-1]
    assert isinstance(answer, ToolMessage)
    assert isinstance(answer.content, list)
    assert media_in([answer])
    assert answer.artifact[0].metadata["modality"] == modality


async def test_blocks_arrive_as_blocks_async(search: BaseTool) -> None:
    """The async tool node passes media on as blocks."""
    asked = call("search", query="a puppy", modalities=["video"], k=1)
    answer = (await graph(search).ainvoke({"messages": [HumanMessage("?"), asked]}))["messages"][-1]
    assert media_in([answer])


def test_attachments_can_be_searched_with(search: BaseTool) -> None:
    """The tool node passes the conversation, so that a search can use an attachment."""
    asked = call("search", like="attachment:1", modalities=["image"], k=1)
    answer = graph(search).invoke({"messages": [ATTACHED, asked]})["messages"][-1]
    assert answer.artifact[0].metadata["source"] == "pictures/puppy2.jpg"


def test_a_mistake_does_not_end_the_run(search: BaseTool) -> None:
    """The model receives the error as text and can call again."""
    model = ScriptedModel(
        script=[call("search", like="x"), call("search", modalities=["film"], query="y"), AIMessage("I give up.")]
    )
    *_, first, _, second, last = run(agent(model, None, search), HumanMessage("?"))
    assert "not stored: 'x'" in first.text
    assert "Input should be 'text', 'image'" in second.text
    assert last.text == "I give up."


def test_without_the_middleware_the_state_holds_bytes(search: BaseTool) -> None:
    """The model receives the media, and they remain in the state."""
    model = ScriptedModel(script=[call("search", query="a puppy", modalities=["video"], k=1), AIMessage("Playing.")])
    state = run(agent(model, None, search), HumanMessage("What does the puppy do?"))
    assert media_in(model.received[1]) == media_in(state) != []


@pytest.mark.parametrize("model_class", [ScriptedModel, StreamingModel])
def test_the_model_receives_the_media_of_the_state(
    search: BaseTool, media: MediaStore, model_class: type[ScriptedModel]
) -> None:
    """With the middleware, the state holds references and the model receives the media."""
    model = model_class(
        script=[call("search", query="a puppy", modalities=["video", "image"], k=2), AIMessage("Playing.")]
    )
    state = run(agent(model, media, search), HumanMessage("What does the puppy do?"))
    assert not media_in(state)
    assert len(references_in(state)) == 2
    assert len(media_in(model.received[1])) == 2
    assert not references_in(model.received[1])
    assert text_in(model.received[1]) == text_in(state[:-1])


async def test_the_model_receives_the_media_of_the_state_async(search: BaseTool, media: MediaStore) -> None:
    """An async agent's state holds references and its model receives the media."""
    for model in (ScriptedModel(script=[]), StreamingModel(script=[])):
        model.script = [call("search", query="a puppy", modalities=["video"], k=1), AIMessage("Playing.")]
        config = {"configurable": {"thread_id": "1"}}
        messages: dict[str, Any] = {"messages": [ATTACHED]}
        state = (await agent(model, media, search).ainvoke(messages, config))["messages"]
        assert not media_in(state)
        assert [len(media_in(received)) for received in model.received] == [1, 2]


async def test_streaming_shows_media_too(search: BaseTool, media: MediaStore) -> None:
    """A streamed agent's model receives the same media, and the stream holds no bytes."""
    model = StreamingModel(script=[call("search", query="a puppy", modalities=["video"], k=1), AIMessage("Playing.")])
    config = {"configurable": {"thread_id": "1"}}
    asked: dict[str, Any] = {"messages": [HumanMessage("?")]}
    streamed = [
        piece async for piece in agent(model, media, search).astream(asked, config, stream_mode=["messages", "values"])
    ]
    assert len(media_in(model.received[1])) == 1
    assert "base64" not in repr(streamed)


def test_attachments_go_into_the_store(search: BaseTool, media: MediaStore) -> None:
    """An attachment is a reference in the state, and the model receives it with a name for searches."""
    model = ScriptedModel(
        script=[call("search", like="attachment:1", query="sleeping", modalities=["image"], k=1), AIMessage("Yes.")]
    )
    state = run(agent(model, media, search), ATTACHED)
    (image,) = references_in(state[:1])
    assert media.get(image) == base64.b64decode(SEEN)
    assert not media_in(state)
    text, name, seen = blocks_in(model.received[0])
    assert (text, name) == (ATTACHED.content[0], {"type": "text", "text": "[attachment:1]"})
    assert seen["base64"]
    assert state[2].artifact[0].metadata["modality"] == "image"  # type: ignore[attr-defined]


@pytest.mark.parametrize("block", [
    {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{SEEN}"}},
    {"type": "image", "source_type": "base64", "data": SEEN, "mime_type": "image/jpeg"},
    {"type": "file", "base64": SEEN, "mime_type": "image/jpeg"},
    {"type": "image", "base64": SEEN.replace("+", "-").replace("/", "_"), "mime_type": "image/jpeg"},
    {"type": "image", "base64": "\n".join((SEEN[:76], SEEN[76:])), "mime_type": "image/jpeg"},
], ids=["image_url", "source_type", "file", "URL-safe", "wrapped"])  # fmt: skip
def test_older_blocks_become_references(media: MediaStore, block: dict[str, Any]) -> None:
    """Each form of an attached image becomes a reference."""
    (taken,) = MediaMiddleware(media).take_in(HumanMessage([block])).content
    assert taken == {"type": "image", "url": media.put(base64.b64decode(SEEN)).uri, "mime_type": "image/jpeg"}


@pytest.mark.parametrize("content", [
    "a text",
    [{"type": "text", "text": "a text"}],
    [{"type": "image", "url": "https://example.com/a.png"}],
    [{"type": "file", "base64": base64.b64encode(b"a,b").decode(), "mime_type": "text/csv"}],
    [{"type": "image", "base64": "not base64", "mime_type": "image/png"}],
], ids=["text", "text block", "link", "table", "damaged"])  # fmt: skip
def test_other_messages_are_returned_unchanged(media: MediaStore, content: Any) -> None:
    """A message without media of a supported type is returned unchanged."""
    message = HumanMessage(content)
    assert MediaMiddleware(media).take_in(message) is message


def test_a_follow_up_finds_more_like_a_hit(search: BaseTool, media: MediaStore) -> None:
    """The model reads an id in one result and searches for similar documents in the next turn."""

    def more(messages: list[BaseMessage]) -> AIMessage:
        found = re.search(r"id=([\w-]+)", text_in(messages))
        assert found
        return call("search", 2, like=found[1], modalities=["image"], k=1)

    script = [
        call("search", query="a puppy", modalities=["image"], k=1),
        AIMessage("A puppy."),
        more,
        AIMessage("Two."),
    ]
    model = ScriptedModel(script=script)
    talking = agent(model, media, search)
    run(talking, HumanMessage("Show me a puppy."))
    state = run(talking, HumanMessage("Another one?"))
    assert sorted(re.findall(r"1\. \[(.*?)\] \(id", text_in(state))) == ["pictures/puppy.png", "pictures/puppy2.jpg"]
    assert len(media_in(model.received[-1])) == 2


def test_a_hit_is_opened(retriever: MultimodalRetriever, media: MediaStore) -> None:
    """The toolkit's second tool returns a longer clip, which the model receives as one."""

    def more(messages: list[BaseMessage]) -> AIMessage:
        hit = next(m.artifact[0] for m in messages if isinstance(m, ToolMessage))
        return call("open_hit", 2, id=hit.id, before=1, after=1)

    asked = call("search_library", query="x", source="talk.mp4", start_s=16, end_s=17, modalities=["video"], k=1)
    model = ScriptedModel(script=[asked, more, AIMessage("Long.")])
    state = run(agent(model, media, *MultimodalToolkit(retriever=retriever).get_tools()), HumanMessage("?"))
    assert model.tools == ["search_library", "open_hit"]
    assert [MediaRef.parse(uri).end_s for uri in references_in(state)] == [30, 45]
    assert len(media_in(model.received[2])) == 2


def test_media_of_other_tools_go_into_the_store(media: MediaStore) -> None:
    """A screenshot of another tool becomes a reference in the state, in a message or in a command."""
    image = {"type": "image", "base64": base64.b64encode(png()).decode(), "mime_type": "image/png"}

    @tool
    def screenshot() -> list[dict[str, Any]]:
        """Take a screenshot."""
        return [image]

    @tool
    def commanded() -> Command[Any]:
        """Take a screenshot and return it in a command."""
        return Command(update={"messages": [ToolMessage([image], tool_call_id="call-2")]})

    model = ScriptedModel(script=[call("screenshot"), call("commanded", 2), AIMessage("White.")])
    state = run(agent(model, media, screenshot, commanded), HumanMessage("?"))
    assert references_in(state) == [media.put(png()).uri] * 2
    assert not media_in(state)
    assert len(media_in(model.received[2])) == 1


def test_an_agent_within_a_tool_is_independent(search: BaseTool, media: MediaStore) -> None:
    """The tools of an agent without the middleware return media, also when it runs within a tool."""
    inner = ScriptedModel(script=[call("search", query="a puppy", modalities=["video"], k=1), AIMessage("It plays.")])

    @tool
    def delegate(task: str) -> str:
        """Ask another agent."""
        return create_agent(inner, [search]).invoke({"messages": [HumanMessage(task)]})["messages"][-1].text

    model = ScriptedModel(script=[call("delegate", task="What does the puppy do?"), AIMessage("It plays.")])
    assert run(agent(model, media, delegate), HumanMessage("?"))[2].text == "It plays."
    assert len(media_in(inner.received[1])) == 1


class Traces(BaseCallbackHandler):
    """Records everything that callbacks receive, as tracers do."""

    def __init__(self) -> None:
        self.received: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: list[list[BaseMessage]], **kwargs: Any) -> None:
        """Record a model call."""
        self.received.append(repr((serialized, messages, kwargs)))

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        """Record the answer."""
        self.received.append(repr((response, kwargs)))

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        """Record the start of a node."""
        self.received.append(repr((inputs, kwargs)))

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        """Record the end of a node."""
        self.received.append(repr((outputs, kwargs)))

    def on_tool_start(self, serialized: Any, input_str: str, **kwargs: Any) -> None:
        """Record a tool call."""
        self.received.append(repr((serialized, input_str, kwargs)))

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        """Record the answer."""
        self.received.append(repr((output, kwargs)))


def test_traces_hold_no_bytes(search: BaseTool, media: MediaStore) -> None:
    """Callbacks receive references, also those of model calls, while the model receives the media."""
    model = ScriptedModel(script=[call("search", query="a puppy", modalities=["video"], k=1), AIMessage("Playing.")])
    middleware = MediaMiddleware(media, model="gemini")
    asking = create_agent(model, [search], middleware=[middleware])
    traces = Traces()
    asking.invoke({"messages": [middleware.take_in(ATTACHED)]}, {"callbacks": [traces]})
    assert [len(media_in(received)) for received in model.received] == [1, 2]
    assert not [text[:200] for text in traces.received if "base64" in text or SEEN[:40] in text]
    assert any("mm://sha256-" in text for text in traces.received)


def test_the_model_keeps_its_own_state(media: MediaStore) -> None:
    """A model that counts its calls keeps its count: it is not copied."""
    model = FakeMessagesListChatModel(responses=[AIMessage("one"), AIMessage("two")])
    asking = create_agent(model, middleware=[MediaMiddleware(media, model="gemini")])
    answers = [asking.invoke({"messages": [HumanMessage("?")]})["messages"][-1].text for _ in range(2)]
    assert answers == ["one", "two"]


def test_media_follow_results_that_cannot_hold_them(search: BaseTool, media: MediaStore) -> None:
    """For OpenAI's chat completions, media of tool results are in a message of the user, for that call only."""
    model = ScriptedModel(script=[call("search", query="a puppy", modalities=["image"], k=2), AIMessage("Two.")])
    asking = create_agent(model, [search], middleware=[MediaMiddleware(media, model="openai")])
    state = asking.invoke({"messages": [HumanMessage("?")]})["messages"]
    *_, result, behind = model.received[1]
    assert isinstance(result, ToolMessage)
    assert not media_in([result])
    assert isinstance(behind, HumanMessage)
    heading, name, *_ = blocks = blocks_in([behind])
    assert [block["type"] for block in blocks] == ["text", "text", "image", "text", "image"]
    assert (heading["text"], name["text"]) == ("The media of the results above:", "[pictures/puppy.png]")
    assert len(state) == 4


def test_a_text_only_model_receives_text(search: BaseTool, media: MediaStore) -> None:
    """An unknown model is treated as text-only, and no media are opened for it."""
    model = ScriptedModel(script=[call("search", query="a puppy", modalities=["image"], k=1), AIMessage("Hm.")])
    create_agent(model, [search], middleware=[MediaMiddleware(media)]).invoke({"messages": [HumanMessage("?")]})
    assert not media_in(model.received[1])
    assert "The model does not accept this type of media" in text_in(model.received[1])


def test_missing_media_do_not_end_the_conversation(media: MediaStore) -> None:
    """A reference to removed media is replaced by text."""
    gone = {"type": "image", "url": MediaRef("ab" * 32).uri, "mime_type": "image/png"}
    model = ScriptedModel(script=[AIMessage("Sorry.")])
    run(agent(model, media), HumanMessage([gone]))
    assert "Not shown" in text_in(model.received[0])


class DelegatingModel(ScriptedModel):
    """A model whose methods call each other, as those of some integrations do."""

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return await asyncio.to_thread(self._generate, messages, *args, **kwargs)


async def test_media_are_shown_once_where_methods_call_each_other(media: MediaStore) -> None:
    """Media and the names of attachments are put into messages once, however many wrapped methods are called."""
    model = DelegatingModel(script=[AIMessage("A puppy.")])
    asking = create_agent(model, middleware=[MediaMiddleware(media, model="gemini")])
    await asking.ainvoke({"messages": [ATTACHED]})
    assert text_in(model.received[0]).count("[attachment:1]") == 1
    assert len(media_in(model.received[0])) == 1


def test_options_are_checked(media: MediaStore) -> None:
    """Numbers out of range and unknown families are refused at once; the repr is short."""
    for options in ({"keep": 0}, {"max_bytes": -1}, {"model": "gemni"}):
        with pytest.raises(ValueError, match=r"keep|max_bytes|gemni"):
            MediaMiddleware(media, **options)
    assert repr(MediaMiddleware(media)) == "MediaMiddleware(<MediaStore memory>, keep=10)"
