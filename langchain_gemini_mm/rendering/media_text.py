"""The text of media in `page_content`, for chains, rerankers and tools that read nothing else."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

from langchain_core.documents import BaseDocumentTransformer, Document

from langchain_gemini_mm.errors import GeminiMMError
from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.media.facts import known_facts
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.references import MediaRef, escape_references
from langchain_gemini_mm.rendering.citations import citation, has_name
from langchain_gemini_mm.rendering.clean_text import MEDIA, companion_of, joined, pieces_of, with_companion
from langchain_gemini_mm.validation import one_of

MediaText: TypeAlias = Literal["instead", "after"]
"""Where the text of media is put: `instead` of the references to the media, or `after` them."""

_LOG = logging.getLogger(__name__)


class MediaTextTransformer(BaseDocumentTransformer):
    r"""Puts the text of media into `page_content`: citation, title, and the text of a page, a transcript or a caption.

    Media without text are described, as in `[image pictures/kitten.png, 640 x 480]`, and the first time a warning is
    logged. Documents without media are not changed, and ids and metadata are kept.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm.references import MediaRef
    from langchain_gemini_mm.rendering import MediaTextTransformer

    page = MediaRef("0" * 64).pages(7, 7).markdown
    found = Document(page, metadata={"source": "slides.pdf", "modality": "pdf", "companion_text": "Revenue by region"})
    (readable,) = MediaTextTransformer().transform_documents([found])
    assert readable.page_content == "[slides.pdf p. 7]\nRevenue by region"
    ```

    Args:
        placement: `instead` of the references, for prompts and text rerankers; or `after` them, so that the documents
            can still be shown to a model that sees.
        media: the store of the media, which knows the size of images; without it, sizes are left out.

    Raises:
        ValueError: `placement` is neither of them.
    """

    def __init__(self, placement: MediaText = "instead", *, media: MediaSource | None = None) -> None:
        self._placement: MediaText = one_of("placement", placement, get_args(MediaText))
        self._media = media
        self._warned = False

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> list[Document]:  # noqa: ARG002 - as in LangChain
        """Return Documents with the text of their media.

        Args:
            documents: of any modality.
            kwargs: not used.
        """
        transformed: list[Document] = []
        without_text: list[str] = []
        for document in documents:
            pieces = pieces_of(document.page_content)
            has_media = any(isinstance(piece, MediaRef) for piece in pieces)
            if not has_media and document.metadata.get("modality") not in MEDIA:
                transformed.append(document)
                continue
            text = self._text(document, pieces)
            if text is None:
                text = self._description(document, pieces)
                without_text.append(text)
            content = f"{document.page_content}\n{text}".rstrip() if self._placement == "after" else text
            transformed.append(document.model_copy(update={"page_content": content}))
        if without_text and not self._warned:
            self._warned = True
            _LOG.warning(
                "media without text are only described to consumers that read text, such as %s; give them captions "
                "(MediaLoader(describe=...)), or show the media with to_message. Further ones are not reported",
                without_text[0],
            )
        return transformed

    def _text(self, document: Document, pieces: list[str | MediaRef]) -> str | None:
        """The citation and the text of a document; None if there is no text."""
        cited = citation(document) if has_name(document) else ""
        title = document.metadata.get("title")
        companion = companion_of(document, pieces)
        own = joined(pieces)
        text = companion if self._placement == "after" else with_companion(own, companion)
        if isinstance(title, str) and title.casefold() not in f"{cited}{own}{companion}".casefold():
            text = f"{title}\n{text}"
        if not text.strip() and not own:
            return None
        return escape_references("\n".join(filter(None, (cited, text.strip()))))

    def _description(self, document: Document, pieces: list[str | MediaRef]) -> str:
        """What a medium without text is: `[image pictures/kitten.png, 640 x 480]`."""
        refs = [piece for piece in pieces if isinstance(piece, MediaRef)]
        noun = document.metadata.get("modality")
        named = citation(document)[1:-1] if has_name(document) else ""
        size = self._size(refs[0]) if len(refs) == 1 and not refs[0].is_part else ""
        noun = noun if noun in MEDIA else "media"
        return f"[{', '.join(filter(None, (' '.join(filter(None, (noun, named))), size)))}]"

    def _size(self, ref: MediaRef) -> str:
        """The size of an image in pixels; empty if it is not known."""
        try:
            facts = known_facts(ref.sha256)
            if facts is None and self._media is not None:
                mime_type = self._media.info(ref).mime_type
                if not mime_type.startswith("image/"):
                    return ""
                with self._media.open(ref) as file:
                    facts = probe(file, mime_type)
        except GeminiMMError:
            return ""
        if facts is None or facts.modality != "image" or not facts.width:
            return ""
        return f"{facts.width} x {facts.height}"

    def __repr__(self) -> str:
        return f"MediaTextTransformer({self._placement!r})"
