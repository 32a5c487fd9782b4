"""Which parts of a media file become Documents: arithmetic over its length and its pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_gemini_mm.interfaces import Backend, Modality
from langchain_gemini_mm.media.av.segments import windows
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.models import ModelSpec
from langchain_gemini_mm.references import MediaRef

if TYPE_CHECKING:
    from langchain_gemini_mm.media.embedded_text import Carried


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """How long files are cut: into windows of seconds or pages.

    ```python
    from langchain_gemini_mm.loaders import Segments

    assert Segments(video_s=15, video_overlap_s=5).audio_s == 60
    ```

    Raises:
        ValueError: a window is no length, or its overlap is as long as itself.
    """

    video_s: float = 30.0
    """Seconds of video in a segment; the Gemini API looks at 32 frames of each."""
    video_overlap_s: float = 0.0
    """Seconds that neighbours share."""
    audio_s: float = 60.0
    """Seconds of sound in a segment, of recordings and of the sound tracks of videos."""
    audio_overlap_s: float = 0.0
    """As `video_overlap_s`."""
    pages: int = 1
    """Pages of a PDF in a segment."""
    page_overlap: int = 0
    """Pages that neighbours share."""
    sound_tracks: bool = True
    """Whether the sound of a video becomes segments of its own; the Gemini API does not hear it otherwise."""
    skip_silent: bool = False
    """Leave out sound in which nothing can be heard (`media.quiet`); every recording is read through for that."""
    skip_black: bool = False
    """Leave out video in which nothing can be seen; as `skip_silent`."""

    def __post_init__(self) -> None:
        """Refuse windows that cannot be cut."""
        windows(1, self.video_s, self.video_overlap_s)
        windows(1, self.audio_s, self.audio_overlap_s)
        if not 0 <= self.page_overlap < self.pages:
            raise ValueError(
                f"a window needs at least one page and a smaller overlap, got {self.pages!r} and {self.page_overlap!r}"
            )

    def check(self, spec: ModelSpec, backend: Backend) -> None:
        """Refuse windows that are longer than the model takes.

        Raises:
            ValueError: the message says which, and the limit.
        """
        sizes: tuple[tuple[str, Modality, float], ...] = (
            ("video_s", "video", self.video_s),
            ("audio_s", "audio", self.audio_s),
            ("pages", "pdf", self.pages),
        )
        for word, modality, size in sizes:
            limit = spec.limit(modality, backend)
            most = (limit.pages if modality == "pdf" else limit.seconds) if limit else None
            if most is not None and size > most:
                raise ValueError(f"{word} must be at most {most:g} for {spec.name}, got {size!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What of a file one Document holds: all of it, some seconds, or some pages."""

    modality: Modality
    position: int
    """Number among the pieces of its kind, from 0."""
    start_s: float | None = None
    end_s: float | None = None
    track: Literal["audio"] | None = None
    first_page: int | None = None
    last_page: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the file as it is."""
        return self.start_s is None and self.first_page is None

    def of(self, ref: MediaRef) -> MediaRef:
        """The reference to this piece of a file."""
        if self.first_page is not None and self.last_page is not None:
            return ref.pages(self.first_page, self.last_page)
        if self.start_s is not None and self.end_s is not None:
            return ref.segment(self.start_s, self.end_s, track=self.track)
        return ref

    @property
    def key(self) -> str:
        """What tells it from the other pieces of its file, the same whatever the file holds."""
        return str(self.position) if self.is_whole else self.of(MediaRef("0" * 64)).uri.partition("#")[2]

    @property
    def words(self) -> dict[str, Any]:
        """Its metadata."""
        said = {
            "start_s": self.start_s,
            "end_s": self.end_s,
            "track": self.track,
            "first_page": self.first_page,
            "last_page": self.last_page,
        }
        return {key: value for key, value in said.items() if value is not None} | {"position": self.position}


def pieces_of(facts: MediaFacts, found: Carried, segments: Segments, spec: ModelSpec, backend: Backend) -> list[Piece]:
    """Plan the pieces of a file, pictures and sound of a video interleaved by where they end.

    A file that fits into one window and is of a type that the model takes stays whole.
    """
    limit = spec.limit(facts.modality, backend)
    taken = limit is None or facts.mime_type in limit.mime_types
    if facts.modality == "pdf":
        return _paged(facts.pages or 1, segments)
    if facts.modality == "audio":
        # By its type a container for video is video, also where it holds sound alone.
        track: Literal["audio"] | None = "audio" if facts.mime_type.startswith("video/") else None
        return _sounding(facts.seconds or 0, segments, limit.seconds if limit else None, whole=taken, track=track)
    if facts.modality != "video":
        return [Piece(modality=facts.modality, position=0)]
    length = facts.seconds or 0
    seen = min(found.pictures_s or length, length)
    stretches = windows(seen, segments.video_s, segments.video_overlap_s, limit_s=limit.seconds if limit else None)
    pieces = [
        Piece(modality="video", position=position, start_s=start, end_s=end)
        for position, (start, end) in enumerate(stretches)
    ]
    if taken and len(pieces) == 1:
        pieces = [Piece(modality="video", position=0)]
    if facts.has_audio and segments.sound_tracks:
        heard = spec.limit("audio", backend)
        sound = min(found.sound_s or length, length)
        pieces += _sounding(sound, segments, heard.seconds if heard else None, track="audio")
    return sorted(pieces, key=lambda piece: (piece.end_s or 0, piece.track or ""))


def matching(pieces: Sequence[Piece], kept: Sequence[int] | None) -> Iterator[Piece]:
    """The pieces that were not found to say nothing, by their numbers; all of them where nobody looked."""
    return (piece for number, piece in enumerate(pieces) if kept is None or number in kept)


def _paged(pages: int, segments: Segments) -> list[Piece]:
    from langchain_gemini_mm.media.pdf.pages import windows as page_windows

    bounds = list(page_windows(pages, segments.pages, segments.page_overlap))
    if len(bounds) == 1:
        return [Piece(modality="pdf", position=0)]
    return [
        Piece(modality="pdf", position=position, first_page=first, last_page=last)
        for position, (first, last) in enumerate(bounds)
    ]


def _sounding(
    seconds: float,
    segments: Segments,
    limit_s: float | None,
    *,
    whole: bool = False,
    track: Literal["audio"] | None = None,
) -> list[Piece]:
    stretches = windows(seconds, segments.audio_s, segments.audio_overlap_s, limit_s=limit_s)
    if whole and len(stretches) == 1:
        return [Piece(modality="audio", position=0)]
    return [
        Piece(modality="audio", position=position, start_s=start, end_s=end, track=track)
        for position, (start, end) in enumerate(stretches)
    ]
