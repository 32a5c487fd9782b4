"""The words that go with media: beside a file, inside it, and in its folder's `captions.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.captions import Caption, Captions, parse, said_between
from langchain_gemini_mm.loaders.plain_text import whole_text
from langchain_gemini_mm.loaders.segmentation import Piece
from langchain_gemini_mm.loaders.walk import Found, Skipped
from langchain_gemini_mm.media.embedded_text import Carried, Cue
from langchain_gemini_mm.media.source import open_source

if TYPE_CHECKING:
    from pathlib import Path

_SUBTITLE_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class Companion:
    """All words that go with one file."""

    of_all: tuple[str, ...] = ()
    """Of the whole file; they stand with its first piece, or a search for a title would find nothing but segments."""
    cues: Sequence[Cue] = ()
    captions: Sequence[Caption] = ()
    pages: Sequence[str] = ()

    def text(self, piece: Piece, *, first: bool) -> str:
        """The words of one piece, those that people wrote in front."""
        found = [caption.text.strip() for caption in self.captions if _is_about(caption, piece, first=first)]
        found += self.of_all if first else ()
        start, end = (
            (0.0, float("inf")) if piece.start_s is None or piece.end_s is None else (piece.start_s, piece.end_s)
        )
        found.append(said_between(self.cues, start, end))
        low, high = (1, len(self.pages)) if piece.first_page is None else (piece.first_page, piece.last_page or 0)
        found += self.pages[low - 1 : high]
        return "\n\n".join(dict.fromkeys(text for text in found if text.strip()))


@dataclass
class Companions:
    """Finds what stands beside files; remembers the captions of the folders it is in."""

    _read: dict[Path, Captions | None] = field(default_factory=dict)
    _noted: list[Skipped] = field(default_factory=list)

    def of(self, item: object, found: Carried) -> Companion:
        """All words that go with a file or blob."""
        if not isinstance(item, Found):
            return Companion(found.words, found.cues, (), found.pages)
        cues = [cue for path in item.subtitles for cue in self._subtitles(path, item)]
        captions = tuple(self._captions(item))
        return Companion(found.words, sorted(cues) or found.cues, captions, found.pages)

    def notes(self) -> Iterator[Skipped]:
        """What could not be read of it since the last call."""
        noted, self._noted = self._noted, []
        yield from noted

    def _subtitles(self, path: Path, item: Found) -> Iterable[Cue]:
        try:
            file, stamp = open_source(path)
            with closing(file):
                if stamp.size > _SUBTITLE_BYTES:
                    raise ContentError(f"it has {stamp.size:,} bytes; subtitles of up to {_SUBTITLE_BYTES:,} are read")
                cues = parse(whole_text(file))
            if not cues:
                raise ContentError("no subtitles can be read in it")
            return cues
        except (ContentError, OSError) as error:
            self._noted.append(Skipped(_beside(item, path.name), str(error)))
            return ()

    def _captions(self, item: Found) -> Iterator[Caption]:
        for path, source, of in item.captions:
            if path not in self._read:
                if len(self._read) > len(item.captions):
                    # Folders that the walk has left are not needed again.
                    self._read = {place: self._read[place] for place, *_ in item.captions if place in self._read}
                self._read[path] = self._opened(path, source)
            captions = self._read[path]
            yield from captions.about(of) if captions else ()

    def _opened(self, path: Path, source: str) -> Captions | None:
        try:
            captions = Captions(path)
        except (ContentError, OSError) as error:
            self._noted.append(Skipped(source, str(error)))
            return None
        if captions.mistakes:
            said = f"{captions.mistakes} of its lines cannot be used, the others are; {captions.first_mistake}"
            self._noted.append(Skipped(source, said))
        return captions


def _is_about(caption: Caption, piece: Piece, *, first: bool) -> bool:
    if caption.of_all or piece.is_whole:
        return first
    if caption.start_s is not None and piece.start_s is not None and piece.end_s is not None:
        end = caption.start_s if caption.end_s is None else caption.end_s
        return piece.start_s <= caption.start_s < piece.end_s or caption.start_s < piece.start_s < end
    if caption.first_page is not None and piece.first_page is not None:
        return caption.first_page <= (piece.last_page or 0) and (caption.last_page or 0) >= piece.first_page
    return False


def _beside(item: Found, name: str) -> str:
    folder, slash, _ = item.source.rpartition("/")
    return f"{folder}{slash}{name}"
