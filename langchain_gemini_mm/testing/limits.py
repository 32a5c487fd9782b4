"""Limits of the service and its token counts; `SOURCES` lists where each rule was read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.models import (
    AUDIO_TOKENS_PER_SECOND,
    CHARACTERS_PER_TOKEN,
    GEMINI_DOCS,
    GEMINI_VIDEO_FRAMES,
    IMAGE_TOKENS,
    ITEMS_PER_CALL,
    TIMESTAMP_TOKENS_PER_SECOND,
    VERTEX_DOCS,
    VERTEX_HEARD_SECONDS,
    VERTEX_TEXT_DOCS,
    VERTEX_VIDEO_FPS,
    VERTEX_VIDEO_FRAMES,
    VIDEO_FRAME_TOKENS,
    MediaLimit,
    ModelSpec,
    text_tokens,
)
from langchain_gemini_mm.testing.space.describe_media import Probe
from langchain_gemini_mm.testing.transport.exchange import RefusedError
from langchain_gemini_mm.testing.transport.wire import SentItem, SentPart, Verb

SOURCES = {
    "items per call": "https://github.com/vercel/ai/issues/16101, https://github.com/weaviate/weaviate/pull/11277",
    "instances per predict": VERTEX_TEXT_DOCS,
    "empty part": "https://github.com/lingfengQAQ/webnovel-writer/issues/49",
    "media types, images, seconds, pages": f"{GEMINI_DOCS}; {VERTEX_DOCS}",
    "one content per Vertex embedContent": VERTEX_DOCS,
    "token rates": VERTEX_DOCS,
    "frames per second, audio of videos, text of PDFs": VERTEX_DOCS,
    "output size 1 to 3072": f"{GEMINI_DOCS}; below 128 is documented, not enforced: "
    "https://github.com/google-gemini/cookbook/blob/main/quickstarts/Embeddings.ipynb",
}
"""URLs by rule."""

_PREDICT_INSTANCES = 250
# A clip that is cut at the limit may be a codec frame longer; the documentation has whole seconds.
_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Loaded:
    """A part with the facts about its media."""

    part: SentPart
    modality: Modality
    declared: str | None = None
    """The MIME type in the request."""
    probe: Probe | None = None
    """None for text."""
    read: bool = False
    """Whether the text of a PDF is read (`documentOcr`)."""
    heard: bool = False
    """Whether the audio of a video is embedded (`audioTrackExtraction`)."""

    @property
    def fps(self) -> float:
        """Frames per second of a video that are embedded."""
        return float((self.part.video or {}).get("fps") or 1.0)


def check_count(items: Sequence[SentItem], verb: Verb) -> None:
    """Check the number of items of a request."""
    if verb == "batchEmbedContents" and len(items) > ITEMS_PER_CALL:
        raise RefusedError(
            400, f"* BatchEmbedContentsRequest.requests: at most {ITEMS_PER_CALL} requests can be in one batch\n"
        )
    if verb == "predict" and len(items) > _PREDICT_INSTANCES:
        raise RefusedError(
            400,
            f"{len(items)} instance(s) is given, but the maximum number of instances is {_PREDICT_INSTANCES}.",
        )
    if not items and verb == "predict":
        raise RefusedError(400, "Empty instances.")
    if not items and verb == "batchEmbedContents":
        raise RefusedError(400, "* BatchEmbedContentsRequest.requests: at least one request is required\n")


def check_item(item: SentItem, spec: ModelSpec) -> None:
    """Check a content: parts, dimensions, and modalities of the model."""
    if not item.parts:
        raise RefusedError(400, "* EmbedContentRequest.content: content is required\n")
    if any(part.empty for part in item.parts):
        raise RefusedError(400, "* EmbedContentRequest.content contains an empty Part.\n")
    if item.dimensions is not None and not 1 <= item.dimensions <= spec.dimensions[1]:
        raise RefusedError(
            400, f"* EmbedContentRequest.output_dimensionality: {item.dimensions} is not within 1 and 3072\n"
        )
    if not spec.media and any(part.text is None for part in item.parts):
        raise RefusedError(400, f"Model {spec.name} takes text only; the request holds other media.")


def supported(loaded: Loaded, spec: ModelSpec, backend: Backend) -> bool:
    """Whether the model accepts the declared type of a part.

    Args:
        loaded: the part.
        spec: the model.
        backend: the service.
    """
    limit = spec.limit(loaded.modality, backend)
    return limit is not None and loaded.declared in limit.mime_types


def check_media(contents: Sequence[Sequence[Loaded]], spec: ModelSpec, backend: Backend, images_per: str) -> None:
    """Check numbers, durations and pages of media.

    Args:
        contents: the parts of each content.
        spec: the model.
        backend: the service.
        images_per: `"content"` or `"call"`: what the limit of images applies to.
    """
    pooled = [part for content in contents for part in content]
    for content in [pooled] if images_per == "call" else contents:
        _check_number(content, "image", spec, backend)
    for content in contents:
        for modality in ("video", "pdf", "audio"):
            _check_number(content, modality, spec, backend)
        for loaded in content:
            _check_extent(loaded, spec, backend)


def tokens_of(content: Sequence[Loaded], backend: Backend) -> dict[str, int]:
    """Count the tokens of a content, by the modality names of the service."""
    counted: dict[str, int] = {}
    for loaded in content:
        for name, tokens in [(_TOKEN_NAMES[loaded.modality], _tokens(loaded, backend)), *_extra_tokens(loaded)]:
            counted[name] = counted.get(name, 0) + tokens
    return counted


def _tokens(loaded: Loaded, backend: Backend) -> int:
    probe = loaded.probe
    if probe is None:
        return text_tokens(loaded.part.text or "")
    if probe.modality == "image":
        return IMAGE_TOKENS
    if probe.modality == "pdf":
        return IMAGE_TOKENS * probe.pages
    if probe.modality == "audio":
        return math.ceil(AUDIO_TOKENS_PER_SECOND * probe.seconds)
    frames = max(1, math.ceil(probe.seconds * loaded.fps))
    most = GEMINI_VIDEO_FRAMES if backend == "gemini" else VERTEX_VIDEO_FRAMES
    return VIDEO_FRAME_TOKENS * min(frames, most)


def _extra_tokens(loaded: Loaded) -> list[tuple[str, int]]:
    probe = loaded.probe
    if probe is not None and loaded.heard and probe.has_audio:
        seconds = math.ceil(probe.seconds)
        return [("AUDIO", AUDIO_TOKENS_PER_SECOND * seconds), ("TEXT", TIMESTAMP_TOKENS_PER_SECOND * seconds)]
    if probe is not None and loaded.read and probe.modality == "pdf":
        return [("TEXT", math.ceil(probe.characters / CHARACTERS_PER_TOKEN))]
    return []


def _most_seconds(loaded: Loaded, limit: MediaLimit, backend: Backend) -> float | None:
    """The longest duration; on Vertex AI a video is limited by its frames, and if its audio is embedded, by seconds."""
    if loaded.modality != "video" or backend != "vertex":
        return limit.seconds
    if not 0 < loaded.fps <= VERTEX_VIDEO_FPS:
        raise RefusedError(400, f"video_metadata.fps must be in (0, {VERTEX_VIDEO_FPS:g}], got {loaded.fps:g}.")
    by_frames = VERTEX_VIDEO_FRAMES / loaded.fps
    return min(by_frames, VERTEX_HEARD_SECONDS) if loaded.heard else by_frames


def _check_number(content: Sequence[Loaded], modality: Modality, spec: ModelSpec, backend: Backend) -> None:
    limit = spec.limit(modality, backend)
    found = sum(loaded.modality == modality for loaded in content)
    if limit is not None and limit.per_item is not None and found > limit.per_item:
        raise RefusedError(
            400, f"Unable to embed {found} {modality} parts; the model takes at most {limit.per_item} in one request."
        )


def _check_extent(loaded: Loaded, spec: ModelSpec, backend: Backend) -> None:
    probe = loaded.probe
    limit = spec.limit(loaded.modality, backend)
    if probe is None or limit is None:
        return
    most = _most_seconds(loaded, limit, backend)
    if most is not None and probe.seconds > most + _TOLERANCE_SECONDS:
        raise RefusedError(
            400, f"The {probe.modality} is {probe.seconds:.1f} seconds long; the limit is {most:g} seconds."
        )
    if limit.pages is not None and probe.pages > limit.pages:
        raise RefusedError(400, f"The document has {probe.pages} pages; the limit is {limit.pages} pages.")
    if limit.pixels_per_side is not None and probe.side > limit.pixels_per_side:
        raise RefusedError(400, f"The image is {probe.side} pixels on a side; the limit is {limit.pixels_per_side}.")


_TOKEN_NAMES: dict[Modality, str] = {
    "text": "TEXT",
    "image": "IMAGE",
    "audio": "AUDIO",
    "video": "VIDEO",
    "pdf": "DOCUMENT",
}
