"""HTML and Markdown as text with image links.

The HTML parser of the standard library takes quadratic time for damaged pages (a minute for 60 kB of `<a `), so tags
are parsed here, in one pass.
"""

from __future__ import annotations

import base64
import html
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

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
_DATA_CHARACTERS = 40_000_000
_LONG = f"{{1,{_DATA_CHARACTERS}}}"
_DATA = re.compile(r"""(?<![\w-])src\s{0,9}=\s{0,9}["']?(data:[^"'<>]""" + _LONG + r""")["']?""", re.IGNORECASE)
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]{1,30}(?:;[a-z0-9=_-]{1,30}){0,3},", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ImageLink:
    """An image in a text."""

    source: str
    """Its address as written in the text; not to be trusted."""
    alt: str
    """Its alternative text."""
    written: str
    """The text that remains if the image cannot be loaded."""

    @property
    def data(self) -> bytes | None:
        """The bytes of an image that is in the address itself, as a `data:` URI; None for another address."""
        head = _DATA_URI.match(self.source)
        if head is None or len(self.source) > _DATA_CHARACTERS:
            return None
        data = unquote_to_bytes(self.source[head.end() :])
        if not head[0].lower().endswith(";base64,"):
            return data
        try:
            return base64.b64decode(data + b"=" * (-len(data) % 4))
        except ValueError:
            return None


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
            source, alt = _source_and_alt(page[tag.end() : position])
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
    if data := _DATA.search(attributes):
        found["src"] = "".join(data[1].split())
        attributes = attributes[: data.start()] + attributes[data.end() :]
    for match in _ATTRIBUTE.finditer(attributes[:_TAG_CHARACTERS]):
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
    r"(?<!\\)!\[(?P<alt>[^\[\]]{0,500})\]"
    rf"(?:\([ \t]{{0,9}}(?:<(?P<quoted>[^<>\n]{{1,1000}})>|(?P<data>data:[^\s()<>]{_LONG})"
    r"|(?P<plain>[^\s()<>]{1,1000}))"
    r"(?:[ \t]{1,9}(?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'))?[ \t]{0,9}\)|(?:\[(?P<label>[^\[\]]{0,500})\])?(?!\())"
    rf"|<img\b(?P<tag>[^<>]{_LONG})>",
    re.IGNORECASE,
)
_DEFINITION = re.compile(
    r"^ {0,3}\[(?P<label>[^\[\]\n]{1,500})\]:[ \t]{0,9}\n?[ \t]{0,9}"
    rf"(?:<(?P<quoted>[^<>\n]{{1,1000}})>|(?P<plain>[^\s<>]{_LONG}))"
    r"[ \t]{0,9}(?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'|\([^()\n]{0,200}\))?[ \t]{0,9}$\n?",
    re.MULTILINE,
)
_FENCE = re.compile(r"^[ \t>]{0,40}(`{3,}|~{3,})([^\n]*)$", re.MULTILINE)
_INDENTED = re.compile(r"(?:(?:^(?: {4}|\t)[^\n]*|^[ \t]*)(?:\n|\Z))+", re.MULTILINE)
_LIST_ITEM = re.compile(r"[ \t>]{0,40}(?:[-+*]|\d{1,9}[.)])[ \t]|[ \t]+\S")
_BACKTICKS = re.compile(r"`+|\n[ \t]*\n")


def markdown_parts(text: str) -> Iterator[str | ImageLink]:
    r"""The text and the images of a Markdown file, in their order; `\![…](…)`, code and comments are text.

    ```python
    from langchain_gemini_mm.loaders.markup import markdown_parts

    text, image = markdown_parts("A cat ![grey](<my cat.png> 'Tom')")
    assert (text, image.source, image.alt) == ("A cat ", "my cat.png", "grey")
    ```
    """
    hidden = _Spans(_code_and_comments(text))
    addresses: dict[str, str] = {}
    embedded: list[tuple[int, int]] = []
    for match in _DEFINITION.finditer(text) if "]:" in text else ():
        if match.start() not in hidden:
            address = match["quoted"] or match["plain"]
            addresses.setdefault(_label(match["label"]), address)
            if _DATA_URI.match(address):
                embedded.append(match.span())
    yield from _without(embedded, text, _images_of(text, hidden, addresses))


def _images_of(text: str, hidden: _Spans, addresses: dict[str, str]) -> Iterator[tuple[int, int, ImageLink]]:
    for match in _IMAGE.finditer(text):
        if match.start() in hidden:
            continue
        source, alt = match["quoted"] or match["data"] or match["plain"] or "", match["alt"] or ""
        if match["tag"] is not None:
            source, alt = _source_and_alt(match["tag"])
        source = source or addresses.get(_label(match["label"] or alt), "")
        if source:
            yield *match.span(), ImageLink(source, alt, alt if source[:5].lower() == "data:" else match[0])


def _without(
    removed: Sequence[tuple[int, int]], text: str, images: Iterator[tuple[int, int, ImageLink]]
) -> Iterator[str | ImageLink]:
    """The text between images, without the parts of it that define images in base64."""
    found: list[tuple[int, int, ImageLink | None]] = [*((*span, None) for span in removed), *images]
    position = 0
    for start, end, image in sorted(found, key=lambda one: one[:2]):
        if start < position:
            continue
        if start > position:
            yield text[position:start]
        if image is not None:
            yield image
        position = end
    if position < len(text):
        yield text[position:]


def _label(written: str) -> str:
    return _SPACE.sub(" ", written).strip().casefold()


class _Spans:
    """Parts of a text that do not overlap."""

    def __init__(self, spans: Iterator[tuple[int, int]]) -> None:
        self._ends: list[int] = []
        self._starts: list[int] = []
        for start, end in spans:
            self._starts.append(start)
            self._ends.append(end)

    def __contains__(self, position: int) -> bool:
        before = bisect_right(self._starts, position) - 1
        return before >= 0 and position < self._ends[before]


def _code_and_comments(text: str) -> Iterator[tuple[int, int]]:
    """Fenced and indented code blocks, code spans and HTML comments of a Markdown text, in order."""
    position = 0
    blocks = sorted([*_fenced(text), *_indented(text)])
    for start, end in [*blocks, (len(text), len(text))]:
        if start < position:
            continue
        yield from _inline(text, position, start)
        yield start, end
        position = end


def _fenced(text: str) -> Iterator[tuple[int, int]]:
    opened: tuple[int, str] | None = None
    for match in _FENCE.finditer(text):
        if opened is None:
            if match[1][0] == "~" or "`" not in match[2]:
                opened = match.start(), match[1]
        elif match[1].startswith(opened[1]) and not match[2].strip():
            yield opened[0], match.end()
            opened = None
    if opened is not None:
        yield opened[0], len(text)


def _indented(text: str) -> Iterator[tuple[int, int]]:
    """Blocks of indented lines after an empty line, unless they continue a list."""
    before = ""
    position = 0
    for match in _INDENTED.finditer(text):
        lines = text[position : match.start()].rstrip().rpartition("\n")[2]
        before = lines or before
        position = match.end()
        first = match.start() == 0 or text.endswith("\n\n", 0, match.start()) or match[0].lstrip(" \t").startswith("\n")
        if first and match[0].strip() and not _LIST_ITEM.match(before):
            yield match.span()


def _inline(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Code spans and comments in a part of a text; a span ends with as many backticks as it begins with."""
    position = start
    while (comment := text.find("<!--", position, end)) >= 0:
        spans = list(_spans_of_code(text, position, comment))
        yield from spans
        closed = text.find("-->", comment + 4, end)
        position = end if closed < 0 else closed + 3
        yield comment, position
    yield from _spans_of_code(text, position, end)


def _spans_of_code(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    runs = list(_BACKTICKS.finditer(text, start, end))
    following: dict[str, int] = {}
    closing: list[int | None] = [None] * len(runs)
    for number in range(len(runs) - 1, -1, -1):
        mark = runs[number][0]
        if mark[0] == "\n":
            following.clear()
            continue
        closing[number] = following.get(mark)
        following[mark] = number
    number = 0
    while number < len(runs):
        last = closing[number]
        if last is not None:
            yield runs[number].start(), runs[last].end()
            number = last
        number += 1
