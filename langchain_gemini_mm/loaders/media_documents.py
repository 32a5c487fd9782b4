"""From a media file to its Documents: one for each piece, with the words that go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.interfaces import COMPANION_TEXT
from langchain_gemini_mm.loaders.companions import Companion, Companions
from langchain_gemini_mm.loaders.document_ids import document_of
from langchain_gemini_mm.loaders.examine import Examined, planned
from langchain_gemini_mm.loaders.options import Wanted
from langchain_gemini_mm.loaders.segmentation import Piece
from langchain_gemini_mm.loaders.walk import Skipped
from langchain_gemini_mm.media.facts import remember_facts
from langchain_gemini_mm.media.model_limits import check_modality
from langchain_gemini_mm.references import MediaRef, escape_references

if TYPE_CHECKING:
    from langchain_gemini_mm.storage import MediaStore


class Description:
    """A callable or LangChain Runnable that is given a Document and gives text.

    Raises:
        TypeError: neither of them.
    """

    def __init__(self, describe: Any) -> None:
        invoke = getattr(describe, "invoke", None)
        if describe is not None and not callable(invoke) and not callable(describe):
            raise TypeError(f"describe must be a callable or a Runnable, got {type(describe).__name__}")
        self._call: Callable[[Document], Any] | None = invoke if callable(invoke) else describe

    def __bool__(self) -> bool:
        """Whether there is one."""
        return self._call is not None

    def of(self, document: Document) -> str:
        """Its text about a Document, empty for None.

        Raises:
            TypeError: it gave something else than text or a message.
            Exception: whatever it raises.
        """
        if self._call is None:
            return ""
        answer = self._call(document)
        text = getattr(answer, "text", answer)
        # A method in older versions of langchain-core.
        text = text() if callable(text) and not isinstance(text, str) else text
        if text is None:
            return ""
        if not isinstance(text, str):
            raise TypeError(f"describe must give a str, a message or None, got {type(answer).__name__}")
        return str(text).strip()


_CHARACTERS_PER_TOKEN = 2
"""Fused text is cut off there: the model would not read further."""
_SHOWN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What goes with media."""

    companions: bool
    """Whether words beside and inside files are looked for."""
    describe: Description
    fuse_text: bool
    """Whether they also go into the vector."""


class MediaDocuments:
    """Makes the Documents of media."""

    def __init__(self, media: MediaStore, wanted: Wanted, words: Words) -> None:
        self._media = media
        self._wanted = wanted
        self._spec = wanted.spec
        self._words = words
        self._companions = Companions()

    def of(
        self, item: object, stored: Path | bytes, source: str, seen: Examined, extra: dict[str, Any]
    ) -> Iterator[Document | Skipped]:
        """Yield the Documents of one file, and what went wrong beside it.

        Args:
            item: what was found, with what stands beside it.
            stored: its path or bytes.
            source: its name in the collection.
            seen: what is in it.
            extra: metadata of its own.

        Raises:
            ContentError: the model takes nothing of it.
        """
        facts, pieces = seen.facts, planned(seen, self._wanted)
        if facts is None or not (pieces or seen.kept is not None):
            return
        if not pieces:
            raise ContentError("it holds nothing but silence or blackness")
        companion = self._companions.of(item, seen.found) if self._words.companions else Companion()
        yield from self._companions.notes()
        ref = self.put(stored)
        remember_facts(ref.sha256, facts)
        shared = {**extra, "mime_type": facts.mime_type, "media_sha256": ref.sha256, "size_bytes": facts.size}
        failures: list[str] = []
        made = 0
        for piece in pieces:
            document = document_of(
                piece.of(ref).markdown, source, piece.key, {**shared, "modality": piece.modality, **piece.words}
            )
            text = companion.text(piece, first=piece is pieces[0])
            if self._worded(document, piece, self._described(document, text, failures)):
                made += 1
                yield document
        if failures:
            said = f"describe= failed for {len(failures)} of its {len(pieces)} Documents; they are loaded without"
            yield Skipped(source, f"{said}: {failures[0]}")
        if not made:
            check_modality(facts.mime_type, self._spec, self._wanted.backend, name="it has no words, and")

    def put(self, stored: Path | bytes) -> MediaRef:
        """Store a file."""
        return self._media.put_file(stored) if isinstance(stored, Path) else self._media.put(stored)

    def _described(self, document: Document, text: str, failures: list[str]) -> str:
        try:
            said = self._words.describe.of(document)
        except TypeError:
            raise
        except Exception as error:  # noqa: BLE001  a service that fails must not end the run
            failures.append(f"{type(error).__name__}: {error}"[:_SHOWN])
            return text
        return "\n\n".join(filter(None, (said, text)))

    def _worded(self, document: Document, piece: Piece, text: str) -> bool:
        """Put the words where they belong; False where a model that takes text only is given none."""
        text = escape_references(text)
        if text:
            document.metadata[COMPANION_TEXT] = text
        readable = text[: self._spec.tokens * _CHARACTERS_PER_TOKEN]
        if self._spec.limit(piece.modality, self._wanted.backend) is None:
            document.page_content = readable
            return bool(text)
        if text and self._words.fuse_text:
            document.page_content += f"\n\n{readable}"
        return True
