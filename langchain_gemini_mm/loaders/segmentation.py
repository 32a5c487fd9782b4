"""Segments of media files that become Documents, planned from their length and pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.media.av.segments import windows
from langchain_gemini_mm.models import MediaLimit
from langchain_gemini_mm.references import MediaRef

if TYPE_CHECKING:
    from langchain_gemini_mm.media.facts import MediaFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Lengths and overlaps of the segments into which files are cut.

    ```python
    from langchain_gemini_mm.loaders import Segments

    assert Segments(video_s=15, video_overlap_s=5).audio_s == 60
    ```

    Raises:
        ValueError: a length is not positive, or an overlap is not smaller than its length.
    """

    video_s: float = 30.0
    """Seconds of video in a segment; the Gemini API uses 32 frames of each."""
    video_overlap_s: float = 0.0
    """Seconds that adjacent segments share."""
    audio_s: float = 60.0
    """Seconds of audio in a segment, also of the audio streams of videos."""
    audio_overlap_s: float = 0.0
    """As `video_overlap_s`."""
    pages: int = 1
    """Pages of a PDF in a segment."""
    page_overlap: int = 0
    """Pages that adjacent segments share."""
    audio_tracks: bool = True
    """Whether the audio stream of a video becomes segments of its own; the Gemini API ignores it otherwise."""
    skip_silent: bool = False
    """Leave out silent audio (see `media.av.silence`); every recording is decoded for that."""
    skip_black: bool = False
    """Leave out black video; every video is decoded for that."""

    def __post_init__(self) -> None:
        """Check lengths and overlaps."""
        windows(1, self.video_s, self.video_overlap_s)
        windows(1, self.audio_s, self.audio_overlap_s)
        if not 0 <= self.page_overlap < self.pages:
            raise ValueError(
                f"a window needs at least one page and a smaller overlap, got {self.pages!r} and {self.page_overlap!r}"
            )

    def check(self, limits: Mapping[Modality, MediaLimit], model: str) -> None:
        """Refuse segments that are longer than the model takes.

        Raises:
            ValueError: the message says which, and the limit.
        """
        sizes: tuple[tuple[str, Modality, float], ...] = (
            ("video_s", "video", self.video_s),
            ("audio_s", "audio", self.audio_s),
            ("pages", "pdf", self.pages),
        )
        for word, modality, size in sizes:
            limit = limits.get(modality)
            most = (limit.pages if modality == "pdf" else limit.seconds) if limit else None
            if most is not None and size > most:
                raise ValueError(f"{word} must be at most {most:g} for {model}, got {size!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSegment:
    """The part of a media file that one Document holds: all of it, some seconds, or some pages."""

    modality: Modality
    position: int
    """Number among the segments of its modality in the file, from 0."""
    start_s: float | None = None
    end_s: float | None = None
    track: Literal["audio"] | None = None
    first_page: int | None = None
    last_page: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.start_s is None and self.first_page is None

    def of(self, ref: MediaRef) -> MediaRef:
        """The reference to this part of a file."""
        if self.first_page is not None and self.last_page is not None:
            return ref.pages(self.first_page, self.last_page)
        if self.start_s is not None and self.end_s is not None:
            return ref.segment(self.start_s, self.end_s, track=self.track)
        return ref

    @property
    def metadata(self) -> dict[str, Any]:
        """The entries that this segment adds to the metadata of its Document."""
        return {key: value for key in _METADATA if (value := getattr(self, key)) is not None}


_METADATA = ("start_s", "end_s", "track", "first_page", "last_page", "position", "modality")


def plan_segments(facts: MediaFacts, segments: Segments, limits: Mapping[Modality, MediaLimit]) -> list[MediaSegment]:
    """Plan the segments of a file; those of the video and the audio stream are interleaved by their ends.

    A file that fits into one window and has a type that the model takes stays whole.

    Args:
        facts: what the file is.
        segments: the lengths of the windows.
        limits: what the model takes of each modality.
    """
    limit = limits.get(facts.modality)
    taken = limit is None or facts.mime_type in limit.mime_types
    if facts.modality == "pdf":
        from langchain_gemini_mm.media.pdf.pages import windows as page_windows

        bounds = list(page_windows(facts.pages or 1, segments.pages, segments.page_overlap))
        if len(bounds) > 1:
            return [
                MediaSegment(modality="pdf", position=position, first_page=first, last_page=last)
                for position, (first, last) in enumerate(bounds)
            ]
    if facts.modality == "audio":
        # A container for video is a video by its type, also where it holds an audio stream alone.
        track: Literal["audio"] | None = "audio" if facts.mime_type.startswith("video/") else None
        return _audio_segments(facts.seconds or 0, segments, limit, whole=taken, track=track)
    if facts.modality == "image" and (facts.pages or 1) > 1:
        return [
            MediaSegment(modality="image", position=page - 1, first_page=page, last_page=page)
            for page in range(1, (facts.pages or 1) + 1)
        ]
    if facts.modality != "video":
        return [MediaSegment(modality=facts.modality, position=0)]
    length = facts.seconds or 0
    seen = min(facts.video_s or length, length)
    stretches = windows(seen, segments.video_s, segments.video_overlap_s, limit_s=limit.seconds if limit else None)
    planned = [
        MediaSegment(modality="video", position=position, start_s=start, end_s=end)
        for position, (start, end) in enumerate(stretches)
    ]
    fits = limit is None or limit.seconds is None or length <= limit.seconds
    if taken and fits and len(planned) == 1:
        planned = [MediaSegment(modality="video", position=0)]
    if facts.has_audio and segments.audio_tracks:
        audio_s = min(facts.audio_s or length, length)
        planned += _audio_segments(audio_s, segments, limits.get("audio"), track="audio")
    return sorted(planned, key=lambda segment: (segment.end_s or 0, segment.track or ""))


def _audio_segments(
    seconds: float,
    segments: Segments,
    limit: MediaLimit | None,
    *,
    whole: bool = False,
    track: Literal["audio"] | None = None,
) -> list[MediaSegment]:
    limit_s = limit.seconds if limit else None
    stretches = windows(seconds, segments.audio_s, segments.audio_overlap_s, limit_s=limit_s)
    if whole and len(stretches) == 1:
        return [MediaSegment(modality="audio", position=0)]
    return [
        MediaSegment(modality="audio", position=position, start_s=start, end_s=end, track=track)
        for position, (start, end) in enumerate(stretches)
    ]
