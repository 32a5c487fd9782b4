"""Documents from the content that is added to a retriever."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import Content
from langchain_gemini_mm.references import escape_references

if TYPE_CHECKING:
    from langchain_gemini_mm.loaders.walk import Skipped
    from langchain_gemini_mm.storage import MediaStore


Metadata: TypeAlias = Mapping[str, Any] | Callable[[Document], Mapping[str, Any]]
"""Metadata for every Document, or a function that makes it from one."""


class Added(list[str]):
    """The ids of the stored documents, in order, with `skipped` for what was left out."""

    def __init__(self, ids: Iterable[str] = (), skipped: Sequence[Skipped] = ()) -> None:
        super().__init__(ids)
        self.skipped = tuple(skipped)
        """Files that were left out, each with the reason."""


class Intake:
    """Turns paths, content and Documents into Documents, lazily.

    Args:
        media: stores the media; None where all items are texts.
        metadata: added to that of each Document.
        source_prefix: put before the names of files.
    """

    def __init__(self, media: MediaStore | None, metadata: Metadata, source_prefix: str = "") -> None:
        self._media = media
        self._metadata = metadata
        self._prefix = source_prefix
        self.skipped: list[Skipped] = []

    def documents(self, items: Sequence[Content]) -> Iterator[Document]:
        """Yield one Document for each item; a `Path` is loaded by `MediaLoader`, which may yield several."""
        for is_path, some in groupby(items, key=lambda item: isinstance(item, Path)):
            if is_path:
                yield from map(self._with_metadata, self._loaded([path for path in some if isinstance(path, Path)]))
                continue
            for item in some:
                yield self._with_metadata(item if isinstance(item, Document) else self._composed(item))

    def _with_metadata(self, document: Document) -> Document:
        extra = self._metadata(document) if callable(self._metadata) else self._metadata
        metadata = {**document.metadata, **extra}
        return Document(page_content=document.page_content, metadata=metadata, id=document.id)

    def _loaded(self, paths: list[Path]) -> Iterator[Document]:
        """Load several paths with one loader, which names files relative to their common folder."""
        from langchain_gemini_mm.loaders import MediaLoader

        given = paths[0] if len(paths) == 1 else paths
        loader = MediaLoader(given, self._store(), source_prefix=self._prefix)
        yield from loader.lazy_load()
        self.skipped += loader.skipped

    def _composed(self, item: Content) -> Document:
        pieces = item if isinstance(item, list | tuple) else [item]
        texts = [piece for piece in pieces if isinstance(piece, str)]
        if self._media is None and len(texts) == len(pieces):
            text = escape_references("\n".join(texts))
            document = Document(page_content=text, metadata={"modality": "text"})
        else:
            document = self._store().document(*pieces)
        document.id = hashlib.sha256(document.page_content.encode()).hexdigest()[:32]
        return document

    def _store(self) -> MediaStore:
        if self._media is None:
            raise TypeError(
                "the retriever has no media store. Give MultimodalRetriever(media=MediaStore(...)), or "
                "GeminiEmbeddings(media=...) to its store"
            )
        return self._media
