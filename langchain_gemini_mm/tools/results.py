"""What a tool returns for hits: compact text, followed by the media."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from langchain_core.documents import Document

from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.rendering import Accepts, citation, clean_text, expand_blocks, reference_blocks
from langchain_gemini_mm.tools.attachments import REFERENCES_FOR, Block
from langchain_gemini_mm.vectorstores import Hit

ToolResult: TypeAlias = tuple[str | list[Block], list[Document]]
"""Content for the model, and the Documents as artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRenderer:
    """Turns hits and documents into the content of a tool's result."""

    tool: str
    """Name of the tool."""
    media: MediaSource | None
    accepts: Accepts
    """What the model accepts."""
    look: bool
    """Whether the result has media; else it is text."""
    references: bool | None
    """Whether the result names media instead of holding them; None does so where `MediaMiddleware` is active."""
    max_bytes: int
    """Bytes of all media of a result, base64 included."""
    snippet: int
    """Characters of a document's text in a list of hits."""

    def list_hits(self, hits: Sequence[Hit]) -> str:
        """Return a line for each hit: number, citation, id, score and the beginning of its text."""
        lines = ["1 hit:" if len(hits) == 1 else f"{len(hits)} hits, best first:"]
        for number, hit in enumerate(hits, start=1):
            facts = f"id={hit.document.id}, {hit.score_kind} {hit.score:.2f}"
            if hit.confidence is not None:
                facts += f", confidence {hit.confidence:.2f}"
            text = " ".join(clean_text(hit.document).split())
            if len(text) > self.snippet:
                text = f"{text[: self.snippet].rstrip()}…"
            lines.append(f"{number}. {citation(hit.document)} ({facts})" + (f": {text}" if text else ""))
        return "\n".join(lines)

    def content(self, text: str, documents: Sequence[Document]) -> str | list[Block]:
        """Return the text followed by the media of the documents, each below its number and citation.

        Args:
            text: the text of the result.
            documents: most relevant first.
        """
        blocks: list[Block] = []
        for number, document in enumerate(documents if self.look else (), start=1):
            media = [block for block in reference_blocks([document], cite=False) if block["type"] != "text"]
            if media and len(documents) > 1:
                blocks.append({"type": "text", "text": f"{number}. {citation(document)}"})
            blocks += media
        if not blocks:
            return text
        if not (REFERENCES_FOR.get() == self.tool if self.references is None else self.references):
            blocks = expand_blocks(blocks, self.media, accepts=self.accepts, place="tool", max_bytes=self.max_bytes)
        return [{"type": "text", "text": text}, *blocks]


def input_error(error: Exception) -> str:
    """Return what is wrong with the arguments, for the model that wrote them."""
    return f"{error}. Change the arguments and call again."
