"""Media references: short texts in `page_content` that identify media.

A reference is `![](mm://sha256-<64 hex>)`, with an optional W3C media fragment for a part: `#t=30,60` (seconds),
`#t=30,60&track=audio` (the audio of a video), `#page=3,8` (1-based, inclusive). Each part has one canonical form, so
equal media have equal text. Any Markdown image with such an address is read as a reference; the address alone, as in
running text or in JSON, is text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple
from urllib.parse import unquote

from langchain_gemini_mm.errors import ContentError, InvalidTypeError

SCHEME = "mm://sha256-"

_HEX = re.compile(r"[0-9a-f]{64}")
_NUMBER = r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,2}[1-9])?"
_PAGE = r"[1-9][0-9]{0,8}"
_FRAGMENT = re.compile(
    rf"t=(?P<start>{_NUMBER}),(?P<end>{_NUMBER})(?P<track>&track=audio)?|(?P<audio_track>track=audio)"
    rf"|page=(?P<first>{_PAGE}),(?P<last>{_PAGE})"
)
_ALT = r"(?:\\(?!!\[)[^\n]|[^\[\]\\!\n]|\n(?![ \t]*\n)|!(?!\[)|\[[^\[\]\\\n]*+\])*+"
"""The alternative text of a Markdown image: brackets in pairs, backslash escapes, no blank line."""
_OPEN = r"\([ \t]*+\n?[ \t]*+"
_MARK = re.compile(rf"!\[(?P<alt>{_ALT})\]{_OPEN}(?=<?mm:)")
"""The start of an image with one of our addresses."""
_TITLE = r"\"(?:\\.|[^\"\\])*+\"|'(?:\\.|[^'\\])*+'|\((?:\\.|[^()\\])*+\)"
_CLOSE = rf"(?:[ \t\n]++(?P<title>{_TITLE}))?[ \t\n]*+\)"
_REST = re.compile(rf"(?:<(?P<angle>mm:[^<>\n]*+)>|(?P<plain>mm:[^\s<>()]*+)){_CLOSE}", re.DOTALL)
"""The address, an optional title, and the closing parenthesis of a Markdown image."""
_CUT = re.compile(r"\S{0,90}")
_SUFFIXES = "|".join(re.escape(SCHEME[i:]) for i in range(len(SCHEME)))
_HEX_TAIL = rf"<?(?:{_SUFFIXES})?[0-9a-f]{{16,64}}(?:#[^\s()>]{{0,40}})?>?{_CLOSE}"
_TAIL = rf"{_HEX_TAIL}|(?:\[?\])?(?={_OPEN}<?{SCHEME})"
"""The second half of a reference that was split. Fewer hex digits, as in `1f)`, cannot be told from text."""
_HEX_TAIL_AT_START = re.compile(_HEX_TAIL, re.DOTALL)
_TAIL_AT_START = re.compile(rf"(?P<before>[^\[\]]*+(?<!\\)(?=\])|)(?P<tail>{_TAIL})", re.DOTALL)
_ESCAPED_TAIL = re.compile(rf"\\(?P<tail>{_TAIL})", re.DOTALL)
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_TOO_FAR = 10**9
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class MediaRef:
    """A reference to a stored file by its SHA-256, and optionally to a part of it.

    ```python
    from langchain_gemini_mm.references import MediaRef

    talk = MediaRef("ab" * 32)
    assert talk.segment(30, 60.5).uri.endswith("#t=30,60.5")
    assert MediaRef.parse(talk.markdown) == talk
    ```

    Raises:
        ContentError: the hash is malformed, or the part is out of range.
    """

    sha256: str
    """64 lower-case hex digits."""
    start_s: float | None = None
    """Start of a segment in seconds, at most milliseconds."""
    end_s: float | None = None
    """End of a segment in seconds."""
    track: Literal["audio"] | None = None
    """`"audio"` for only the audio of a video."""
    first_page: int | None = None
    """First page of a PDF, 1-based."""
    last_page: int | None = None
    """Last page, inclusive."""

    def __post_init__(self) -> None:
        """Refuse values without a canonical form."""
        digest: object = self.sha256
        if not isinstance(digest, str) or not _HEX.fullmatch(digest):
            raise ContentError(f"a media reference needs 64 lower-case hex digits, got {_shorten(self.sha256)}")
        if self.is_part:
            _check_segment(self)
            _check_pages(self)

    @property
    def uri(self) -> str:
        """The canonical form, `mm://sha256-…#t=30,60`."""
        if self.first_page is not None:
            return f"{SCHEME}{self.sha256}#page={self.first_page},{self.last_page}"
        selected = [f"t={_number(self.start_s)},{_number(self.end_s)}"] if self.start_s is not None else []
        selected += [f"track={self.track}"] if self.track else []
        return f"{SCHEME}{self.sha256}{'#' if selected else ''}{'&'.join(selected)}"

    @property
    def markdown(self) -> str:
        """The form in `page_content`, `![](mm://…)`: without white space, 81 characters for a whole file."""
        return f"![]({self.uri})"

    @property
    def whole(self) -> MediaRef:
        """The reference to the whole file, without a fragment."""
        return MediaRef(self.sha256)

    @property
    def is_part(self) -> bool:
        """Whether a fragment selects a part."""
        return (self.start_s, self.end_s, self.track, self.first_page, self.last_page) != (None,) * 5

    def segment(self, start_s: float, end_s: float, *, track: Literal["audio"] | None = None) -> MediaRef:
        """Make a reference to a segment.

        Args:
            start_s: start in seconds, rounded to milliseconds.
            end_s: end in seconds, rounded to milliseconds.
            track: `"audio"` for only the audio of a video.

        Raises:
            ContentError: not 0 <= start < end.
        """
        return replace(self.whole, start_s=_milli(start_s), end_s=_milli(end_s), track=track)

    def pages(self, first: int, last: int) -> MediaRef:
        """Make a reference to pages of a PDF, from `first` to `last`, 1-based and inclusive."""
        return replace(self.whole, first_page=first, last_page=last)

    @classmethod
    def parse(cls, text: str) -> MediaRef:
        """Read `mm://sha256-…` or `![](mm://sha256-…)`.

        Raises:
            ContentError: `text` is not exactly one canonical reference.
        """
        if not isinstance(text, str):
            raise InvalidTypeError(f"a media reference is parsed from a str, got {type(text).__name__}")
        uri = text[4:-1] if text.startswith("![](") and text.endswith(")") else text
        digest, _, fragment = uri.removeprefix(SCHEME).partition("#")
        if not uri.startswith(SCHEME) or not _HEX.fullmatch(digest):
            raise ContentError(
                f"{_shorten(text)} is not a media reference; one is written mm://sha256- and 64 lower-case hex digits"
            )
        if "#" not in uri:
            return cls(digest)
        match = _FRAGMENT.fullmatch(fragment)
        if match is None:
            raise ContentError(
                f"{_shorten('#' + fragment)} is not a valid fragment; "
                "write #t=start,end or #t=start,end&track=audio (seconds) or #page=first,last"
            )
        return _from_match(digest, match)

    def __str__(self) -> str:
        """The canonical form."""
        return self.uri


class TornReference(NamedTuple):
    """A truncated or malformed reference in a text."""

    text: str
    """What was found."""
    reason: str
    """What is wrong, and what to do."""


def scan_references(text: str) -> list[str | MediaRef | TornReference]:
    r"""Split `text` into literal text, references, and references that are truncated or malformed, in their order.

    The alternative text and the title of an image become literal text before its reference.
    """
    if "mm:" not in text and "\\" not in text and not _HEX_TAIL_AT_START.match(text):
        return [text] if text else []
    pieces: list[str | MediaRef | TornReference] = []
    literal: list[str] = []
    for piece in _scan(text):
        if isinstance(piece, str):
            literal.append(piece)
            continue
        if joined := "".join(literal):
            pieces.append(joined)
        pieces.append(piece)
        literal = []
    joined = "".join(literal)
    return [*pieces, joined] if joined else pieces


def split_references(text: str) -> list[str | MediaRef]:
    r"""Split `text` into literal text and references, in their order.

    `![alt](mm://… "title")` is read as Markdown reads it, and `\![](mm://…)` is literal text without the backslash.

    ```python
    from langchain_gemini_mm.references import MediaRef, split_references

    photo = MediaRef("ab" * 32)
    assert split_references(f"See ![our dog]({photo.uri}).") == ["See our dog", photo, "."]
    assert split_references(f"The photo is {photo.uri}.") == [f"The photo is {photo.uri}."]
    ```

    Raises:
        ContentError: a reference is truncated (for example by a text splitter) or malformed.
    """
    pieces: list[str | MediaRef] = []
    for piece in scan_references(text):
        if isinstance(piece, TornReference):
            raise ContentError(piece.reason)
        pieces.append(piece)
    return pieces


def escape_references(text: str) -> str:
    r"""Escape references in untrusted `text`, so that they are embedded as text and not resolved.

    ```python
    from langchain_gemini_mm.references import escape_references, split_references

    shown = "![](mm://sha256-" + "0" * 64 + ")"
    assert split_references(escape_references(shown)) == [shown]
    ```
    """
    if tail := _TAIL_AT_START.match(text):
        start = tail.start("tail")
        return f"{_escaped(text[:start])}\\{_escaped(text[start:])}"
    return _escaped(text)


def _scan(text: str) -> Iterator[str | MediaRef | TornReference]:
    """Yield literal texts, which may be adjacent, and references."""
    position = 0
    if tail := _TAIL_AT_START.match(text):
        yield tail["before"]
        cut = _CUT.match(text, tail.end())
        position = cut.end() if cut and not tail[0].endswith(")") else tail.end()
        yield _torn(text[tail.start("tail") : position])
    while mark := _MARK.search(text, position):
        before = text[position : mark.start()]
        if before.endswith("\\"):
            yield _without_escapes(before[:-1]) + mark[0]
            position = mark.end()
            continue
        yield _without_escapes(before)
        rest = _REST.match(text, mark.end())
        if rest is None:
            cut = _CUT.match(text, mark.end())
            position = cut.end() if cut else mark.end()
            yield _torn(text[mark.start() : position])
        else:
            yield from _image(mark, rest)
            position = rest.end()
    yield _without_escapes(text[position:])


def _image(mark: re.Match[str], rest: re.Match[str]) -> Iterator[str | MediaRef | TornReference]:
    """Yield what a Markdown image says and shows."""
    yield " ".join(_unescaped(said) for said in (mark["alt"], (rest["title"] or "")[1:-1]) if said)
    try:
        yield MediaRef.parse(unquote(_unescaped(rest["angle"] or rest["plain"])))
    except ContentError as error:
        yield TornReference(mark[0] + rest[0], str(error))


def _torn(found: str) -> TornReference:
    return TornReference(
        found,
        f"{_shorten(found)} looks like a truncated or malformed media reference. Choose a chunk size that does not "
        "split references (81 characters or more, without white space), or pass text of others through "
        "escape_references",
    )


def _escaped(text: str) -> str:
    return _MARK.sub(r"\\\g<0>", _ESCAPED_TAIL.sub(r"\\\g<0>", text))


def _without_escapes(text: str) -> str:
    return _ESCAPED_TAIL.sub(r"\g<tail>", text) if "\\" in text else text


def _unescaped(markdown: str) -> str:
    return html.unescape(_ESCAPE.sub(r"\1", markdown))


def _from_match(digest: str, match: re.Match[str]) -> MediaRef:
    if match["first"]:
        return MediaRef(digest, first_page=int(match["first"]), last_page=int(match["last"]))
    if match["audio_track"]:
        return MediaRef(digest, track="audio")
    return MediaRef(digest, float(match["start"]), float(match["end"]), track="audio" if match["track"] else None)


def _check_segment(ref: MediaRef) -> None:
    if ref.track not in (None, "audio"):
        raise ContentError(f"track must be 'audio' or None, got {ref.track!r}")
    if ref.start_s is None and ref.end_s is None:
        return
    if ref.start_s is None or ref.end_s is None:
        raise ContentError(f"a segment needs start and end, got start {ref.start_s!r} and end {ref.end_s!r} seconds")
    if not (0 <= ref.start_s < ref.end_s and ref.end_s < _TOO_FAR):
        raise ContentError(f"a segment needs 0 <= start < end < 10^9 seconds, got {ref.start_s!r} to {ref.end_s!r}")
    if _milli(ref.start_s) != ref.start_s or _milli(ref.end_s) != ref.end_s:
        raise ContentError(
            f"segment times must be whole milliseconds, got {ref.start_s!r} to {ref.end_s!r}; use .segment()"
        )


def _check_pages(ref: MediaRef) -> None:
    if ref.first_page is None and ref.last_page is None:
        return
    if ref.start_s is not None or ref.track is not None:
        raise ContentError("a media reference selects seconds or pages, not both")
    counted = all(isinstance(page, int) and not isinstance(page, bool) for page in (ref.first_page, ref.last_page))
    if not counted or not 1 <= (ref.first_page or 0) <= (ref.last_page or 0) < _TOO_FAR:
        raise ContentError(f"pages are 1-based with first <= last, got {ref.first_page!r} to {ref.last_page!r}")


def _milli(seconds: float) -> float:
    return round(float(seconds), 3)


def _number(seconds: float | None) -> str:
    return f"{(seconds or 0) + 0.0:.3f}".rstrip("0").rstrip(".")


def _shorten(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
