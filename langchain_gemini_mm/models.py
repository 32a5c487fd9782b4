"""Facts of the embedding models per backend: limits, accepted types, prices and token rates, each with its source.

A model that is not listed is used with the facts of its family, and can be described with `ModelSpec`:

```python
from dataclasses import replace

from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.models import MODELS

spec = replace(MODELS["gemini-embedding-2"], name="gemini-embedding-9", tokens=16_384, source="its model card")
assert GeminiEmbeddings(model=spec).model.tokens == 16_384
```
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.interfaces import Backend, Modality

__all__ = ["DEFAULT_MODEL", "MODELS", "MediaLimit", "ModelSpec", "model_spec", "register_model"]

GEMINI_DOCS = "https://ai.google.dev/gemini-api/docs/embeddings (read 2026-11-21)"
VERTEX_DOCS = (
    "https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/embeddings/get-multimodal-embeddings "
    "(read 2026-11-21)"
)
DEPRECATIONS = "https://ai.google.dev/gemini-api/docs/deprecations (read 2026-11-21)"
VERTEX_TEXT_DOCS = (
    "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings (read 2026-11-21)"
)
VERTEX_LOCATIONS = "https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations (read 2026-11-30)"

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
    """The published facts of one embedding model; the default values are those of a model that takes text only."""

    name: str
    """The id that is sent, without `models/`."""
    tokens: int = 2048
    """Most input tokens of one embedding, of all parts of a content together."""
    dimensions: tuple[int, int] = (128, 3072)
    """Smallest and largest output size."""
    default_dimensions: int = 3072
    task_style: TaskStyle = "prefix"
    media: Mapping[Backend, Mapping[Modality, MediaLimit]] = field(default_factory=dict)
    """Limits by backend and modality; empty for a model that takes text only."""
    usd_per_million_tokens: Mapping[Modality, float] = field(default_factory=dict)
    successor: str | None = None
    """The model to move to, when this one is retired."""
    locations: tuple[str, ...] = ()
    """Vertex AI locations that serve it; empty where they are not known."""
    call_tokens: int | None = None
    """Most tokens of one request on Vertex AI; None for no limit."""
    source: str = "as passed"

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> ModelSpec:
        """Restore a specification that `dataclasses.asdict` and JSON have written."""
        media = {
            backend: {
                modality: MediaLimit(**{**limit, "mime_types": tuple(limit["mime_types"])})
                for modality, limit in limits.items()
            }
            for backend, limits in given["media"].items()
        }
        tuples = {name: tuple(given[name]) for name in ("dimensions", "locations")}
        return cls(**{**given, **tuples, "media": media})

    def limit(self, modality: Modality, backend: Backend) -> MediaLimit | None:
        """Limits of a modality on a backend; None where it is not accepted."""
        return self.media.get(backend, {}).get(modality)


_GEMINI_MEDIA: dict[Modality, MediaLimit] = {
    "image": MediaLimit(mime_types=("image/png", "image/jpeg"), per_item=6, source=GEMINI_DOCS),
    "audio": MediaLimit(mime_types=("audio/mp3", "audio/wav"), seconds=180, source=GEMINI_DOCS),
    "video": MediaLimit(mime_types=("video/mp4", "video/quicktime"), seconds=120, source=GEMINI_DOCS),
    "pdf": MediaLimit(mime_types=("application/pdf",), pages=6, source=GEMINI_DOCS),
}
_VERTEX_MEDIA: dict[Modality, MediaLimit] = {
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
}  # fmt: skip
_REGIONS = (
    "us-central1", "us-east1", "us-east4", "us-east5", "us-south1", "us-west1", "us-west4", "northamerica-northeast1",
    "southamerica-east1", "europe-central2", "europe-north1", "europe-southwest1", "europe-west1", "europe-west2",
    "europe-west3", "europe-west4", "europe-west6", "europe-west8", "europe-west9", "asia-east1", "asia-east2",
    "asia-northeast1", "asia-northeast3", "asia-south1", "asia-southeast1", "australia-southeast1", "me-central1",
    "me-central2", "me-west1",
)  # fmt: skip
"""Regions with embedding models (VERTEX_LOCATIONS); text models are not in `global`, `us` and `eu`."""

_EMBEDDING_2 = ModelSpec(
    name="gemini-embedding-2",
    tokens=8192,
    media={"gemini": _GEMINI_MEDIA, "vertex": _VERTEX_MEDIA},
    # https://ai.google.dev/gemini-api/docs/pricing (read 2026-11-21); PDF pages are billed as images.
    usd_per_million_tokens={"text": 0.20, "image": 0.45, "audio": 6.50, "video": 12.00, "pdf": 0.45},
    locations=("global", "us", "eu"),
    source=GEMINI_DOCS,
)
_EMBEDDING_001 = ModelSpec(
    name="gemini-embedding-001",
    task_style="field",
    usd_per_million_tokens={"text": 0.15},
    locations=_REGIONS,
    call_tokens=20_000,
    source=GEMINI_DOCS,
)
_TEXT_MODEL = ModelSpec(
    name="text-embedding-005",
    dimensions=(1, 768),
    default_dimensions=768,
    task_style="field",
    usd_per_million_tokens={"text": 0.10},  # 0.000025 USD per 1,000 characters (the pricing page of Vertex AI).
    locations=_REGIONS,
    call_tokens=20_000,
    source=VERTEX_TEXT_DOCS,
)
_registered: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _EMBEDDING_2,
        replace(
            _EMBEDDING_2,
            name="gemini-embedding-2-preview",
            successor=_EMBEDDING_2.name,
            locations=("us-central1",),
            source=DEPRECATIONS,
        ),
        _EMBEDDING_001,
        replace(_EMBEDDING_001, name="gemini-embedding-exp-03-07", successor=_EMBEDDING_001.name, source=DEPRECATIONS),
        _TEXT_MODEL,
        replace(_TEXT_MODEL, name="text-multilingual-embedding-002"),
        replace(_TEXT_MODEL, name="text-embedding-004", successor=_EMBEDDING_001.name, source=DEPRECATIONS),
        replace(_TEXT_MODEL, name="embedding-001", successor=_EMBEDDING_001.name, source=DEPRECATIONS),
    )
}
MODELS: Mapping[str, ModelSpec] = MappingProxyType(_registered)
"""The known models, by name; `register_model` adds to them."""

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
"""Characters of a token of ASCII text, roughly."""
_SCRIPTS = (
    (0x0, 1 / CHARACTERS_PER_TOKEN), (0x80, 0.75), (0x250, 0.5), (0x370, 0.4), (0x400, 0.28), (0x530, 0.55),
    (0x600, 0.36), (0x700, 2.0), (0x780, 0.75), (0x900, 0.3), (0xE00, 0.35), (0xE80, 0.6), (0x1000, 0.45),
    (0x1200, 0.85), (0x13A0, 3.0), (0x1780, 0.5), (0x1800, 3.0), (0x1E00, 0.75), (0x1F00, 0.5), (0x2C00, 2.0),
    (0x3000, 0.7), (0x3040, 0.55), (0x3100, 0.7), (0xA000, 3.0), (0xAC00, 0.65), (0xD7B0, 3.0), (0xF900, 0.7),
    (0xFB00, 0.5), (0xFF00, 0.7), (0x10000, 4.0), (0x1F000, 1.0), (0x20000, 2.0),
)  # fmt: skip
"""Tokens of a character, by the first character of a block of Unicode.

Measured with the tokenizer that google-genai names for Gemini models (that of Gemma 3) on the Universal Declaration of
Human Rights in 532 languages, 2026-11-30: 0.19 tokens a character in English, 0.23 in Russian, 0.33 in Arabic, 0.54 in
Korean, 0.57 in Japanese, 0.7 in Chinese, 0.82 in Amharic, and up to 4 in scripts that the vocabulary does not have."""
_FIRST_OF_SCRIPT = np.array([first for first, _ in _SCRIPTS], dtype=np.uint32)
_TOKENS_BY_SCRIPT = np.array([tokens for _, tokens in _SCRIPTS])
_LONGEST_TOKEN = 16
"""Characters of the longest entry in that tokenizer's vocabulary, white space aside; none spans two words."""
_EAST_ASIAN = re.compile("[\u3040-\u9fff\uac00-\ud7af]")
_EAST_ASIAN_TOKEN = 4
"""Longest average of Chinese, Japanese or Korean characters of a token; 1.4 to 1.9 were measured."""

ITEMS_PER_CALL = 100
"""Most contents in one `batchEmbedContents` (undocumented; https://github.com/vercel/ai/issues/16101, 2026-11-21)."""
INLINE_BYTES = 20_000_000
"""Largest request with inline media, base64 counted
(https://ai.google.dev/gemini-api/docs/files, read 2026-11-21; 100 MB is announced for content generation only)."""


def model_spec(model: str | ModelSpec) -> ModelSpec:
    """Look up a model by its id, with or without `models/` or a publisher before it.

    ```python
    from langchain_gemini_mm.models import model_spec

    assert model_spec("models/gemini-embedding-2").tokens == 8192
    ```

    An unknown id gives the facts of its family, with one warning for each id. A `ModelSpec` is returned as it is.
    """
    if isinstance(model, ModelSpec):
        return model
    if not model.strip("/ "):
        raise InvalidTypeError(f"model must be a name such as {DEFAULT_MODEL!r} or a ModelSpec, got {model!r}")
    path = model.strip().split("/")
    # Tuned models and endpoints are sent with their whole path.
    name = path[-1] if len(path) == 1 or path[-2] == "models" else "/".join(path)
    return MODELS.get(name) or _assumed(name)


def register_model(spec: ModelSpec) -> None:
    """Add a model, so that its id is known to `GeminiEmbeddings`, `MediaLoader` and `plan` in this process.

    ```python
    from langchain_gemini_mm.models import ModelSpec, model_spec, register_model

    register_model(ModelSpec(name="tunedModels/mine", default_dimensions=768))
    assert model_spec("tunedModels/mine").default_dimensions == 768
    ```

    Raises:
        TypeError: not a `ModelSpec`.
    """
    if not isinstance(spec, ModelSpec):
        raise InvalidTypeError(f"expected a ModelSpec, got {type(spec).__name__}")
    _registered[spec.name] = spec


@cache
def _assumed(name: str) -> ModelSpec:
    """The facts assumed of an unknown model: those of the newest multimodal model, or of the text models."""
    if re.fullmatch(r"gemini-embedding-(?!exp|\d{3}).+", name):
        like = _EMBEDDING_2
    elif name.startswith("gemini-"):
        like = _EMBEDDING_001
    else:
        like = replace(_TEXT_MODEL, dimensions=(1, 8192))
    warnings.warn(
        f"unknown embedding model {name!r}: limits, prices and tasks of {like.name!r} are assumed, with "
        f"{like.default_dimensions} dimensions. Pass model=ModelSpec(name={name!r}, ...) with its own, or use one of "
        f"{', '.join(name for name, spec in MODELS.items() if spec.successor is None)}",
        UserWarning,
        stacklevel=3,
    )
    return replace(like, name=name, locations=(), source=f"assumed, as of {like.name}")


def warn_if_retired(spec: ModelSpec) -> None:
    """Warn about a retired model, naming its successor."""
    if spec.successor:
        warnings.warn(
            f"{spec.name} is retired ({spec.source}); use {spec.successor!r}. Their vectors may differ: embed a "
            "collection again rather than mixing the two",
            DeprecationWarning,
            stacklevel=3,
        )


def check_location(spec: ModelSpec, location: str | None) -> None:
    """Refuse a location of Vertex AI that does not serve the model.

    Raises:
        ValueError: the message lists the locations that do.
    """
    if location and spec.locations and location not in spec.locations:
        raise InvalidValueError(
            f"{spec.name} is not served in {location!r} on Vertex AI. Its locations: {', '.join(spec.locations)}. If "
            f"that has changed, pass model=dataclasses.replace(MODELS[{spec.name!r}], locations=())"
        )


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text from its characters.

    ```python
    from langchain_gemini_mm.models import text_tokens

    assert (text_tokens("a small dog"), text_tokens("\u4eca\u5929\u5929\u6c14\u5f88\u597d")) == (3, 5)
    ```
    """
    if text.isascii():
        return max(1, math.ceil(len(text) / CHARACTERS_PER_TOKEN))
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    blocks = np.searchsorted(_FIRST_OF_SCRIPT, codes, side="right") - 1
    counts = np.bincount(blocks, minlength=len(_SCRIPTS))
    return max(1, math.ceil(float(counts @ _TOKENS_BY_SCRIPT)))


def text_token_range(text: str) -> tuple[int, int]:
    """The least and most tokens that a text can be expected to have.

    The least is safe: a token never spans two words and is never longer than 16 characters. The most holds for prose in
    the 532 languages that were measured, for source code, and for numbers, in which each digit is a token.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    words = text.split()
    letters = sum(map(len, words))
    least = max(len(words), letters // _LONGEST_TOKEN, len(_EAST_ASIAN.findall(text)) // _EAST_ASIAN_TOKEN)
    signs = sum(len(word) for word in re.findall(r"[!-@\[-`{-~]+", text))
    return least, max(least, min(size, 5 * text_tokens(text) // 2 + signs))


def cut_text(text: str, tokens: int, *, count: Callable[[str], int] = text_tokens) -> str:
    """The longest beginning of a text that has at most `tokens` tokens.

    Args:
        text: of any length.
        tokens: 1 or more.
        count: counts the tokens of a text.
    """
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle]) <= tokens else (low, middle - 1)
    return text[:high]


def estimate_tokens(
    modality: Modality,
    backend: Backend,
    *,
    text: str = "",
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
        text: of a text part.
        seconds: duration of audio or video; 1 when None.
        pages: of a PDF; 1 when None.
        fps: frames per second of a video that Vertex AI looks at.
    """
    if modality == "text":
        return text_tokens(text)
    if modality == "image":
        return IMAGE_TOKENS
    if modality == "pdf":
        return IMAGE_TOKENS * (pages or 1)
    length = seconds or 1
    if modality == "audio":
        return math.ceil(AUDIO_TOKENS_PER_SECOND * length)
    most = GEMINI_VIDEO_FRAMES if backend == "gemini" else VERTEX_VIDEO_FRAMES
    return VIDEO_FRAME_TOKENS * min(most, max(1, math.ceil(length * fps)))
