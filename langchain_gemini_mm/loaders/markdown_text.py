"""Markdown as it is written, with its pictures where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from langchain_gemini_mm.loaders.markup import Picture

_IMAGE = re.compile(
    r"(?<!\\)!\[(?P<alt>[^\[\]]{0,500})\]\([ \t]{0,9}(?:<(?P<quoted>[^<>\n]{1,1000})>|(?P<plain>[^\s()<>]{1,1000}))"
    r"(?:[ \t]{1,9}(?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'))?[ \t]{0,9}\)"
    r"|<img\b(?P<tag>[^<>]{1,2000})>",
    re.IGNORECASE,
)
_SOURCE = re.compile(
    r"""(?<![\w-])src\s{0,9}=\s{0,9}(?:"([^"]{1,1000})"|'([^']{1,1000})'|([^\s"'>]{1,1000}))""", re.IGNORECASE
)
_ALT = re.compile(r"""(?<![\w-])alt\s{0,9}=\s{0,9}(?:"([^"]{1,1000})"|'([^']{1,1000})')""", re.IGNORECASE)


def parts_of_markdown(text: str) -> Iterator[str | Picture]:
    r"""Text and pictures in their order; `\![…](…)` is text.

    ```python
    from langchain_gemini_mm.loaders.markdown_text import parts_of_markdown

    text, picture = parts_of_markdown("A cat ![grey](<my cat.png> 'Tom')")
    assert (text, picture.source, picture.alt) == ("A cat ", "my cat.png", "grey")
    ```
    """
    position = 0
    for match in _IMAGE.finditer(text):
        source, alt = match["quoted"] or match["plain"], match["alt"] or ""
        if match["tag"] is not None:
            source, alt = _first(_SOURCE.search(match["tag"])), _first(_ALT.search(match["tag"]))
        if not source:
            continue
        if match.start() > position:
            yield text[position : match.start()]
        yield Picture(source, alt, match[0])
        position = match.end()
    if position < len(text):
        yield text[position:]


def _first(match: re.Match[str] | None) -> str:
    return next((group for group in match.groups() if group), "") if match else ""
