"""Subtitle files: SubRip, WebVTT, SubStation Alpha, SBV, SAMI and TTML.

pysubs2 reads most of these, too, but neither damaged files nor SBV, and would be one more dependency for as many lines.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice

from langchain_gemini_mm.media.embedded_text import Cue, unstyled

MAX_CUES = 200_000
"""Cues of one file; later ones are not read."""

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s{{0,20}}{_TIME}\s{{0,20}}(?:-->|,)\s{{0,20}}{_TIME}")
_DIALOGUE = re.compile(rf"Dialogue:[^,\n]{{0,40}},\s{{0,9}}{_TIME},\s{{0,9}}{_TIME},(.{{0,10000}})")
_SYNC = re.compile(r"<sync[^<>]{0,100}?start\s{0,9}=\s{0,9}[\"']?(\d{1,9})[^<>]{0,100}>", re.IGNORECASE)
_PARAGRAPH = re.compile(r"<(?:\w{1,20}:)?p\b([^<>]{0,2000})>", re.IGNORECASE)
_PARAGRAPH_END = re.compile(r"</(?:\w{1,20}:)?p\s{0,9}>", re.IGNORECASE)
_BREAK = re.compile(r"<(?:\w{1,20}:)?br\b[^<>]{0,100}>", re.IGNORECASE)
_TAGS = re.compile(r"<[^<>]{0,2000}>")
_CLOCK = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)(?::(\d{1,3}))?")
_OFFSET = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(h|ms|m|s|f|t)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_RATE = re.compile(r"\b(frameRate|tickRate)\s{0,9}=\s{0,9}[\"'](\d{1,9})[\"']")
_MAX_LINES = 20
_HEAD = 20_000


def parse(text: str) -> list[Cue]:
    r"""Parse subtitles into cues, in the order of their times; damaged cues are skipped.

    ```python
    from langchain_gemini_mm.loaders.subtitles import parse

    assert parse("1\n00:00:01,500 --> 00:00:03,000\nHello <i>there</i>\n") == [(1.5, 3.0, "Hello there")]
    ```
    """
    head = text[:_HEAD].lower()
    if "<sync" in head:
        found = _sami(text)
    elif ("<tt" in head and "<?xml" in head) or head.lstrip().startswith("<tt"):
        found = _timed_text(text)
    elif "\ndialogue:" in text.lower() and "-->" not in head:
        found = _substation(text)
    else:
        found = _lines(text)
    cues: list[Cue] = []
    for cue in found:
        if cue.text and cue.start_s < cue.end_s:
            cues.append(cue)
        if len(cues) == MAX_CUES:
            break
    return sorted(cues, key=lambda cue: cue[:2])


def longest_of(cues: Sequence[Cue]) -> float:
    """The duration of the longest cue, in seconds; 0 for none."""
    return max((cue.end_s - cue.start_s for cue in cues), default=0.0)


def text_between(cues: Sequence[Cue], start_s: float, end_s: float, *, longest_s: float | None = None) -> str:
    """The text of the cues within a segment, each line once, because rolling subtitles repeat lines.

    Args:
        cues: in order.
        start_s: start of the segment, in seconds.
        end_s: end of the segment, in seconds.
        longest_s: duration of the longest cue, if it is known.
    """
    lines: list[str] = []
    longest_s = longest_of(cues) if longest_s is None else longest_s
    first = bisect_left(cues, start_s - longest_s, key=lambda cue: cue.start_s)
    for number in range(first, len(cues)):
        cue = cues[number]
        if cue.start_s >= end_s:
            break
        if cue.end_s > start_s or cue.start_s >= start_s:
            lines += [line for line in cue.text.split("\n") if line.strip() and line not in lines[-3:]]
    return "\n".join(lines)


def _lines(text: str) -> Iterator[Cue]:
    """SubRip, WebVTT and SBV: a line with both times, and the text in the lines after it."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        times = _TIMES.match(line)
        if times is not None:
            words = unstyled(html.unescape("\n".join(_cue_lines(lines, number + 1))))
            yield Cue(_seconds(times.groups()[:4]), _seconds(times.groups()[4:]), words)


def _cue_lines(lines: Sequence[str], start: int) -> Iterator[str]:
    for line in lines[start : start + _MAX_LINES]:
        if not line.strip() or _TIMES.match(line):
            return
        yield line


def _substation(text: str) -> Iterator[Cue]:
    """SubStation Alpha: the text is the tenth field of a dialogue line."""
    for match in _DIALOGUE.finditer(text):
        fields = match[9].split(",", 6)
        yield Cue(_seconds(match.groups()[:4]), _seconds(match.groups()[4:8]), unstyled(fields[-1]))


def _sami(text: str) -> Iterator[Cue]:
    """SAMI: each text is shown until the next one."""
    marks = list(_SYNC.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        words = text[mark.end() : following.start() if following else mark.end() + _HEAD]
        start = int(mark[1]) / 1000
        yield Cue(start, int(following[1]) / 1000 if following else start + 5, _plain(words))


def _timed_text(text: str) -> Iterator[Cue]:
    """TTML: paragraphs with `begin` and `end` or `dur`."""
    rates = {name: float(value) for name, value in _RATE.findall(text[:_HEAD])}
    starts = [*islice(_PARAGRAPH.finditer(text), MAX_CUES)]
    for match, following in zip(starts, [*starts[1:], None], strict=True):
        attributes = {
            name: _when(value, rates)
            for name, value in re.findall(r"\b(begin|end|dur)\s{0,9}=\s{0,9}[\"']([^\"'<>]{1,40})[\"']", match[1])
        }
        start, length = attributes.get("begin"), attributes.get("dur")
        end = attributes.get("end", None if start is None or length is None else start + length)
        closed = _PARAGRAPH_END.search(text, match.end(), following.start() if following else match.end() + _HEAD)
        if start is not None and end is not None and closed:
            yield Cue(round(start, 3), round(end, 3), _plain(text[match.end() : closed.start()]))


def _when(written: str, rates: dict[str, float]) -> float | None:
    if clock := _CLOCK.fullmatch(written.strip()):
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
        return seconds + int(clock[4] or 0) / (rates.get("frameRate") or 30)
    offset = _OFFSET.fullmatch(written.strip())
    if offset is None:
        return None
    unit = _UNITS.get(offset[2])
    if unit is None:
        unit = 1 / (rates.get("tickRate" if offset[2] == "t" else "frameRate") or 30)
    return float(offset[1]) * unit


def _plain(markup: str) -> str:
    words = " ".join(_BREAK.sub("\x00", markup).split()).replace("\x00", "\n")
    return unstyled("\n".join(line.strip() for line in html.unescape(_TAGS.sub("", words)).split("\n")))


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return round(whole + float(f"0.{fraction}"), 3)
