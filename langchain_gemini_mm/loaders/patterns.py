"""Glob patterns over POSIX paths, the same on every system: `*` within a name, `**` across folders, case ignored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_MAGIC = re.compile(r"[*?\[]")


class Patterns:
    """Matches a relative path against any of some patterns.

    A pattern without `/` is for the name alone, in any folder; one with `/` is for the whole path (`./*.jpg`: only at
    the top).
    """

    def __init__(self, patterns: str | Iterable[str]) -> None:
        listed: list[object] = [patterns] if isinstance(patterns, str) else list(patterns)
        if not all(isinstance(pattern, str) and pattern for pattern in listed):
            raise TypeError(f"patterns are non-empty strings such as '**/*.jpg', got {listed!r}")
        self._expressions = [re.compile(_expression(str(pattern)), re.IGNORECASE | re.DOTALL) for pattern in listed]

    def match(self, path: str) -> bool:
        """Whether `path`, relative and with forward slashes, is meant."""
        return any(expression.fullmatch(path) for expression in self._expressions)


def split_glob(path: Path) -> tuple[Path, str] | None:
    """The folder before the first name with a wildcard, and the pattern from there; None without wildcards."""
    parts = path.parts
    for number, part in enumerate(parts):
        if _MAGIC.search(part):
            return Path(*parts[:number]), "./" + "/".join(parts[number:])
    return None


def _expression(pattern: str) -> str:
    pattern = pattern.replace("\\", "/").rstrip("/")
    anywhere = "" if "/" in pattern else "(?:.*/)?"
    pattern = pattern.removeprefix("./").lstrip("/")
    return anywhere + "".join(_piece(match[0]) for match in re.finditer(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", pattern))


def _piece(piece: str) -> str:
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if piece in known:
        return known[piece]
    if piece.startswith("[") and len(piece) > 2:
        return _one_of(piece[2:-1], "[^/{}]") if piece[1] == "!" else _one_of(piece[1:-1], "(?!/)[{}]")
    return re.escape(piece)


def _one_of(signs: str, wanted: str) -> str:
    """A class of signs and ranges of them; a range that runs backwards holds nothing."""
    found = ""
    while signs:
        low, high, rest = (
            (signs[0], signs[2], signs[3:]) if signs[1:2] == "-" and signs[2:] else (signs[0], "", signs[1:])
        )
        if low <= (high or low):
            found += f"{re.escape(low)}-{re.escape(high)}" if high else re.escape(low)
        signs = rest
    return wanted.format(found) if found or "^" in wanted else "(?!)"
