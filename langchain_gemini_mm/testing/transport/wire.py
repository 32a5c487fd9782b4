"""Parsing of request bodies of the embedding endpoints, with the checks of the service.

Keys may be in camelCase or snake_case, and base64 in either alphabet; unknown fields are refused.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from langchain_gemini_mm.interfaces import Backend, Vector
from langchain_gemini_mm.testing.transport.exchange import Json, RefusedError

Verb: TypeAlias = Literal["embedContent", "batchEmbedContents", "predict", "countTokens"]

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_CONFIG = ("taskType", "title", "outputDimensionality", "autoTruncate", "documentOcr", "audioTrackExtraction")
_VERTEX_ONLY = ("documentOcr", "audioTrackExtraction")
_PART = ("text", "inlineData", "fileData", "videoMetadata", "mediaResolution", "thought", "partMetadata")


@dataclass(frozen=True, kw_only=True)
class SentPart:
    """One part of a content in a request: a text, inline bytes or the URI of a file."""

    text: str | None = None
    mime_type: str | None = None
    uri: str | None = None
    data: bytes | None = field(default=None, repr=False, compare=False)
    """Inline bytes; None in recorded requests beyond `Settings.keep_bytes`."""
    sha256: str | None = None
    size: int = 0
    """Size of the inline bytes."""
    video: Mapping[str, Any] | None = None
    """The field `videoMetadata`."""

    @property
    def empty(self) -> bool:
        """Whether the part has no content, or an empty text."""
        return not self.text and self.sha256 is None and self.uri is None


@dataclass(frozen=True, kw_only=True)
class SentItem:
    """A content to embed, with its options."""

    parts: tuple[SentPart, ...]
    model: str | None = None
    dimensions: int | None = None
    task_type: str | None = None
    title: str | None = None
    auto_truncate: bool = True
    document_ocr: bool = False
    """Vertex AI: whether the text of PDF pages is read."""
    audio_track_extraction: bool = False
    """Vertex AI: whether the audio of videos is embedded."""


@dataclass(frozen=True)
class Route:
    """The endpoint of a request."""

    backend: Backend
    model: str
    verb: Verb
    version: str = "v1beta"


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The vector of one item and its tokens."""

    values: Vector | None
    """`(d,)` float32; None for an embedding without values."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Tokens by modality name of the service."""
    truncated: bool = False
    """Whether text was truncated at the token limit."""


def parse_json(body: bytes) -> Json:
    """Parse a body as a JSON object.

    Raises:
        RefusedError: it is not a JSON object (400).
    """
    try:
        payload = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"Invalid JSON payload received. {error}") from None
    if not isinstance(payload, dict):
        raise RefusedError(400, "Invalid JSON payload received. The root must be an object.")
    return payload


def read_items(payload: Json, verb: Verb, backend: Backend) -> tuple[SentItem, ...]:
    """Parse the items to embed, in order.

    Args:
        payload: the body.
        verb: the method of the endpoint.
        backend: the service.

    Raises:
        RefusedError: the body is malformed (400).
    """
    if verb == "predict":
        return _read_instances(payload)
    if verb == "countTokens":
        return tuple(
            SentItem(parts=_read_parts(content, f"contents[{n}]"))
            for n, content in enumerate(_list(payload, "contents", ""))
        )
    if verb == "embedContent":
        return (_read_item(payload, "", backend),)
    _known(payload, ("requests", "model"), "")
    return tuple(
        _read_item(request, f"requests[{n}]", backend) for n, request in enumerate(_list(payload, "requests", ""))
    )


def pick(source: Mapping[str, Any], name: str) -> Any:
    """The value of a camelCase field, or of the same field in snake_case."""
    value = source.get(name)
    return source.get(_snake(name)) if value is None else value


def shorten_media(payload: Any) -> None:
    """Replace inline data in a parsed body by its size, in place."""
    for holder in _objects(payload):
        data = holder.get("data")
        if isinstance(data, str) and len(data) > 64 and ("mimeType" in holder or "mime_type" in holder):
            holder["data"] = f"<{len(data)} base64 characters>"


def _read_item(request: Any, where: str, backend: Backend) -> SentItem:
    source = _object(request, where)
    _known(source, ("model", "content", "embedContentConfig", *_CONFIG), where)
    config = dict(source)
    nested = pick(source, "embedContentConfig")
    if nested is not None:
        inner = _object(nested, _under(where, "embed_content_config"))
        _known(inner, (*_CONFIG, "mimeType"), _under(where, "embed_content_config"))
        config.update(inner)
    content = pick(source, "content")
    for option in _VERTEX_ONLY:
        if backend == "gemini" and pick(config, option) is not None:
            raise RefusedError(400, f"{option} is not supported by the Gemini API.")
    if content is None:
        raise RefusedError(400, f"* {_message(where, backend)}content: content is required\n")
    dimensions = pick(config, "outputDimensionality")
    if dimensions is not None and (isinstance(dimensions, bool) or not isinstance(dimensions, int)):
        raise _bad_value(_under(where, "output_dimensionality"), "TYPE_INT32", dimensions)
    return SentItem(
        parts=_read_parts(content, _under(where, "content")),
        model=pick(source, "model"),
        dimensions=dimensions,
        task_type=pick(config, "taskType"),
        title=pick(config, "title"),
        auto_truncate=pick(config, "autoTruncate") is not False,
        document_ocr=pick(config, "documentOcr") is True,
        audio_track_extraction=pick(config, "audioTrackExtraction") is True,
    )


def _read_parts(content: Any, where: str) -> tuple[SentPart, ...]:
    source = _object(content, where)
    _known(source, ("parts", "role"), where)
    parts = pick(source, "parts")
    listed = parts if isinstance(parts, list) else [] if parts is None else [parts]
    return tuple(_read_part(part, f"{where}.parts[{n}]") for n, part in enumerate(listed))


def _read_part(part: Any, where: str) -> SentPart:
    source = _object(part, where)
    if len(source) == 1 and type(text := source.get("text")) is str:
        return SentPart(text=text)
    _known(source, _PART, where)
    text = source.get("text")
    if text is not None and not isinstance(text, str):
        raise _bad_value(f"{where}.text", "TYPE_STRING", text)
    video = pick(source, "videoMetadata")
    inline, file = pick(source, "inlineData"), pick(source, "fileData")
    if inline is not None:
        blob = _object(inline, f"{where}.inline_data")
        _known(blob, ("data", "mimeType", "displayName"), f"{where}.inline_data")
        data = _decode(blob.get("data") or "", f"{where}.inline_data.data")
        return SentPart(
            mime_type=pick(blob, "mimeType"),
            data=data,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            video=video,
        )
    if file is not None:
        named = _object(file, f"{where}.file_data")
        _known(named, ("fileUri", "mimeType", "displayName"), f"{where}.file_data")
        return SentPart(mime_type=pick(named, "mimeType"), uri=pick(named, "fileUri"), video=video)
    return SentPart(text=text, video=video)


def _read_instances(payload: Json) -> tuple[SentItem, ...]:
    parameters = payload.get("parameters") or {}
    items = []
    for n, instance in enumerate(_list(payload, "instances", "")):
        source = _object(instance, f"instances[{n}]")
        items.append(
            SentItem(
                parts=(SentPart(text=str(source.get("content") or "")),),
                dimensions=pick(parameters, "outputDimensionality"),
                task_type=pick(source, "taskType"),
                title=source.get("title"),
                auto_truncate=pick(parameters, "autoTruncate") is not False,
            )
        )
    return tuple(items)


def _decode(data: Any, where: str) -> bytes:
    if not isinstance(data, str):
        raise _bad_value(where, "TYPE_BYTES", type(data).__name__)
    try:
        raw = data.encode("ascii").translate(_URL_SAFE)
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        message = f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for \"{data[:40]}\""
        raise RefusedError(400, message) from None


def _known(source: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for key in source:
        if key not in names and not any(key == _snake(name) for name in names):
            place = f" at '{where}'" if where else ""
            raise RefusedError(400, f'Invalid JSON payload received. Unknown name "{key}"{place}: Cannot find field.')


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _bad_value(where, "an object", value)
    return value


def _list(payload: Json, name: str, where: str) -> list[Any]:
    value = pick(payload, name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _bad_value(_under(where, name), "a list", value)
    return value


def _bad_value(where: str, kind: str, value: object) -> RefusedError:
    return RefusedError(400, f"Invalid value at '{where}' ({kind}), {str(value)[:60]!r}")


def _message(where: str, backend: Backend) -> str:
    inside = f"{where}." if where else ""
    return "EmbedContentRequest." if not where or backend == "vertex" else f"BatchEmbedContentsRequest.{inside}"


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _snake(name: str) -> str:
    return _SNAKE.get(name, name)


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


_SNAKE = {
    name: "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
    for name in (
        *_CONFIG, *_PART, "embedContentConfig", "mimeType", "displayName", "fileUri", "generateContentRequest"
    )
}  # fmt: skip
