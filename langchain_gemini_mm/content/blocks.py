"""Parsing of LangChain content blocks, of version 1 and of older formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import SCHEME, MediaRef

MEDIA_TYPES = ("image", "audio", "video", "file")
"""Types of version 1 content blocks that contain media."""


@dataclass(frozen=True, slots=True)
class Base64Payload:
    """Media inside a content block."""

    base64: str = field(repr=False)
    mime_type: str | None
    block_type: str


def block_payload(block: Mapping[str, Any]) -> str | MediaRef | Base64Payload:
    """Return what a content block contains: a text, a media reference, or media as base64.

    Raises:
        ContentError: an unknown type, a remote URL, or an empty block.
    """
    block_type = block.get("type")
    if block_type in ("text", "text-plain") and isinstance(block.get("text"), str):
        return str(block["text"])
    read = _READERS.get(block_type) if isinstance(block_type, str) else None
    if read is None:
        raise ContentError(
            f"cannot embed a content block of type {block_type!r}. Supported types: text, text-plain, "
            f"{', '.join(sorted(set(_READERS) - {'text-plain'}))}"
        )
    return read(block)


def _v1(block: Mapping[str, Any]) -> str | MediaRef | Base64Payload:
    """Read `base64`/`url`/`file_id`, and `source_type` with `data`/`url`/`text` before them."""
    block_type = block["type"]
    mime_type = block.get("mime_type")
    if block.get("source_type") == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    if isinstance(block.get("file"), Mapping):
        return _openai_file(block["file"], block_type)
    encoded = block.get("base64") or block.get("data")
    if encoded:
        return _encoded(encoded, mime_type, block_type)
    if block.get("url"):
        return _url(block["url"], block_type)
    if block.get("file_id") or block.get("source_type") == "id":
        raise ContentError(
            f"a content block of type {block_type!r} names a provider's file id, which has no bytes here; give base64, "
            "or google.genai.types.Part.from_uri() for a file that Gemini has already"
        )
    raise ContentError(f"a content block of type {block_type!r} carries neither base64 nor a reference")


def _image_url(block: Mapping[str, Any]) -> str | MediaRef | Base64Payload:
    inner = block.get("image_url")
    return _url(inner.get("url") if isinstance(inner, Mapping) else inner, "image_url")


def _input_audio(block: Mapping[str, Any]) -> Base64Payload:
    inner = block.get("input_audio")
    if not isinstance(inner, Mapping):
        raise ContentError("a content block of type 'input_audio' carries no 'input_audio' mapping")
    return _encoded(inner.get("data"), f"audio/{inner.get('format', 'wav')}", "input_audio")


def _google_media(block: Mapping[str, Any]) -> Base64Payload:
    if block.get("file_uri"):
        raise ContentError(
            "a content block of type 'media' names a file by address; give google.genai.types.Part.from_uri() instead"
        )
    return _encoded(block.get("data"), block.get("mime_type"), "media")


def _openai_file(inner: Mapping[str, Any], block_type: str) -> MediaRef | Base64Payload:
    encoded = inner.get("file_data")
    if not encoded:
        raise ContentError(
            f"a content block of type {block_type!r} names a provider's file id, which has no bytes here"
        )
    return _url(encoded, block_type) if str(encoded).startswith("data:") else _encoded(encoded, None, block_type)


def _url(url: object, block_type: str) -> MediaRef | Base64Payload:
    if not isinstance(url, str):
        raise ContentError(f"the url of a content block of type {block_type!r} must be a str, got {type(url).__name__}")
    if url.startswith(SCHEME):
        return MediaRef.parse(url)
    if url.startswith("data:"):
        head, comma, encoded = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ContentError(f"the data: URI of a content block of type {block_type!r} is not base64")
        return _encoded(encoded, head.removeprefix("data:").partition(";")[0] or None, block_type)
    scheme = url.partition(":")[0][:12]
    raise ContentError(
        f"a content block of type {block_type!r} points to a remote or local address ({scheme}:…), which is never "
        "fetched. Download it yourself and give its bytes, or a reference from MediaStore.put"
    )


def _encoded(encoded: object, mime_type: object, block_type: str) -> Base64Payload:
    if isinstance(encoded, bytes | bytearray):
        raise ContentError(
            f"a content block of type {block_type!r} carries raw bytes; its payload must be a base64 str"
        )
    if not isinstance(encoded, str) or not encoded:
        raise ContentError(f"a content block of type {block_type!r} carries no base64 payload")
    return Base64Payload(encoded, mime_type if isinstance(mime_type, str) else None, block_type)


_READERS = {
    **dict.fromkeys((*MEDIA_TYPES, "text-plain"), _v1),
    "image_url": _image_url,
    "input_audio": _input_audio,
    "media": _google_media,
}
