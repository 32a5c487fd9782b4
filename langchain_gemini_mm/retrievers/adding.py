"""Documents from whatever is handed to a retriever to keep."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from langchain_gemini_mm.content import to_parts
from langchain_gemini_mm.references import escape_references
from langchain_gemini_mm.types import Content

if TYPE_CHECKING:
    from langchain_gemini_mm.loaders.scanning import Skipped
    from langchain_gemini_mm.storage import MediaStore


class Added(list[str]):
    """The ids of what was stored, in order, and what was left out."""

    def __init__(self, ids: Iterable[str] = (), skipped: Sequence[Skipped] = ()) -> None:
        super().__init__(ids)
        self.skipped = tuple(skipped)
        """Files that were left out, each with its reason."""


class Intake:
    """Turns paths, content and Documents into Documents, lazily.

    Args:
        media: where media go; None where there are only texts.
        metadata: for each Document, beside its own.
    """

    def __init__(self, media: MediaStore | None, metadata: Mapping[str, Any]) -> None:
        self._media = media
        self._metadata = metadata
        self.skipped: list[Skipped] = []

    def documents(self, items: Sequence[Content]) -> Iterator[Document]:
        """One Document for each item; a `Path` is loaded as `MediaLoader` does it."""
        for item in items:
            if isinstance(item, Path):
                yield from self._loaded(item)
            elif isinstance(item, Document):
                yield Document(page_content=item.page_content, metadata={**item.metadata, **self._metadata}, id=item.id)
            else:
                yield self._composed(item)

    def _loaded(self, path: Path) -> Iterator[Document]:
        from langchain_gemini_mm.loaders import MediaLoader

        loader = MediaLoader(path, self._store())
        for document in loader.lazy_load():
            document.metadata.update(self._metadata)
            yield document
        self.skipped += loader.skipped

    def _composed(self, item: Content) -> Document:
        pieces = item if isinstance(item, list | tuple) else [item]
        if all(isinstance(piece, str) for piece in pieces) and self._media is None:
            text, modality = escape_references("\n".join(pieces)), "text"
        else:
            store = self._store()
            text = store.document(*pieces).page_content
            kinds = {part.modality for part in to_parts(text, store)}
            modality = next((kind for kind in ("video", "audio", "pdf", "image") if kind in kinds), "text")
        id_ = hashlib.sha256(text.encode()).hexdigest()[:32]
        return Document(page_content=text, metadata={"modality": modality, **self._metadata}, id=id_)

    def _store(self) -> MediaStore:
        if self._media is None:
            raise TypeError(
                "the retriever has no place for media. Give MultimodalRetriever(media=MediaStore(...)), or "
                "GeminiEmbeddings(media=...) to its store"
            )
        return self._media
