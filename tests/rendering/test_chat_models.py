"""Messages with media pass the converters of the LangChain packages of OpenAI, Anthropic and Google, offline."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_gemini_mm import MediaStore, to_message
from langchain_gemini_mm.content.mime_types import canonical_mime_type, sniff
from langchain_gemini_mm.rendering import ACCEPTS, reference_blocks, to_blocks
from langchain_gemini_mm.tools.media_budget import BlockCache, show_media

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


def as_data_uris(content: Any) -> list[str]:
    """The images of a message in the form of chat completions, after a check that nothing else is in it."""
    assert {block["type"] for block in content} <= {"text", "image_url"}
    return [block["image_url"]["url"] for block in content if block["type"] == "image_url"]


def sent_to_compatible(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """The messages of a request to another server by langchain-openai."""
    found: list[dict[str, Any]] = openai(base_url="http://127.0.0.1:9/v1")._get_request_payload(messages)["messages"]
    return found


def sent_to_ollama(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """The messages of a request by langchain-ollama, with images in the form of chat completions."""
    package: Any = import_module("langchain_ollama")
    sent = package.ChatOllama(model="qwen3-vl")._convert_messages_to_ollama_messages(messages)
    made = []
    for message in sent:
        uris = [f"data:{sniff(base64.b64decode(image)[:4096])};base64,{image}" for image in message.get("images") or []]
        images = [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]
        content = [{"type": "text", "text": message["content"]}, *images] if images else message["content"]
        made.append({"role": message["role"], "content": content})
    return made


def sent_to_mistral(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """The messages of a request by langchain-mistralai."""
    package: Any = import_module("langchain_mistralai.chat_models")
    return [package._convert_message_to_mistral_chat_message(message) for message in messages]


def sent_as_dicts(package: str, messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """The messages of a request by a package with OpenAI's format."""
    module: Any = import_module(package)
    return [module._convert_message_to_dict(message) for message in messages]


SERVERS: dict[str, tuple[str, Callable[[list[BaseMessage]], list[dict[str, Any]]]]] = {
    "openai-compatible": ("langchain_openai", sent_to_compatible),
    "ollama": ("langchain_ollama", sent_to_ollama),
    "mistral": ("langchain_mistralai", sent_to_mistral),
    "groq": ("langchain_groq", partial(sent_as_dicts, "langchain_groq.chat_models")),
    "litellm": ("langchain_litellm", partial(sent_as_dicts, "langchain_litellm.chat_models.litellm")),
    "openrouter": ("langchain_openrouter", partial(sent_as_dicts, "langchain_openrouter.chat_models")),
}


@pytest.mark.parametrize("row", SERVERS)
def test_servers_of_many_models_get_images(library: Library, row: str) -> None:
    """Messages pass the converter of the package with images alone, at most as many as the row allows."""
    package, convert = SERVERS[row]
    pytest.importorskip(package, reason="installed in the environment of the group `open-models`", exc_type=ImportError)
    documents, media = library
    (sent,) = convert([to_message(QUESTION, documents, media=media, model=row)])
    images = as_data_uris(sent["content"])
    assert {check_uri(uri) for uri in images} <= {"image/png", "image/jpeg"}
    assert len(images) == ACCEPTS[row].max_images


@pytest.mark.parametrize("row", SERVERS)
def test_servers_of_many_models_get_results_of_tools(library: Library, row: str) -> None:
    """The result of a tool is a string; its images are in a message of the user, where the server accepts one."""
    package, convert = SERVERS[row]
    pytest.importorskip(package, reason="installed in the environment of the group `open-models`", exc_type=ImportError)
    documents, media = library
    conversation = tool_conversation(reference_blocks(documents, media=media))
    accepts = ACCEPTS[row]
    shown = show_media(conversation, BlockCache(media).expand, accepts=accepts, max_bytes=accepts.max_bytes, keep=10)
    sent = convert(shown)
    roles = [message["role"] for message in sent]
    (result,) = [message for message in sent if message["role"] == "tool"]
    assert isinstance(result["content"], str)
    assert "Revenue by region" in result["content"]
    assert roles == (
        ["user", "assistant", "tool", "user"] if accepts.user_after_tools else ["user", "assistant", "tool"]
    )
    images = as_data_uris(sent[3 if accepts.user_after_tools else 0]["content"])
    assert images
    assert {check_uri(uri) for uri in images} <= {"image/png", "image/jpeg"}


def test_bedrock_reads_messages_and_tools(library: Library) -> None:
    """Images reach Bedrock's Converse API as bytes, also in results of tools."""
    pytest.importorskip("langchain_aws", reason="installed in the environment of the group `open-models`")
    converse: Any = import_module("langchain_aws.chat_models.bedrock_converse")
    documents, media = library
    message = to_message(QUESTION, documents, media=media, model="bedrock")
    (sent,), _ = converse._messages_to_bedrock([message])
    assert {key for block in sent["content"] for key in block} == {"text", "image"}
    formats = [block["image"]["format"] for block in sent["content"] if "image" in block]
    assert set(formats) == {"png", "jpeg"}
    assert len(formats) <= 20
    blocks = to_blocks(documents, media=media, model="bedrock", place="tool")
    converted, _ = converse._messages_to_bedrock(tool_conversation(blocks))
    result = converted[-1]["content"][0]["toolResult"]["content"]
    assert {key for block in result for key in block} == {"text", "image"}


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
