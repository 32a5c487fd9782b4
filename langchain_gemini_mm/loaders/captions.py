"""`captions.jsonl`: descriptions of the files of a folder, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.source import open_source

if TYPE_CHECKING:
    from pathlib import Path


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
