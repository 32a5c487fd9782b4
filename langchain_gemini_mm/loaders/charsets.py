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
    """UTF-8 where it is that, whatever was declared; else the declared encoding where it fits; else Windows-1252."""
    named = declared.strip().lower() if declared and _KNOWN.fullmatch(declared.strip()) else None
    # These are written in ASCII signs, and so are valid UTF-8, too.
    tries = (
        [named, "utf-8-sig"] if named and named.startswith(("iso-2022", "utf-16", "utf16")) else ["utf-8-sig", named]
    )
    for encoding in filter(None, tries):
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    return data.decode("cp1252", "replace")
