"""Text files of any length, in chunks."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from langchain_gemini_mm.content.mime_types import require_prose
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.text_encoding import BINARY, detect
from langchain_gemini_mm.references import escape_references

if TYPE_CHECKING:
    from langchain_text_splitters import RecursiveCharacterTextSplitter


_BLOCK_BYTES = 250_000
"""Text is split in blocks of this size, because the splitter holds all chunks of a block in memory."""

_LANGUAGES = {
    ".md": "markdown", ".markdown": "markdown", ".mdx": "markdown", ".html": "html", ".htm": "html", ".rst": "rst",
    ".tex": "latex", ".py": "python", ".pyi": "python", ".js": "js", ".mjs": "js", ".cjs": "js", ".jsx": "js",
    ".ts": "ts", ".tsx": "ts", ".java": "java", ".kt": "kotlin", ".go": "go", ".rs": "rust", ".rb": "ruby",
    ".php": "php", ".c": "c", ".h": "c", ".cpp": "cpp", ".cc": "cpp", ".hpp": "cpp", ".cs": "csharp",
    ".swift": "swift", ".scala": "scala", ".proto": "proto", ".sol": "sol", ".lua": "lua", ".hs": "haskell",
    ".ps1": "powershell", ".ex": "elixir", ".exs": "elixir",
}  # fmt: skip
_MIME_TYPES = {"markdown": "text/markdown", "html": "text/html"}


def mime_type_of(suffix: str) -> str:
    """The MIME type of a text file, by the end of its name."""
    return _MIME_TYPES.get(_LANGUAGES.get(suffix.lower(), ""), "text/plain")


def chunks_of_text(
    file: BinaryIO, suffix: str, *, chunk_size: int, chunk_overlap: int, codec: str | None = None
) -> Iterator[str]:
    """Split a text file of any length at the separators of its language.

    Args:
        file: open, seekable.
        suffix: of the name, such as `".md"`; it selects the separators.
        chunk_size: longest chunk in characters, before references are escaped.
        chunk_overlap: longest overlap of adjacent chunks, in characters.
        codec: its encoding; detected by default.

    Raises:
        ContentError: binary data, or an encoding that cannot be detected.
    """
    require_prose(suffix)
    for block in _blocks(file, codec or detect(file).codec):
        # Escaped after splitting, which could separate a backslash from its reference.
        yield from map(escape_references, _split(block, suffix.lower(), chunk_size, chunk_overlap))


def split_text(text: str, suffix: str, *, chunk_size: int, chunk_overlap: int) -> Iterator[str]:
    """Split a text in memory, as `chunks_of_text`, without escaping references.

    Args:
        text: of any length.
        suffix: of the name, such as `".md"`; it selects the separators.
        chunk_size: longest chunk, in characters.
        chunk_overlap: longest overlap of adjacent chunks, in characters.
    """
    start = 0
    while start < len(text):
        block = text[start : start + _BLOCK_BYTES]
        end = len(block) if start + len(block) == len(text) else _cut(block)
        yield from _split(block[:end], suffix.lower(), chunk_size, chunk_overlap)
        start += end


def _split(block: str, suffix: str, chunk_size: int, chunk_overlap: int) -> Iterator[str]:
    """Split a block; the splitter takes words at least, because it would list their single characters otherwise."""
    step = chunk_size - chunk_overlap
    for chunk in _splitter(suffix, chunk_size, chunk_overlap).split_text(block):
        if len(chunk) <= chunk_size:
            yield chunk
        else:
            yield from (chunk[at : at + chunk_size] for at in range(0, max(len(chunk) - chunk_overlap, 1), step))


def _blocks(file: BinaryIO, encoding: str) -> Iterator[str]:
    """The text in blocks that end after a paragraph, line or word where possible."""
    file.seek(0)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
    held = ""
    raw = b"-"
    while raw:
        raw = file.read(_BLOCK_BYTES)
        held += decoder.decode(raw, final=not raw)
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


@lru_cache(maxsize=64)
def _splitter(suffix: str, chunk_size: int, chunk_overlap: int) -> RecursiveCharacterTextSplitter:
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    language = _LANGUAGES.get(suffix)
    separators = ["\n\n", "\n", " "]
    if language is not None:
        separators = RecursiveCharacterTextSplitter.get_separators_for_language(Language(language))
    return RecursiveCharacterTextSplitter(
        [separator for separator in separators if separator],
        is_separator_regex=language is not None,
        chunk_size=chunk_size,
        chunk_overlap=chunk_overlap,
    )


def read_text(file: BinaryIO, codec: str | None = None) -> str:
    """Read a small text file; its encoding is detected by default.

    Raises:
        ContentError: binary data, or an encoding that cannot be detected.
    """
    return "".join(_blocks(file, codec or detect(file).codec))
