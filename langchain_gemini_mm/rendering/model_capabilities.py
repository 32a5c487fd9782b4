"""The media that families of chat models accept, as a table; each row has its sources and the date they were read.

A format in the table is accepted by the service and passed on by the LangChain package of the family:
tests/rendering/test_chat_models.py builds the requests of these packages.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from langchain_gemini_mm.errors import InvalidTypeError, InvalidValueError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.validation import one_of

Place: TypeAlias = Literal["message", "tool"]
"""Where blocks are sent: in a user message, or in the result of a tool."""

READ = "read 2026-11-21"
GEMINI_DOCS = f"https://ai.google.dev/gemini-api/docs ({READ}: audio, document-processing, files)"
GEMINI_FILES = f"https://firebase.google.com/docs/vertex-ai/input-file-requirements ({READ})"
OPENAI_FILES = f"https://developers.openai.com/api/docs/guides/file-inputs ({READ})"
OPENAI_IMAGES = f"https://developers.openai.com/api/docs/guides/images-vision ({READ})"
OPENAI_AUDIO = f"https://platform.openai.com/docs/models/gpt-audio ({READ})"
OPENAI_TOOLS = f"https://github.com/langchain-ai/langchain/issues/31950 ({READ})"
ANTHROPIC_IMAGES = f"https://platform.claude.com/docs/en/build-with-claude/vision ({READ})"
ANTHROPIC_PDF = f"https://platform.claude.com/docs/en/build-with-claude/pdf-support ({READ})"
BEDROCK_MESSAGE = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html (read 2026-11-30)"
MISTRAL_ROLES = "https://github.com/mistralai/mistral-common/issues/169 (read 2026-11-30)"
_CONVERTER = "{} {}, its converter of messages (read 2026-11-30)"

_PDF = frozenset({"application/pdf"})
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepts:
    """The media that a family of chat models accepts.

    ```python
    from langchain_gemini_mm.rendering import accepts_of

    assert accepts_of("gemini").takes("video") and not accepts_of("anthropic").takes("video")
    assert accepts_of("openai").takes("image") and not accepts_of("openai").takes("image", "tool")
    ```
    """

    name: str
    image: frozenset[str] = frozenset()
    """Accepted MIME types of images: none, or a set with PNG or JPEG."""
    audio: frozenset[str] = frozenset()
    """Accepted MIME types of audio: none, or a set with MP3 or WAV."""
    video: frozenset[str] = frozenset()
    """Accepted MIME types of video: none, or a set with MP4."""
    pdf: frozenset[str] = frozenset()
    """`application/pdf`, or nothing."""
    in_tools: frozenset[Modality] = frozenset()
    """Modalities that are also accepted in the result of a tool."""
    max_bytes: int = 0
    """Largest size of all media in a request, in bytes of base64; it leaves room for texts and tools."""
    image_edge: int = 1568
    """Longer side of an image in pixels; the service itself scales larger ones down."""
    image_bytes: int | None = None
    """Largest size of one image, in bytes of base64; None where no limit is published."""
    pdf_pages: int | None = None
    """Most pages of a PDF; None where no limit is published."""
    max_images: int | None = None
    """Most images of a request, stills and images of pages included; None where no limit is known."""
    user_after_tools: bool = True
    """Whether a message of the user may follow the result of a tool; if not, media of results follow the question."""
    sources: tuple[str, ...] = field(default=(), repr=False)
    """URLs, with the date they were read."""

    def __post_init__(self) -> None:
        """Refuse a modality without a type that media can be converted to."""
        for modality, bases in _BASES.items():
            types = self.types(modality)
            if types and not types & bases:
                raise InvalidValueError(
                    f"{self.name} accepts {modality} as {sorted(types)!r}; one of {sorted(bases)!r} must be included"
                )

    def types(self, modality: Modality, place: Place = "message") -> frozenset[str]:
        """MIME types of `modality` that are accepted in `place`; empty if the modality is not accepted."""
        if place == "tool" and modality not in self.in_tools:
            return frozenset()
        return getattr(self, modality, frozenset())

    def takes(self, modality: Modality, place: Place = "message") -> bool:
        """Whether any type of `modality` is accepted in `place`."""
        return bool(self.types(modality, place))


_BASES: Mapping[Modality, frozenset[str]] = MappingProxyType(
    {
        "image": frozenset({"image/png", "image/jpeg"}),
        "audio": frozenset({"audio/mp3", "audio/wav"}),
        "video": frozenset({"video/mp4"}),
        "pdf": _PDF,
    }
)

_GEMINI = Accepts(
    name="gemini",
    image=frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}),
    audio=frozenset({"audio/wav", "audio/mp3", "audio/aiff", "audio/aac", "audio/ogg", "audio/flac"}),
    video=frozenset({"video/mp4", "video/mpeg", "video/webm"}),
    pdf=_PDF,
    in_tools=frozenset({"image", "audio", "video", "pdf"}),
    max_bytes=18_000_000,  # of 20 MB inline
    image_edge=3072,
    pdf_pages=1000,
    sources=(GEMINI_DOCS, GEMINI_FILES),
)
_OPENAI = Accepts(
    name="openai",
    image=frozenset({"image/png", "image/jpeg", "image/webp"}),  # and GIF, unless it moves
    pdf=_PDF,
    max_bytes=30_000_000,  # of 50 MB
    image_edge=2048,
    image_bytes=20_000_000,
    sources=(OPENAI_IMAGES, OPENAI_FILES, OPENAI_TOOLS),
)
_OPENAI_RESPONSES = replace(_OPENAI, name="openai-responses", in_tools=frozenset({"image", "pdf"}))
_OPENAI_AUDIO = Accepts(
    name="openai-audio",
    audio=frozenset({"audio/mp3", "audio/wav"}),
    max_bytes=20_000_000,
    sources=(OPENAI_AUDIO,),
)
_ANTHROPIC = Accepts(
    name="anthropic",
    image=frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"}),
    pdf=_PDF,
    in_tools=frozenset({"image", "pdf"}),
    max_bytes=28_000_000,  # of 32 MB
    image_edge=1568,
    image_bytes=5_000_000,
    pdf_pages=100,
    max_images=100,
    sources=(ANTHROPIC_IMAGES, ANTHROPIC_PDF),
)
# Servers of open models: images in messages of the user are what their LangChain packages pass on for every model.
# Where no limit was found, numbers are low enough for all of them.
_SERVER = Accepts(
    name="openai-compatible",
    image=frozenset({"image/png", "image/jpeg"}),
    max_bytes=10_000_000,
    max_images=8,
    user_after_tools=False,
    sources=(_CONVERTER.format("langchain-openai", "1.7.4"), MISTRAL_ROLES),
)
_MISTRAL = replace(_SERVER, name="mistral", sources=(_CONVERTER.format("langchain-mistralai", "1.1.6"), MISTRAL_ROLES))
_GROQ = replace(
    _SERVER,
    name="groq",
    max_bytes=4_000_000,
    max_images=5,
    user_after_tools=True,
    sources=(_CONVERTER.format("langchain-groq", "1.1.3"),),
)
_OLLAMA = replace(
    _SERVER,
    name="ollama",
    user_after_tools=True,
    sources=(_CONVERTER.format("langchain-ollama", "1.1.0"),),
)
_LITELLM = replace(_SERVER, name="litellm", sources=(_CONVERTER.format("langchain-litellm", "0.11.2"), MISTRAL_ROLES))
_OPENROUTER = replace(
    _SERVER, name="openrouter", sources=(_CONVERTER.format("langchain-openrouter", "0.2.9"), MISTRAL_ROLES)
)
_BEDROCK = Accepts(
    name="bedrock",
    image=frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"}),
    in_tools=frozenset({"image"}),
    max_bytes=20_000_000,
    image_bytes=5_000_000,  # of 3.75 MB before base64
    max_images=20,
    sources=(_CONVERTER.format("langchain-aws", "1.9.1"), BEDROCK_MESSAGE),
)
_TEXT = Accepts(name="text")

_ROWS = (_GEMINI, _OPENAI, _OPENAI_RESPONSES, _OPENAI_AUDIO, _ANTHROPIC, _BEDROCK, _MISTRAL, _GROQ, _OLLAMA)
ACCEPTS: Mapping[str, Accepts] = MappingProxyType(
    {row.name: row for row in (*_ROWS, _LITELLM, _OPENROUTER, _SERVER, _TEXT)}
)
"""The families by name. A chat model that accepts less than its family declares it in its LangChain profile."""

_PACKAGES: Mapping[str, Accepts] = MappingProxyType(
    {
        "langchain_google_genai": _GEMINI,
        "langchain_google_vertexai": _GEMINI,
        "langchain_openai": _OPENAI,
        "langchain_anthropic": _ANTHROPIC,
        "langchain_aws": _BEDROCK,
        "langchain_mistralai": _MISTRAL,
        "langchain_groq": _GROQ,
        "langchain_ollama": _OLLAMA,
        "langchain_litellm": _LITELLM,
        "langchain_openrouter": _OPENROUTER,
    }
)
_BY_NAME = frozenset({_BEDROCK, _MISTRAL, _GROQ, _OLLAMA, _LITELLM, _OPENROUTER, _SERVER})
"""Families that serve models with and without vision, so that the profile or the name of a model decides."""
_SEES = re.compile(
    r"vision|multimodal|omni|(?<![a-z])vl(?![a-z])|\dv(?![a-z0-9])|llava|moondream|pixtral|internvl|minicpm-?[ov]"
    r"|gemma-?[3-9]|gemini|claude|gpt-(?:4o|4\.1|[5-9])|llama-?[4-9]|scout|maverick|nova-(?:lite|pro|premier)"
    r"|mistral-(?:small|medium|large)-?(?:3|4|2[5-9]|latest)|magistral|ministral-?3|qwen-?3\.[5-9]|kimi-k2\.[5-9]|grok-[2-9]",
    re.IGNORECASE,
)
"""Names of open and hosted models that see images."""
_NAMES = ("model_id", "model_name", "model")
_PROFILE: Mapping[Modality, str] = MappingProxyType(
    {"image": "image_inputs", "audio": "audio_inputs", "video": "video_inputs", "pdf": "pdf_inputs"}
)


def accepts_of(model: Any) -> Accepts:
    """Look up what a chat model accepts, by its LangChain package, restricted by its profile if it has one.

    Args:
        model: a name of the table (`"gemini"`, `"openai"`, `"openai-responses"`, `"openai-audio"`, `"anthropic"`,
            `"text"`, ...), an `Accepts`, or a LangChain chat model, with or without bound tools. Where a package serves
            models with and without vision, the LangChain profile of the model decides, else its name. Other models
            are assumed to accept only text, which is logged once as a warning.

    Raises:
        ValueError: the name is not in the table.
        TypeError: `model` is None, or another type that is not a model.
    """
    if isinstance(model, Accepts):
        return model
    if isinstance(model, str):
        return ACCEPTS[one_of("model", model, ACCEPTS)]
    if not hasattr(model, "invoke"):
        raise InvalidTypeError(f"model must be a name, an Accepts or a chat model, got {type(model).__name__}")
    model = _unbound(model)
    return _narrowed(_seen(_family(model), model), model)


def _unbound(model: Any) -> Any:
    """The chat model inside wrappers that bind tools, settings or fallbacks."""
    for _ in range(10):
        inner = getattr(model, "bound", None) or getattr(model, "runnable", None)
        if inner is None or not hasattr(inner, "invoke"):
            break
        model = inner
    return model


def _family(model: Any) -> Accepts:
    """The family by the first class of a known package; a subclass in another package uses another service."""
    for class_ in type(model).__mro__:
        package = class_.__module__.partition(".")[0]
        if "Anthropic" in class_.__name__ and package in _PACKAGES:
            return _ANTHROPIC
        if package == "langchain_openai":
            return _openai_family(model)
        if package in _PACKAGES:
            return _PACKAGES[package]
        if package.startswith("langchain_"):
            inherits = any(base.__module__.startswith("langchain_openai.") for base in type(model).__mro__)
            return _SERVER if inherits and package != "langchain_core" else _TEXT
    return _TEXT


def _openai_family(model: Any) -> Accepts:
    if getattr(model, "use_responses_api", None):
        return _OPENAI_RESPONSES
    host = urlsplit(str(getattr(model, "openai_api_base", None) or "")).hostname or "api.openai.com"
    return _OPENAI if host.endswith((".openai.com", ".azure.com")) else _SERVER


def _seen(family: Accepts, model: Any) -> Accepts:
    """The family, or text alone for a model that is not known to see."""
    name = next((str(found) for key in _NAMES if (found := getattr(model, key, None))), "")
    profile = getattr(model, "profile", None)
    sees = profile.get("image_inputs") if isinstance(profile, Mapping) else None
    if family in _BY_NAME and sees is None:
        sees = bool(_SEES.search(name))
    if family is not _TEXT and (family not in _BY_NAME or sees):
        return family
    _warn_of_text(type(model).__name__, name)
    return _TEXT


@cache
def _warn_of_text(class_name: str, name: str) -> None:
    """Log once per model that it gets no media."""
    _LOG.warning(
        "%s%s is not known to accept images, so that it receives only the text of media. If it sees, name its row with "
        "model=, such as 'openai-compatible'; rows are %s",
        class_name,
        f" {name!r}" if name else "",
        ", ".join(ACCEPTS),
    )


def _narrowed(family: Accepts, model: Any) -> Accepts:
    profile = getattr(model, "profile", None)
    if not isinstance(profile, Mapping):
        return family
    kept: dict[str, Any] = {
        modality: frozenset()
        for modality, key in _PROFILE.items()
        if profile.get(key) is False and family.takes(modality)
    }
    if family is _OPENAI and profile.get("audio_inputs"):
        kept["audio"] = _OPENAI_AUDIO.audio
    refused = {modality for modality in ("image", "pdf") if profile.get(f"{modality}_tool_message") is False}
    if refused & family.in_tools:
        kept["in_tools"] = family.in_tools - refused
    return replace(family, **kept) if kept else family
