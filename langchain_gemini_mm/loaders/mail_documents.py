"""From a mail to its Documents: its words with its pictures, and each other file that is attached."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.examine import FAILURES, Examined, refusal
from langchain_gemini_mm.loaders.mail import Attachment, Mail, mails_of
from langchain_gemini_mm.loaders.media_documents import MediaDocuments
from langchain_gemini_mm.loaders.plain_text import whole_text
from langchain_gemini_mm.loaders.text_documents import TextDocuments
from langchain_gemini_mm.loaders.walk import Skipped
from langchain_gemini_mm.references import MediaRef

_MIME_TYPE = "message/rfc822"


class MailDocuments:
    """Makes the Documents of mails."""

    def __init__(
        self, texts: TextDocuments, media: MediaDocuments, look: Callable[[bytes, str], Examined], *, wants_text: bool
    ) -> None:
        self._texts = texts
        self._media = media
        self._look = look
        self._wants_text = wants_text

    def of(self, file: BinaryIO, suffix: str, source: str, extra: dict[str, Any]) -> Iterator[Document | Skipped]:
        """Yield the Documents of one file of mails, and what in them could not be used.

        Raises:
            ContentError: no mail can be read in it.
        """
        for key, mail in mails_of(file, suffix):
            named = f"{source}/{key}" if key else source
            if isinstance(mail, ContentError):
                yield Skipped(named, str(mail))
                continue
            yield from self._one(mail, named, extra)

    def _one(self, mail: Mail, source: str, extra: dict[str, Any]) -> Iterator[Document | Skipped]:
        parts: list[str | MediaRef] = []
        apart: list[Document | Skipped] = []
        taken: dict[str, int] = {}
        for part in mail.parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            number = taken[part.name] = taken.get(part.name, 0) + 1
            named = f"{source}/{part.name}" if number == 1 else f"{source}/{number}-{part.name}"
            try:
                parts += self._attached(part, named, extra, apart)
            except FAILURES as error:
                parts.append(_mention(part))
                apart.append(Skipped(named, refusal(error)))
        if self._wants_text:
            said = {**extra, "mime_type": _MIME_TYPE}
            yield from self._texts.numbered(self._texts.split(parts, ".txt"), source, said, mail.subject or None)
        yield from apart

    def _attached(
        self, part: Attachment, source: str, extra: dict[str, Any], apart: list[Document | Skipped]
    ) -> Iterator[str | MediaRef]:
        """What stands in the mail for a file; Documents of its own are put aside."""
        seen = self._look(part.data, source)
        if seen.facts is None:
            text = whole_text(io.BytesIO(part.data)).strip() if seen.wanted else ""
            yield f"{_mention(part)}\n{text}" if text else _mention(part)
            return
        ref = self._texts.store(part.data) if seen.facts.modality == "image" else None
        if ref is not None:
            yield "" if part.inline else _mention(part)
            yield ref
            return
        yield _mention(part)
        if seen.facts.modality != "image":
            apart += self._media.of(None, part.data, source, seen, extra)


def _mention(part: Attachment) -> str:
    return f"\n\nAttached: {part.name}"
