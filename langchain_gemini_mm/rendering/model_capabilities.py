"""The media that families of chat models accept, as a table; each row has its sources and the date they were read.

A format in the table is accepted by the service and passed on by the LangChain package of the family:
tests/rendering/test_chat_models.py builds the requests of these packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

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

_PDF = frozenset({"application/pdf"})


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
    sources: tuple[str, ...] = field(default=(), repr=False)
    """URLs, with the date they were read."""

    def __post_init__(self) -> None:
        """Refuse a modality without a type that media can be converted to."""
        for modality, bases in _BASES.items():
            types = self.types(modality)
            if types and not types & bases:
                raise ValueError(
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
    sources=(ANTHROPIC_IMAGES, ANTHROPIC_PDF),
)
_TEXT = Accepts(name="text")

ACCEPTS: Mapping[str, Accepts] = MappingProxyType(
    {row.name: row for row in (_GEMINI, _OPENAI, _OPENAI_RESPONSES, _OPENAI_AUDIO, _ANTHROPIC, _TEXT)}
)
"""The families by name. A chat model that accepts less than its family declares it in its LangChain profile."""

_PACKAGES: Mapping[str, Accepts] = MappingProxyType(
    {
        "langchain_google_genai": _GEMINI,
        "langchain_google_vertexai": _GEMINI,
        "langchain_openai": _OPENAI,
        "langchain_anthropic": _ANTHROPIC,
    }
)
_PROFILE: Mapping[Modality, str] = MappingProxyType(
    {"image": "image_inputs", "audio": "audio_inputs", "video": "video_inputs", "pdf": "pdf_inputs"}
)


def accepts_of(model: Any) -> Accepts:
    """Look up what a chat model accepts, by its LangChain package, restricted by its profile if it has one.

    Args:
        model: a name of the table (`"gemini"`, `"openai"`, `"openai-responses"`, `"openai-audio"`, `"anthropic"`,
            `"text"`), an `Accepts`, or a LangChain chat model, with or without bound tools. A model of a package that
            is not in the table is assumed to accept only text.

    Raises:
        ValueError: the name is not in the table.
        TypeError: `model` is None, or another type that is not a model.
    """
    if isinstance(model, Accepts):
        return model
    if isinstance(model, str):
        return ACCEPTS[one_of("model", model, ACCEPTS)]
    if not hasattr(model, "invoke"):
        raise TypeError(f"model must be a name, an Accepts or a chat model, got {type(model).__name__}")
    model = _unbound(model)
    return _narrowed(_family(model), model)


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
        if package in _PACKAGES:
            responses = package == "langchain_openai" and getattr(model, "use_responses_api", None)
            return _OPENAI_RESPONSES if responses else _PACKAGES[package]
        if package.startswith("langchain_"):
            return _TEXT
    return _TEXT


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
