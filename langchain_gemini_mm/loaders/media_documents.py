"""From a media file to its Documents: one for each segment, with the text that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.documents import Document

from langchain_gemini_mm.errors import InvalidTypeError
from langchain_gemini_mm.interfaces import COMPANION_TEXT, Modality
from langchain_gemini_mm.loaders.companions import Companions, CompanionText
from langchain_gemini_mm.loaders.document_ids import document_of
from langchain_gemini_mm.loaders.examine import DescriptionError, Examined
from langchain_gemini_mm.loaders.options import LoadOptions
from langchain_gemini_mm.loaders.walk import InputFile, Skipped
from langchain_gemini_mm.media.embedded_text import EmbeddedText
from langchain_gemini_mm.media.facts import remember_facts
from langchain_gemini_mm.media.model_limits import check_modality
from langchain_gemini_mm.media.source import OpenedSource
from langchain_gemini_mm.models import cut_text
from langchain_gemini_mm.references import escape_references

if TYPE_CHECKING:
    from langchain_gemini_mm.storage import MediaStore


class DescriptionCache(Protocol):
    """Keeps what a callable or Runnable has returned, by the content that it was called with."""

    def get(self, content: str) -> str | None:
        """A text that was returned before."""

    def put(self, content: str, text: str) -> None:
        """Keep a text."""


class Description:
    """A callable or LangChain Runnable that describes a Document.

    Raises:
        TypeError: it is neither.
    """

    def __init__(self, describe: Any) -> None:
        invoke = getattr(describe, "invoke", None)
        if not callable(invoke) and not callable(describe):
            raise InvalidTypeError(f"describe must be a callable or a Runnable, got {type(describe).__name__}")
        self.given = describe
        """The callable or Runnable."""
        self.cache: DescriptionCache | None = None
        """What it has returned before is not asked for again."""
        self._call: Callable[[Document], Any] = invoke if callable(invoke) else describe

    def of(self, document: Document) -> str:
        """Return the description of a Document; empty if the callback returns None.

        Raises:
            DescriptionError: it returned neither text nor a message.
            Exception: whatever it raises.
        """
        content = document.page_content
        if self.cache is None:
            return self._asked(document)
        known = self.cache.get(content)
        if known is None:
            known = self._asked(document)
            self.cache.put(content, known)
        return known

    def _asked(self, document: Document) -> str:
        answer = self._call(document)
        text = getattr(answer, "text", answer)
        # A method in older versions of langchain-core.
        text = text() if callable(text) and not isinstance(text, str) else text
        if text is None:
            return ""
        if not isinstance(text, str):
            raise DescriptionError(f"describe must give a str, a message or None, got {type(answer).__name__}")
        return str(text).strip()


def summed_up(reasons: Sequence[str]) -> Iterator[str]:
    """The first of several reasons for parts of one file, and the number of the others."""
    yield from reasons[:_LISTED]
    if len(reasons) > _LISTED:
        yield f"and so on, {len(reasons)} times in all"


_LISTED = 3
_TEXT_SHARE = 0.5
"""Share of the model's tokens to which fused text is truncated; the rest is for the media."""
_SHOWN = 300
_NO_COMPANIONS = CompanionText(EmbeddedText(), (), (), ())


@dataclass(frozen=True, slots=True)
class MediaDocuments:
    """Makes the Documents of media files."""

    store: MediaStore
    options: LoadOptions
    describe: Description | None
    companions: Companions = field(default_factory=Companions)

    def of(self, item: InputFile, opened: OpenedSource, examined: Examined) -> Iterator[Document | Skipped]:
        """Yield the Documents of one file, and the failures of its companions and descriptions.

        Args:
            item: the file.
            opened: the same file, open.
            examined: the result of examining it.

        Raises:
            ContentError: the model takes nothing of it.
        """
        facts, segments = examined.facts, examined.segments
        if facts is None or not segments:
            return
        companion = self.companions.of(item, examined.embedded) if self.options.companions else _NO_COMPANIONS
        yield from companion.unread
        for reason in summed_up(examined.embedded.unread):
            yield Skipped(item.source, reason)
        ref = self.store.put_opened(opened)
        remember_facts(ref.sha256, facts)
        shared = {**item.metadata, "mime_type": facts.mime_type, "media_sha256": ref.sha256, "size_bytes": facts.size}
        failures: list[str] = []
        made = 0
        for segment in segments:
            reference = segment.of(ref)
            document = document_of(reference.markdown, item.source, {**shared, **segment.metadata})
            text = companion.of(segment, first=segment is segments[0])
            if self.describe is not None:
                text = self._described(self.describe, document, text, failures)
            if self._add_text(document, segment.modality, text):
                made += 1
                yield document
        if failures:
            count = f"{len(failures)} of its {len(segments)} Documents"
            yield Skipped(item.source, f"describe= failed for {count}; they are loaded without: {failures[0]}")
        if not made:
            check_modality(facts.mime_type, self.options.spec, self.options.backend, name="it has no text, and")

    @staticmethod
    def _described(describe: Description, document: Document, text: str, failures: list[str]) -> str:
        try:
            description = describe.of(document)
        except DescriptionError:
            raise
        except Exception as error:  # noqa: BLE001  a service that fails must not end the run
            failures.append(f"{type(error).__name__}: {error}"[:_SHOWN])
            return text
        return "\n\n".join(filter(None, (description, text)))

    def _add_text(self, document: Document, modality: Modality, text: str) -> bool:
        """Add companion text to a Document; False where the model takes text only and there is none."""
        if text:
            document.metadata[COMPANION_TEXT] = text = escape_references(text)
        readable = cut_text(text, int(self.options.spec.tokens * _TEXT_SHARE))
        if modality not in self.options.limits:
            document.page_content = readable
            return bool(text)
        if text and self.options.fuse_text:
            document.page_content += f"\n\n{readable}"
        return True
