"""From hits to what a tool returns: compact text, and the media behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.rendering import Accepts, citation, clean_text, expand_blocks, reference_blocks
from langchain_gemini_mm.tools.attachments import Block
from langchain_gemini_mm.vectorstores import Hit

Answer: TypeAlias = tuple[str | list[Block], list[Document]]
"""Content for the model, and the Documents as artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How results are shown."""

    media: MediaSource | None
    accepts: Accepts
    look: bool
    """Whether the model can see and hear."""
    max_bytes: int
    snippet: int
    """Characters of a document's text in a list of hits."""

    def hits(self, hits: Sequence[Hit], *, references: bool) -> Answer:
        """A line for each hit, then their media, best first.

        Args:
            hits: best first; not empty.
            references: name media instead of sending them.
        """
        documents = [hit.document for hit in hits]
        lines = [f"{number}. {self._line(hit)}" for number, hit in enumerate(hits, start=1)]
        many = "1 hit" if len(hits) == 1 else f"{len(hits)} hits, best first"
        return self._shown("\n".join([f"{many}:", *lines]), documents, references=references), documents

    def opened(self, text: str, shown: Sequence[Document], around: Sequence[Document], *, references: bool) -> Answer:
        """The text whole and the media of `shown`; `around` is the artifact."""
        return self._shown(text, shown, references=references), list(around)

    def _line(self, hit: Hit) -> str:
        document = hit.document
        told = [f"id={document.id}", f"{hit.score_kind} {hit.score:.2f}"]
        told += [f"confidence {hit.confidence:.2f}"] if hit.confidence is not None else []
        text = " ".join(clean_text(document).split())
        if len(text) > self.snippet:
            text = f"{text[: self.snippet].rstrip()}…"
        return f"{citation(document)} ({', '.join(told)})" + (f": {text}" if text else "")

    def _shown(self, text: str, documents: Sequence[Document], *, references: bool) -> str | list[Block]:
        if not self.look:
            return text
        blocks = self._media_blocks(documents)
        if not blocks:
            return text
        if not references:
            blocks = expand_blocks(blocks, self.media, accepts=self.accepts, place="tool", max_bytes=self.max_bytes)
        return [{"type": "text", "text": text}, *blocks]

    def _media_blocks(self, documents: Sequence[Document]) -> list[Block]:
        """The media of each document; of several, behind the number and citation that its line has."""
        found: list[Block] = []
        for number, document in enumerate(documents, start=1):
            media = [block for block in reference_blocks([document], cite=False) if block["type"] != "text"]
            if media and len(documents) > 1:
                found.append({"type": "text", "text": f"{number}. {citation(document)}"})
            found += media
        return found


def nothing(asked: object) -> str:
    """That nothing was found, and what to try."""
    return (
        f"Nothing matches {asked}. Nothing in this collection is close enough; do not guess. You may try other words, "
        "fewer restrictions, or say that there is nothing."
    )


def told(error: Any) -> str:
    """An error about what was asked, for the model that asked it."""
    return f"{error}. Change the arguments and call again."
