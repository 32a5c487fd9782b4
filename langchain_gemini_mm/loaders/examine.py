"""Looking into one file, the part of loading that costs time and meets damage: what it is, its pieces, its words."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol, TypeVar

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, modality_of, sniff
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError, MissingExtraError
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.loaders.inputs import GivenBlob
from langchain_gemini_mm.loaders.options import Wanted
from langchain_gemini_mm.loaders.segmentation import Piece, pieces_of
from langchain_gemini_mm.loaders.walk import Found
from langchain_gemini_mm.media.av.clip import inspect
from langchain_gemini_mm.media.convert import ConversionRequest, MediaTarget, convert
from langchain_gemini_mm.media.embedded_text import Carried, Cue, carried
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.media.source import open_source

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found in a file."""

    facts: MediaFacts | None = None
    """None for a text."""
    found: Carried = field(default_factory=Carried)
    kept: tuple[int, ...] | None = None
    """Which of its pieces say something, where that was to be found out."""
    wanted: bool = True
    """Whether it is of a kind that is wanted."""

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Examined:
        """Undo `to_json`.

        Raises:
            ValueError: it was not made by `to_json`.
        """
        try:
            facts, found, kept = given["facts"], given["found"], given["kept"]
            return cls(
                facts=None if facts is None else MediaFacts(**facts),
                found=Carried(
                    words=tuple(found["words"]),
                    cues=tuple(Cue(*cue) for cue in found["cues"]),
                    pages=tuple(found["pages"]),
                    pictures_s=found["pictures_s"],
                    sound_s=found["sound_s"],
                ),
                kept=None if kept is None else tuple(kept),
                wanted=bool(given["wanted"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not what was found in a file: {error!r}") from error


class Looking(Protocol):
    """Who looks into files: this process, or others."""

    def look(self, stored: Path | bytes, source: str, *, into_texts: bool = False) -> Examined:
        """Look into a file, or into one that stands in a text, where other wishes hold."""


Examination = Callable[[], Examined]
"""Gives what was found in a file, or raises why it cannot be used."""


class Here:
    """Looks into files in this process, each when it is asked for."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def ahead(self, items: Iterable[T]) -> Iterator[tuple[T, Examination]]:
        """Give items in their order, each with its examination."""
        for item in items:
            yield item, examination(self, item)

    def look(self, stored: Path | bytes, source: str, *, into_texts: bool = False) -> Examined:
        """Look into a file, or into one that stands in a text."""
        wanted = self._wanted.inside_texts() if into_texts else self._wanted
        if isinstance(stored, Path):
            return examine_path(stored, source, wanted)
        return examine(io.BytesIO(stored), source, wanted)


def examination(looking: Looking, item: object) -> Examination:
    """What looks into a file or blob when it is called."""
    stored = item.data if isinstance(item, GivenBlob) else item.path if isinstance(item, Found) else b""
    source = item.source if isinstance(item, GivenBlob | Found) else ""
    return lambda: looking.look(stored, source)


def examine_path(path: Path, source: str, wanted: Wanted) -> Examined:
    """Look into a file on disk, as `examine`."""
    with closing(open_source(path)[0]) as file:
        return examine(file, source, wanted)


def examine(file: BinaryIO, source: str, wanted: Wanted) -> Examined:
    """Look into a file.

    Args:
        file: open, seekable.
        source: its name; it only words the reason.
        wanted: what is wanted of it.

    Raises:
        ContentError: empty, damaged, over the sizes that are wanted, or of a kind that is not read.
        MissingExtraError: the library that opens this type is not installed.
    """
    size = file.seek(0, 2)
    _check_size(size, wanted)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    mime_type = sniff(head)
    modality = modality_of(mime_type) if mime_type else None
    if mime_type is None or modality is None:
        if refused := reason(head, source):
            raise ContentError(refused)
        if mime_type is not None:
            raise ContentError(f"{mime_type} files are not read")
        return Examined(wanted="text" in wanted.modalities)
    heard = {"audio"} if modality == "video" else set()
    if not {modality, *heard} & wanted.modalities:
        return Examined(wanted=False)
    facts = _probed(file, mime_type, size)
    found = carried(file, facts, name="it") if wanted.words or facts.modality == "video" else Carried()
    _check_tools(facts, found, wanted)
    return Examined(facts=facts, found=found, kept=_kept(file, facts, found, wanted))


def planned(seen: Examined, wanted: Wanted) -> list[Piece]:
    """The pieces of a file that are wanted."""
    if seen.facts is None:
        return []
    pieces = pieces_of(seen.facts, seen.found, wanted.segments, wanted.spec, wanted.backend)
    kept = range(len(pieces)) if seen.kept is None else seen.kept
    return [pieces[number] for number in kept if pieces[number].modality in wanted.modalities]


def _probed(file: BinaryIO, mime_type: str, size: int) -> MediaFacts:
    """What is in a file; a container for video that holds sound alone, as browsers record calls, is sound."""
    try:
        return probe(file, mime_type, name="it")
    except MediaLimitError:
        raise
    except ContentError:
        if modality_of(mime_type) != "video":
            raise
        sound = _sound_alone(file, mime_type, size)
        if sound is None:
            raise
        return sound


def _sound_alone(file: BinaryIO, mime_type: str, size: int) -> MediaFacts | None:
    try:
        clip = inspect(file, name="it")
    except ContentError:
        return None
    if clip.pictures is not None or clip.sound is None or clip.is_cut_off:
        return None
    return MediaFacts(mime_type=mime_type, modality="audio", size=size, seconds=clip.duration_s, has_audio=True)


def _check_size(size: int, wanted: Wanted) -> None:
    if size == 0:
        raise ContentError("it is empty")
    if size < wanted.min_bytes:
        raise ContentError(f"it has {size:,} bytes; min_bytes is {wanted.min_bytes:,}")
    if wanted.max_bytes is not None and size > wanted.max_bytes:
        raise ContentError(f"it has {size:,} bytes; max_bytes is {wanted.max_bytes:,}")


def _check_tools(facts: MediaFacts, found: Carried, wanted: Wanted) -> None:
    """Say now, rather than when it is embedded, that a WAV file needs more than its own header to be cut."""
    if facts.modality == "audio" and find_spec_of("av") is None:
        pieces = pieces_of(facts, found, wanted.segments, wanted.spec, wanted.backend)
        if not all(piece.is_whole for piece in pieces):
            raise MissingExtraError("cutting it", package="PyAV", extra="media")


def find_spec_of(package: str) -> object | None:
    """Whether a package is installed, without importing it."""
    try:
        return find_spec(package)
    except ValueError:
        return None


def _kept(file: BinaryIO, facts: MediaFacts, found: Carried, wanted: Wanted) -> tuple[int, ...] | None:
    """Which pieces are neither silent nor black, by cutting them as they would be cut for the model."""
    skip: dict[Modality, bool] = {"audio": wanted.segments.skip_silent, "video": wanted.segments.skip_black}
    if facts.modality not in ("audio", "video") or not any(skip.values()):
        return None
    pieces = pieces_of(facts, found, wanted.segments, wanted.spec, wanted.backend)
    end_s = max(round(facts.seconds or 0, 3), 0.001)
    part = Part(modality=facts.modality, mime_type=facts.mime_type, size=facts.size, label="it")
    numbers = {
        ConversionRequest(
            part=part,
            start_s=piece.start_s or 0.0,
            end_s=piece.end_s or end_s,
            track="audio" if piece.modality == "audio" else "video",
        ): number
        for number, piece in enumerate(pieces)
        if skip[piece.modality]
    }
    kept = set(range(len(pieces))) - set(numbers.values())
    if numbers:
        targets = {modality: _target(modality, wanted) for modality in skip}
        kept |= {numbers[converted.request] for converted in convert(list(numbers), targets, file)}
    return tuple(sorted(kept))


def _target(modality: Modality, wanted: Wanted) -> MediaTarget:
    limit = wanted.spec.limit(modality, wanted.backend)
    if limit is None or limit.seconds is None:
        return MediaTarget(mime_types=("video/mp4",) if modality == "video" else ("audio/mp3",), skip_blank=True)
    return MediaTarget(mime_types=limit.mime_types, max_seconds=limit.seconds, skip_blank=True)


_LOADERS = "load it with docling or unstructured, which make text of it, or save it as PDF"
_OFFICE = f"Office files are not read: {_LOADERS}"
_BOOK = f"e-books are not read: {_LOADERS}"
_ARCHIVE = "archives are not read: unpack it"
_OFFICE_NAMES = {
    ".doc", ".docx", ".docm", ".dot", ".dotx", ".xls", ".xlsx", ".xlsm", ".xlsb", ".ppt", ".pptx", ".pptm", ".pps",
    ".ppsx", ".odt", ".ods", ".odp", ".odg", ".pages", ".numbers", ".key", ".vsd", ".vsdx", ".pub", ".rtf",
}  # fmt: skip
_BOOK_NAMES = {".epub", ".mobi", ".azw", ".azw3", ".fb2"}
_ZIPPED = rb"PK\x03\x04.{26}"
_OFFICE_PARTS = rb"(?:\[Content_Types\]|_rels/|docProps/|word/|xl/|ppt/|mimetypeapplication/vnd)"
_PACKED = (
    rb"\x1f\x8b|BZh[1-9]1AY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|MSCF|\x60\xea|xar!"
    rb"|PK\x05\x06|.{257}ustar"
)
_MAGIC = tuple(
    (re.compile(pattern, re.DOTALL), said)
    for pattern, said in (
        (_ZIPPED + rb"mimetypeapplication/epub", _BOOK),
        (_ZIPPED + _OFFICE_PARTS, _OFFICE),
        (rb"PK\x03\x04", f"archives, Office files and e-books are not read: unpack it, or {_LOADERS}"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"old Office files and mails of Outlook are not read: {_LOADERS}"),
        (rb"\{\\rtf", f"rich text is not read: {_LOADERS}"),
        (rb".{60}BOOKMOBI", _BOOK),
        (_PACKED, _ARCHIVE),
        (rb"SQLite format 3\x00", "databases are not read: export what it holds as text"),
    )
)


def reason(head: bytes, source: str) -> str | None:
    """Why a file of this beginning and name is not read; None when nothing is known of its kind."""
    suffix = PurePosixPath(source).suffix.lower()
    found = next((said for magic, said in _MAGIC if magic.match(head)), None)
    if found and head.startswith(b"PK\x03\x04"):
        found = _OFFICE if suffix in _OFFICE_NAMES else _BOOK if suffix in _BOOK_NAMES else found
    return found


FAILURES = (ContentError, MissingExtraError, OSError, MemoryError, RecursionError)
"""What is a file's own fault; everything else ends the run."""


def refusal(error: Exception) -> str:
    """Why a file cannot be used, by the error that it caused."""
    if isinstance(error, GeminiMMError):
        return str(error)
    if isinstance(error, MemoryError):
        return "it does not fit into memory when it is opened"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or error}"
    return f"it cannot be opened: {type(error).__name__}"
