"""Citations that a chat model can repeat in its answer, such as `[talk.mp4 12:30-13:00]`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering.clean_text import DocumentOrHit, clean_text, document_of, joined, pieces_of

if TYPE_CHECKING:
    from langchain_core.documents import Document

_HOUR = 3600
_MAX_CHARACTERS = 160
_SHOWN = 40
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\s\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
"""Control characters, white space, and characters that change the direction of writing."""
_BRACKETS = str.maketrans("[]", "()")


def citation(document: DocumentOrHit) -> str:
    """Cite the source of a document, with its time span or its pages.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm import citation

    talk = Document("...", metadata={"source": "talk.mp4", "start_s": 750.0, "end_s": 780.0})
    assert citation(talk) == "[talk.mp4 12:30-13:00]"
    assert citation(Document("...", metadata={"source": "slides.pdf", "first_page": 7})) == "[slides.pdf p. 7]"
    assert citation(Document("...", metadata={"source": "book.pdf", "page_label": "vii"})) == "[book.pdf p. vii]"
    ```

    The audio of a video is marked, as in `[talk.mp4 12:30-13:00, audio]`, and of a text in several chunks all but the
    first have a number, as in `[manual.txt part 2]`. The keys of LangChain's own loaders are read, too: `file_path`,
    `page` (from 0) and `page_label`.

    The source is written as in the metadata, so that two files with the same name have different citations; an absolute
    path is shortened to its file name. Time spans are rounded outwards to whole seconds, and written as `h:mm:ss` from
    one hour on.

    Args:
        document: a Document or a hit, also as a dict; its metadata key `source` is cited, else `file_path`, `title`, or
            its id.

    Raises:
        TypeError: `document` is neither a Document nor a hit.
    """
    document = document_of(document)
    span = _span(document)
    return f"[{_name(document)}{f' {span}' if span else ''}]"


def described(document: Document) -> str:
    """Name a document in a repr: its citation and the beginning of its text, never a hash.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm.references import MediaRef
    from langchain_gemini_mm.rendering.citations import described

    talk = Document(MediaRef("0" * 64).markdown, metadata={"source": "talk.mp4", "start_s": 30.0, "end_s": 60.0})
    assert described(talk) == "[talk.mp4 0:30-1:00]"
    assert described(Document("a note without a file")) == "'a note without a file'"
    ```
    """
    cited = citation(document) if has_name(document) else ""
    text = " ".join(clean_text(document).split())
    shown = "" if not text else repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
    return " ".join(filter(None, (cited, shown))) or f"[{document.metadata.get('modality', 'untitled')}]"


def time_span(start_s: float, end_s: float | None = None) -> str:
    """Format seconds as `12:30-13:00` or `1:02:03-1:02:33`.

    ```python
    from langchain_gemini_mm.rendering.citations import time_span

    assert time_span(59.6, 75) == "0:59-1:15"
    ```
    """
    first, last = math.floor(start_s), math.ceil(start_s if end_s is None else end_s)
    long = max(first, last) >= _HOUR
    shown = _clock(first, long=long)
    return shown if end_s is None else f"{shown}-{_clock(last, long=long)}"


def page_span(first: int, last: int) -> str:
    """Format page numbers as `p. 7` or `pp. 7-8`."""
    return f"p. {first}" if first == last else f"pp. {first}-{last}"


def _clock(seconds: int, *, long: bool) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if long else f"{minutes}:{rest:02}"


def _name(document: Document) -> str:
    given = _given_name(document) or document.id or ""
    if "mm:" in given:  # a title can be the text of an image; a hash is no name
        given = joined(pieces_of(given))
    name = _UNPRINTABLE.sub(" ", given).strip().translate(_BRACKETS) or "untitled"
    if given in (document.metadata.get("source"), document.metadata.get("file_path")):
        name = _without_folders(name)
    return name if len(name) <= _MAX_CHARACTERS else f"…{name[-_MAX_CHARACTERS:]}"


def has_name(document: Document) -> bool:
    """Whether a document has a source or a title, so that its citation is not an id."""
    return bool(_given_name(document))


def _given_name(document: Document) -> str:
    """The source or the title of a document; empty if it has neither."""
    names = (document.metadata.get(key) for key in ("source", "file_path", "title"))
    return next((name for name in names if isinstance(name, str) and name.strip()), "")


def _without_folders(source: str) -> str:
    """The file name of an absolute path, because folders of this computer are private; a relative path is kept."""
    if source.startswith("file:") or PurePosixPath(source).is_absolute():
        return PurePosixPath(source).name or source
    windows = PureWindowsPath(source)
    return windows.name if windows.is_absolute() else source


def _span(document: Document) -> str:
    metadata = document.metadata
    start_s, end_s = _number(metadata, "start_s"), _number(metadata, "end_s")
    first, last = _number(metadata, "first_page"), _number(metadata, "last_page")
    track = metadata.get("track")
    if start_s is None and first is None:
        refs = [piece for piece in pieces_of(document.page_content) if isinstance(piece, MediaRef)]
        if len(refs) == 1:
            start_s, end_s, first, last = refs[0].start_s, refs[0].end_s, refs[0].first_page, refs[0].last_page
            track = refs[0].track
    if start_s is not None:
        return time_span(start_s, end_s) + (", audio" if track == "audio" else "")
    if first is not None:
        return page_span(int(first), int(first if last is None else last))
    return _page_or_part(metadata)


def _page_or_part(metadata: Mapping[str, Any]) -> str:
    """The page as LangChain's loaders name it, or the number of a chunk of text."""
    label, page, position = metadata.get("page_label"), _number(metadata, "page"), _number(metadata, "position")
    if isinstance(label, str) and label.strip():
        return f"p. {_UNPRINTABLE.sub(' ', label).strip().translate(_BRACKETS)[:_SHOWN]}"
    if page is not None:
        return page_span(int(page) + 1, int(page) + 1)
    return f"part {int(position) + 1}" if position and metadata.get("modality") == "text" else ""


def _number(metadata: Mapping[str, Any], key: str) -> float | None:
    value = metadata.get(key)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    return value if good else None
