"""What is found out about a media file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from langchain_gemini_mm.interfaces import Modality


class Measures(TypedDict, total=False):
    """What one kind of prober finds; fields as in `MediaFacts`."""

    width: int
    height: int
    seconds: float
    pages: int
    has_audio: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """What was found by opening a file."""

    mime_type: str
    modality: Modality
    size: int
    """Bytes."""
    width: int | None = None
    """Pixels of a picture or video as stored, before any turning by EXIF."""
    height: int | None = None
    """As `width`."""
    seconds: float | None = None
    """Length of a sound or video."""
    pages: int | None = None
    """Of a PDF."""
    has_audio: bool = False
    """Whether there is a sound track."""
