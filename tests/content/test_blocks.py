"""Content blocks of LangChain and of the providers: every form has the same content as its bytes, or a typed error."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_gemini_mm import ContentError, GeminiEmbeddings, MediaStore
from langchain_gemini_mm.content.parts import to_parts
from langchain_gemini_mm.testing import GeminiEmulator, pdf, png, wav

if TYPE_CHECKING:
    from collections.abc import Callable

PNG, WAV, PDF = png("a brown puppy"), wav(0.2), pdf(["one page"])
IMAGE, AUDIO, PAPER = (base64.b64encode(data).decode() for data in (PNG, WAV, PDF))
DATA_URL = f"data:image/png;base64,{IMAGE}"

IMAGES: dict[str, dict[str, Any]] = {
    "v1": {"type": "image", "base64": IMAGE, "mime_type": "image/png", "id": "lc_1", "extras": {"detail": "low"}},
    "v1, URL-safe": {"type": "image", "base64": base64.urlsafe_b64encode(PNG).decode()},
    "v1, without padding": {"type": "image", "base64": IMAGE.rstrip("=")},
    "v1, with line breaks": {"type": "image", "base64": "\n".join(IMAGE[i : i + 76] for i in range(0, len(IMAGE), 76))},
    "v1, wrongly declared": {"type": "image", "base64": IMAGE, "mime_type": "image/jpeg"},
    "v1, a data: URL as base64": {"type": "image", "base64": DATA_URL, "mime_type": "image/png"},
    "v1, a data: URL": {"type": "image", "url": DATA_URL},
    "v1, as a file": {"type": "file", "base64": IMAGE, "mime_type": "image/png"},
    "v0": {"type": "image", "source_type": "base64", "data": IMAGE, "mime_type": "image/png"},
    "v0, a data: URL": {"type": "image", "source_type": "url", "url": DATA_URL},
    "OpenAI chat": {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}},
    "OpenAI chat, short": {"type": "image_url", "image_url": DATA_URL},
    "OpenAI chat, percent-encoded": {
        "type": "image_url",
        "image_url": f"data:image/png;base64,{quote(IMAGE, safe='')}",
    },
    "OpenAI chat, upper case": {"type": "image_url", "image_url": {"url": f"DATA:image/png;BASE64,{IMAGE}"}},
    "OpenAI chat, percent-encoded bytes": {"type": "image_url", "image_url": f"data:image/png,{quote(PNG)}"},
    "OpenAI chat, a parameter": {"type": "image_url", "image_url": f"data:image/png;name=a.png;base64,{IMAGE}"},
    "OpenAI chat, a file": {"type": "file", "file": {"file_data": DATA_URL, "filename": "a.png"}},
    "OpenAI Responses": {"type": "input_image", "image_url": DATA_URL, "detail": "auto"},
    "OpenAI Responses, a file": {"type": "input_file", "file_data": DATA_URL, "filename": "a.png"},
    "OpenAI Responses, generated": {
        "type": "image_generation_call",
        "result": IMAGE,
        "output_format": "png",
        "id": "ig",
    },
    "Anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}},
    "Gemini": {"inline_data": {"mime_type": "image/png", "data": IMAGE}},
    "Gemini, camel case": {"inlineData": {"mimeType": "image/png", "data": IMAGE}},
    "Gemini, bytes": {"inline_data": {"mime_type": "image/png", "data": PNG}},
    "langchain-google-genai": {"type": "media", "mime_type": "image/png", "data": IMAGE},
    "langchain-google-genai, bytes": {"type": "media", "mime_type": "image/png", "data": PNG},
    "Bedrock": {"image": {"format": "png", "source": {"bytes": PNG}}},
    "wrapped": {"type": "non_standard", "value": {"image": {"format": "png", "source": {"bytes": PNG}}}},
}
OTHERS: dict[str, tuple[dict[str, Any], bytes]] = {
    "v1 audio": ({"type": "audio", "base64": AUDIO, "mime_type": "audio/wav"}, WAV),
    "OpenAI audio": ({"type": "input_audio", "input_audio": {"data": AUDIO, "format": "wav"}}, WAV),
    "v1 file": ({"type": "file", "base64": PAPER, "mime_type": "application/pdf"}, PDF),
    "OpenAI Responses file": ({"type": "input_file", "file_data": f"data:application/pdf;base64,{PAPER}"}, PDF),
    "Anthropic document": (
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PAPER},
            "title": "A",
        },
        PDF,
    ),
    "Bedrock document": ({"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF}}}, PDF),
}
TEXTS: dict[str, dict[str, Any]] = {
    "v1": {"type": "text", "text": "a text", "annotations": []},
    "v1 plain": {"type": "text-plain", "text": "a text", "mime_type": "text/plain", "title": "A"},
    "v1 plain, base64": {
        "type": "text-plain", "base64": base64.b64encode(b"a text").decode(), "mime_type": "text/plain",
    },
    "v1 refusal": {"type": "refusal", "refusal": "a text"},
    "v0": {"type": "file", "source_type": "text", "text": "a text", "mime_type": "text/plain"},
    "v0, as core reads it": {"type": "file", "source_type": "text", "url": "a text", "mime_type": "text/plain"},
    "OpenAI Responses": {"type": "input_text", "text": "a text"},
    "OpenAI Responses, output": {"type": "output_text", "text": "a text"},
    "Anthropic document": {"type": "document", "source": {"type": "text", "data": "a text"}},
    "Anthropic document of blocks": {
        "type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "a text"}]},
    },
    "Anthropic search result": {
        "type": "search_result", "source": "x", "title": "A", "content": [{"type": "text", "text": "a text"}],
    },
    "Anthropic tool result": {"type": "tool_result", "tool_use_id": "1", "content": "a text"},
    "Gemini": {"text": "a text"},
    "Bedrock document": {"document": {"format": "txt", "name": "a", "source": {"text": "a text"}}},
    "a data: URL": {"type": "file", "url": "data:text/plain;charset=utf-8,a%20text"},
}  # fmt: skip
FORMS = [
    *(pytest.param(block, PNG, id=f"image, {name}") for name, block in IMAGES.items()),
    *(pytest.param(block, data, id=name) for name, (block, data) in OTHERS.items()),
]


@pytest.mark.parametrize(("block", "data"), FORMS)
def test_media_of_every_form(block: dict[str, Any], data: bytes) -> None:
    """A block has the bytes that were put into it, so that it has the same vector as these bytes."""
    (part,) = to_parts(block)

    assert part.read(None) == data
    assert part.digest(None) == to_parts(data)[0].digest(None)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_every_form(name: str) -> None:
    """A block of text is that text."""
    (part,) = to_parts(TEXTS[name])

    assert part.text == "a text"


EVERYTHING: dict[str, dict[str, Any]] = {
    **{f"image, {name}": block for name, block in IMAGES.items()},
    **{name: block for name, (block, _) in OTHERS.items()},
    # langchain-core 1.8 raises KeyError for the other text block of version 0.
    **{f"text, {name}": block for name, block in TEXTS.items() if name != "v0"},
}


def _translated(block: dict[str, Any]) -> list[Any]:
    """What LangChain's translators make of a block."""
    message = HumanMessage(content=[block])
    return list(message.content_blocks)


@pytest.mark.parametrize("name", EVERYTHING)
def test_blocks_that_langchain_has_translated_are_the_same_content(name: str) -> None:
    """Whatever the installed version of langchain-core makes of a block has the content of the block."""
    block = EVERYTHING[name]

    (part,), (original,) = to_parts(_translated(block)), to_parts(block)

    assert part.digest(None) == original.digest(None)


@pytest.mark.parametrize("api", ["chat/completions", "responses"])
@pytest.mark.parametrize(
    ("block", "data"),
    [
        ({"type": "image", "base64": IMAGE, "mime_type": "image/png"}, PNG),
        ({"type": "audio", "base64": AUDIO, "mime_type": "audio/wav"}, WAV),
        ({"type": "file", "base64": PAPER, "mime_type": "application/pdf", "filename": "a.pdf"}, PDF),
    ],
    ids=["image", "audio", "file"],
)
def test_blocks_that_langchain_writes_for_openai(block: dict[str, Any], data: bytes, api: Any) -> None:
    """Blocks that were formatted for OpenAI can be embedded."""
    from langchain_core.messages.block_translators.openai import convert_to_openai_data_block

    (part,) = to_parts(convert_to_openai_data_block(block, api=api))

    assert part.read(None) == data


MESSAGES: dict[str, tuple[Callable[[], BaseMessage], list[str]]] = {
    "human": (lambda: HumanMessage(["a text", IMAGES["v1"]]), ["a text", "image"]),
    "system": (lambda: SystemMessage("a text"), ["a text"]),
    "tool": (
        lambda: ToolMessage([{"type": "text", "text": "found"}, IMAGES["v1"]], tool_call_id="1"),
        ["found", "image"],
    ),
    "model": (lambda: AIMessage([{"type": "text", "text": "hi"}, {"type": "refusal", "refusal": "no"}]), ["hi\nno"]),
    "model with a tool call": (
        lambda: AIMessage(
            [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "reasoning", "reasoning": "hm"},
                {"type": "text", "text": "let me look"},
                {"type": "tool_use", "id": "1", "name": "look", "input": {}},
                {"type": "tool_call", "id": "1", "name": "look", "args": {}},
                {"type": "web_search_tool_result", "tool_use_id": "1", "content": []},
            ]
        ),
        ["let me look"],
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    """A message is what it says and shows; reasoning and calls of tools are not part of that."""
    make, expected = MESSAGES[name]

    assert [part.text or part.modality for part in to_parts(make())] == expected


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"type": "hologram"}, "'hologram'. Supported types: audio, audio_url"),
    "without a type": ({"words": "a"}, "None with the keys 'words'"),
    "only reasoning": ({"type": "reasoning", "reasoning": "hm"}, "only white space, reasoning or tool calls"),
    "an empty image": ({"type": "image"}, "neither base64 nor a reference"),
    "a remote URL": ({"type": "image", "url": "https://example.org/a.png"}, "never fetched.*MediaStore.put_url"),
    "a local URL": ({"type": "image", "url": "file:///etc/passwd"}, "never fetched"),
    "a remote image_url": ({"type": "image_url", "image_url": {"url": "http://localhost/"}}, "never fetched"),
    "a remote input_image": ({"type": "input_image", "image_url": "http://localhost/"}, "never fetched"),
    "a remote input_file": ({"type": "input_file", "file_url": "http://localhost/"}, "never fetched"),
    "an Anthropic URL": ({"type": "image", "source": {"type": "url", "url": "http://x/"}}, "never fetched.*put_url"),
    "a url of a wrong type": ({"type": "image", "url": 3}, "must be a str, got int"),
    "a file id": ({"type": "image", "file_id": "file-123"}, "provider's file id.*base64"),
    "an older file id": ({"type": "image", "source_type": "id", "id": "file-123"}, "provider's file id"),
    "an OpenAI file id": ({"type": "file", "file": {"file_id": "file-123"}}, "provider's file id"),
    "an OpenAI image id": ({"type": "input_image", "file_id": "file-123"}, "provider's file id"),
    "an Anthropic file id": ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "provider's file id"),
    "a Bedrock address": ({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://x"}}}}, "file id"),
    "an unknown source": ({"type": "image", "source": {"type": "carrier pigeon"}}, "'carrier pigeon'"),
    "bad base64": ({"type": "image", "base64": "!!!"}, "not valid"),
    "bytes as base64": ({"type": "image", "base64": PNG}, "must be a base64 str"),
    "a data: URL without data": ({"type": "image", "url": "data:image/png;base64"}, "has no data"),
    "an SVG": ({"type": "image", "url": "data:image/svg+xml,<svg/>"}, "drawing written as XML; export it as PNG"),
    "media by address": ({"type": "media", "file_uri": "gs://x/y"}, "Part.from_uri"),
    "Gemini, by address": ({"fileData": {"fileUri": "gs://x/y"}}, "Part.from_uri"),
    "a text that is none": ({"type": "text", "text": None}, "has no text, got NoneType"),
    "audio without a mapping": ({"type": "input_audio"}, "no 'input_audio' mapping"),
    "a wrapped nothing": ({"type": "non_standard", "value": None}, "no block as its value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    """What has no bytes here, or is not known, is refused by a typed error that says what to do."""
    block, message = REFUSED[name]

    with pytest.raises(ContentError, match=message):
        to_parts(block)


def test_deep_nesting_is_a_typed_error() -> None:
    """A block that is nested without end is refused like any other."""
    block: dict[str, Any] = {"type": "text", "text": "deep"}
    for _ in range(100_000):
        block = {"type": "non_standard", "value": block}

    with pytest.raises(ContentError, match="nested too deeply"):
        to_parts(block)


def test_a_repr_shows_no_media() -> None:
    """The media of a block are in no repr."""
    from langchain_gemini_mm.content.blocks import read_block

    assert IMAGE[:40] not in repr(read_block(IMAGES["v1"]))


def test_prompts_with_our_blocks_can_be_embedded(
    embeddings: GeminiEmbeddings, media: MediaStore, emulator: GeminiEmulator
) -> None:
    """A semantic cache embeds serialized prompts; the addresses in them are text, and images of Markdown are images."""
    ref = media.put(PNG)
    shown = {"type": "image", "url": ref.uri, "mime_type": "image/png"}
    prompts = {
        dumps([HumanMessage([{"type": "text", "text": "What is it?"}, shown] * 7)]): ["text"],
        f"The picture is {ref.uri}, see above.": ["text"],
        f"![our dog]({ref.uri})": ["text", "image"],
    }

    assert len(embeddings.embed_documents(list(prompts))) == len(prompts)
    sent = [item for request in emulator.embed_requests for item in request.items]
    assert [["text" if part.text is not None else "image" for part in item.parts] for item in sent] == [
        *prompts.values()
    ]
    assert ref.uri in (sent[1].parts[0].text or "")
