"""Options of media preparation and of Vertex AI, and the limits and tokens that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from langchain_gemini_mm.errors import InvalidValueError
from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.models import (
    AUDIO_TOKENS_PER_SECOND,
    GEMINI_VIDEO_FRAMES,
    PAGE_TEXT_TOKENS,
    TIMESTAMP_TOKENS_PER_SECOND,
    VERTEX_HEARD_SECONDS,
    VERTEX_VIDEO_FPS,
    VERTEX_VIDEO_FRAMES,
    VIDEO_FRAME_TOKENS,
    ModelSpec,
    estimate_tokens,
)

_MIN_EDGE = 16
_VERTEX_ONLY = ("video_fps", "document_ocr", "audio_track_extraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaOptions:
    """Options that change the vectors of media; by default accepted files are sent unchanged."""

    image_max_edge: int | None = None
    """Longer side of an image in pixels; larger images are scaled down."""
    video_max_edge: int | None = None
    """Longer side of a video in pixels; larger videos are scaled down and re-encoded."""
    video_fps: float | None = None
    """Frames per second that Vertex AI samples from a video; 1 when None."""
    document_ocr: bool = False
    """Whether Vertex AI also reads the text of PDF pages."""
    audio_track_extraction: bool = False
    """Whether Vertex AI also processes the audio of videos."""

    def check(self, backend: Backend) -> None:
        """Refuse values out of range, and options that the backend does not have.

        Raises:
            ValueError: the message names the option.
        """
        for name in ("image_max_edge", "video_max_edge"):
            edge = getattr(self, name)
            if edge is not None and edge < _MIN_EDGE:
                raise InvalidValueError(f"{name} must be {_MIN_EDGE} pixels or more, got {edge!r}")
        if self.video_fps is not None and not 0 < self.video_fps <= VERTEX_VIDEO_FPS:
            raise InvalidValueError(
                f"video_fps must be above 0 and at most {VERTEX_VIDEO_FPS:g}, got {self.video_fps!r}"
            )
        given = [name for name in _VERTEX_ONLY if getattr(self, name)]
        if given and backend != "vertex":
            raise InvalidValueError(
                f"{given[0]}={getattr(self, given[0])!r} is an option of Vertex AI, which the Gemini API does not "
                "have. Leave it out, or give project= for Vertex AI"
            )

    @property
    def recipe(self) -> str:
        """The options that differ from the default, for the fingerprint; empty where none does."""
        chosen = ((option.name, getattr(self, option.name)) for option in fields(self))
        return " ".join(f"{name}={value:g}" for name, value in chosen if value and (name, value) != ("video_fps", 1))

    def sampling(self, backend: Backend) -> str:
        """How a service samples video, for fingerprints and cache keys."""
        most, fps = (GEMINI_VIDEO_FRAMES, 1.0) if backend == "gemini" else (VERTEX_VIDEO_FRAMES, self.video_fps or 1.0)
        return f"{backend} fps={fps:g} frames<={most}"

    @property
    def request_fields(self) -> Mapping[str, object]:
        """Request fields for all contents."""
        asked = {"document_ocr": self.document_ocr, "audio_track_extraction": self.audio_track_extraction}
        return {name: True for name, value in asked.items() if value}

    @property
    def part_fields(self) -> Mapping[str, Any]:
        """Fields of a video part."""
        return {} if self.video_fps is None else {"video_metadata": {"fps": self.video_fps}}

    def limits(self, spec: ModelSpec, backend: Backend) -> ModelSpec:
        """The model with the limits that follow from these options: frames and audio limit the duration of a video."""
        limit = spec.limit("video", backend)
        if limit is None or backend != "vertex" or not (self.video_fps or self.audio_track_extraction):
            return spec
        fps = self.video_fps or 1.0
        seconds = VERTEX_VIDEO_FRAMES / fps
        if self.audio_track_extraction:
            each = VIDEO_FRAME_TOKENS * fps + AUDIO_TOKENS_PER_SECOND + TIMESTAMP_TOKENS_PER_SECOND
            seconds = min(seconds, VERTEX_HEARD_SECONDS, spec.tokens / each)
        video = replace(limit, seconds=int(seconds * 1000) / 1000)
        return replace(spec, media={**spec.media, backend: {**spec.media[backend], "video": video}})

    def tokens(
        self,
        modality: Modality,
        backend: Backend,
        *,
        seconds: float | None = None,
        pages: int | None = None,
        has_audio: bool = True,
    ) -> Mapping[Modality, int]:
        """Estimate the tokens of one part, by the modality that they are billed as.

        ```python
        from langchain_gemini_mm.media.media_options import MediaOptions

        options = MediaOptions(audio_track_extraction=True)
        assert options.tokens("video", "vertex", seconds=60) == {"video": 60 * 66, "audio": 60 * 25, "text": 60 * 10}
        ```

        Args:
            modality: of the part.
            backend: the service.
            seconds: duration of audio or video.
            pages: of a PDF.
            has_audio: whether a video has an audio stream.
        """
        tokens: dict[Modality, int] = {
            modality: estimate_tokens(modality, backend, seconds=seconds, pages=pages, fps=self.video_fps or 1.0)
        }
        if modality == "video" and self.audio_track_extraction and has_audio:
            whole = math.ceil(seconds or 1)
            tokens["audio"] = AUDIO_TOKENS_PER_SECOND * whole
            # Timestamps are taken for text; no page says at which rate they are billed.
            tokens["text"] = TIMESTAMP_TOKENS_PER_SECOND * whole
        if modality == "pdf" and self.document_ocr:
            tokens["text"] = PAGE_TEXT_TOKENS * (pages or 1)
        return tokens
