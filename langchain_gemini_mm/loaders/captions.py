"""Subtitle files, and `captions.jsonl`: descriptions of the files of a folder, one JSON object a line."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.embedded_text import Cue, unstyled
from langchain_gemini_mm.media.source import open_source

if TYPE_CHECKING:
    from pathlib import Path


_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s{{0,20}}{_TIME}\s{{0,20}}-->\s{{0,20}}{_TIME}")
_MAX_LINES = 20


def parse(text: str) -> list[Cue]:
    r"""Parse an SRT or WebVTT file into cues, in the order of their times; damaged cues are skipped.

    ```python
    from langchain_gemini_mm.loaders.captions import parse

    assert parse("1\n00:00:01,500 --> 00:00:03,000\nHello <i>there</i>\n") == [(1.5, 3.0, "Hello there")]
    ```
    """
    cues: list[Cue] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        times = _TIMES.match(line)
        if times is None:
            continue
        start, end = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
        cue_text = unstyled(html.unescape("\n".join(_cue_lines(lines, number + 1))))
        if cue_text and start < end:
            cues.append(Cue(start, end, cue_text))
    return sorted(cues, key=lambda cue: cue[:2])


def text_between(cues: Sequence[Cue], start_s: float, end_s: float) -> str:
    """The text of the cues within a segment, each line once, because rolling subtitles repeat lines.

    Args:
        cues: in order.
        start_s: start of the segment, in seconds.
        end_s: end of the segment, in seconds.
    """
    lines: list[str] = []
    for cue in cues:
        if cue.start_s >= end_s:
            break
        if cue.end_s > start_s or cue.start_s >= start_s:
            lines += [line for line in cue.text.split("\n") if line.strip() and line not in lines[-3:]]
    return "\n".join(lines)


def _cue_lines(lines: Sequence[str], start: int) -> Iterator[str]:
    for line in lines[start : start + _MAX_LINES]:
        if not line.strip() or _TIMES.match(line):
            return
        yield line


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return round(whole + float(f"0.{fraction}"), 3)


NAME = "captions.jsonl"

_MAX_BYTES = 64_000_000
_LINE_BYTES = 1_000_000
_TIME_KEYS, _PAGE_KEYS = ("start_s", "end_s"), ("first_page", "last_page")


@dataclass(frozen=True, slots=True)
class Caption:
    """A description of a file or of a part of it."""

    text: str
    start_s: float | None = None
    end_s: float | None = None
    first_page: int | None = None
    last_page: int | None = None

    @property
    def of_all(self) -> bool:
        """Whether it describes the whole file."""
        return self.start_s is None and self.first_page is None


class Captions:
    """The captions of one folder, by the files' paths below it.

    Raises:
        ContentError: the file cannot be read or is too large; single lines that cannot be used are counted.
    """

    def __init__(self, path: Path) -> None:
        self._by_source: dict[str, list[Caption]] = {}
        self.mistakes = 0
        """Number of lines that could not be used."""
        self.first_mistake = ""
        """What is wrong with the first of them."""
        file, stamp = open_source(path)
        with closing(file):
            if stamp.size > _MAX_BYTES:
                raise ContentError(f"it has {stamp.size:,} bytes; captions of up to {_MAX_BYTES:,} are read")
            number = 0
            while line := file.readline(_LINE_BYTES):
                number += 1
                self._add(line, number)

    def about(self, source: str) -> Sequence[Caption]:
        """The captions of a file, given by its path below the folder."""
        return self._by_source.get(source, ())

    def _add(self, line: bytes, number: int) -> None:
        if not line.strip():
            return
        try:
            source, caption = _caption(json.loads(line.decode("utf-8-sig")))
        except (ValueError, RecursionError) as error:
            self.mistakes += 1
            reason = str(error) if isinstance(error, ContentError) else "it is no JSON"
            self.first_mistake = self.first_mistake or f"line {number}: {reason}"
            return
        self._by_source.setdefault(source, []).append(caption)


def _caption(entry: Any) -> tuple[str, Caption]:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("source", "text")):
        raise ContentError("an object needs the strings source and text")
    start, end = _bounds(entry, _TIME_KEYS, (int, float))
    first, last = _bounds(entry, _PAGE_KEYS, (int,))
    if start is not None and first is not None:
        raise ContentError("either seconds or pages")
    source = entry["source"].replace("\\", "/").removeprefix("./")
    pages = (None, None) if first is None or last is None else (int(first), int(last))
    return source, Caption(entry["text"], start, end, *pages)


def _bounds(entry: dict[str, Any], keys: tuple[str, str], types: tuple[type, ...]) -> tuple[float | None, float | None]:
    low, high = (entry.get(key) for key in keys)
    if low is None and high is None:
        return None, None
    given: tuple[Any, Any] = (low, high if high is not None else low)
    if (
        not all(isinstance(value, types) and not isinstance(value, bool) for value in given)
        or not 0 <= given[0] <= given[1]
    ):
        raise ContentError(f"{keys[0]} and {keys[1]} must be numbers in order")
    return given
