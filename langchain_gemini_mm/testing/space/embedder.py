"""Embedding of the items of a request: load, check, count tokens, truncate text, and compute vectors."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from langchain_gemini_mm.content.mime_types import canonical_mime_type, modality_of
from langchain_gemini_mm.errors import MissingExtraError
from langchain_gemini_mm.interfaces import Vector
from langchain_gemini_mm.models import MODELS, ModelSpec, cut_text, text_tokens
from langchain_gemini_mm.testing import answers
from langchain_gemini_mm.testing.limits import Loaded, check_item, check_media, supported, tokens_of
from langchain_gemini_mm.testing.space.concepts import meaning_of
from langchain_gemini_mm.testing.space.describe_media import Prober, UnreadableMediaError
from langchain_gemini_mm.testing.space.directions import Piece, content_vector
from langchain_gemini_mm.testing.transport.exchange import RefusedError
from langchain_gemini_mm.testing.transport.wire import Embedded, Route, SentItem, SentPart

if TYPE_CHECKING:
    from langchain_gemini_mm.testing.files import UploadedFiles
    from langchain_gemini_mm.testing.settings import Settings

_CACHED_VECTORS = 2048
_TASKS = {
    "RETRIEVAL_QUERY": "search result",
    "RETRIEVAL_DOCUMENT": "document",
    "QUESTION_ANSWERING": "question answering",
    "FACT_VERIFICATION": "fact checking",
    "CODE_RETRIEVAL_QUERY": "code retrieval",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "SEMANTIC_SIMILARITY": "sentence similarity",
    "TASK_TYPE_UNSPECIFIED": "",
}


class Embedder:
    """Embeds the items of a request, all or none."""

    def __init__(self, settings: Settings, uploads: UploadedFiles, objects: Mapping[str, tuple[bytes, str]]) -> None:
        self._settings = settings
        self._uploads = uploads
        self._objects = objects
        self._probe = Prober()
        self._vectors: OrderedDict[object, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, items: Sequence[SentItem], route: Route) -> list[Embedded]:
        """Embed items, in order.

        Raises:
            RefusedError: an item is invalid.
        """
        spec = _spec(route)
        for item in items:
            if item.model and item.model.rsplit("/", 1)[-1] != route.model:
                raise RefusedError(400, f"* EmbedContentRequest.model: {item.model} is not the model of the request\n")
            check_item(item, spec)
        contents = [self._load_item(item, spec, route) for item in items]
        refused = [any(_refused(part, spec, route) for part in content) for content in contents]
        taken = [content for content, unsupported in zip(contents, refused, strict=True) if not unsupported]
        check_media(taken, spec, route.backend, self._settings.images_per)
        return [
            Embedded(values=None) if unsupported else self._embed(item, content, spec, route)
            for item, content, unsupported in zip(items, contents, refused, strict=True)
        ]

    def load(self, items: Sequence[SentItem], route: Route) -> dict[str, int]:
        """Count the tokens of all items together, by modality."""
        spec = _spec(route)
        total: dict[str, int] = {}
        for item in items:
            for name, count in tokens_of(self._load_item(item, spec, route), route.backend).items():
                total[name] = total.get(name, 0) + count
        return total

    def _load_item(self, item: SentItem, spec: ModelSpec, route: Route) -> list[Loaded]:
        loaded = [self._load_part(part, spec, route) for part in item.parts]
        if not (item.document_ocr or item.audio_track_extraction):
            return loaded
        read, heard = item.document_ocr, item.audio_track_extraction
        return [
            dataclasses.replace(part, read=read and part.modality == "pdf", heard=heard and part.modality == "video")
            for part in loaded
        ]

    def _load_part(self, part: SentPart, spec: ModelSpec, route: Route) -> Loaded:
        if part.text is not None:
            return Loaded(part, "text")
        part, data = self._fetch(part, route)
        declared = canonical_mime_type(part.mime_type or "")
        modality = modality_of(declared)
        if modality in (None, "text"):
            unsupported = Loaded(part, modality or "text", declared)
            self._refuse_unless_lenient(unsupported)
            return unsupported
        loaded = Loaded(part, modality, declared)
        if not supported(loaded, spec, route.backend):
            self._refuse_unless_lenient(loaded)
            return loaded
        try:
            probe = self._probe(data, part.sha256 or "")
        except UnreadableMediaError as error:
            raise RefusedError(400, f"Unable to process input {modality}. ({error})") from None
        except MissingExtraError as error:
            raise RefusedError(501, str(error)) from None
        if probe.modality != modality:
            raise RefusedError(
                400, f"Unable to process input {modality}. (declared {declared}, found {probe.mime_type})"
            )
        return dataclasses.replace(loaded, probe=probe)

    def _fetch(self, part: SentPart, route: Route) -> tuple[SentPart, bytes]:
        """The bytes of a part: inline, uploaded, or stored by `add_object`."""
        if part.uri is None:
            return part, part.data or b""
        if part.uri in self._objects:
            data, mime_type = self._objects[part.uri]
            digest = hashlib.sha256(data).hexdigest()
        elif route.backend == "gemini":
            file = self._uploads.resolve(part.uri)
            data, mime_type, digest = file.data, file.mime_type, file.sha256
        else:
            raise RefusedError(400, f"Cannot fetch content from the provided URL: {part.uri[:200]}")
        return dataclasses.replace(part, mime_type=part.mime_type or mime_type, sha256=digest), data

    def _refuse_unless_lenient(self, loaded: Loaded) -> None:
        if self._settings.unsupported_mime == "error":
            raise RefusedError(400, f"Unsupported MIME type: {loaded.declared or 'none given'}")

    def _embed(self, item: SentItem, content: Sequence[Loaded], spec: ModelSpec, route: Route) -> Embedded:
        tokens = tokens_of(content, route.backend)
        excess = sum(tokens.values()) - spec.tokens
        if excess > 0:
            if not item.auto_truncate or (route.backend == "gemini" and self._settings.long_text == "error"):
                message = f"The input holds {spec.tokens + excess} tokens; the model takes at most {spec.tokens}."
                raise RefusedError(400, message)
            content = _shorten(content, excess)
            tokens = tokens_of(content, route.backend)
        task = None if spec.task_style == "prefix" else _task(item.task_type)
        vector = self._vector(_space(spec), content, task)
        return Embedded(values=_cut(vector, item.dimensions, spec), tokens=tokens, truncated=excess > 0)

    def _vector(self, space: str, content: Sequence[Loaded], task: str | None) -> Vector:
        pieces = _pieces(content)
        gap = self._settings.modality_gap
        key = (space, task, gap, tuple((piece.modality, piece.digest) for piece in pieces))
        with self._lock:
            if key in self._vectors:
                self._vectors.move_to_end(key)
                return self._vectors[key]
        vector = content_vector(space, pieces, modality_gap=gap, task=task)
        with self._lock:
            self._vectors[key] = vector
            if len(self._vectors) > _CACHED_VECTORS:
                self._vectors.popitem(last=False)
        return vector


def _pieces(content: Sequence[Loaded]) -> list[Piece]:
    """The parts for the embedding space; adjacent texts are joined."""
    pieces: list[Piece] = []
    texts: list[str] = []
    for loaded in content:
        if loaded.probe is None:
            texts.append(loaded.part.text or "")
            continue
        if texts:
            pieces.append(_text_piece("\n".join(texts)))
            texts = []
        pieces.append(
            Piece(
                modality=loaded.modality,
                meaning=loaded.probe.meaning,
                digest=bytes.fromhex(loaded.part.sha256 or ""),
            )
        )
    if texts:
        pieces.append(_text_piece("\n".join(texts)))
    return pieces


def _text_piece(text: str) -> Piece:
    return Piece(modality="text", meaning=meaning_of(text), digest=hashlib.sha256(text.encode()).digest())


def _refused(loaded: Loaded, spec: ModelSpec, route: Route) -> bool:
    return loaded.part.text is None and not supported(loaded, spec, route.backend)


def _shorten(content: Sequence[Loaded], excess: int) -> list[Loaded]:
    """Remove `excess` tokens of text from the end."""
    kept: list[Loaded] = []
    for loaded in reversed(content):
        text = loaded.part.text
        if text is None or excess <= 0:
            kept.append(loaded)
            continue
        tokens = text_tokens(text)
        shorter = cut_text(text, max(1, tokens - excess))
        excess -= tokens - text_tokens(shorter)
        kept.append(dataclasses.replace(loaded, part=dataclasses.replace(loaded.part, text=shorter)))
    return kept[::-1]


def _cut(vector: Vector, dimensions: int | None, spec: ModelSpec) -> Vector:
    """The first values of a vector; `gemini-embedding-2` normalizes them again, `gemini-embedding-001` does not."""
    if dimensions is None or dimensions == len(vector):
        return vector
    head = vector[:dimensions]
    if spec.task_style == "field":
        return head
    wide = head.astype(np.float64)
    return np.asarray(wide / np.sqrt(np.sum(wide * wide)), dtype=np.float32)


def _spec(route: Route) -> ModelSpec:
    spec = MODELS.get(route.model)
    if spec is None:
        raise answers.unknown_model(route)
    return spec


def _space(spec: ModelSpec) -> str:
    """The embedding space of a model; a preview has that of its successor."""
    return spec.successor or spec.name


def _task(task_type: str | None) -> str | None:
    if task_type is None:
        return None
    if task_type not in _TASKS:
        raise RefusedError(400, f"Invalid value at 'task_type' (TYPE_ENUM), \"{task_type[:60]}\"")
    return _TASKS[task_type] or None
