"""From one file to its Documents, by what is in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

from langchain_core.documents import Document

from langchain_gemini_mm.loaders.examine import Examined, Looking
from langchain_gemini_mm.loaders.failures import FAILURES
from langchain_gemini_mm.loaders.inputs import GivenBlob
from langchain_gemini_mm.loaders.mail import SUFFIXES
from langchain_gemini_mm.loaders.mail_documents import MailDocuments
from langchain_gemini_mm.loaders.media_documents import MediaDocuments
from langchain_gemini_mm.loaders.text_documents import TextDocuments
from langchain_gemini_mm.loaders.walk import Found, Skipped
from langchain_gemini_mm.media.source import open_source
from langchain_gemini_mm.references import MediaRef

_LEAST_SIDE = 16
"""Pixels: smaller pictures in pages and mails are spacers and trackers."""


class Reader:
    """Turns files and blobs into Documents."""

    def __init__(
        self, media: MediaDocuments, texts: Callable[..., TextDocuments], looking: Looking, *, wants_text: bool
    ) -> None:
        self._media = media
        self._looking = looking
        self._wants_text = wants_text
        self._texts = texts(store=self._picture)
        self._mails = MailDocuments(self._texts, media, self._attachment, wants_text=wants_text)

    def documents(self, item: Found | GivenBlob, examined: Callable[[], Examined]) -> Iterator[Document | Skipped]:
        """Yield the Documents of one file, and what in it could not be used."""
        seen = examined()
        extra = dict(item.metadata) if isinstance(item, GivenBlob) else {}
        stored = item.path if isinstance(item, Found) else item.data
        suffix = PurePosixPath(item.source).suffix.lower()
        if seen.facts is not None:
            yield from self._media.of(item, stored, item.source, seen, extra)
        elif suffix in SUFFIXES or (self._wants_text and seen.wanted):
            with closing(open_source(stored)[0] if isinstance(stored, Path) else io.BytesIO(stored)) as file:
                if suffix in SUFFIXES:
                    yield from self._mails.of(file, suffix, item.source, extra)
                else:
                    yield from self._texts.of(file, item, item.source, extra)

    def _picture(self, stored: Path | bytes) -> MediaRef | None:
        """Store a picture that stands in a text; None for what is a file with a reason of its own, or too small."""
        try:
            facts = self._looking.look(stored, "", into_texts=True).facts
            if facts is None or facts.modality != "image" or min(facts.width or 0, facts.height or 0) < _LEAST_SIDE:
                return None
            return self._media.put(stored)
        except FAILURES:
            return None

    def _attachment(self, data: bytes, source: str) -> Examined:
        return self._looking.look(data, source, into_texts=True)
