"""Limits of a model on a backend, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_gemini_mm.content.mime_types import modality_of
from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.models import MediaLimit, ModelSpec

VIDEO_CODECS = frozenset({"h264", "hevc", "av1", "vp9"})
"""Video codecs that the models take (https://ai.google.dev/gemini-api/docs/embeddings, read 2026-11-21)."""
VIDEO_AUDIO_CODECS = frozenset({"aac", "mp3"})
"""Audio codecs that are kept in videos; others are converted to AAC."""
WAV_CODECS = {"pcm_u8": 1, "pcm_s16le": 2, "pcm_s24le": 3, "pcm_s32le": 4, "pcm_f32le": 4}
"""Uncompressed audio codecs of WAV files, with the bytes of a sample of one channel."""

_SERVICES: Mapping[Backend, str] = {"gemini": "the Gemini API", "vertex": "Vertex AI"}


def consumer_name(spec: ModelSpec, backend: Backend) -> str:
    """A model and its service, for messages."""
    return f"{spec.name} on {_SERVICES[backend]}"


def check_modality(mime_type: str, spec: ModelSpec, backend: Backend, *, name: str) -> MediaLimit:
    """Refuse media of a modality that the model does not take on this backend; return the limits otherwise.

    Args:
        mime_type: of the file, by its content.
        spec: the model.
        backend: the service.
        name: of the file, for messages.

    Raises:
        ContentError: the message lists the modalities that are taken.
    """
    modality = modality_of(mime_type)
    limit = None if modality is None else spec.limit(modality, backend)
    if limit is None:
        taken = ", ".join(sorted(spec.media.get(backend, {}))) or "text only"
        raise ContentError(
            f"{name} is {mime_type}, which {spec.name} does not take on {_SERVICES[backend]} (it takes {taken})"
        )
    return limit


def accepts_codecs(video: str | None, audio: str | None) -> bool:
    """Whether a recording with these codecs can be sent without encoding a stream again.

    Args:
        video: codec of its video stream; None for audio files.
        audio: codec of its audio stream, if any.
    """
    if video is None:
        return audio == "mp3" or audio in WAV_CODECS
    return video in VIDEO_CODECS and (audio is None or audio in VIDEO_AUDIO_CODECS)


def check_extent(facts: MediaFacts, spec: ModelSpec, backend: Backend, *, name: str) -> None:
    """Refuse a file that is longer or larger than the model takes on this backend, whatever its type.

    ```python
    from langchain_gemini_mm.media.facts import MediaFacts
    from langchain_gemini_mm.media.model_limits import check_extent
    from langchain_gemini_mm.models import model_spec

    image = MediaFacts(mime_type="image/png", modality="image", size=120, width=8, height=8)
    check_extent(image, model_spec("gemini-embedding-2"), "gemini", name="'dot.png'")
    ```

    Args:
        facts: of the file.
        spec: the model.
        backend: the service.
        name: of the file, for messages.

    Raises:
        MediaLimitError: too many seconds, pages or pixels.
    """
    limit = spec.limit(facts.modality, backend)
    if limit is None:
        return
    if limit.seconds is not None and (facts.seconds or 0) > limit.seconds:
        raise too_long(name, facts.seconds or 0, limit.seconds, facts.modality, consumer_name(spec, backend))
    if limit.pages is not None and (facts.pages or 0) > limit.pages:
        raise MediaLimitError(
            f"{name} has {facts.pages:,} pages; {consumer_name(spec, backend)} takes at most {limit.pages} pages of a "
            f"PDF. Load it with MediaLoader, or name parts of {limit.pages} pages or less with MediaRef.pages"
        )
    side = max(facts.width or 0, facts.height or 0)
    if facts.modality == "image" and limit.pixels_per_side is not None and side > limit.pixels_per_side:
        raise MediaLimitError(
            f"{name} is {facts.width:,} x {facts.height:,} pixels; {consumer_name(spec, backend)} takes at most "
            f"{limit.pixels_per_side:,} a side. Scale it down"
        )


def too_long(name: str, seconds: float, limit_s: float, modality: Modality, consumer: str) -> MediaLimitError:
    """The error for a recording that is longer than a model takes.

    Args:
        name: of the file.
        seconds: its duration.
        limit_s: the longest duration taken, in seconds.
        modality: audio or video.
        consumer: the model that takes no more.
    """
    return MediaLimitError(
        f"{name} lasts {seconds:,.2f} s; {consumer} takes at most {limit_s:g} s of {modality}. Load it with "
        f"MediaLoader, or name parts of {limit_s:g} s or less with MediaRef.segment"
    )
