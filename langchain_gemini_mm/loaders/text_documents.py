"""Documents of text files: chunks, with the images of the text."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias
from urllib.parse import unquote

from langchain_gemini_mm.content.mime_types import require_prose
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.document_ids import document_of
from langchain_gemini_mm.loaders.markup import ImageLink, html_parts, markdown_parts
from langchain_gemini_mm.loaders.options import LoadOptions
from langchain_gemini_mm.loaders.plain_text import (
    chunks_of_text,
    mime_type_of,
    read_text,
    split_text,
)
from langchain_gemini_mm.loaders.walk import FolderWalk, InputFile, Skipped, companion_stamp
from langchain_gemini_mm.media.text_encoding import detect
from langchain_gemini_mm.references import MediaRef, escape_references

if TYPE_CHECKING:
    from langchain_core.documents import Document


StoreImage: TypeAlias = Callable[[InputFile], "MediaRef | None"]
"""Stores an image that is part of a text; None for a file that cannot be used."""

_PAGE_BYTES = 32_000_000


@dataclass(frozen=True, slots=True)
class TextDocuments:
    """Makes the Documents of texts."""

    options: LoadOptions
    walk: FolderWalk
    store_image: StoreImage
    linked: dict[Path, str] = field(default_factory=dict)
    """Images that a text links, whether they are there or not, each with its `companion_stamp` before it was opened."""

    def of(self, item: InputFile, file: BinaryIO) -> Iterator[Document | Skipped]:
        """Yield the chunks of one text file, and a note where its encoding is a guess.

        Raises:
            ContentError: no text, or an empty one.
        """
        suffix = PurePosixPath(item.source).suffix.lower()
        require_prose(suffix)
        metadata = {**item.metadata, "mime_type": mime_type_of(suffix)}
        encoding = detect(file)
        yield from self.numbered(self._chunks(file, suffix, item, encoding.codec), item.source, metadata)
        if encoding.note:
            yield Skipped(item.source, encoding.note)

    def of_text(self, item: InputFile, text: str) -> Iterator[Document]:
        """Yield the chunks of a text in Markdown that a converter made of a file.

        Raises:
            ContentError: it is empty.
        """
        chunks = self.split(self._interleaved(markdown_parts(text), item), ".md")
        yield from self.numbered(chunks, item.source, {**item.metadata, "mime_type": "text/markdown"})

    def numbered(
        self, chunks: Iterable[str], source: str, metadata: dict[str, Any], title: str | None = None
    ) -> Iterator[Document]:
        """Make Documents of chunks.

        Args:
            chunks: in order.
            source: of the Documents.
            metadata: further entries.
            title: by default, the file name without its suffix.

        Raises:
            ContentError: there is none.
        """
        position = -1
        for position, chunk in enumerate(chunks):
            chunk_metadata = {**metadata, "modality": "text", "position": position}
            yield document_of(chunk, source, chunk_metadata, title)
        if position < 0:
            raise ContentError("it holds nothing but white space")

    def split(self, parts: Iterable[str | MediaRef], suffix: str) -> Iterator[str]:
        """Split text with images into chunks."""
        images = self.options.limits.get("image")
        return split_parts(
            parts,
            suffix,
            chunk_size=self.options.chunk_size,
            chunk_overlap=self.options.chunk_overlap,
            max_images=images.per_item if images else None,
        )

    def _chunks(self, file: BinaryIO, suffix: str, item: InputFile, codec: str) -> Iterator[str]:
        mime_type = mime_type_of(suffix)
        if mime_type == "text/html":
            return self.split(self._interleaved(html_parts(_page(file, codec)), item), ".md")
        if mime_type == "text/markdown" and file.seek(0, 2) <= _PAGE_BYTES:
            return self.split(self._interleaved(markdown_parts(read_text(file, codec)), item), suffix)
        return chunks_of_text(
            file, suffix, chunk_size=self.options.chunk_size, chunk_overlap=self.options.chunk_overlap, codec=codec
        )

    def _interleaved(self, parts: Iterable[str | ImageLink], item: InputFile) -> Iterator[str | MediaRef]:
        known: dict[str, MediaRef | None] = {}
        for part in parts:
            if isinstance(part, str):
                yield part
                continue
            if part.source not in known:
                known[part.source] = self._image(part, item) if "image" in self.options.limits else None
            ref = known[part.source]
            yield part.written if ref is None else part.alt
            if ref is not None:
                yield ref

    def _image(self, link: ImageLink, item: InputFile) -> MediaRef | None:
        data = link.data
        if data is not None:
            return self.store_image(InputFile(f"{item.source} (an image in its text)", data=data))
        place = _linked_place(item, link.source)
        if place is not None:
            self.linked[place] = companion_stamp(place)
        path = linked_file(item, link.source, self.walk)
        return self.store_image(InputFile(link.source, path)) if path else None


def _page(file: BinaryIO, codec: str) -> str:
    file.seek(0)
    data = file.read(_PAGE_BYTES + 1)
    if len(data) > _PAGE_BYTES:
        raise ContentError(f"it is a page of more than {_PAGE_BYTES:,} bytes; split it")
    return data.decode(codec, "replace")


_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:|[/\\#?]")
"""A URL, a drive, or an absolute path."""
_MAX_CHARACTERS = 1000


def linked_file(item: InputFile, link: str, walk: FolderWalk) -> Path | None:
    """The file that a link in a text names; None for one that is remote, outside, hidden, excluded or absent.

    ```python
    from pathlib import Path

    from langchain_gemini_mm.loaders.text_documents import linked_file
    from langchain_gemini_mm.loaders.walk import FolderWalk, InputFile, Patterns

    walk = FolderWalk(include=Patterns("**"), exclude=Patterns(()))
    page = InputFile("page.md", Path("notes/page.md"), root=Path("notes"))
    for link in ("https://example.com/cat.png", "../../etc/passwd"):
        assert linked_file(page, link, walk) is None
    ```

    Args:
        item: the text file; nothing outside of its root is ever opened.
        link: as written in the text; not to be trusted.
        walk: what the loader may load: its exclusions, hidden names and links hold here, too.
    """
    path = _linked_place(item, link)
    try:
        return path if path is not None and _may_be_opened(path, _root_of(item, path), walk) else None
    except (OSError, ValueError):
        return None


def _linked_place(item: InputFile, link: str) -> Path | None:
    """The place in the loaded folder that a link names, where there may be no file."""
    if item.path is None or len(link) > _MAX_CHARACTERS or _ELSEWHERE.match(link):
        return None
    name = unquote(re.split(r"[?#]", link, maxsplit=1)[0])
    if not name or _ELSEWHERE.match(name) or any(sign in name for sign in "\0\\:"):
        return None
    path = Path(os.path.normpath(item.path.parent / name))
    return path if path.is_relative_to(_root_of(item, path)) else None


def _root_of(item: InputFile, path: Path) -> Path:
    return Path(os.path.normpath(item.root or (item.path or path).parent))


def _may_be_opened(path: Path, root: Path, walk: FolderWalk) -> bool:
    inside = path.relative_to(root)
    real, real_root = os.path.realpath(path), os.path.realpath(root)
    if not Path(real).is_relative_to(real_root):
        return False
    if not walk.follow_symlinks and real != os.path.join(real_root, inside):  # noqa: PTH118  compared as text
        return False
    if walk.omit is not None and Path(real).is_relative_to(os.path.realpath(walk.omit)):
        return False
    return not walk.hides(path, root) and path.is_file()


_FIRST = 0x100000
_MOST = 60_000
_PLACEHOLDER = re.compile("[\U00100000-\U0010ffff]")
"""A private-use character replaces each image while the text is split, because one character cannot be split."""


def split_parts(
    parts: Iterable[str | MediaRef], suffix: str, *, chunk_size: int, chunk_overlap: int, max_images: int | None
) -> Iterator[str]:
    """Split a text with images; the images become references, and references in the text are escaped.

    Args:
        parts: text and references to images, in order.
        suffix: selects the separators, such as `".md"`.
        chunk_size: longest chunk in characters; an image counts as three.
        chunk_overlap: longest overlap of adjacent chunks, in characters.
        max_images: most images in one chunk; None for any number.
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
        yield from (_written(piece, refs) for piece in _split_at_images(chunk, max_images, seen) if piece.strip())


def _split_at_images(chunk: str, most: int | None, seen: set[int]) -> Iterator[str]:
    """Split a chunk with too many images; images that its overlap repeats are removed."""
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
        # A backslash directly before a reference would make it literal.
        pieces += [before, "" if not before or before.endswith("\n") else " ", refs[ord(match[0]) - _FIRST].markdown]
        position = match.end()
    return "".join([*pieces, _text(chunk[position:], behind=bool(pieces))]).strip()


def _text(text: str, *, behind: bool) -> str:
    """Escape text; after an image, the spaces around its placeholder become one."""
    escaped = escape_references(text)
    if not behind or not escaped.startswith(" "):
        return escaped
    stripped = escaped.lstrip(" ")
    return stripped if stripped.startswith("\n") else f" {stripped}"
