"""Examining one file: its type, its segments and its text. Damaged files are found here."""

from __future__ import annotations

import io
import logging
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol, Self, TypeAlias

from langchain_gemini_mm.content.mime_types import DRAWN_AS_TEXT, HEAD_BYTES, modality_of, sniff
from langchain_gemini_mm.content.parts import Part
from langchain_gemini_mm.errors import (
    ContentError,
    GeminiMMError,
    InvalidTypeError,
    InvalidValueError,
    MissingExtraError,
    StoreError,
)
from langchain_gemini_mm.interfaces import Modality
from langchain_gemini_mm.loaders.options import LoadOptions
from langchain_gemini_mm.loaders.segmentation import MediaSegment, plan_segments
from langchain_gemini_mm.loaders.walk import InputFile, Skipped
from langchain_gemini_mm.media.convert import ConversionRequest, MediaTarget, convert
from langchain_gemini_mm.media.embedded_text import Cue, EmbeddedText, read_embedded_text
from langchain_gemini_mm.media.facts import MediaFacts
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.media.source import OpenedSource

logger = logging.getLogger("langchain_gemini_mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found in a file."""

    facts: MediaFacts | None = None
    """None for a text, and for media of a modality that is not loaded."""
    embedded: EmbeddedText = field(default_factory=EmbeddedText)
    segments: tuple[MediaSegment, ...] = ()
    """Segments that become Documents."""
    is_text: bool = False
    """Whether it is loaded as text."""

    def to_json(self) -> dict[str, Any]:
        """Serialize the result for another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Examined:
        """Undo `to_json`.

        Raises:
            ValueError: it was not made by `to_json`.
        """
        try:
            facts, embedded = given["facts"], given["embedded"]
            cues = tuple(Cue(*cue) for cue in embedded["cues"])
            lists = {key: tuple(embedded[key]) for key in ("texts", "pages", "unread")}
            return cls(
                facts=None if facts is None else MediaFacts(**facts),
                embedded=EmbeddedText(**{**embedded, **lists, "cues": cues}),
                segments=tuple(MediaSegment(**segment) for segment in given["segments"]),
                is_text=bool(given["is_text"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the result of examining a file: {error!r}") from error


Examination: TypeAlias = Callable[[OpenedSource], Examined]
"""Examines a file, or raises the reason why it cannot be used."""


class Examiner(Protocol):
    """Examines files in this process or in others."""

    def ahead(self, items: Iterable[InputFile | Skipped]) -> Iterator[tuple[InputFile | Skipped, Examination]]:
        """Yield items in order, each with its examination, which may already be running."""

    def examine(self, opened: OpenedSource, source: str, *, in_text: bool = False) -> Examined:
        """Examine a file.

        Args:
            opened: the file.
            source: its name.
            in_text: it is part of a page or mail, so that `LoadOptions.in_texts` apply.
        """


class LocalExaminer:
    """Examines files in this process, each when it is asked for; PDFs that may exhaust it, in a process of their own.

    Args:
        options: what is to be loaded.
        isolate: starts such a process; None examines all files here.
    """

    def __init__(self, options: LoadOptions, isolate: Callable[[], Examiner] | None = None) -> None:
        self._options = options
        self._isolate = isolate
        self._isolated: Examiner | None = None

    def ahead(self, items: Iterable[InputFile | Skipped]) -> Iterator[tuple[InputFile | Skipped, Examination]]:
        """Yield items in their order, each with its examination."""
        for item in items:
            yield item, partial(self.examine, source=item.source)

    def examine(self, opened: OpenedSource, source: str, *, in_text: bool = False) -> Examined:
        """Examine a file.

        Args:
            opened: the file.
            source: its name.
            in_text: it is part of a page or mail, so that `LoadOptions.in_texts` apply.
        """
        if self._isolate is not None and _may_be_heavy(opened.file):
            self._isolated = self._isolated or self._isolate()
            return self._isolated.examine(opened, source, in_text=in_text)
        return examine(opened.file, source, self._options.in_texts() if in_text else self._options)


def _may_be_heavy(file: BinaryIO) -> bool:
    from langchain_gemini_mm.media.pdf.document import is_heavy

    file.seek(0)
    return sniff(file.read(HEAD_BYTES)) == "application/pdf" and has_package("pypdfium2") and is_heavy(file)


def examine(file: BinaryIO, source: str, options: LoadOptions) -> Examined:
    """Examine a file.

    Args:
        file: open, seekable.
        source: its name, used only in reasons.
        options: what is to be loaded.

    Raises:
        ContentError: the file is empty, damaged, silent or black, outside of the sizes in `options`, or of a type that
            is not read.
        MissingExtraError: the library that opens this type is not installed.
    """
    _check_size(file, options)
    head = file.read(HEAD_BYTES)
    mime_type = sniff(head)
    modality = modality_of(mime_type) if mime_type else None
    if mime_type is None or modality is None:
        if refused := reason(head, source):
            raise ContentError(refused)
        if mime_type is not None:
            raise ContentError(f"{mime_type} files are not read")
        return Examined(is_text="text" in options.modalities)
    if options.modalities.isdisjoint(("video", "audio") if modality == "video" else (modality,)):
        return Examined()
    facts = probe(file, mime_type, name="it")
    embedded = read_embedded_text(file, facts, name="it") if options.companions else EmbeddedText()
    planned = plan_segments(facts, options.segments, options.limits)
    planned = [segment for segment in planned if segment.modality in options.modalities]
    if facts.modality in ("audio", "video") and planned:
        planned = _audible_and_visible(file, facts, planned, options)
    return Examined(facts=facts, embedded=embedded, segments=tuple(planned))


def _check_size(file: BinaryIO, options: LoadOptions) -> None:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size == 0:
        raise ContentError("it is empty")
    if size < options.min_bytes:
        raise ContentError(f"it has {size:,} bytes; min_bytes is {options.min_bytes:,}")
    if options.max_bytes is not None and size > options.max_bytes:
        raise ContentError(f"it has {size:,} bytes; max_bytes is {options.max_bytes:,}")


def _audible_and_visible(
    file: BinaryIO, facts: MediaFacts, planned: Sequence[MediaSegment], options: LoadOptions
) -> list[MediaSegment]:
    """The segments that are neither silent nor black, where these are skipped; they are cut to find out.

    Raises:
        ContentError: there is none.
        MissingExtraError: it must be cut, and PyAV is not installed.
    """
    # Reported here rather than when it is embedded, because WAV files are measured without PyAV.
    if not has_package("av") and not all(segment.is_whole for segment in planned):
        raise MissingExtraError("cutting it", package="PyAV", extra="media")
    skipping: dict[Modality, bool] = {"audio": options.segments.skip_silent, "video": options.segments.skip_black}
    end_s = max(round(facts.seconds or 0, 3), 0.001)
    part = Part(modality=facts.modality, mime_type=facts.mime_type, size=facts.size, label="it")
    requests = {
        ConversionRequest(
            part=part,
            start_s=segment.start_s or 0.0,
            end_s=segment.end_s or end_s,
            track="audio" if segment.modality == "audio" else "video",
        ): segment
        for segment in planned
        if skipping[segment.modality]
    }
    if not requests:
        return list(planned)
    targets = {modality: _target(modality, options) for modality in skipping}
    converted = {made.request for made in convert(list(requests), targets, file)}
    blank = {segment for request, segment in requests.items() if request not in converted}
    kept = [segment for segment in planned if segment not in blank]
    if not kept:
        raise ContentError("it holds nothing but silence or blackness")
    return kept


def _target(modality: Modality, options: LoadOptions) -> MediaTarget:
    limit = options.limits.get(modality)
    if limit is None or limit.seconds is None:
        return MediaTarget(mime_types=("video/mp4",) if modality == "video" else ("audio/mp3",), skip_blank=True)
    return MediaTarget(mime_types=limit.mime_types, max_seconds=limit.seconds, skip_blank=True)


def has_package(name: str) -> bool:
    """Whether a package is installed, without importing it."""
    try:
        return find_spec(name) is not None
    except ValueError:
        return False


_LOADERS = (
    "save it as PDF, or name a function that converts it, with LibreOffice, docling or unstructured: "
    "MediaLoader(converters={{'{suffix}': function}})"
)
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
    (re.compile(pattern, re.DOTALL), message)
    for pattern, message in (
        (_ZIPPED + rb"mimetypeapplication/epub", _BOOK),
        (_ZIPPED + _OFFICE_PARTS, _OFFICE),
        (rb"PK\x03\x04", f"archives, Office files and e-books are not read: unpack it, or {_LOADERS}"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"old Office files and mails of Outlook are not read: {_LOADERS}"),
        (rb"\{\\rtf", f"rich text is not read: {_LOADERS}"),
        (rb".{60}BOOKMOBI", _BOOK),
        (_PACKED, _ARCHIVE),
        (rb"SQLite format 3\x00", "databases are not read: export what it holds as text"),
        (rb"P[1-7F][\s#].{0,200}?\d+\s+\d+\s|P7\nWIDTH", DRAWN_AS_TEXT),
        (rb"\s{0,9}/\* XPM(?: \*/)?|! XPM2", DRAWN_AS_TEXT),
        (
            rb"\s{0,9}(?:/\*.{0,1000}?\*/\s{0,9})?#define\s{1,9}\w{0,99}_?width\s{1,9}\d+\s+#define\s{1,9}\w{0,99}_?height",
            DRAWN_AS_TEXT,
        ),
    )
)


def reason(head: bytes, source: str) -> str | None:
    """The reason why files of a type are not read, by their first bytes and name; None for an unknown type."""
    suffix = PurePosixPath(source).suffix.lower()
    found = next((message for magic, message in _MAGIC if magic.match(head)), None)
    if found and head.startswith(b"PK\x03\x04"):
        found = _OFFICE if suffix in _OFFICE_NAMES else _BOOK if suffix in _BOOK_NAMES else found
    return found and found.format(suffix=suffix or ".docx")


class DescriptionError(TypeError):
    """A `describe` function returned something that is no text: a mistake in the program, not in a file."""


FATAL_ERRORS = (StoreError, DescriptionError)
"""Errors that end a run, because every file after it would fail as well; for all others, one file is left out."""


class WorkerBug(Exception):  # noqa: N818  an exception of a worker process, with its traceback as text
    """An exception that no file explains, raised in a worker process."""

    def __init__(self, name: str, trace: str) -> None:
        super().__init__(name, trace)
        self.name, self.trace = name, trace

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Describe an exception for another process."""
        return cls(type(error).__name__, "".join(traceback.format_exception(error)))


def is_expected(error: Exception) -> bool:
    """Whether an exception is about the file, the system or what is installed, rather than a bug."""
    if isinstance(error, InvalidTypeError | InvalidValueError):  # arguments are checked before a file is opened
        return False
    return isinstance(error, GeminiMMError | OSError | MemoryError | RecursionError)


def is_temporary(error: Exception) -> bool:
    """Whether a file may be loaded later although it is unchanged: an error of the system, or a missing library."""
    cause = error.__cause__
    return isinstance(error, OSError | MemoryError | MissingExtraError) or isinstance(cause, OSError)


def refusal(error: Exception, source: str) -> str:
    """The reason why a file is left out, from the error; an unexpected one is logged with its traceback."""
    if isinstance(error, GeminiMMError) and is_expected(error):
        return str(error)
    if isinstance(error, MemoryError):
        return "it does not fit into memory when it is opened"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError):
        return f"it cannot be read: {error.strerror or error}"
    bug = error if isinstance(error, WorkerBug) else WorkerBug.of(error)
    logger.error("unexpected %s at %r; please report it\n%s", bug.name, source, bug.trace)
    return f"unexpected {bug.name} of this package, which is no fault of the file; please report it with the log"
