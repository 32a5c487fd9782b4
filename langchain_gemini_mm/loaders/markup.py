"""HTML and Markdown as text with image links.

The HTML parser of the standard library takes quadratic time for damaged pages (a minute for 60 kB of `<a `), so tags
are parsed here, in one pass.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

_UNSEEN = {"script", "style", "template", "svg", "iframe", "noframes"}
_HEADINGS = {f"h{level}": f"\n\n{'#' * level} " for level in range(1, 7)}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "dd", "div", "dl", "dt", "figcaption", "figure",
    "footer", "form", "head", "header", "hr", "html", "main", "nav", "ol", "p", "pre", "section", "table", "tbody",
    "tfoot", "thead", "title", "ul", *_HEADINGS,
}  # fmt: skip
_LINES = {"br", "li", "tr", "option"}
_CELLS = {"td", "th"}
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})(?=[\s/>])")
_ATTRIBUTE = re.compile(
    r"""(?<![\w-])(src|alt)\s{0,9}=\s{0,9}(?:"([^"]{0,4000})"|'([^']{0,4000})'|([^\s"'>]{1,4000}))""", re.IGNORECASE
)
_SPACE = re.compile(r"\s+")
_MANY_LINES = re.compile(r"\n{3,}")
_MANY_SPACES = re.compile(r"[ \t]{2,}")
_TAG_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class ImageLink:
    """An image in a text."""

    source: str
    """Its address as written in the text; not to be trusted."""
    alt: str
    """Its alternative text."""
    written: str
    """The text that remains if the image cannot be loaded."""


def html_parts(page: str) -> Iterator[str | ImageLink]:
    r"""The text of an HTML page, with Markdown headings, and its images, in their order.

    ```python
    from langchain_gemini_mm.loaders.markup import html_parts

    page = "<h1>Pets</h1><script>x</script><p>A&nbsp;cat: <img src='cat.png' alt='grey'> asleep"
    text, image, rest = html_parts(page)
    assert (text, image.source, rest) == ("# Pets\n\nA cat: ", "cat.png", " asleep")
    ```
    """
    held: list[str] = []
    started = False
    for piece in _pieces(page):
        if isinstance(piece, str):
            held.append(piece)
            continue
        text = _tidy(held)
        if text.strip():
            yield text if started else text.lstrip()
        yield piece
        held, started = [], True
    text = _tidy(held).rstrip()
    if text.strip():
        yield text if started else text.lstrip()


def _pieces(page: str) -> Iterator[str | ImageLink]:
    position = 0
    preformatted = 0
    while (start := page.find("<", position)) >= 0:
        yield _words(page[position:start], preformatted)
        if page.startswith("<!--", start):
            position = _behind(page, "-->", start + 4)
            continue
        if page.startswith(("<!", "<?"), start):
            position = _behind(page, ">", start + 2)
            continue
        tag = _TAG.match(page, start)
        if tag is None:
            yield "<"
            position = start + 1
            continue
        closing, name = bool(tag[1]), tag[2].lower()
        position = _tag_end(page, tag.end())
        if name == "img" and not closing:
            source, alt = _source_and_alt(page[tag.end() : min(position, tag.end() + _TAG_CHARACTERS)])
            if source:
                yield ImageLink(source, alt, alt)
        elif name in _UNSEEN and not closing:
            position = _behind_element(page, name, position)
        elif name == "pre":
            preformatted = max(preformatted + (-1 if closing else 1), 0)
        yield _break(name, closing=closing)
    yield _words(page[position:], preformatted)


def _words(text: str, preformatted: int) -> str:
    unescaped = html.unescape(text).replace("\xa0", " ")
    return unescaped.replace("\r\n", "\n") if preformatted else _SPACE.sub(" ", unescaped)


def _break(name: str, *, closing: bool) -> str:
    if name in _HEADINGS and not closing:
        return _HEADINGS[name]
    if name in _BLOCKS:
        return "\n\n"
    if name in _LINES:
        return "\n- " if name == "li" and not closing else "\n"
    return " " if name in _CELLS else ""


def _source_and_alt(attributes: str) -> tuple[str, str]:
    """The `src` and `alt` of an image tag, empty where it has none."""
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(attributes):
        found.setdefault(match[1].lower(), html.unescape(match[2] or match[3] or match[4] or ""))
    return found.get("src", "").strip(), _SPACE.sub(" ", found.get("alt", "")).strip()


def _tag_end(page: str, position: int) -> int:
    """The position after the `>` of a tag, which may also be within quotes."""
    start = position
    for _ in range(5):
        end = page.find(">", position)
        if end < 0 or end - start > _TAG_CHARACTERS:
            break
        inside = page[start:end]
        position = end + 1
        if inside.count('"') % 2 == 0 and (inside.count('"') or inside.count("'") % 2 == 0):
            return position
    return _behind(page, ">", start)


def _behind(page: str, mark: str, position: int) -> int:
    end = page.find(mark, position)
    return len(page) if end < 0 else end + len(mark)


def _behind_element(page: str, name: str, position: int) -> int:
    end = re.compile(rf"</{name}\b", re.IGNORECASE).search(page, position)
    return _behind(page, ">", end.end()) if end else len(page)


def _tidy(held: list[str]) -> str:
    lines = "".join(held).split("\n")
    inner = [line.strip() for line in lines[1:-1]]
    joined = "\n".join([lines[0].rstrip(), *inner, lines[-1].lstrip()]) if len(lines) > 1 else lines[0]
    return _MANY_SPACES.sub(" ", _MANY_LINES.sub("\n\n", joined))


_IMAGE = re.compile(
    r"(?<!\\)!\[(?P<alt>[^\[\]]{0,500})\]\([ \t]{0,9}(?:<(?P<quoted>[^<>\n]{1,1000})>|(?P<plain>[^\s()<>]{1,1000}))"
    r"(?:[ \t]{1,9}(?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'))?[ \t]{0,9}\)"
    r"|<img\b(?P<tag>[^<>]{1,2000})>",
    re.IGNORECASE,
)


def markdown_parts(text: str) -> Iterator[str | ImageLink]:
    r"""The text and the images of a Markdown file, in their order; `\![…](…)` is text.

    ```python
    from langchain_gemini_mm.loaders.markup import markdown_parts

    text, image = markdown_parts("A cat ![grey](<my cat.png> 'Tom')")
    assert (text, image.source, image.alt) == ("A cat ", "my cat.png", "grey")
    ```
    """
    position = 0
    for match in _IMAGE.finditer(text):
        source, alt = match["quoted"] or match["plain"] or "", match["alt"] or ""
        if match["tag"] is not None:
            source, alt = _source_and_alt(match["tag"])
        if not source:
            continue
        if match.start() > position:
            yield text[position : match.start()]
        yield ImageLink(source, alt, match[0])
        position = match.end()
    if position < len(text):
        yield text[position:]
