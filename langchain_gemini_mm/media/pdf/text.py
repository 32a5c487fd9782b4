"""Text as it would be copied from a page: without the marks that only its layout needs."""

from __future__ import annotations

import re
import unicodedata

_HYPHEN = re.compile("[\x02\ufffe\xad]\r?\n?")
"""PDFium's marks for a word broken at a line's end, and the soft hyphen."""
_LIGATURES = re.compile("[\ufb00-\ufb06]")
_BREAKS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile("[ \t\xa0\u2000-\u200a\u202f\u205f\u3000]+")
_EMPTY_LINES = re.compile("\n{3,}")
_GARBAGE_SHARE = 0.3
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}
_KEPT = {"\n", "\t", "\u200c", "\u200d"}
"""The joiners shape letters in Persian, Hindi and others, and hold emoji together."""


def clean(text: str) -> str:
    r"""Normalise extracted text: join words broken at line ends, remove invisible characters, collapse white space.

    A font without a character map gives meaningless characters; a text that consists of more than 30 % of them
    becomes empty.

    ```python
    from langchain_gemini_mm.media.pdf.text import clean

    assert clean("an exam" + chr(0xFFFE) + "\r\nple of ofﬁces") == "an example of offices"
    ```
    """
    joined = _BREAKS.sub("\n", _HYPHEN.sub("", text))
    unseen: dict[int, None] = {}
    garbage = ignored = 0
    for sign in set(joined):
        category = unicodedata.category(sign)
        if sign.isspace() or category == "Cf":
            ignored += joined.count(sign)
        elif sign == "\ufffd" or category in _UNSEEN:
            garbage += joined.count(sign)
        if (sign == "\ufffd" or category in _UNSEEN) and sign not in _KEPT:
            unseen[ord(sign)] = None
    if garbage > _GARBAGE_SHARE * (len(joined) - ignored):
        return ""
    seen = joined.translate(unseen)
    spelt = unicodedata.normalize("NFC", _LIGATURES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), seen))
    lines = map(str.strip, _SPACES.sub(" ", spelt).split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()
