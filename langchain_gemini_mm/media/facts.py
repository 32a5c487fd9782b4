"""Facts of a media file, as found by opening it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TypedDict

from langchain_gemini_mm.interfaces import Modality


class Measures(TypedDict, total=False):
    """What the functions behind `probe` measure; fields as in `MediaFacts`."""

    width: int
    height: int
    seconds: float
    video_s: float | None
    audio_s: float | None
    pages: int
    has_audio: bool
    attachments: int
    needs_redraw: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """The facts of a media file."""

    mime_type: str
    modality: Modality
    size: int
    """Bytes."""
    width: int | None = None
    """Pixels of an image or video as stored, before EXIF rotation."""
    height: int | None = None
    """As `width`."""
    seconds: float | None = None
    """Duration of audio or video."""
    video_s: float | None = None
    """End of the video stream in seconds, where it is known; the audio stream may be longer or shorter."""
    audio_s: float | None = None
    """End of the audio stream of a video in seconds, where it is known."""
    pages: int | None = None
    """Pages of a PDF."""
    has_audio: bool = False
    """Whether there is an audio stream."""
    attachments: int = 0
    """Files attached to a PDF."""
    needs_redraw: bool = False
    """Whether a file of an accepted type is converted before it is embedded: an image that EXIF rotates, or whose
    colours are CMYK, or of which neither is known without decoding; a recording of a codec that models do not take; a
    PDF that is encrypted or has a form."""


_KNOWN_FILES = 10_000
_known: dict[str, MediaFacts] = {}
_lock = threading.Lock()


def remember_facts(sha256: str, facts: MediaFacts) -> None:
    """Remember the facts of stored media for this process, so that they are not opened again to be embedded.

    Args:
        sha256: of the bytes, as 64 hex digits.
        facts: what `probe` found in these bytes.
    """
    with _lock:
        _known[sha256] = facts
        if len(_known) > _KNOWN_FILES:
            del _known[next(iter(_known))]


def known_facts(sha256: str) -> MediaFacts | None:
    """The facts of media that were opened before in this process, if any."""
    return _known.get(sha256)
