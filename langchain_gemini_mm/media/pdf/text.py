"""The text of a PDF page as people would copy it: what only the layout put there is taken out."""

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
_JOINERS = {"\u200c", "\u200d"}
"""They shape letters in Persian, Hindi and others, and hold emoji together."""


def clean(text: str) -> str:
    r"""Words as they are read: joined where a line broke them, without signs that nobody sees.

    A font that does not say which letters it draws gives signs without meaning; a text that is mostly those is none.

    ```python
    from langchain_gemini_mm.media.pdf.text import clean

    assert clean("an exam" + chr(0xFFFE) + "\r\nple of ofﬁces") == "an example of offices"
    ```
    """
    joined = _BREAKS.sub("\n", _HYPHEN.sub("", text))
    if _is_garbage(joined):
        return ""
    seen = "".join(sign for sign in joined if sign in "\n\t" or sign in _JOINERS or not _is_unseen(sign))
    spelt = unicodedata.normalize("NFC", _LIGATURES.sub(lambda match: unicodedata.normalize("NFKC", match[0]), seen))
    lines = (_SPACES.sub(" ", line).strip() for line in spelt.split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()


def _is_unseen(sign: str) -> bool:
    return sign == "\ufffd" or unicodedata.category(sign) in _UNSEEN


def _is_garbage(text: str) -> bool:
    signs = [sign for sign in text if not sign.isspace() and unicodedata.category(sign) != "Cf"]
    return sum(map(_is_unseen, signs)) > _GARBAGE_SHARE * len(signs)
