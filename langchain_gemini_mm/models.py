"""Facts of the embedding models per backend: limits, accepted types, prices and token rates, each with its source."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.validation import did_you_mean

GEMINI_DOCS = "https://ai.google.dev/gemini-api/docs/embeddings (read 2026-11-21)"
VERTEX_DOCS = (
    "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/embeddings/get-multimodal-embeddings "
    "(read 2026-11-21)"
)
DEPRECATIONS = "https://ai.google.dev/gemini-api/docs/deprecations (read 2026-11-21)"
VERTEX_TEXT_DOCS = (
    "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings (read 2026-11-21)"
)

DEFAULT_MODEL = "gemini-embedding-2"

TaskStyle = Literal["prefix", "field"]
"""How the task is passed to a model: as a prefix of the text, or in the request field `taskType`."""


@dataclass(frozen=True, kw_only=True)
class MediaLimit:
    """Limits of one modality on one backend."""

    mime_types: tuple[str, ...]
    """Accepted MIME types; other types are converted to one of them."""
    per_item: int | None = None
    """Most files in one embedding; None where no limit is published."""
    seconds: float | None = None
    """Longest duration of one file."""
    pages: int | None = None
    """Most pages of one file."""
    pixels_per_side: int | None = None
    """Longest side of an image, in pixels."""
    source: str


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """The published facts of one embedding model."""

    name: str
    tokens: int
    """Most input tokens of one embedding."""
    dimensions: tuple[int, int] = (128, 3072)
    """Smallest and largest output size."""
    default_dimensions: int = 3072
    task_style: TaskStyle = "prefix"
    media: Mapping[Backend, Mapping[Modality, MediaLimit]] = field(default_factory=dict)
    """Limits by backend and modality; empty for a model that takes text only."""
    usd_per_million_tokens: Mapping[Modality, float] = field(default_factory=dict)
    successor: str | None = None
    """The model to move to, when this one is retired."""
    source: str

    def limit(self, modality: Modality, backend: Backend) -> MediaLimit | None:
        """Limits of a modality on a backend; None where it is not accepted."""
        return self.media.get(backend, {}).get(modality)


_GEMINI_MEDIA: Mapping[Modality, MediaLimit] = MappingProxyType(
    {
        "image": MediaLimit(mime_types=("image/png", "image/jpeg"), per_item=6, source=GEMINI_DOCS),
        "audio": MediaLimit(mime_types=("audio/mp3", "audio/wav"), seconds=180, source=GEMINI_DOCS),
        "video": MediaLimit(mime_types=("video/mp4", "video/quicktime"), seconds=120, source=GEMINI_DOCS),
        "pdf": MediaLimit(mime_types=("application/pdf",), pages=6, source=GEMINI_DOCS),
    }
)

_VERTEX_MEDIA: Mapping[Modality, MediaLimit] = MappingProxyType(
    {
        "image": MediaLimit(
            mime_types=(
                "image/png", "image/jpeg", "image/webp", "image/bmp", "image/heic", "image/heif", "image/avif",
            ),
            per_item=6,
            pixels_per_side=16_384,
            source=VERTEX_DOCS,
        ),
        "audio": MediaLimit(mime_types=("audio/mp3", "audio/wav"), seconds=180, source=VERTEX_DOCS),
        "video": MediaLimit(
            mime_types=("video/mp4", "video/quicktime", "video/mpeg"), per_item=1, seconds=120, source=VERTEX_DOCS
        ),
        "pdf": MediaLimit(mime_types=("application/pdf",), per_item=1, pages=6, source=VERTEX_DOCS),
    }
)  # fmt: skip

_MULTIMODAL: Mapping[Backend, Mapping[Modality, MediaLimit]] = MappingProxyType(
    {"gemini": _GEMINI_MEDIA, "vertex": _VERTEX_MEDIA}
)
_MULTIMODAL_PRICES: Mapping[Modality, float] = MappingProxyType(
    # https://ai.google.dev/gemini-api/docs/pricing (read 2026-11-21); PDF pages are billed as images.
    {"text": 0.20, "image": 0.45, "audio": 6.50, "video": 12.00, "pdf": 0.45}
)

MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            ModelSpec(
                name="gemini-embedding-2",
                tokens=8192,
                media=_MULTIMODAL,
                usd_per_million_tokens=_MULTIMODAL_PRICES,
                source=GEMINI_DOCS,
            ),
            ModelSpec(
                name="gemini-embedding-2-preview",
                tokens=8192,
                media=_MULTIMODAL,
                usd_per_million_tokens=_MULTIMODAL_PRICES,
                successor="gemini-embedding-2",
                source=DEPRECATIONS,
            ),
            ModelSpec(
                name="gemini-embedding-001",
                tokens=2048,
                task_style="field",
                usd_per_million_tokens=MappingProxyType({"text": 0.15}),
                source=GEMINI_DOCS,
            ),
        )
    }
)
"""The known models, by name."""

IMAGE_TOKENS = 258
"""Tokens of an image or a PDF page (VERTEX_DOCS)."""
VIDEO_FRAME_TOKENS = 66
"""Tokens of a video frame (VERTEX_DOCS)."""
AUDIO_TOKENS_PER_SECOND = 25
"""Tokens of a second of audio (VERTEX_DOCS)."""
TIMESTAMP_TOKENS_PER_SECOND = 10
"""Timestamp tokens of a second of video whose audio is processed, in addition to frames and audio (VERTEX_DOCS)."""
GEMINI_VIDEO_FRAMES = 32
"""Most frames that the Gemini API samples from one video (GEMINI_DOCS)."""
VERTEX_VIDEO_FRAMES = 120
"""Most frames that Vertex AI samples from one video, one per second by default (VERTEX_DOCS)."""
VERTEX_VIDEO_FPS = 24.0
"""Most frames per second that can be requested (google-genai 3.4, `types.VideoMetadata`, 2026-11-21)."""
VERTEX_HEARD_SECONDS = 80.0
"""Longest video whose audio Vertex AI processes, at one frame per second, in seconds (VERTEX_DOCS)."""
PAGE_TEXT_TOKENS = 600
"""Estimated tokens of the text of a page that is read (`document_ocr`); no figure is published."""
CHARACTERS_PER_TOKEN = 4
"""Estimate for Latin script; no figure is published."""

ITEMS_PER_CALL = 100
"""Most contents in one `batchEmbedContents` (undocumented; https://github.com/vercel/ai/issues/16101, 2026-11-21)."""
INLINE_BYTES = 20_000_000
"""Largest request with inline media, base64 counted
(https://ai.google.dev/gemini-api/docs/files, read 2026-11-21; 100 MB is announced for content generation only)."""


def model_spec(name: str) -> ModelSpec:
    """Look up a model by its id, with or without a `models/` or publisher prefix.

    ```python
    from langchain_gemini_mm.models import model_spec

    assert model_spec("models/gemini-embedding-2").tokens == 8192
    ```

    Raises:
        ValueError: unknown model; the message lists the known ones.
    """
    if not isinstance(name, str):
        raise TypeError(f"model must be a name such as {DEFAULT_MODEL!r}, got {type(name).__name__}")
    short = name.rsplit("/", 1)[-1]
    spec = MODELS.get(short)
    if spec is None:
        raise ValueError(
            f"unknown embedding model {name!r}{did_you_mean(short, MODELS) or '.'} Known models: {', '.join(MODELS)}"
        )
    return spec


def warn_if_retired(spec: ModelSpec) -> None:
    """Warn about a retired model, naming its successor."""
    if spec.successor:
        warnings.warn(
            f"{spec.name} is retired ({spec.source}); use {spec.successor!r}. Their vectors may differ: embed a "
            "collection again rather than mixing the two",
            DeprecationWarning,
            stacklevel=3,
        )


def estimate_tokens(
    modality: Modality,
    backend: Backend,
    *,
    characters: int = 0,
    seconds: float | None = None,
    pages: int | None = None,
    fps: float = 1.0,
) -> int:
    """Estimate the input tokens of one part by the published rates; the service does not report them per part.

    ```python
    from langchain_gemini_mm.models import estimate_tokens

    assert estimate_tokens("video", "gemini", seconds=60) == 32 * 66
    ```

    Args:
        modality: of the part.
        backend: the service; the two look at different numbers of video frames.
        characters: of a text.
        seconds: duration of audio or video; 1 when None.
        pages: of a PDF; 1 when None.
        fps: frames per second of a video that Vertex AI looks at.
    """
    if modality == "text":
        return max(1, math.ceil(characters / CHARACTERS_PER_TOKEN))
    if modality == "image":
        return IMAGE_TOKENS
    if modality == "pdf":
        return IMAGE_TOKENS * (pages or 1)
    whole = math.ceil(seconds or 1)
    if modality == "audio":
        return AUDIO_TOKENS_PER_SECOND * whole
    if backend == "gemini":
        return VIDEO_FRAME_TOKENS * min(GEMINI_VIDEO_FRAMES, whole)
    return VIDEO_FRAME_TOKENS * min(VERTEX_VIDEO_FRAMES, math.ceil(whole * fps))
