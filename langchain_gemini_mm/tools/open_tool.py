"""The tool by which an agent opens one hit: all of its text, and a longer clip or more pages around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.tools import ToolException

from langchain_gemini_mm.errors import ContentError, FilterError
from langchain_gemini_mm.flows import Call, Flow, blocking
from langchain_gemini_mm.ranking.modalities import filter_for_modalities
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.rendering import citation, clean_text
from langchain_gemini_mm.retrievers.context import has_neighbours
from langchain_gemini_mm.retrievers.sources import GAP_S, merge_spans
from langchain_gemini_mm.tools.search_tool import RetrieverTool, ToolResult, input_error
from langchain_gemini_mm.vectorstores.filters import allows, parse_filter

MAX_AROUND = 5
"""Segments or pages on either side."""
MAX_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTool(RetrieverTool):
    """Carries out the calls of a tool that opens hits of a search tool."""

    def flow(self, *, id: str, before: int | None = None, after: int | None = None) -> Flow[ToolResult]:  # noqa: A002 - as the model writes it
        """Read the document and those around it, and return them rendered.

        Args:
            id: id of a hit, copied from a search result.
            before: how many documents before it are read as well.
            after: how many documents after it are read as well.
        """
        store = self.retriever.tenant_store
        found: Sequence[Document] = yield Call(store.get_by_ids, store.aget_by_ids, ([id.strip()],))
        if not found or not self._is_allowed(found[0]):
            raise ToolException(f"There is no hit with the id {id[:80]!r}: copy an id exactly from a search result.")
        around = [found[0]]
        sides = {name: max(0, min(given or 0, MAX_AROUND)) for name, given in (("before", before), ("after", after))}
        if any(sides.values()) and has_neighbours(store, found[0]):
            try:
                near: list[Document] = yield Call(self.retriever.context, self.retriever.acontext, (found[0],), sides)
            except ContentError as error:
                raise ToolException(input_error(error)) from error
            around = [document for document in near if self._is_allowed(document)]
        shown = merged_documents(around) or around
        content = yield blocking(self.content, _whole_text(shown, around), shown)
        return content, around

    def _is_allowed(self, document: Document) -> bool:
        """Whether the retriever could find the document: what its filter excludes cannot be opened."""
        given = filter_for_modalities(self.retriever.filter, self.retriever.modalities)
        try:
            return allows(given if given is None or callable(given) else parse_filter(given), document)
        except FilterError:
            return False  # the filter has the form of another store, so it cannot be checked here


def _whole_text(shown: Sequence[Document], around: Sequence[Document]) -> str:
    parts = []
    for document in around:
        text = clean_text(document)
        name = f"{citation(document)} (id={document.id})"
        parts.append(f"{name}: {text}" if text else name)
    heading = f"{citation(shown[0])}:\n" if len(shown) == 1 and len(around) > 1 else ""
    text = heading + "\n\n".join(parts)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS].rstrip()} …"


def merged_documents(documents: Sequence[Document]) -> list[Document]:
    """Return one Document for adjacent segments or pages of one file; an empty list where they do not merge.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm.references import MediaRef
    from langchain_gemini_mm.tools.open_tool import merged_documents

    talk = MediaRef("ab" * 32)
    parts = [Document(talk.segment(start, start + 30).markdown) for start in (0, 30)]
    assert merged_documents(parts)[0].page_content == talk.segment(0, 60).markdown
    ```
    """
    refs: list[MediaRef] = []
    for document in documents:
        found = [piece for piece in split_references(document.page_content) if isinstance(piece, MediaRef)]
        if len(found) != 1:
            return []
        refs += found
    if len(refs) < 2 or len({(ref.sha256, ref.track) for ref in refs}) != 1:
        return []
    times = [(ref.start_s, ref.end_s, ref) for ref in refs if ref.start_s is not None and ref.end_s is not None]
    pages = [(ref.first_page, ref.last_page, ref) for ref in refs if ref.first_page and ref.last_page]
    if len(times) == len(refs) and len(spans := merge_spans(times, GAP_S)) == 1:
        start_s, end_s, _ = spans[0]
        whole, metadata = refs[0].segment(start_s, end_s, track=refs[0].track), {"start_s": start_s, "end_s": end_s}
    elif len(pages) == len(refs) and len(spans := merge_spans(pages, 1)) == 1:
        first, last, _ = spans[0]
        whole, metadata = refs[0].pages(first, last), {"first_page": first, "last_page": last}
    else:
        return []
    return [Document(page_content=whole.markdown, metadata={**documents[0].metadata, **metadata}, id=documents[0].id)]
