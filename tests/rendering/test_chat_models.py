"""Messages with media pass the converters of the LangChain packages of OpenAI, Anthropic and Google, offline."""

from __future__ import annotations

import base64
from typing import Any, TypeAlias

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_gemini_mm import MediaStore, to_message
from langchain_gemini_mm.content.mime_types import canonical_mime_type, sniff
from langchain_gemini_mm.rendering import to_blocks

Library: TypeAlias = tuple[list[Document], MediaStore]
QUESTION = "What colour is the bicycle?"


def openai(**settings: Any) -> Any:
    """A model that is never called."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(**{"model": "gpt-4o", "api_key": "x", **settings})


def anthropic() -> Any:
    """A model that is never called."""
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model="claude-sonnet-4-5", api_key="x")


def gemini() -> Any:
    """A model that is never called; its package is not in every environment."""
    module = pytest.importorskip("langchain_google_genai", reason="installed in the environment of the group `rivals`")
    return module.ChatGoogleGenerativeAI(model="gemini-2.5-flash", api_key="x")


def tool_conversation(blocks: list[dict[str, Any]]) -> list[Any]:
    """A conversation in which a tool returned these blocks."""
    call = {"name": "look", "args": {}, "id": "call_1", "type": "tool_call"}
    return [
        HumanMessage(QUESTION),
        AIMessage("", tool_calls=[call]),
        ToolMessage(content=blocks, tool_call_id="call_1", name="look"),  # type: ignore[arg-type]
    ]


def check(encoded: str, mime_type: str) -> str:
    """Check that bytes are complete and of the declared type, and return the type."""
    data = base64.b64decode(encoded, validate=True)
    assert sniff(data[:4096]) == canonical_mime_type(mime_type)
    return mime_type


def check_uri(uri: str) -> str:
    """Check the bytes of a data: URI, and return their type."""
    head, _, encoded = uri.partition(";base64,")
    return check(encoded, head.removeprefix("data:"))


def types_for_openai(content: list[dict[str, Any]]) -> list[str]:
    """MIME types of the media in a request to chat completions, each in its documented format."""
    found = []
    for block in content:
        if block["type"] == "image_url":
            found.append(check_uri(block["image_url"]["url"]))
        elif block["type"] == "file":
            assert block["file"]["filename"].endswith(".pdf")
            found.append(check_uri(block["file"]["file_data"]))
        elif block["type"] == "input_audio":
            assert block["input_audio"]["format"] in ("wav", "mp3")
            found.append(check(block["input_audio"]["data"], f"audio/{block['input_audio']['format']}"))
        else:
            assert set(block) == {"type", "text"}
            assert block["text"].strip()
    return found


def types_for_responses(content: list[dict[str, Any]]) -> list[str]:
    """MIME types of the media in a request to the Responses API."""
    assert {block["type"] for block in content} <= {"input_text", "input_image", "input_file"}
    images = [check_uri(block["image_url"]) for block in content if block["type"] == "input_image"]
    return images + [check_uri(block["file_data"]) for block in content if block["type"] == "input_file"]


def types_for_anthropic(content: list[dict[str, Any]]) -> list[str]:
    """MIME types of the media in a request to Anthropic."""
    assert {block["type"] for block in content} <= {"text", "image", "document"}
    sources = [block["source"] for block in content if block["type"] != "text"]
    assert all(source["type"] == "base64" for source in sources)
    return [check(source["data"], source["media_type"]) for source in sources]


def test_openai_reads_the_message(library: Library) -> None:
    """Images, stills of video and PDFs reach chat completions; for audio there is a text."""
    documents, media = library
    message = to_message(QUESTION, documents, media=media, model=openai())
    (sent,) = openai()._get_request_payload([message])["messages"]
    types = types_for_openai(sent["content"])
    assert types.count("application/pdf") == 3
    assert types.count("image/jpeg") > 4
    assert "image/png" in types
    assert sent["content"][-1]["text"] == f"Question: {QUESTION}"


def test_openai_audio_models_get_audio(library: Library) -> None:
    """For audio models, audio and the audio of videos are sent as WAV and MP3."""
    documents, media = library
    message = to_message(QUESTION, documents, media=media, model="openai-audio")
    (sent,) = openai(model="gpt-audio")._get_request_payload([message])["messages"]
    assert set(types_for_openai(sent["content"])) == {"audio/wav", "audio/mp3"}


def test_the_responses_api_reads_messages_and_tools(library: Library) -> None:
    """The Responses API gets the same media, also in results of tools."""
    documents, media = library
    model = openai(use_responses_api=True)
    message = to_message(QUESTION, documents, media=media, model=model)
    (sent,) = model._get_request_payload([message])["input"]
    assert {"application/pdf", "image/jpeg"} <= set(types_for_responses(sent["content"]))

    blocks = to_blocks(documents, media=media, model=model, place="tool")
    output = model._get_request_payload(tool_conversation(blocks))["input"][-1]
    assert output["type"] == "function_call_output"
    assert {"application/pdf", "image/jpeg"} <= set(types_for_responses(output["output"]))


def test_openai_tools_get_text(library: Library) -> None:
    """Chat completions accept no media in results of tools, so none are sent."""
    documents, media = library
    blocks = to_blocks(documents, media=media, model=openai(), place="tool")
    sent = openai()._get_request_payload(tool_conversation(blocks))["messages"][-1]
    assert sent["role"] == "tool"
    assert types_for_openai(sent["content"]) == []
    assert any("Revenue by region" in block["text"] for block in sent["content"])


def test_anthropic_reads_messages_and_tools(library: Library) -> None:
    """Images, stills and PDFs reach Anthropic, also in results of tools."""
    documents, media = library
    message = to_message(QUESTION, documents, media=media, model=anthropic())
    (sent,) = anthropic()._get_request_payload([message])["messages"]
    assert {"application/pdf", "image/jpeg", "image/png"} == set(types_for_anthropic(sent["content"]))

    blocks = to_blocks(documents, media=media, model=anthropic(), place="tool")
    (result,) = anthropic()._get_request_payload(tool_conversation(blocks))["messages"][-1]["content"]
    assert result["type"] == "tool_result"
    assert {"application/pdf", "image/jpeg", "image/png"} == set(types_for_anthropic(result["content"]))


@pytest.mark.rivals
def test_gemini_reads_messages_and_tools(library: Library) -> None:
    """All media reach Gemini as inline bytes of an accepted type, also in results of tools."""
    documents, media = library
    everything = {"image/jpeg", "image/png", "audio/mp3", "audio/wav", "video/mp4", "application/pdf"}
    for messages in (
        [to_message(QUESTION, documents, media=media, model=gemini())],
        tool_conversation(to_blocks(documents, media=media, model=gemini(), place="tool")),
    ):
        parts = gemini()._prepare_request(messages)["contents"][-1].parts
        inline = [part.inline_data for part in parts if part.inline_data]
        assert {check(base64.b64encode(blob.data).decode(), blob.mime_type) for blob in inline} == everything
        assert len(inline) == len([document for document in documents if "mm://" in document.page_content])


def test_text_models_get_text(library: Library) -> None:
    """A text-only model gets citations and companion text, and notes about media that are not shown."""
    documents, media = library
    message = to_message(QUESTION, documents, media=media, model="text")
    assert {block["type"] for block in message.content} == {"text"}  # type: ignore[index]
    text = "".join(block["text"] for block in message.content)  # type: ignore[index]
    for expected in ("[slides.pdf p. 2]", "Revenue by region", "[talk.mp4 0:30-1:00]", "[photo.jpg]", "a red bicycle"):
        assert expected in text
    assert "mm://" not in text


@pytest.mark.parametrize("model", ["gemini", "openai-responses", "anthropic", "text"])
def test_blocks_pass_as_the_result_of_a_tool(model: str, library: Library) -> None:
    """LangChain keeps blocks of these types; other types would become one JSON string."""
    documents, media = library

    @tool(response_format="content_and_artifact")
    def look() -> tuple[list[dict[str, Any]], None]:
        """Look."""
        return to_blocks(documents, media=media, model=model, place="tool"), None

    message = look.invoke({"name": "look", "args": {}, "id": "call_1", "type": "tool_call"})
    assert isinstance(message.content, list)
    assert {block["type"] for block in message.content} <= {"text", "image", "file"}
