"""LangChain content blocks, the v1 form and the older ones still in use, read into one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import SCHEME, MediaRef

MEDIA_TYPES = ("image", "audio", "video", "file")
"""Block types that carry media in the v1 form."""


@dataclass(frozen=True, slots=True)
class Base64Payload:
    """Media inside a block."""

    base64: str = field(repr=False)
    mime_type: str | None
    kind: str


def block_payload(block: Mapping[str, Any]) -> str | MediaRef | Base64Payload:
    """Tell what a content block carries: a text, a media reference, or bytes as base64.

    Raises:
        ContentError: an unknown type, a remote URL, or nothing inside.
    """
    kind = block.get("type")
    if kind in ("text", "text-plain") and isinstance(block.get("text"), str):
        return str(block["text"])
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise ContentError(
            f"cannot embed a content block of type {kind!r}. Types that carry content: text, text-plain, "
            f"{', '.join(sorted(set(_READERS) - {'text-plain'}))}"
        )
    return read(block)


def _v1(block: Mapping[str, Any]) -> str | MediaRef | Base64Payload:
    """Read `base64`/`url`/`file_id`, and `source_type` with `data`/`url`/`text` before them."""
    kind = block["type"]
    mime_type = block.get("mime_type")
    if block.get("source_type") == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    if isinstance(block.get("file"), Mapping):
        return _openai_file(block["file"], kind)
    encoded = block.get("base64") or block.get("data")
    if encoded:
        return _encoded(encoded, mime_type, kind)
    if block.get("url"):
        return _url(block["url"], kind)
    if block.get("file_id") or block.get("source_type") == "id":
        raise ContentError(
            f"a content block of type {kind!r} names a provider's file id, which has no bytes here; give base64, or "
            "google.genai.types.Part.from_uri() for a file Gemini already holds"
        )
    raise ContentError(f"a content block of type {kind!r} carries neither base64 nor a reference")


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


def _openai_file(inner: Mapping[str, Any], kind: str) -> MediaRef | Base64Payload:
    encoded = inner.get("file_data")
    if not encoded:
        raise ContentError(f"a content block of type {kind!r} names a provider's file id, which has no bytes here")
    return _url(encoded, kind) if str(encoded).startswith("data:") else _encoded(encoded, None, kind)


def _url(url: object, kind: str) -> MediaRef | Base64Payload:
    if not isinstance(url, str):
        raise ContentError(f"the url of a content block of type {kind!r} must be a str, got {type(url).__name__}")
    if url.startswith(SCHEME):
        return MediaRef.parse(url)
    if url.startswith("data:"):
        head, comma, encoded = url.partition(",")
        if not comma or not head.endswith(";base64"):
            raise ContentError(f"the data: URI of a content block of type {kind!r} is not base64")
        return _encoded(encoded, head.removeprefix("data:").partition(";")[0] or None, kind)
    scheme = url.partition(":")[0][:12]
    raise ContentError(
        f"a content block of type {kind!r} points to a remote or local address ({scheme}:…), which is never fetched. "
        "Download it yourself and give its bytes, or a reference from MediaStore.put"
    )


def _encoded(encoded: object, mime_type: object, kind: str) -> Base64Payload:
    if isinstance(encoded, bytes | bytearray):
        raise ContentError(f"a content block of type {kind!r} carries raw bytes; its payload must be a base64 str")
    if not isinstance(encoded, str) or not encoded:
        raise ContentError(f"a content block of type {kind!r} carries no base64 payload")
    return Base64Payload(encoded, mime_type if isinstance(mime_type, str) else None, kind)


_READERS = {
    **dict.fromkeys((*MEDIA_TYPES, "text-plain"), _v1),
    "image_url": _image_url,
    "input_audio": _input_audio,
    "media": _google_media,
}
