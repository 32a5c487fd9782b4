"""Text files: their encoding, and their text in chunks, however long the file is."""

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
"""How much text is split at once: the splitter holds every piece of it in memory."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LANGUAGES = {
    ".md": "markdown", ".markdown": "markdown", ".mdx": "markdown", ".html": "html", ".htm": "html", ".rst": "rst",
    ".tex": "latex", ".py": "python", ".pyi": "python", ".js": "js", ".mjs": "js", ".cjs": "js", ".jsx": "js",
    ".ts": "ts", ".tsx": "ts", ".java": "java", ".kt": "kotlin", ".go": "go", ".rs": "rust", ".rb": "ruby",
    ".php": "php", ".c": "c", ".h": "c", ".cpp": "cpp", ".cc": "cpp", ".hpp": "cpp", ".cs": "csharp",
    ".swift": "swift", ".scala": "scala", ".proto": "proto", ".sol": "sol", ".lua": "lua", ".hs": "haskell",
    ".pl": "perl", ".pm": "perl", ".ps1": "powershell", ".ex": "elixir", ".exs": "elixir",
}  # fmt: skip
_MIME_TYPES = {"markdown": "text/markdown", "html": "text/html"}
_NOT_PROSE = {
    ".svg": "it is a drawing written as XML; export it as PNG",
    ".xmp": "it holds settings of a picture editor",
    ".aae": "it holds settings of a picture editor",
    ".rtf": "rich text is not read; save it as PDF, Markdown or plain text, or load it with docling or unstructured",
    ".ps": "PostScript is not read; convert it to PDF",
    ".eps": "PostScript is not read; convert it to PDF or PNG",
    ".ipynb": "notebooks hold outputs as base64; export it as Markdown",
}
BINARY = "it is neither text nor a picture, sound, video or PDF by its content"
_ASCII = bytes(range(128))
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\r\f\x1b"))
_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"
"""Bytes that mean nothing in Windows-1252."""
_WESTERN_SHARE = 0.3


def mime_type_of(suffix: str) -> str:
    """The MIME type of a text file, by the end of its name."""
    return _MIME_TYPES.get(_LANGUAGES.get(suffix.lower(), ""), "text/plain")


def refuse_other_than_prose(suffix: str) -> None:
    """Refuse texts that nobody reads.

    Raises:
        ContentError: the message says what to do.
    """
    if suffix.lower() in _NOT_PROSE:
        raise ContentError(_NOT_PROSE[suffix.lower()])


def chunks_of_text(file: BinaryIO, suffix: str, *, chunk_size: int, chunk_overlap: int) -> Iterator[str]:
    """Split a text file by the separators of its language; memory stays flat.

    Args:
        file: open, seekable.
        suffix: end of the name, such as `".md"`; it selects the separators.
        chunk_size: most characters in a chunk, before references in it are escaped.
        chunk_overlap: characters that follow-up chunks repeat, at most.

    Raises:
        ContentError: binary data, or an encoding that cannot be told.
    """
    refuse_other_than_prose(suffix)
    encoding = _encoding(file)
    splitter = _splitter(suffix.lower(), chunk_size, chunk_overlap)
    for block in _blocks(file, encoding):
        # Escaped after splitting: a backslash that stands in front of a chunk's end could be parted from its reference.
        yield from (escape_references(chunk) for chunk in splitter.split_text(block))


def split_text(text: str, suffix: str, *, chunk_size: int, chunk_overlap: int) -> Iterator[str]:
    """Split a text that is in memory, as `chunks_of_text`; references in it are not escaped."""
    splitter = _splitter(suffix.lower(), chunk_size, chunk_overlap)
    while text:
        end = len(text) if len(text) <= _BLOCK_BYTES else _cut(text[:_BLOCK_BYTES])
        yield from splitter.split_text(text[:end])
        text = text[end:]


def _encoding(file: BinaryIO) -> str:
    """Read the file through for what it is written in."""
    file.seek(0)
    head = file.read(4)
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8 = True
    size = foreign = controls = undefined = 0
    while block := file.read(1 << 20):
        if b"\x00" in block:
            raise ContentError(BINARY)
        size += len(block)
        controls += len(block) - len(block.translate(None, _CONTROLS))
        foreign += len(block.translate(None, _ASCII))
        undefined += len(block) - len(block.translate(None, _UNDEFINED))
        try:
            decoder.decode(block if is_utf8 else b"")
        except UnicodeDecodeError:
            is_utf8 = False
            decoder.reset()
    if controls > size // 100:
        raise ContentError(BINARY)
    if not is_utf8 and (undefined or controls or foreign > size * _WESTERN_SHARE):
        raise ContentError("its text encoding cannot be told; save it as UTF-8")
    return "utf-8" if is_utf8 else "cp1252"


def _blocks(file: BinaryIO, encoding: str) -> Iterator[str]:
    """The text in blocks that end between paragraphs, lines or words, whichever is there."""
    file.seek(0)
    # A file that is cut off within its last character is still UTF-8, hence "replace".
    errors = "replace" if encoding.startswith("utf-8") else "strict"
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
    """Where to end a block: behind a paragraph, line or word in its second half, or at its very end."""
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


def whole_text(file: BinaryIO) -> str:
    """All of a text file, for what is small.

    Raises:
        ContentError: binary data, or an encoding that cannot be told.
    """
    return "".join(_blocks(file, _encoding(file)))


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
