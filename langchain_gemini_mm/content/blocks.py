"""Parsing of content blocks: LangChain's own, of both versions, and those of OpenAI, Anthropic, Google and Bedrock.

The forms are those of `langchain_core.messages.block_translators` (core 1.2 to 1.8). The translators themselves differ
between versions of core, and each reads only some of the forms.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import SCHEME, MediaRef


@dataclass(frozen=True, slots=True)
class InlineMedia:
    """Media inside a content block."""

    data: str | bytes = field(repr=False)
    """Base64, or the bytes themselves."""
    mime_type: str | None
    block_type: str

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            ContentError: the base64 is not valid.
        """
        if isinstance(self.data, bytes):
            return self.data
        try:
            return binascii.a2b_base64(self.data, strict_mode=True)
        except ValueError:
            plain = "".join(self.data.split()).translate(_STANDARD_ALPHABET)
        try:
            return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except ValueError as error:
            raise ContentError(f"the base64 of a content block of type {self.block_type!r} is not valid") from error


Payload: TypeAlias = str | MediaRef | InlineMedia
"""What a content block contains: a text, a reference to stored media, or media."""


def read_block(block: Mapping[str, Any]) -> list[Payload]:
    """Return what a content block contains, in order.

    Reasoning and calls of tools are not part of what a message says: these blocks contain nothing.

    Raises:
        ContentError: an unknown form, an address of a remote file, or a block without content.
    """
    block_type = block.get("type")
    if block_type is None:
        for key, read in _BY_KEY.items():
            if block.get(key) is not None:
                return read(block[key], key)
    elif isinstance(block_type, str):
        if reader := _BY_TYPE.get(block_type):
            return reader(block, block_type)
        if block_type in _SILENT or block_type.endswith("_tool_result"):
            return []
    known = ", ".join(sorted(_BY_TYPE))
    keys = f" with the keys {', '.join(map(str, block))[:80]!r}" if block_type is None else ""
    raise ContentError(f"cannot embed a content block of type {block_type!r}{keys}. Supported types: {known}")


def _langchain(block: Mapping[str, Any], block_type: str) -> list[Payload]:
    """Read `base64`, `url` or `file_id`, or `source_type` with `data`, `url` or `text`, as versions before 1 wrote."""
    source = block.get("source")
    if isinstance(source, Mapping):
        return _anthropic_source(source, block_type)
    if isinstance(block.get("file"), Mapping):
        return _langchain(block["file"], block_type)
    if block.get("source_type") == "text":
        return _texts(block.get("text") or block.get("url"), block_type)
    if encoded := block.get("base64") or block.get("data") or block.get("file_data"):
        return [_encoded(encoded, block.get("mime_type"), block_type)]
    if url := block.get("url") or block.get("image_url") or block.get("file_url"):
        return [_url(url, block_type)]
    if block.get("file_id") or block.get("source_type") == "id":
        raise _file_id(block_type)
    if block_type == "text-plain":
        return _texts(block.get("text"), block_type)
    raise ContentError(f"a content block of type {block_type!r} carries neither base64 nor a reference")


def _anthropic_source(source: Mapping[str, Any], block_type: str) -> list[Payload]:
    """Read the `source` of an Anthropic image or document."""
    form = source.get("type")
    if form == "base64":
        return [_encoded(source.get("data"), source.get("media_type"), block_type)]
    if form == "text":
        return _texts(source.get("data"), block_type)
    if form == "url":
        return [_url(source.get("url"), block_type)]
    if form == "content":
        return _nested(source.get("content"), block_type)
    if form == "file":
        raise _file_id(block_type)
    raise ContentError(f"a content block of type {block_type!r} has a source of type {form!r}, which is unknown")


def _text(key: str) -> Callable[[Mapping[str, Any], str], list[Payload]]:
    return lambda block, block_type: _texts(block.get(key), block_type)


def _address(key: str) -> Callable[[Mapping[str, Any], str], list[Payload]]:
    def read(block: Mapping[str, Any], block_type: str) -> list[Payload]:
        inner = block.get(key)
        if inner is None and block.get("file_id"):
            raise _file_id(block_type)
        return [_url(inner.get("url") if isinstance(inner, Mapping) else inner, block_type)]

    return read


def _input_audio(block: Mapping[str, Any], block_type: str) -> list[Payload]:
    inner = block.get("input_audio")
    if not isinstance(inner, Mapping):
        raise ContentError(f"a content block of type {block_type!r} carries no 'input_audio' mapping")
    return [_encoded(inner.get("data"), f"audio/{inner.get('format', 'wav')}", block_type)]


def _generated_image(block: Mapping[str, Any], block_type: str) -> list[Payload]:
    result = block.get("result")
    return [_encoded(result, f"image/{block.get('output_format', 'png')}", block_type)] if result else []


def _google_media(block: Mapping[str, Any], block_type: str) -> list[Payload]:
    """Read `data` or `file_uri`, the form of `langchain-google-genai`."""
    return _google_file(block, block_type) if block.get("file_uri") else _google_blob(block, block_type)


def _google_blob(blob: Mapping[str, Any], block_type: str) -> list[Payload]:
    """Read a `Blob` of the service: bytes or base64, with snake case or camel case keys."""
    if not isinstance(blob, Mapping):
        raise ContentError(f"a content block with {block_type!r} must hold a mapping there")
    data, mime_type = blob.get("data"), blob.get("mime_type") or blob.get("mimeType")
    if isinstance(data, bytes):
        return [InlineMedia(data, mime_type, block_type)]
    return [_encoded(data, mime_type, block_type)]


def _google_file(_: object, block_type: str) -> list[Payload]:
    raise ContentError(
        f"a content block of type {block_type!r} names a file by address; give google.genai.types.Part.from_uri()"
    )


def _bedrock(inner: object, block_type: str) -> list[Payload]:
    """Read `{"format": ..., "source": {"bytes": ...}}` of Bedrock Converse."""
    source = inner.get("source") if isinstance(inner, Mapping) else None
    if not isinstance(source, Mapping) or not isinstance(inner, Mapping):
        raise ContentError(f"a content block with {block_type!r} has no source")
    data = source.get("bytes")
    if isinstance(data, bytes):
        return [InlineMedia(data, None, block_type)]
    if data is not None:
        return [_encoded(data, None, block_type)]
    if "text" in source or "content" in source:
        return _nested(source.get("text") or source.get("content"), block_type)
    raise _file_id(block_type)


def _nested(content: object, block_type: str) -> list[Payload]:
    """Read a text or a list of texts and blocks."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, Iterable) or isinstance(content, Mapping | bytes):
        raise ContentError(f"a content block of type {block_type!r} has no list of content")
    payloads: list[Payload] = []
    for item in content:
        if isinstance(item, Mapping):
            payloads += read_block(item)
        else:
            payloads += _texts(item, block_type)
    return payloads


def _wrapped(block: Mapping[str, Any], block_type: str) -> list[Payload]:
    """Read the block of another provider that LangChain has wrapped."""
    value = block.get("value")
    if not isinstance(value, Mapping):
        raise ContentError(f"a content block of type {block_type!r} has no block as its value")
    return read_block(value)


def _texts(text: object, block_type: str) -> list[Payload]:
    if not isinstance(text, str):
        raise ContentError(f"a content block of type {block_type!r} has no text, got {type(text).__name__}")
    return [text]


def _url(url: object, block_type: str) -> MediaRef | InlineMedia:
    if not isinstance(url, str):
        raise ContentError(f"the url of a content block of type {block_type!r} must be a str, got {type(url).__name__}")
    if url.startswith(SCHEME):
        return MediaRef.parse(url)
    if _is_data_url(url):
        return _data_url(url, block_type)
    scheme = url.partition(":")[0][:12]
    raise ContentError(
        f"a content block of type {block_type!r} points to a remote or local address ({scheme}:…), which is never "
        "fetched. Give a reference from MediaStore.put_url or MediaStore.put_file, or the bytes as base64"
    )


def _is_data_url(text: str) -> bool:
    return text[:5].lower() == "data:"


def _data_url(url: str, block_type: str) -> InlineMedia:
    """Parse a data: URL (RFC 2397): upper or lower case, base64 or percent-encoded."""
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise ContentError(f"the data: URL of a content block of type {block_type!r} has no data")
    declared, _, encoding = head.rpartition(";")
    if encoding.strip().lower() == "base64":
        return InlineMedia(unquote(body) if "%" in body else body, declared or None, block_type)
    return InlineMedia(unquote_to_bytes(body), head or "text/plain", block_type)


def _encoded(encoded: object, mime_type: object, block_type: str) -> InlineMedia:
    if isinstance(encoded, bytes | bytearray):
        raise ContentError(
            f"a content block of type {block_type!r} carries raw bytes; its payload must be a base64 str"
        )
    if not isinstance(encoded, str) or not encoded:
        raise ContentError(f"a content block of type {block_type!r} carries no base64 payload")
    if _is_data_url(encoded):
        return _data_url(encoded, block_type)
    return InlineMedia(encoded, mime_type if isinstance(mime_type, str) else None, block_type)


def _file_id(block_type: str) -> ContentError:
    return ContentError(
        f"a content block of type {block_type!r} names a provider's file id, which has no bytes here; give base64, or "
        "google.genai.types.Part.from_uri() for a file that Gemini has already"
    )


_STANDARD_ALPHABET = str.maketrans("-_", "+/")
_BY_TYPE: Mapping[str, Callable[[Mapping[str, Any], str], list[Payload]]] = {
    **dict.fromkeys(("image", "audio", "video", "file", "document", "text-plain", "input_file"), _langchain),
    **dict.fromkeys(("text", "input_text", "output_text"), _text("text")),
    "refusal": _text("refusal"),
    **dict.fromkeys(("image_url", "input_image"), _address("image_url")),
    "audio_url": _address("audio_url"),
    "video_url": _address("video_url"),
    "input_audio": _input_audio,
    "image_generation_call": _generated_image,
    "media": _google_media,
    "file_data": _google_file,
    "search_result": lambda block, block_type: _nested(block.get("content"), block_type),
    "tool_result": lambda block, block_type: _nested(block.get("content") or [], block_type),
    "non_standard": _wrapped,
}
_BY_KEY: Mapping[str, Callable[[Any, str], list[Payload]]] = {
    "text": _texts,
    **dict.fromkeys(("inline_data", "inlineData"), _google_blob),
    **dict.fromkeys(("file_data", "fileData"), _google_file),
    **dict.fromkeys(("image", "document", "video", "audio"), _bedrock),
}
"""Blocks without a type: a `Part` of the Gemini API as JSON, and blocks of Bedrock Converse."""
_SAYING_NOTHING = """reasoning thinking redacted_thinking reasoning_content tool_call tool_call_chunk
invalid_tool_call tool_use input_json_delta server_tool_call server_tool_call_chunk server_tool_result server_tool_use
mcp_tool_use function_call function_call_output function_call_signature custom_tool_call web_search_call
file_search_call code_interpreter_call computer_call mcp_call mcp_list_tools mcp_approval_request tool_search_call
tool_search_output executable_code code_execution_result compaction"""
_SILENT = frozenset(_SAYING_NOTHING.split())
"""Types of blocks in messages of models that say nothing: reasoning, and calls of tools with what these returned."""
