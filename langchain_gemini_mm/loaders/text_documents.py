"""From a text to its Documents: chunks of it, with the pictures that stand in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.document_ids import document_of
from langchain_gemini_mm.loaders.interleaving import chunks_of_parts
from langchain_gemini_mm.loaders.markdown_text import parts_of_markdown
from langchain_gemini_mm.loaders.markup import Picture, html_page, parts_of_html
from langchain_gemini_mm.loaders.pictures import LocalPictures
from langchain_gemini_mm.loaders.plain_text import (
    BINARY,
    chunks_of_text,
    mime_type_of,
    refuse_other_than_prose,
    whole_text,
)
from langchain_gemini_mm.loaders.walk import Found, Scan
from langchain_gemini_mm.models import MediaLimit
from langchain_gemini_mm.references import MediaRef

if TYPE_CHECKING:
    from langchain_core.documents import Document

Store: TypeAlias = Callable[["Path | bytes"], "MediaRef | None"]
"""Stores a picture that stands in a text; None where it is none that can be used."""

_PAGE_BYTES = 32_000_000
_MARKS = (b"\xff\xfe", b"\xfe\xff")


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
    if data.startswith(_MARKS):
        return data.decode("utf-16", "replace")
    if b"\0" in data:
        raise ContentError(BINARY)
    return html_page(data)
