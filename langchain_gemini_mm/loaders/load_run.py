"""One run of a loader: files to Documents, and what was left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from langchain_gemini_mm.loaders.converters import Converters
from langchain_gemini_mm.loaders.document_ids import DocumentIds
from langchain_gemini_mm.loaders.examine import FATAL_ERRORS, Examination, Examiner, is_temporary, refusal
from langchain_gemini_mm.loaders.mail import MAX_DEPTH, file_name, is_mail
from langchain_gemini_mm.loaders.mail_documents import MailDocuments
from langchain_gemini_mm.loaders.media_documents import Description, MediaDocuments
from langchain_gemini_mm.loaders.options import LoadOptions
from langchain_gemini_mm.loaders.text_documents import TextDocuments
from langchain_gemini_mm.loaders.walk import FolderWalk, InputFile, Skipped

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.documents import Document

    from langchain_gemini_mm.media.source import OpenedSource
    from langchain_gemini_mm.references import MediaRef
    from langchain_gemini_mm.storage import MediaStore

logger = logging.getLogger("langchain_gemini_mm")

_SHOWN_REASONS = 10


@dataclass
class LoadRun:
    """Counts and results of one run."""

    progress: Callable[[str, str | None], None] | None
    skipped: list[Skipped] = field(default_factory=list)
    files: int = 0
    documents: int = 0

    def file(self, item: InputFile, reader: DocumentReader, examination: Examination) -> Iterator[Document]:
        """Yield the Documents of one file; note why it is left out.

        Args:
            item: the file.
            reader: turns it into Documents.
            examination: what is known about it, or a function that finds out.
        """
        refused, ids = None, DocumentIds()
        try:
            for found in reader.documents(item, examination):
                if isinstance(found, Skipped):
                    self.skipped.append(found)
                    logger.info("left out %r: %s", found.source, found.reason)
                else:
                    self.documents += 1
                    found.id = ids.of(found)
                    yield found
        except FATAL_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001  no file ends a run
            refused = Skipped(item.source, refusal(error, item.source), is_temporary(error))
        if refused is not None:
            self.note(refused)
            return
        self.files += 1
        if self.progress:
            self.progress(item.source, None)

    def note(self, refused: Skipped) -> None:
        """List a file that is left out."""
        self.skipped.append(refused)
        logger.info("left out %r: %s", refused.source, refused.reason)
        if self.progress:
            self.progress(refused.source, refused.reason)

    def log(self, hidden: int) -> None:
        """Write a summary of the run to the log."""
        aside = f"; {hidden} hidden" if hidden else ""
        logger.info("%d files gave %d documents%s", self.files, self.documents, aside)
        if self.skipped:
            reasons = Counter(skipped.reason for skipped in self.skipped).most_common()
            lines = [f"{count} x {reason}" for reason, count in reasons[:_SHOWN_REASONS]]
            lines += [f"and {len(reasons) - _SHOWN_REASONS} more reasons"] if len(reasons) > _SHOWN_REASONS else []
            logger.warning("left out %d of %d: %s", len(self.skipped), self.files + len(self.skipped), "; ".join(lines))


_MIN_SIDE = 16
"""In pixels; smaller images in pages and mails are spacers and trackers."""


class DocumentReader:
    """Turns files into Documents."""

    def __init__(
        self,
        store: MediaStore,
        options: LoadOptions,
        walk: FolderWalk,
        examiner: Examiner,
        describe: Description | None,
        converters: Converters,
        linked: dict[Path, str],
    ) -> None:
        self._store, self._examiner = store, examiner
        self._media = MediaDocuments(store, options, describe)
        self._texts = TextDocuments(options, walk, self._stored_image, linked)
        self._mails = MailDocuments(options, self._texts, self.documents, examiner, converters)
        self._converters = converters

    def documents(self, item: InputFile, examination: Examination) -> Iterator[Document | Skipped]:
        """Yield the Documents of one file, and what in it could not be used.

        Raises:
            ContentError: it cannot be used.
            MissingExtraError: the library that opens it is not installed.
        """
        if self._converters.takes(item.source):
            yield from self._converted(item)
            return
        yield from self._read(item, examination)

    def _read(self, item: InputFile, examination: Examination) -> Iterator[Document | Skipped]:
        with item.opened() as opened:
            examined = examination(opened)
            if examined.facts is not None:
                yield from self._media.of(item, opened, examined)
                if examined.facts.attachments:
                    yield from self._attached(item, opened)
            elif is_mail(item.source, opened.file):
                yield from self._mails.of(item, opened.file)
            elif examined.is_text:
                yield from self._texts.of(item, opened.file)

    def _converted(self, item: InputFile) -> Iterator[Document | Skipped]:
        """Yield the Documents of a file that a function of the user converts to text or to another file."""
        with self._converters.converted(item) as result:
            if isinstance(result, str):
                yield from self._texts.of_text(item, result)
            else:
                yield from self._read(result, partial(self._examiner.examine, source=item.source))

    def _attached(self, item: InputFile, opened: OpenedSource) -> Iterator[Document | Skipped]:
        """Yield the Documents of the files attached to a PDF."""
        from langchain_gemini_mm.media.pdf.document import attachments_of

        if item.depth >= MAX_DEPTH:
            yield Skipped(item.source, f"its attachments are not loaded: it is inside of {MAX_DEPTH} other files")
            return
        names: Counter[str] = Counter()
        for attachment in attachments_of(opened.file, "it"):
            name = file_name(attachment.name)
            names[name] += 1
            inner = item.inside(name if names[name] == 1 else f"{names[name]}-{name}", attachment.data)
            if attachment.unread:
                yield Skipped(inner.source, attachment.unread)
                continue
            try:
                yield from self.documents(inner, partial(self._examiner.examine, source=inner.source))
            except FATAL_ERRORS:
                raise
            except Exception as error:  # noqa: BLE001  the PDF is loaded without its attachment
                yield Skipped(inner.source, refusal(error, inner.source))

    def _stored_image(self, item: InputFile) -> MediaRef | None:
        """Store an image that is part of a text; None for a file that cannot be used or is too small."""
        try:
            with item.opened() as opened:
                facts = self._examiner.examine(opened, item.source, in_text=True).facts
                if facts is None or facts.modality != "image" or min(facts.width or 0, facts.height or 0) < _MIN_SIDE:
                    return None
                return self._store.put_opened(opened)
        except FATAL_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001  the text is loaded without its image
            refusal(error, item.source)
            return None
