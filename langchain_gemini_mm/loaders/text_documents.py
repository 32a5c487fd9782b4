"""From a text to its Documents: chunks of it, with the pictures that stand in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias
from urllib.parse import unquote

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.document_ids import document_of
from langchain_gemini_mm.loaders.markup import Picture, html_page, parts_of_html, parts_of_markdown
from langchain_gemini_mm.loaders.plain_text import (
    BINARY,
    chunks_of_text,
    mime_type_of,
    refuse_other_than_prose,
    split_text,
    whole_text,
)
from langchain_gemini_mm.loaders.walk import Found, Scan, is_hidden
from langchain_gemini_mm.models import MediaLimit
from langchain_gemini_mm.references import MediaRef, escape_references

if TYPE_CHECKING:
    from langchain_core.documents import Document


Store: TypeAlias = Callable[["Path | bytes"], "MediaRef | None"]
"""Stores a picture that stands in a text; None where it is none that can be used."""

_PAGE_BYTES = 32_000_000
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDocuments:
    """Makes the Documents of texts."""

    chunk_size: int
    chunk_overlap: int
    scan: Scan
    pictures: MediaLimit | None
    """What the model takes of pictures."""
    store: Store

    def of(self, file: BinaryIO, item: object, source: str, extra: dict[str, Any]) -> Iterator[Document]:
        """Yield the chunks of one text file.

        Raises:
            ContentError: no text, or nothing in it.
        """
        suffix = PurePosixPath(source).suffix.lower()
        refuse_other_than_prose(suffix)
        yield from self.numbered(self._chunks(file, suffix, item), source, {**extra, "mime_type": mime_type_of(suffix)})

    def numbered(
        self, chunks: Iterable[str], source: str, metadata: dict[str, Any], title: str | None = None
    ) -> Iterator[Document]:
        """Make Documents of chunks.

        Raises:
            ContentError: there is none.
        """
        position = -1
        for position, chunk in enumerate(chunks):
            said = {**metadata, "modality": "text", "position": position}
            yield document_of(chunk, source, str(position), said, title)
        if position < 0:
            raise ContentError("it holds nothing but white space")

    def split(self, parts: Iterable[str | MediaRef], suffix: str) -> Iterator[str]:
        """Cut texts with pictures into chunks."""
        return chunks_of_parts(
            parts,
            suffix,
            chunk_size=self.chunk_size,
            chunk_overlap=self.chunk_overlap,
            most_pictures=self.pictures.per_item if self.pictures else None,
        )

    def _chunks(self, file: BinaryIO, suffix: str, item: object) -> Iterator[str]:
        kind = mime_type_of(suffix)
        if kind == "text/html":
            return self.split(self._interleaved(parts_of_html(_page(file)), item), ".md")
        if kind == "text/markdown" and file.seek(0, 2) <= _PAGE_BYTES:
            return self.split(self._interleaved(parts_of_markdown(whole_text(file)), item), suffix)
        return chunks_of_text(file, suffix, chunk_size=self.chunk_size, chunk_overlap=self.chunk_overlap)

    def _interleaved(self, parts: Iterable[str | Picture], item: object) -> Iterator[str | MediaRef]:
        local = LocalPictures.near(item, self.scan) if isinstance(item, Found) and self.pictures else None
        known: dict[str, MediaRef | None] = {}
        for part in parts:
            if isinstance(part, str):
                yield part
                continue
            if part.source not in known:
                path = local.path_of(part.source) if local else None
                known[part.source] = self.store(path) if path else None
            ref = known[part.source]
            yield part.written if ref is None else part.alt
            if ref is not None:
                yield ref


def _page(file: BinaryIO) -> str:
    file.seek(0)
    data = file.read(_PAGE_BYTES + 1)
    if len(data) > _PAGE_BYTES:
        raise ContentError(f"it is a page of more than {_PAGE_BYTES:,} bytes; split it")
    if data.startswith(_BYTE_ORDER_MARKS):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        raise ContentError(BINARY)
    return html_page(data)


_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:|[/\\#?]")
"""An address of any kind, a drive, a path from the top."""
_MOST_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class LocalPictures:
    """Finds the files that a text of others means by its pictures."""

    beside: Path
    """The folder of the text."""
    root: Path
    """Nothing outside of this folder is ever looked at."""
    scan: Scan
    """What the loader may load: exclusions, hidden names and links hold here, too."""

    @classmethod
    def near(cls, item: Found, scan: Scan) -> LocalPictures:
        """For one text file."""
        return cls(item.path.parent, item.root or item.path.parent, scan)

    def path_of(self, source: str) -> Path | None:
        """The file that is meant, None for what is remote, outside, hidden, excluded or not there.

        ```python
        from pathlib import Path

        from langchain_gemini_mm.loaders.text_documents import LocalPictures
        from langchain_gemini_mm.loaders.walk import Patterns, Scan

        scan = Scan(root=Path(), prefix="", include=Patterns("**"), exclude=Patterns(()))
        local = LocalPictures(Path("notes"), Path("notes"), scan)
        assert local.path_of("https://example.com/cat.png") is local.path_of("../../etc/passwd") is None
        ```
        """
        if len(source) > _MOST_CHARACTERS or _ELSEWHERE.match(source):
            return None
        name = unquote(re.split(r"[?#]", source, maxsplit=1)[0])
        if not name or _ELSEWHERE.match(name) or any(sign in name for sign in "\0\\:"):
            return None
        try:
            return self._checked(Path(os.path.normpath(self.beside / name)))
        except (OSError, ValueError):
            return None

    def _checked(self, path: Path) -> Path | None:
        root = Path(os.path.normpath(self.root))
        if not path.is_relative_to(root):
            return None
        inside = path.relative_to(root)
        real, real_root = os.path.realpath(path), os.path.realpath(root)
        if not Path(real).is_relative_to(real_root):
            return None
        if not self.scan.follow_symlinks and real != os.path.join(real_root, inside):  # noqa: PTH118  compared as text
            return None
        if not self.scan.include_hidden and any(map(is_hidden, inside.parts)):
            return None
        if any(self.scan.exclude.match("/".join(inside.parts[: n + 1])) for n in range(len(inside.parts))):
            return None
        if self.scan.apart is not None and Path(real).is_relative_to(os.path.realpath(self.scan.apart)):
            return None
        return path if path.is_file() else None


_FIRST = 0x100000
_MOST = 60_000
_PLACEHOLDER = re.compile("[\U00100000-\U0010ffff]")
"""A private sign stands for each picture while the text is split: it is one character, which nothing can tear."""


def chunks_of_parts(
    parts: Iterable[str | MediaRef], suffix: str, *, chunk_size: int, chunk_overlap: int, most_pictures: int | None
) -> Iterator[str]:
    """Split a text and write down its pictures as references; what looks like one in the text is escaped.

    Args:
        parts: texts of others, and pictures, in their order.
        suffix: of the separators to split at, such as `".md"`.
        chunk_size: most characters in a chunk, a picture counted as three.
        chunk_overlap: most characters that the next chunk repeats.
        most_pictures: in one chunk; None for any number.
    """
    refs: list[MediaRef] = []
    text: list[str] = []
    for part in parts:
        if isinstance(part, str):
            text.append(_PLACEHOLDER.sub("\ufffd", part))
        elif len(refs) < _MOST:
            text.append(f" {chr(_FIRST + len(refs))} ")
            refs.append(part)
    seen: set[int] = set()
    for chunk in split_text("".join(text), suffix, chunk_size=chunk_size, chunk_overlap=chunk_overlap):
        yield from (_written(piece, refs) for piece in _bearable(chunk, most_pictures, seen) if piece.strip())


def _bearable(chunk: str, most: int | None, seen: set[int]) -> Iterator[str]:
    """A chunk in pieces of not too many pictures; those which only its overlap repeats are taken out."""
    start = count = 0
    kept: list[str] = []
    for match in _PLACEHOLDER.finditer(chunk):
        kept.append(chunk[start : match.start()])
        start = match.end()
        number = ord(match[0])
        if number in seen:
            continue
        if most is not None and count == most:
            yield "".join(kept)
            kept, count = [], 0
        seen.add(number)
        kept.append(match[0])
        count += 1
    yield "".join([*kept, chunk[start:]])


def _written(chunk: str, refs: list[MediaRef]) -> str:
    pieces: list[str] = []
    position = 0
    for match in _PLACEHOLDER.finditer(chunk):
        before = _text(chunk[position : match.start()], behind=bool(pieces)).rstrip(" ")
        # A backslash right before a reference would make it literal.
        pieces += [before, "" if not before or before.endswith("\n") else " ", refs[ord(match[0]) - _FIRST].markdown]
        position = match.end()
    return "".join([*pieces, _text(chunk[position:], behind=bool(pieces))]).strip()


def _text(text: str, *, behind: bool) -> str:
    """Escaped; behind a picture with one space at most, where there were those around its mark."""
    escaped = escape_references(text)
    if not behind or not escaped.startswith(" "):
        return escaped
    words = escaped.lstrip(" ")
    return words if words.startswith("\n") else f" {words}"
