"""Text files of any length: detection of their encoding, and their text in chunks."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import escape_references

if TYPE_CHECKING:
    from langchain_text_splitters import RecursiveCharacterTextSplitter


_BLOCK_BYTES = 250_000
"""Text is split in blocks of this size, because the splitter holds all chunks of a block in memory."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARATION = re.compile(
    rb"<meta[^<>]{0,200}charset=[\"']?([A-Za-z0-9_-]{1,30})|\A\s{0,9}<\?xml[^<>]{0,100}encoding=[\"']([A-Za-z0-9_-]{1,30})",
    re.IGNORECASE,
)
_DECLARATION_BYTES = 2048
_LABELS = {"windows-874": "cp874", "x-sjis": "cp932", "x-gbk": "gb18030", "iso-8859-8-i": "iso8859_8"}
"""Labels that Python does not know."""
_BROWSERS = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949",
}  # fmt: skip
"""Encodings that browsers and mail programs read as larger ones (https://encoding.spec.whatwg.org)."""
_DETECTED = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp866", "cp874", "koi8_r",
    "koi8_u", "iso8859_2", "iso8859_5", "iso8859_6", "iso8859_7", "iso8859_8", "gb18030", "big5", "euc_jp",
    "cp932", "cp949", "iso2022_jp",
)  # fmt: skip
"""Windows-1257 and Mac Roman are missing, because French and Spanish text is often detected as these."""
_LATIN = {"cp1250", "cp1254", "iso8859_2"}
_MAX_MESS = 0.4
"""Largest share of implausible characters, as charset-normalizer counts them; it is higher for short texts."""
_ACCEPTED = re.compile(
    r"utf-?(?:8|16|32)(?:-(?:sig|le|be))?|cp(?:125\d|866|874|932|949)|iso(?:8859-\d{1,2}|2022_(?:jp|kr).{0,6})|koi8-[ru]"
    r"|mac-(?:roman|cyrillic)|gb18030|big5|big5hkscs|euc_jp|iso8859_8"
)
"""Other codecs of Python take quadratic time, or are no text encodings."""
_SAMPLE_BYTES = 1 << 16
_UTF8_SHARE = 10
"""Valid multi-byte characters for each invalid byte, from which on a text counts as UTF-8."""
_LANGUAGES = {
    ".md": "markdown", ".markdown": "markdown", ".mdx": "markdown", ".html": "html", ".htm": "html", ".rst": "rst",
    ".tex": "latex", ".py": "python", ".pyi": "python", ".js": "js", ".mjs": "js", ".cjs": "js", ".jsx": "js",
    ".ts": "ts", ".tsx": "ts", ".java": "java", ".kt": "kotlin", ".go": "go", ".rs": "rust", ".rb": "ruby",
    ".php": "php", ".c": "c", ".h": "c", ".cpp": "cpp", ".cc": "cpp", ".hpp": "cpp", ".cs": "csharp",
    ".swift": "swift", ".scala": "scala", ".proto": "proto", ".sol": "sol", ".lua": "lua", ".hs": "haskell",
    ".ps1": "powershell", ".ex": "elixir", ".exs": "elixir",
}  # fmt: skip
_MIME_TYPES = {"markdown": "text/markdown", "html": "text/html"}
_NOT_PROSE = {
    ".svg": "it is a drawing written as XML; export it as PNG",
    ".xmp": "it holds settings of an image editor",
    ".aae": "it holds settings of an image editor",
    ".rtf": "rich text is not read; save it as PDF, Markdown or plain text, or load it with docling or unstructured",
    ".ps": "PostScript is not read; convert it to PDF",
    ".eps": "PostScript is not read; convert it to PDF or PNG",
    ".ipynb": "notebooks hold outputs as base64; export it as Markdown",
}
BINARY = "its content is neither text nor an image, audio, video or PDF"
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\r\f\x1b"))
_HIGH = bytes(range(128, 256))
_FIRST_HIGH = re.compile(rb"[\x80-\xff]")


def mime_type_of(suffix: str) -> str:
    """The MIME type of a text file, by the end of its name."""
    return _MIME_TYPES.get(_LANGUAGES.get(suffix.lower(), ""), "text/plain")


def require_prose(suffix: str) -> None:
    """Refuse text files that are not meant to be read, such as SVG.

    Raises:
        ContentError: the message says what to do.
    """
    if suffix.lower() in _NOT_PROSE:
        raise ContentError(_NOT_PROSE[suffix.lower()])


def chunks_of_text(file: BinaryIO, suffix: str, *, chunk_size: int, chunk_overlap: int) -> Iterator[str]:
    """Split a text file of any length at the separators of its language.

    Args:
        file: open, seekable.
        suffix: of the name, such as `".md"`; it selects the separators.
        chunk_size: longest chunk in characters, before references are escaped.
        chunk_overlap: longest overlap of adjacent chunks, in characters.

    Raises:
        ContentError: binary data, or an encoding that cannot be detected.
    """
    require_prose(suffix)
    encoding = _encoding(file)
    splitter = _splitter(suffix.lower(), chunk_size, chunk_overlap)
    for block in _blocks(file, encoding):
        # Escaped after splitting, which could separate a backslash from its reference.
        yield from (escape_references(chunk) for chunk in splitter.split_text(block))


def split_text(text: str, suffix: str, *, chunk_size: int, chunk_overlap: int) -> Iterator[str]:
    """Split a text in memory, as `chunks_of_text`, without escaping references.

    Args:
        text: of any length.
        suffix: of the name, such as `".md"`; it selects the separators.
        chunk_size: longest chunk, in characters.
        chunk_overlap: longest overlap of adjacent chunks, in characters.
    """
    splitter = _splitter(suffix.lower(), chunk_size, chunk_overlap)
    while text:
        end = len(text) if len(text) <= _BLOCK_BYTES else _cut(text[:_BLOCK_BYTES])
        yield from splitter.split_text(text[:end])
        text = text[end:]


def _encoding(file: BinaryIO) -> str:
    """The encoding of a text file; the file is read through.

    Raises:
        ContentError: binary data, or an encoding that cannot be detected.
    """
    file.seek(0)
    head = file.read(_DECLARATION_BYTES)
    if marked := _byte_order_mark(head):
        return marked
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    size = controls = invalid = foreign = 0
    sample = b""
    while block := file.read(1 << 20):
        if b"\x00" in block:
            raise ContentError(BINARY)
        size += len(block)
        controls += len(block) - len(block.translate(None, _CONTROLS))
        text = decoder.decode(block)
        if high := _FIRST_HIGH.search(block):
            invalid += text.count("\ufffd") - block.count(b"\xef\xbf\xbd")
            foreign += len(text) - len(block.translate(None, _HIGH))
            sample = sample or block[max(high.start() - _SAMPLE_BYTES // 2, 0) :][:_SAMPLE_BYTES]
    if controls > size // 100:
        raise ContentError(BINARY)
    if invalid * _UTF8_SHARE <= foreign - invalid:
        return "utf-8"
    encoding = declared_encoding(head) or _detected(sample)
    if encoding is None or controls:
        raise ContentError("its text encoding cannot be detected; save it as UTF-8")
    return encoding


def declared_encoding(head: bytes) -> str | None:
    """The encoding that the beginning of an HTML or XML file declares; None where it declares none that is known."""
    found = _DECLARATION.search(head[:_DECLARATION_BYTES])
    return _codec((found[1] or found[2]).decode()) if found else None


def _byte_order_mark(head: bytes) -> str | None:
    return next((encoding for mark, encoding in _BOMS if head.startswith(mark)), None)


def _codec(label: str) -> str | None:
    """The codec for a declared encoding, as browsers understand the label."""
    label = label.strip().lower()
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name if len(label) <= 30 else ""
    except (LookupError, ValueError):
        return None
    name = _BROWSERS.get(name, name)
    return name if _ACCEPTED.fullmatch(name) else None


def _detected(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=list(_DETECTED), threshold=_MAX_MESS)
    best = matches.best()
    if best is None:
        return None
    # Western text is valid in other encodings, too, and short text even in Chinese ones; Windows-1252 is most common.
    western = next((match for match in matches if "cp1252" in match.could_be_from_charset), None)
    if western is not None and (western.chaos <= best.chaos or best.encoding in _LATIN):
        return "cp1252"
    return best.encoding


def _blocks(file: BinaryIO, encoding: str) -> Iterator[str]:
    """The text in blocks that end after a paragraph, line or word where possible."""
    file.seek(0)
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "replace"
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(errors), translate=True)
    held = ""
    raw = b"-"
    while raw:
        raw = file.read(_BLOCK_BYTES)
        try:
            held += decoder.decode(raw, final=not raw)
        except UnicodeError as error:
            raise ContentError(f"it is damaged {encoding} text: {error}") from error
        if "\x00" in held:
            raise ContentError(BINARY)
        while len(held) >= _BLOCK_BYTES or (held and not raw):
            end = len(held) if not raw else _cut(held)
            yield held[:end]
            held = held[end:]


def _cut(text: str) -> int:
    """The end of a block: after a paragraph, line or word in its second half, or else its length."""
    ends = (text.rfind(separator) + len(separator) for separator in ("\n\n", "\n", " "))
    return next((end for end in ends if end > len(text) // 2), len(text))


def _splitter(suffix: str, chunk_size: int, chunk_overlap: int) -> RecursiveCharacterTextSplitter:
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    language = _LANGUAGES.get(suffix)
    if language is None:
        return RecursiveCharacterTextSplitter(chunk_size=chunk_size, chunk_overlap=chunk_overlap)
    return RecursiveCharacterTextSplitter.from_language(
        Language(language), chunk_size=chunk_size, chunk_overlap=chunk_overlap
    )


def read_text(file: BinaryIO) -> str:
    """Read a small text file.

    Raises:
        ContentError: binary data, or an encoding that cannot be detected.
    """
    return "".join(_blocks(file, _encoding(file)))


def decoded(data: bytes, declared: str | None = None) -> str:
    """Decode text in memory; bytes that do not fit become U+FFFD.

    Valid UTF-8 is decoded as that whatever was declared, UTF-8 with a few invalid bytes as well. Other text is decoded
    as declared, or else as detected.

    Args:
        data: the text.
        declared: the label of its encoding, such as `"gb2312"`; None where there is none.
    """
    encoding = _byte_order_mark(data) or (_codec(declared) if declared else None)
    # Text in these encodings is ASCII, and so would be valid UTF-8.
    if encoding and encoding.startswith(("iso2022", "utf")):
        return data.decode(encoding, "replace")
    text = data.decode("utf-8", "replace")
    invalid = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    if invalid * _UTF8_SHARE <= len(text) - len(data.translate(None, _HIGH)) - invalid:
        return text
    return data.decode(encoding or _detected(data[:_SAMPLE_BYTES]) or "cp1252", "replace")
