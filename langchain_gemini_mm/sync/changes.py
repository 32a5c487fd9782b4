"""What happens to a file that is being stored, and the changes of the index and the ledger that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from langchain_gemini_mm.embeddings.cache import to_bytes
from langchain_gemini_mm.sync.ledger import SourceEntry
from langchain_gemini_mm.vectorstores.records import Record

NOTHING = SourceEntry()
"""The entry of a file that the ledger does not know."""


@dataclass(slots=True)
class FileChange:
    """A file that is being stored."""

    before: SourceEntry
    former: str | None
    """The source that it had before it was moved."""
    twin: SourceEntry
    """Of an equal file, whose vectors are used."""
    ids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    """Ids of documents that are older than the ledger, and may be those of this file."""
    is_older: bool = False
    """Whether they are: one of them has its content, or an id that `MediaLoader` made for this source."""
    touched: bool = False
    """Whether a document was stored or changed."""
    is_incomplete: bool = False
    """Whether a document could not be embedded for a reason that is not in the file."""
    texts: dict[str, str] = field(default_factory=dict)
    """What identifies the pages and segments among the documents, by their text."""
    contents: dict[str, str] = field(default_factory=dict)
    """The same by id."""

    def recall(self, stored: Mapping[str, Record]) -> dict[str, bytes]:
        """Look at earlier documents; the vectors of their pages and segments, by what identifies these."""
        vectors = {}
        for entry in (self.twin, self.before):
            for id_, content in entry.content_of.items():
                if (record := stored.get(id_)) is not None:
                    self.texts[record.text] = content
                    if record.vector is not None:
                        vectors[content] = to_bytes(record.vector)
        return vectors

    def identify(self, id_: str, text: str) -> None:
        """Note what identifies a document that is a page or segment, if it is known.

        Args:
            id_: of the document.
            text: of the document.
        """
        if text in self.texts:
            self.contents[id_] = self.texts[text]

    @property
    def former_ids(self) -> tuple[str, ...]:
        """Ids of the documents that this file had under its former source."""
        return self.twin.ids if self.former is not None else ()


@dataclass(slots=True)
class BatchWrites:
    """The changes of one batch."""

    records: dict[str, Record] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    ledger: dict[str, str | None] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
