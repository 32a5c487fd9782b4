"""The text that belongs to media: subtitle files, text inside of files, and the folder's `captions.jsonl`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.captions import Caption, Captions
from langchain_gemini_mm.loaders.plain_text import read_text
from langchain_gemini_mm.loaders.segmentation import MediaSegment
from langchain_gemini_mm.loaders.subtitles import MAX_CUES, longest_of, parse, text_between
from langchain_gemini_mm.loaders.walk import InputFile, Skipped
from langchain_gemini_mm.media.embedded_text import Cue, EmbeddedText
from langchain_gemini_mm.media.source import open_source

if TYPE_CHECKING:
    from pathlib import Path

_SUBTITLE_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class CompanionText:
    """The text that belongs to one file."""

    embedded: EmbeddedText
    cues: Sequence[Cue]
    """Of its subtitles, in order."""
    captions: Sequence[Caption]
    unread: Sequence[Skipped]
    """Companion files that could not be read."""
    longest_s: float = 0.0
    """Duration of the longest cue."""

    def of(self, segment: MediaSegment, *, first: bool) -> str:
        """The text of one segment, captions first.

        Args:
            segment: of the file.
            first: whether it is the first segment; text about the whole file is part of that one alone, or a search for
                a title would find nothing but segments.
        """
        texts = [caption.text.strip() for caption in self.captions if _is_about(caption, segment, first=first)]
        if first:
            texts += self.embedded.texts
        if self.cues:
            end_s = segment.end_s or float("inf")
            texts.append(text_between(self.cues, segment.start_s or 0.0, end_s, longest_s=self.longest_s))
        pages = self.embedded.pages
        texts += pages if segment.first_page is None else pages[segment.first_page - 1 : segment.last_page]
        return "\n\n".join(filter(str.strip, dict.fromkeys(texts)))


@dataclass
class Companions:
    """Reads the companion files of media; remembers the captions of the folders that the walk is in."""

    _read: dict[Path, Captions | None] = field(default_factory=dict)
    _unread: list[Skipped] = field(default_factory=list)

    def of(self, item: InputFile, embedded: EmbeddedText) -> CompanionText:
        """Collect the text that belongs to a file."""
        self._unread = []
        cues: list[Cue] = []
        for path in item.subtitles:
            cues += self._subtitles(path, item)
        captions: list[Caption] = []
        for path, source, name in item.captions:
            captions += self._captions(path, source, name, item)
        found = sorted(cues) or embedded.cues
        return CompanionText(embedded, found, captions, self._unread, longest_of(found))

    def _subtitles(self, path: Path, item: InputFile) -> Iterable[Cue]:
        try:
            file, stamp = open_source(path)
            with closing(file):
                if stamp.size > _SUBTITLE_BYTES:
                    raise ContentError(f"it has {stamp.size:,} bytes; subtitles of up to {_SUBTITLE_BYTES:,} are read")
                cues = parse(read_text(file))
            if not cues:
                raise ContentError("no subtitles can be read in it")
            if len(cues) == MAX_CUES:
                self._unread.append(Skipped(_sibling(item, path.name), f"only its first {MAX_CUES:,} cues are read"))
            return cues
        except (ContentError, OSError) as error:
            self._unread.append(Skipped(_sibling(item, path.name), str(error)))
            return ()

    def _captions(self, path: Path, source: str, name: str, item: InputFile) -> Sequence[Caption]:
        if path not in self._read:
            if len(self._read) > len(item.captions):
                # Captions of folders that the walk has left are not needed again.
                self._read = {place: self._read[place] for place, *_ in item.captions if place in self._read}
            self._read[path] = self._opened(path, source)
        captions = self._read[path]
        return captions.about(name) if captions else ()

    def _opened(self, path: Path, source: str) -> Captions | None:
        try:
            captions = Captions(path)
        except (ContentError, OSError) as error:
            self._unread.append(Skipped(source, str(error)))
            return None
        if captions.mistakes:
            reason = f"{captions.mistakes} of its lines cannot be used, the others are; {captions.first_mistake}"
            self._unread.append(Skipped(source, reason))
        return captions


def _is_about(caption: Caption, segment: MediaSegment, *, first: bool) -> bool:
    if caption.of_all or segment.is_whole:
        return first
    if caption.start_s is not None and segment.start_s is not None and segment.end_s is not None:
        end = caption.start_s if caption.end_s is None else caption.end_s
        return segment.start_s <= caption.start_s < segment.end_s or caption.start_s < segment.start_s < end
    if caption.first_page is not None and segment.first_page is not None:
        return caption.first_page <= (segment.last_page or 0) and (caption.last_page or 0) >= segment.first_page
    return False


def _sibling(item: InputFile, name: str) -> str:
    folder, slash, _ = item.source.rpartition("/")
    return f"{folder}{slash}{name}"
