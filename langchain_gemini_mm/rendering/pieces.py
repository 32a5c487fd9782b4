"""Media as a chat model takes them: cut, converted and scaled to the bytes that are left."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.content.mime_types import modality_of
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError, MissingExtraError
from langchain_gemini_mm.interfaces import MediaSource, Modality
from langchain_gemini_mm.rendering.citations import page_span, time_span
from langchain_gemini_mm.rendering.model_capabilities import Accepts, Place

if TYPE_CHECKING:
    from langchain_gemini_mm.media.av.clip import Clip
    from langchain_gemini_mm.media.av.segments import Cut, Track
    from langchain_gemini_mm.media.pdf.pages import PdfPages

LEAD = 0.5
"""A copy may begin at a keyframe before what is shown, by so much of its length."""
MOST_PICTURES = 4
"""Stills of a video, or pages as pictures, in the place of one medium."""
SOUND_SECONDS = 1_800.0
"""A longer sound is not written anew: it is in memory meanwhile."""
VIDEO_SECONDS = 300.0
"""A longer video is not written anew: it would take minutes."""
LEAST_BYTES = 8_000
"""Of a second of video; with less, stills show more."""
_STILL_EDGE = 1024
_MP4 = ("video/mp4",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that are sent for a medium, or for a part of it."""

    data: bytes = field(repr=False)
    mime_type: str
    says: str = ""
    """What it is, where it is not simply what was asked for, such as `still at 12:45`."""
    lead_s: float = 0.0
    """How many seconds it begins before what was asked for."""

    @property
    def modality(self) -> Modality:
        """Of the bytes, which may be pictures where a video was asked for."""
        found = modality_of(self.mime_type)
        return "image" if found is None else found

    @property
    def encoded_bytes(self) -> int:
        """Bytes as base64."""
        return -(-len(self.data) // 3) * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """Makes the pieces of media for one family of chat models."""

    accepts: Accepts
    media: MediaSource | None
    place: Place = "message"
    pictures: int = MOST_PICTURES
    """Most stills or pages of one medium."""
    quick: bool = False
    """Video that would have to be written anew becomes stills."""
    video_edge: int = 640
    """Pixels of the longer side of video that is written anew to fit."""

    def pieces(self, part: Part, most: int) -> list[Piece]:
        """Make what fits into `most` bytes, base64 counted; empty where nothing of its kind is taken.

        Raises:
            MissingMediaError: the media are gone.
            MediaLimitError: it does not fit.
            ContentError: damaged, or without such a part.
            MissingExtraError: the library that opens it is not installed.
        """
        room = most // 4 * 3
        make = {"image": self._picture, "audio": self._sound, "video": self._video, "pdf": self._pages}[part.modality]
        return make(part, room)

    def _picture(self, part: Part, room: int) -> list[Piece]:
        accepted = self._types("image")
        if not accepted:
            return []
        try:
            with part.open(self.media) as file:
                return [self._scaled(file, room, part.name)]
        except MissingExtraError:
            if part.mime_type in accepted and part.size <= room:
                return [self._whole(part)]
            raise

    def _sound(self, part: Part, room: int) -> list[Piece]:
        accepted = self._types("audio")
        if not accepted:
            return []
        if part.mime_type in accepted and not _is_part(part) and part.size <= room:
            return [self._whole(part)]
        with part.open(self.media) as file:
            return [self._cut(part, file, room, "audio", SOUND_SECONDS)]

    def _video(self, part: Part, room: int) -> list[Piece]:
        if self._types("video"):
            if part.mime_type in self._types("video") and not _is_part(part) and part.size <= room:
                return [self._whole(part)]
            try:
                with part.open(self.media) as file:
                    piece = self._moving(part, file, room)
                    return [piece] if self._types(piece.modality) else []
            except MediaLimitError:
                if not self._types("image"):
                    raise
        made = self._stills(part, room) if self._types("image") else []
        if self._types("audio"):
            made += self._soundtrack(part, room - sum(len(piece.data) for piece in made), alone=not made)
        return made

    def _moving(self, part: Part, file: BinaryIO, room: int) -> Piece:
        """A stretch of video, with smaller pictures where it does not fit otherwise."""
        start_s, end_s = _stretch(part, file)
        fits = _natural_bytes(part, file, end_s - start_s) <= room
        if not fits and (self.quick or room < LEAST_BYTES * (end_s - start_s)):
            raise MediaLimitError(f"{part.name} would have to be written anew, with too few bytes to show anything")
        if fits:
            with suppress(MediaLimitError):
                return self._cut(part, file, room, None, VIDEO_SECONDS)
        return self._cut(part, file, room, None, VIDEO_SECONDS, max_edge=self.video_edge)

    def _stills(self, part: Part, room: int) -> list[Piece]:
        from langchain_gemini_mm.media.av.stills import stills

        count = self.pictures
        with part.open(self.media) as file:
            start_s, end_s = _stretch(part, file)
            moments = [start_s + (end_s - start_s) * (number + 0.5) / count for number in range(count)]
            edge = min(self.accepts.image_edge, _STILL_EDGE)
            found = stills(file, moments, max_edge=edge, name=part.name)
        return [
            replace(self._fitted(still.picture.data, room // len(found), part.name), says=f"still at {at}")
            for still in found
            for at in [time_span(still.time_s)]
        ]

    def _soundtrack(self, part: Part, room: int, *, alone: bool) -> list[Piece]:
        """The sound of a video for those who do not see it; beside stills it may be missing."""
        try:
            with part.open(self.media) as file:
                return [replace(self._cut(part, file, room, "audio", SOUND_SECONDS), says="its sound")]
        except GeminiMMError:
            if alone:
                raise
            return []

    def _pages(self, part: Part, room: int) -> list[Piece]:
        from langchain_gemini_mm.media.pdf.pages import opened_pdf

        if not self._types("pdf") and not self._types("image"):
            return []
        with part.open(self.media) as file, opened_pdf(file, name=part.name) as paper:
            first = part.ref.first_page if part.ref is not None else None
            last = part.ref.last_page if part.ref is not None else None
            whole = first is None or last is None
            pages = (1, paper.pages) if first is None or last is None else (first, last)
            most = self.accepts.pdf_pages or paper.pages
            if self._types("pdf"):
                if whole and part.size <= room and paper.pages <= most:
                    return [self._whole(part)]
                try:
                    return [_window(paper, pages, room, min(most, _guessed_pages(part, paper, room)))]
                except MediaLimitError:
                    if not self._types("image"):
                        raise
            return list(self._page_pictures(paper, pages, room, part.name))

    def _page_pictures(self, paper: PdfPages, pages: tuple[int, int], room: int, name: str) -> Iterator[Piece]:
        numbers = range(pages[0], min(pages[1], pages[0] + self.pictures - 1) + 1)
        for number in numbers:
            drawn = paper.picture(number, min(self.accepts.image_edge, 1536))
            piece = self._fitted(drawn.data, room // len(numbers), name)
            yield replace(piece, says=f"picture of {page_span(number, number)}{_of_all(paper, pages, numbers[-1])}")

    def _scaled(self, source: BinaryIO | bytes, room: int, name: str) -> Piece:
        from langchain_gemini_mm.media.images.transform import prepared

        if self.accepts.image_bytes is not None:
            room = min(room, self.accepts.image_bytes // 4 * 3)
        if room < 1:
            raise MediaLimitError(f"{name} does not fit into what is left")
        made = prepared(
            source,
            accepted=self._types("image"),
            max_edge=self.accepts.image_edge,
            max_bytes=room,
            name=name,
        )
        return Piece(data=made.data, mime_type=made.mime_type)

    def _fitted(self, data: bytes, room: int, name: str) -> Piece:
        """A picture that was drawn here."""
        if len(data) <= room and "image/jpeg" in self._types("image"):
            return Piece(data=data, mime_type="image/jpeg")
        return self._scaled(data, room, name)

    def _cut(
        self, part: Part, file: BinaryIO, room: int, track: Track | None, most_s: float, max_edge: int | None = None
    ) -> Piece:
        from langchain_gemini_mm.media.av.cut import cut

        start_s, end_s = _stretch(part, file)
        length = end_s - start_s
        if room < 1 or length > most_s:
            raise MediaLimitError(f"{part.name} is {length:,.1f} s long; at most {most_s:g} s are cut and converted")
        sounds = tuple(sorted(self._types("audio") & {"audio/mp3", "audio/wav"}))
        found = cut(
            file,
            start_s,
            end_s,
            limit_s=length * (1 + LEAD) + 60,
            lead_s=LEAD * length,
            track=track,
            max_bytes=room,
            mime_types=_MP4 if track is None else sounds,
            max_edge=max_edge,
            name=part.name,
        )
        return _piece_of(found, start_s)

    def _whole(self, part: Part) -> Piece:
        """A file as it is; a damaged one would cost the whole request."""
        from langchain_gemini_mm.media.probe import probe

        if part.modality in ("audio", "video"):
            with suppress(MissingExtraError), part.open(self.media) as file:
                probe(file, part.mime_type or "", name=part.name)
        return Piece(data=part.read(self.media), mime_type=part.mime_type or "")

    def _types(self, modality: Modality) -> frozenset[str]:
        return self.accepts.types(modality, self.place)


def _piece_of(found: Cut, start_s: float) -> Piece:
    return Piece(data=found.data, mime_type=found.mime_type, lead_s=max(start_s - found.start_s, 0.0))


def _window(paper: PdfPages, pages: tuple[int, int], room: int, most: int) -> Piece:
    """The pages as a PDF, or as many of the first as fit."""
    first, last = pages
    last = min(last, first + most - 1)
    while True:
        try:
            data = paper.cut(first, last, max_bytes=max(room, 1))
        except MediaLimitError:
            if first == last:
                raise
            last = first + (last - first) // 2
            continue
        cut_off = f"{page_span(first, last)}{_of_all(paper, pages, last)}" if last < pages[1] else ""
        return Piece(data=data, mime_type="application/pdf", says=cut_off)


def _guessed_pages(part: Part, paper: PdfPages, room: int) -> int:
    """How many pages may fit, so that a book is not copied whole to find that it does not."""
    return max(1, 2 * room * paper.pages // max(part.size, 1))


def _of_all(paper: PdfPages, pages: tuple[int, int], last: int) -> str:
    return f" of {paper.pages}, the others are not shown" if last < pages[1] else ""


def _stretch(part: Part, file: BinaryIO) -> tuple[float, float]:
    """From where to where, in seconds; a whole recording to its end."""
    ref = part.ref
    if ref is not None and ref.start_s is not None and ref.end_s is not None:
        return ref.start_s, ref.end_s
    return 0.0, math.ceil(_inspected(part, file).duration_s * 1000) / 1000


def _natural_bytes(part: Part, file: BinaryIO, length: float) -> float:
    """What a copy of a stretch would take, about."""
    return part.size * length / max(_inspected(part, file).duration_s, length, 0.001)


def _inspected(part: Part, file: BinaryIO) -> Clip:
    from langchain_gemini_mm.media.av.clip import inspect

    clip = inspect(file, name=part.name)
    if clip.duration_s <= 0:
        raise ContentError(f"{part.name} lasts no time at all")
    return clip


def _is_part(part: Part) -> bool:
    return part.ref is not None and part.ref.is_part
