"""What families of chat models take of media, and where: a table, every row with its sources and the day it was read.

That a format is in the table means both that the service takes it and that the LangChain package of the family hands it
over: tests/rendering/test_chat_models.py builds the requests of these packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from langchain_gemini_mm.interfaces import Modality

Place: TypeAlias = Literal["message", "tool"]
"""Where blocks are sent: in a message of the user, or as the result of a tool."""

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
    """What a family of chat models takes.

    ```python
    from langchain_gemini_mm.rendering import accepts_of

    assert accepts_of("gemini").takes("video") and not accepts_of("anthropic").takes("video")
    assert accepts_of("openai").takes("image") and not accepts_of("openai").takes("image", "tool")
    ```
    """

    name: str
    image: frozenset[str] = frozenset()
    """Accepted MIME types of pictures; PNG or JPEG among them, or none at all."""
    audio: frozenset[str] = frozenset()
    """Of sound; MP3 or WAV among them, or none at all."""
    video: frozenset[str] = frozenset()
    """Of video; MP4 among them, or none at all."""
    pdf: frozenset[str] = frozenset()
    in_tools: frozenset[Modality] = frozenset()
    """What is also taken in the result of a tool."""
    max_bytes: int = 0
    """Most bytes of media in a request, base64 counted; what texts and tools need is left free."""
    image_edge: int = 1568
    """Pixels of a picture's longer side; what is larger the service would scale down itself."""
    image_bytes: int | None = None
    """Most bytes of one picture, base64 counted; None where nothing is published."""
    pdf_pages: int | None = None
    """Most pages of a PDF."""
    sources: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse types that nothing could be converted to."""
        for kind, bases in _BASES.items():
            types = self.types(kind)
            if types and not types & bases:
                raise ValueError(f"{self.name} takes {kind} as {sorted(types)!r}; {sorted(bases)!r} must be among it")

    def types(self, modality: Modality, place: Place = "message") -> frozenset[str]:
        """MIME types of `modality` that are taken there; none where it is not taken at all."""
        if place == "tool" and modality not in self.in_tools:
            return frozenset()
        return getattr(self, modality, frozenset())

    def takes(self, modality: Modality, place: Place = "message") -> bool:
        """Whether there is any type of `modality` that is taken there."""
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
"""What each family takes, by name. Chat models of a family that take less say so in their LangChain profile."""

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
    """What a chat model takes, by its LangChain package, narrowed by its profile where it has one.

    Args:
        model: a name of the table (`"gemini"`, `"openai"`, `"openai-responses"`, `"openai-audio"`, `"anthropic"`,
            `"text"`), an `Accepts`, or a LangChain chat model, with tools bound or not. A model of a package that is
            not in the table is taken to read text only.

    Raises:
        ValueError: no such name.
        TypeError: None, or another type that is no model.
    """
    if isinstance(model, Accepts):
        return model
    if isinstance(model, str):
        if model not in ACCEPTS:
            raise ValueError(f"no family of chat models is named {model!r}; there are {', '.join(ACCEPTS)}")
        return ACCEPTS[model]
    if not hasattr(model, "invoke"):
        raise TypeError(f"model must be a name, an Accepts or a chat model, got {type(model).__name__}")
    model = _unbound(model)
    return _narrowed(_family(model), model)


def _unbound(model: Any) -> Any:
    """The model itself, without bound tools, settings or fallbacks."""
    for _ in range(10):
        inner = getattr(model, "bound", None) or getattr(model, "runnable", None)
        if inner is None or not hasattr(inner, "invoke"):
            break
        model = inner
    return model


def _family(model: Any) -> Accepts:
    """By the first class of an integration; one that only builds on another's speaks to another service."""
    for kind in type(model).__mro__:
        package = kind.__module__.partition(".")[0]
        if "Anthropic" in kind.__name__ and package in _PACKAGES:
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
        kind: frozenset() for kind, key in _PROFILE.items() if profile.get(key) is False and family.takes(kind)
    }
    if family is _OPENAI and profile.get("audio_inputs"):
        kept["audio"] = _OPENAI_AUDIO.audio
    refused = {kind for kind in ("image", "pdf") if profile.get(f"{kind}_tool_message") is False}
    if refused & family.in_tools:
        kept["in_tools"] = family.in_tools - refused
    return replace(family, **kept) if kept else family
