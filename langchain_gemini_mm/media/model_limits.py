"""Whether a backend takes a file, before anything is sent."""

from __future__ import annotations

from langchain_gemini_mm.content.mime_types import canonical_mime_type, modality_of
from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.interfaces import Backend
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.models import MediaLimit, ModelSpec

_SERVICES: dict[Backend, str] = {"gemini": "the Gemini API", "vertex": "Vertex AI"}
_SHORT = {
    "image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WebP", "image/bmp": "BMP", "image/heic": "HEIC",
    "image/heif": "HEIF", "image/avif": "AVIF", "audio/mp3": "MP3", "audio/wav": "WAV", "video/mp4": "MP4",
    "video/quicktime": "MOV", "video/mpeg": "MPEG", "application/pdf": "PDF",
}  # fmt: skip


def check_kind(mime_type: str, spec: ModelSpec, backend: Backend, *, name: str) -> MediaLimit:
    """Refuse a kind of media that `backend` does not take with this model in any type; give the limits otherwise.

    Raises:
        ContentError: the message lists the kinds that are taken.
    """
    modality = modality_of(mime_type)
    limit = None if modality is None else spec.limit(modality, backend)
    if limit is None:
        taken = ", ".join(sorted(spec.media.get(backend, {}))) or "text only"
        raise ContentError(
            f"{name} is {mime_type}, which {spec.name} does not take on {_SERVICES[backend]} (it takes {taken})"
        )
    return limit


def check_type(mime_type: str, spec: ModelSpec, backend: Backend, *, name: str) -> MediaLimit:
    """Refuse a type that `backend` does not take with this model; give the limits otherwise.

    Raises:
        ContentError: the message lists the types that are taken.
    """
    limit = check_kind(mime_type, spec, backend, name=name)
    if canonical_mime_type(mime_type) not in limit.mime_types:
        raise ContentError(
            f"{name} is {mime_type}; of {modality_of(mime_type)} files {spec.name} takes {', '.join(limit.mime_types)} "
            f"on {_SERVICES[backend]}. Convert it to {_SHORT[limit.mime_types[0]]}"
        )
    return limit


def check_limits(facts: MediaFacts, spec: ModelSpec, backend: Backend, *, name: str) -> None:
    """Refuse a file that is of the wrong type, too long or too large for `backend` and this model.

    ```python
    from langchain_gemini_mm.media.model_limits import check_limits
    from langchain_gemini_mm.media.probe import MediaFacts
    from langchain_gemini_mm.models import model_spec

    picture = MediaFacts(mime_type="image/png", modality="image", size=120, width=8, height=8)
    check_limits(picture, model_spec("gemini-embedding-2"), "gemini", name="'dot.png'")
    ```

    Raises:
        ContentError: the type is not taken.
        MediaLimitError: too many seconds, pages or pixels.
    """
    check_type(facts.mime_type, spec, backend, name=name)
    check_extent(facts, spec, backend, name=name)


def check_extent(facts: MediaFacts, spec: ModelSpec, backend: Backend, *, name: str) -> None:
    """Refuse what is too long or too large for `backend` and this model, whatever its type.

    Raises:
        MediaLimitError: too many seconds, pages or pixels.
    """
    limit = spec.limit(facts.modality, backend)
    if limit is None:
        return
    taken = f"{spec.name} on {_SERVICES[backend]} takes at most"
    if limit.seconds is not None and (facts.seconds or 0) > limit.seconds:
        raise MediaLimitError(
            f"{name} lasts {facts.seconds:,.2f} s; {taken} {limit.seconds:g} s of {facts.modality}. Load it with "
            f"MediaLoader, or name parts of {limit.seconds:g} s or less with MediaRef.segment"
        )
    if limit.pages is not None and (facts.pages or 0) > limit.pages:
        raise MediaLimitError(
            f"{name} has {facts.pages:,} pages; {taken} {limit.pages} pages of a PDF. Load it with MediaLoader, or "
            f"name parts of {limit.pages} pages or less with MediaRef.pages"
        )
    side = max(facts.width or 0, facts.height or 0)
    if facts.modality == "image" and limit.pixels_per_side is not None and side > limit.pixels_per_side:
        raise MediaLimitError(
            f"{name} is {facts.width:,} x {facts.height:,} pixels; {taken} {limit.pixels_per_side:,} a side. Scale it "
            "down"
        )
