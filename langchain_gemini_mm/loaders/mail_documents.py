"""From a mail to its Documents: its text with its images, and each other file that is attached."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.loaders.converters import Converters
from langchain_gemini_mm.loaders.examine import FATAL_ERRORS, Examination, Examiner, refusal
from langchain_gemini_mm.loaders.mail import MAX_DEPTH, Attachment, Mail, is_mail, read_mails
from langchain_gemini_mm.loaders.options import LoadOptions
from langchain_gemini_mm.loaders.plain_text import read_text
from langchain_gemini_mm.loaders.text_documents import TextDocuments
from langchain_gemini_mm.loaders.walk import InputFile, Skipped
from langchain_gemini_mm.references import escape_references

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from langchain_gemini_mm.references import MediaRef

LoadFile: TypeAlias = "Callable[[InputFile, Examination], Iterator[Document | Skipped]]"
"""Makes the Documents of a file."""


@dataclass(frozen=True, slots=True)
class MailDocuments:
    """Makes the Documents of mails."""

    options: LoadOptions
    texts: TextDocuments
    load: LoadFile
    examiner: Examiner
    converters: Converters

    def of(self, item: InputFile, file: BinaryIO) -> Iterator[Document | Skipped]:
        """Yield the Documents of one file of mails, and what in them could not be used.

        Raises:
            ContentError: no mail can be read in it.
        """
        for key, mail in read_mails(file, item.source):
            source = f"{item.source}/{key}" if key else item.source
            if isinstance(mail, ContentError):
                yield Skipped(source, str(mail))
            else:
                yield from self._mail(mail, InputFile(source, metadata=item.metadata, depth=item.depth))

    def _mail(self, mail: Mail, item: InputFile) -> Iterator[Document | Skipped]:
        parts: list[str | MediaRef] = []
        apart: list[Document | Skipped] = []
        names: Counter[str] = Counter()
        for part in mail.parts:
            if isinstance(part, str):
                parts.append(part)
                continue
            names[part.name] += 1
            name = part.name if names[part.name] == 1 else f"{names[part.name]}-{part.name}"
            attached = item.inside(name, part.data)
            try:
                parts += self._attached(part, attached, apart)
            except FATAL_ERRORS:
                raise
            except Exception as error:  # noqa: BLE001  the mail is loaded without its attachment
                parts.append(_mention(part))
                apart.append(Skipped(attached.source, refusal(error, attached.source)))
        if "text" in self.options.modalities:
            metadata = {**item.metadata, "mime_type": "message/rfc822"}
            chunks = self.texts.split(parts, ".txt")
            title = escape_references(mail.subject) or None
            yield from self.texts.numbered(chunks, item.source, metadata, title)
        yield from apart
        yield from (Skipped(item.source, reason) for reason in mail.left_out)

    def _attached(self, part: Attachment, item: InputFile, apart: list[Document | Skipped]) -> Iterator[str | MediaRef]:
        """The text that represents an attachment; its own Documents are added to `apart`."""
        if self.converters.takes(item.source):
            yield _mention(part)
            apart += self.load(item, partial(self.examiner.examine, source=item.source))
            return
        with item.opened() as opened:
            examined = self.examiner.examine(opened, item.source, in_text=True)
            if examined.facts is None and is_mail(item.source, opened.file):
                yield _mention(part)
                apart += self._inside(item, opened.file)
                return
            if examined.facts is None:
                text = read_text(io.BytesIO(part.data)).strip() if examined.is_text else ""
                yield f"{_mention(part)}\n{text}" if text else _mention(part)
                return
            ref = self.texts.store_image(item) if examined.facts.modality == "image" else None
            if ref is not None:
                yield "" if part.inline else _mention(part)
                yield ref
                return
            yield _mention(part)
            if examined.facts.modality != "image":
                apart += self.load(item, lambda _: examined)

    def _inside(self, item: InputFile, file: BinaryIO) -> Iterator[Document | Skipped]:
        """A mail that is attached as a file."""
        if item.depth > MAX_DEPTH:
            yield Skipped(item.source, f"it is inside of {MAX_DEPTH} other files")
        else:
            yield from self.of(item, file)


def _mention(part: Attachment) -> str:
    return f"\n\nAttached: {part.name}"
