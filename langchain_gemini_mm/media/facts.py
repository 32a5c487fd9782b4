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
    pages: int | None = None
    """Pages of a PDF."""
    has_audio: bool = False
    """Whether there is an audio stream."""
    attachments: int = 0
    """Files attached to a PDF."""
    needs_redraw: bool = False
    """Whether it is converted before it is embedded although the model takes its type: an image that viewers may show
    differently (EXIF rotates it, its colours are CMYK, or neither is known without decoding), an encrypted PDF, or one
    with a form."""


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
