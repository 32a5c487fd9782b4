"""One embedding request: its contents, its path and its body, as the SDK would send them.

The body is built here because the SDK validates every part, which takes longer than all the rest of a request.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.interfaces import Backend, Vectors

if TYPE_CHECKING:
    from langchain_gemini_mm.embeddings.service.uploads import Upload


@dataclass(frozen=True, kw_only=True)
class EmbedCall:
    """One request."""

    model: str
    contents: Sequence[Sequence[Mapping[str, Any]]] = field(repr=False)
    """The parts of each content, in the SDK's plain form."""
    positions: tuple[int, ...]
    """Positions of the inputs, one for each content."""
    dimensions: int
    task_type: str | None = None
    title: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """Further fields of the request."""
    text_only: bool = False
    """Whether the model takes text only; Vertex AI serves these models with another method."""
    uploads: tuple[Upload, ...] = ()
    """Uploaded files that the contents name."""

    @property
    def config(self) -> dict[str, Any]:
        """The SDK's `config`."""
        named = {"task_type": self.task_type, "title": self.title, "output_dimensionality": self.dimensions}
        return {**{name: value for name, value in named.items() if value is not None}, **self.options}

    def single(self, index: int) -> EmbedCall:
        """The request for one of the contents."""
        return replace(self, contents=self.contents[index : index + 1], positions=(self.positions[index],))


@dataclass(frozen=True)
class Answer:
    """The validated response to a request."""

    vectors: Vectors = field(repr=False)
    """`(n, d)` float32, unit rows, in the order of the contents."""
    reported_tokens: int
    """Tokens that the service counted; 0 where it does not say."""
    truncated: tuple[int, ...] = ()
    """Positions of the inputs of which the service read only the beginning."""


def request_path(call: EmbedCall, backend: Backend) -> str:
    """Resource and method, as in `models/gemini-embedding-2:batchEmbedContents`."""
    if backend == "gemini":
        known = call.model.startswith(("models/", "tunedModels/"))
        return f"{call.model if known else f'models/{call.model}'}:batchEmbedContents"
    resource = call.model
    if not resource.startswith(("projects/", "models/", "publishers/")):
        publisher, _, name = resource.rpartition("/")
        resource = f"publishers/{publisher or 'google'}/models/{name}"
    method = "predict" if call.text_only else "batchEmbedContents" if len(call.contents) > 1 else "embedContent"
    return f"{resource}:{method}"


def request_body(call: EmbedCall, backend: Backend) -> dict[str, Any]:
    """The body as JSON values, for the path of `request_path`."""
    return _body(call, backend, lambda data: base64.urlsafe_b64encode(data).decode("ascii"))


def encoded_body(call: EmbedCall, backend: Backend) -> bytes:
    """The body as bytes; inline media are copied once besides base64."""
    mark, media = secrets.token_hex(16), list[bytes]()

    def keep(data: bytes) -> str:
        media.append(base64.urlsafe_b64encode(data))
        return mark

    pieces = json.dumps(_body(call, backend, keep)).encode("ascii").split(mark.encode("ascii"))
    joined = [piece for pair in zip(pieces, [*media, b""], strict=True) for piece in pair]
    return b"".join(joined)


def _body(call: EmbedCall, backend: Backend, encode: Callable[[bytes], str]) -> dict[str, Any]:
    config = {_CAMEL.get(name, name): value for name, value in call.config.items()}
    if backend == "vertex" and call.text_only:
        return _instances(call, config)
    contents = [{"parts": [_part(part, encode) for part in parts], "role": "user"} for parts in call.contents]
    if backend == "gemini":
        model = request_path(call, backend).rpartition(":")[0]
        return {"requests": [{"content": content, **config, "model": model} for content in contents]}
    each = [{"content": content, "embedContentConfig": config} for content in contents]
    return each[0] if len(each) == 1 else {"requests": each}


def _instances(call: EmbedCall, config: Mapping[str, Any]) -> dict[str, Any]:
    shared = {name: config[camel] for name, camel in (("task_type", "taskType"), ("title", "title")) if camel in config}
    instances = [{"content": "\n".join(part["text"] for part in parts), **shared} for parts in call.contents]
    parameters = {name: value for name, value in config.items() if name not in ("taskType", "title")}
    return {"instances": instances, "parameters": parameters}


def _part(part: Mapping[str, Any], encode: Callable[[bytes], str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in part.items():
        sent = value
        if name == "inline_data":
            sent = {"data": encode(value["data"]), "mimeType": value["mime_type"]}
        elif name == "file_data":
            sent = {"fileUri": value["file_uri"], "mimeType": value["mime_type"]}
        fields[_CAMEL.get(name, name)] = sent
    return fields


_CAMEL = {
    "task_type": "taskType",
    "output_dimensionality": "outputDimensionality",
    "document_ocr": "documentOcr",
    "audio_track_extraction": "audioTrackExtraction",
    "auto_truncate": "autoTruncate",
    "inline_data": "inlineData",
    "file_data": "fileData",
    "video_metadata": "videoMetadata",
}
