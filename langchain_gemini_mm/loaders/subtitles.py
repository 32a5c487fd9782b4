"""Subtitle files: what is said when, of `.srt` and `.vtt`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from langchain_gemini_mm.media.embedded_text import Cue, plain_cue

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s{{0,20}}{_TIME}\s{{0,20}}-->\s{{0,20}}{_TIME}")
_MOST_LINES = 20


def parse(text: str) -> list[Cue]:
    r"""Read the cues of a subtitle file, in the order of their times; damaged ones are passed over.

    ```python
    from langchain_gemini_mm.loaders.subtitles import parse

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
        said = plain_cue(html.unescape("\n".join(_said(lines, number + 1))))
        if said and start < end:
            cues.append(Cue(start, end, said))
    return sorted(cues, key=lambda cue: cue[:2])


def said_between(cues: Sequence[Cue], start_s: float, end_s: float) -> str:
    """What is said in a stretch, each line once: subtitles that roll repeat what is still to be seen."""
    lines: list[str] = []
    for cue in cues:
        if cue.start_s >= end_s:
            break
        if cue.end_s > start_s or cue.start_s >= start_s:
            lines += [line for line in cue.text.split("\n") if line.strip() and line not in lines[-3:]]
    return "\n".join(lines)


def _said(lines: Sequence[str], start: int) -> Iterator[str]:
    for line in lines[start : start + _MOST_LINES]:
        if not line.strip() or _TIMES.match(line):
            return
        yield line


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return round(whole + float(f"0.{fraction}"), 3)
