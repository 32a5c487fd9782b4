"""Bytes with a declared encoding as text: only encodings that people write in, never an error."""

from __future__ import annotations

import re

_KNOWN = re.compile(
    r"(?:us-)?ascii|utf-?8|utf-?16(?:-?[lb]e)?|(?:iso-?)?8859-\d{1,2}|iso-8859-\d{1,2}|latin-?1|windows-125\d|cp125\d|"
    r"koi8-[ru]|shift[_-]jis|sjis|euc-(?:jp|kr)|iso-2022-(?:jp|kr)|gb2312|gbk|gb18030|big5|macintosh",
    re.IGNORECASE,
)
"""Some codecs that Python knows besides take a time that grows with the square of a text."""


def decoded(data: bytes, declared: str | None) -> str:
    """Text in its declared encoding where that is a usual one and fits; else UTF-8, else Windows-1252."""
    if declared and _KNOWN.fullmatch(declared.strip()):
        try:
            return data.decode(declared.strip())
        except (UnicodeError, LookupError):
            pass
    try:
        return data.decode("utf-8-sig")
    except UnicodeError:
        return data.decode("cp1252", "replace")
