"""Texts with pictures in them, cut into chunks that no picture is torn out of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from langchain_gemini_mm.loaders.plain_text import split_text
from langchain_gemini_mm.references import MediaRef, escape_references

_FIRST = 0x100000
_MOST = 60_000
_MARKS = re.compile("[\U00100000-\U0010ffff]")
"""A private sign stands for each picture while the text is split: it is one character, which nothing can tear."""


def chunks_of_parts(
    parts: Iterable[str | MediaRef], suffix: str, *, chunk_size: int, chunk_overlap: int, most_pictures: int | None
) -> Iterator[str]:
    """Split a text and write down its pictures as references; what looks like one in the text is escaped.

    Args:
        parts: texts of others, and pictures, in their order.
        suffix: of the separators to split at, such as `".md"`.
        chunk_size: most characters in a chunk, a picture counted as three.
        chunk_overlap: most characters that the next chunk repeats.
        most_pictures: in one chunk; None for any number.
    """
    refs: list[MediaRef] = []
    text: list[str] = []
    for part in parts:
        if isinstance(part, str):
            text.append(_MARKS.sub("\ufffd", part))
        elif len(refs) < _MOST:
            text.append(f" {chr(_FIRST + len(refs))} ")
            refs.append(part)
    seen: set[int] = set()
    for chunk in split_text("".join(text), suffix, chunk_size=chunk_size, chunk_overlap=chunk_overlap):
        yield from (_written(piece, refs) for piece in _bearable(chunk, most_pictures, seen) if piece.strip())


def _bearable(chunk: str, most: int | None, seen: set[int]) -> Iterator[str]:
    """A chunk in pieces of not too many pictures; those which only its overlap repeats are taken out."""
    start = count = 0
    kept: list[str] = []
    for match in _MARKS.finditer(chunk):
        kept.append(chunk[start : match.start()])
        start = match.end()
        number = ord(match[0])
        if number in seen:
            continue
        if most is not None and count == most:
            yield "".join(kept)
            kept, count = [], 0
        seen.add(number)
        kept.append(match[0])
        count += 1
    yield "".join([*kept, chunk[start:]])


def _written(chunk: str, refs: list[MediaRef]) -> str:
    pieces: list[str] = []
    position = 0
    for match in _MARKS.finditer(chunk):
        before = _text(chunk[position : match.start()], behind=bool(pieces)).rstrip(" ")
        # A backslash right before a reference would make it literal.
        pieces += [before, "" if not before or before.endswith("\n") else " ", refs[ord(match[0]) - _FIRST].markdown]
        position = match.end()
    return "".join([*pieces, _text(chunk[position:], behind=bool(pieces))]).strip()


def _text(text: str, *, behind: bool) -> str:
    """Escaped; behind a picture with one space at most, where there were those around its mark."""
    escaped = escape_references(text)
    if not behind or not escaped.startswith(" "):
        return escaped
    words = escaped.lstrip(" ")
    return words if words.startswith("\n") else f" {words}"
