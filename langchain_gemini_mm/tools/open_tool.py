"""The tool by which an agent opens one hit: its whole text, and a longer clip or more pages around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.tools import StructuredTool, ToolException

from langchain_gemini_mm.errors import ContentError, FilterError
from langchain_gemini_mm.flows import Call, Flow, arun, blocking, run
from langchain_gemini_mm.references import MediaRef, split_references
from langchain_gemini_mm.rendering import citation, clean_text
from langchain_gemini_mm.retrievers import MultimodalRetriever
from langchain_gemini_mm.retrievers.context import has_neighbours
from langchain_gemini_mm.retrievers.search_options import narrowed
from langchain_gemini_mm.tools.attachments import are_references_wanted
from langchain_gemini_mm.tools.results import Answer, Look, told
from langchain_gemini_mm.tools.search_arguments import OpenArguments, validation_message
from langchain_gemini_mm.vectorstores.filters import matches, parse_filter

MOST_AROUND = 5
"""Segments or pages on either side."""
MOST_CHARACTERS = 20_000


def create_opening_tool(
    retriever: MultimodalRetriever, name: str, description: str, *, look: Look, media_references: bool | None = None
) -> StructuredTool:
    """Make a tool by which an agent opens a hit of `create_multimodal_retriever_tool`.

    Args:
        retriever: that of the search tool; what its filter leaves out cannot be opened.
        name: of the tool.
        description: for the model.
        look: how results are shown.
        media_references: as for the search tool.
    """
    opening = Opening(name=name, retriever=retriever, look=look, media_references=media_references)
    return StructuredTool(
        name=name,
        description=description,
        args_schema=OpenArguments,
        func=opening.run,
        coroutine=opening.arun,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=validation_message,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An opening tool at work."""

    name: str
    retriever: MultimodalRetriever = field(repr=False)
    look: Look = field(repr=False)
    media_references: bool | None

    def run(self, id: str, before: int | None = None, after: int | None = None) -> Answer:  # noqa: A002 - as the model writes it
        """Read and show."""
        return run(self._flow(id, before, after))

    async def arun(self, id: str, before: int | None = None, after: int | None = None) -> Answer:  # noqa: A002 - as above
        """Async twin of `run`."""
        return await arun(self._flow(id, before, after))

    def _flow(self, id_: str, before: int | None, after: int | None) -> Flow[Answer]:
        references = are_references_wanted(self.media_references, self.name)
        document = yield from self._document(id_.strip())
        sides = {"before": _side(before), "after": _side(after)}
        around = [document]
        if any(sides.values()) and has_neighbours(self.retriever.tenant_store, document):
            try:
                near: list[Document] = yield Call(self.retriever.context, self.retriever.acontext, (document,), sides)
            except ContentError as error:
                raise ToolException(told(error)) from error
            around = [other for other in near if self._is_open(other)]
        shown = joined(around) or around
        answer: Answer = yield blocking(
            self.look.opened, _whole_text(shown, around), shown, around, references=references
        )
        return answer

    def _document(self, id_: str) -> Flow[Document]:
        store = self.retriever.tenant_store
        found: Sequence[Document] = yield Call(store.get_by_ids, store.aget_by_ids, ([id_],))
        if not found or not self._is_open(found[0]):
            raise ToolException(
                f"There is no hit with the id {id_[:80]!r}: use an id from a search result, letter for letter."
            )
        return found[0]

    def _is_open(self, document: Document) -> bool:
        """Whether the retriever could find it: what its filter leaves out stays closed."""
        own = self.retriever.modalities
        given: Any = narrowed(self.retriever.filter, None if own is None else tuple(own))
        if not isinstance(given, Mapping):
            return given is None or bool(given(document))
        try:
            return matches(parse_filter(given), document.metadata)
        except FilterError:
            return False  # in the form of another store, so nobody here can tell


def _side(given: int | None) -> int:
    return max(0, min(given or 0, MOST_AROUND))


def _whole_text(shown: Sequence[Document], around: Sequence[Document]) -> str:
    parts = []
    for document in around:
        text = clean_text(document)
        place = f"{citation(document)} (id={document.id})"
        parts.append(f"{place}: {text}" if text else place)
    heading = f"{citation(shown[0])}:\n" if len(shown) == 1 and len(around) > 1 else ""
    text = heading + "\n\n".join(parts)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS].rstrip()} …"


GAP_S = 1.0
"""Segments with no more than so many seconds between them are one stretch."""


def joined(documents: Sequence[Document]) -> list[Document]:
    """One Document with the stretch or the pages that several neighbours make up; none where they make up none.

    ```python
    from langchain_core.documents import Document

    from langchain_gemini_mm import MediaRef
    from langchain_gemini_mm.tools.open_tool import joined

    talk = MediaRef("ab" * 32)
    parts = [Document(talk.segment(start, start + 30).markdown) for start in (0, 30)]
    assert joined(parts)[0].page_content == talk.segment(0, 60).markdown
    ```
    """
    refs = [_only_reference(document) for document in documents]
    whole = _union([ref for ref in refs if ref is not None])
    if whole is None or None in refs or len(refs) < 2:
        return []
    span = {
        "start_s": whole.start_s,
        "end_s": whole.end_s,
        "first_page": whole.first_page,
        "last_page": whole.last_page,
    }
    metadata = {**documents[0].metadata, **{name: value for name, value in span.items() if value is not None}}
    return [Document(page_content=whole.markdown, metadata=metadata, id=documents[0].id)]


def _only_reference(document: Document) -> MediaRef | None:
    refs = [piece for piece in split_references(document.page_content) if isinstance(piece, MediaRef)]
    return refs[0] if len(refs) == 1 else None


def _union(refs: Sequence[MediaRef]) -> MediaRef | None:
    if len({(ref.sha256, ref.track) for ref in refs}) != 1:
        return None
    times = sorted((ref.start_s, ref.end_s) for ref in refs if ref.start_s is not None and ref.end_s is not None)
    pages = sorted((ref.first_page, ref.last_page) for ref in refs if ref.first_page and ref.last_page)
    if len(times) == len(refs) and _touch(times, GAP_S):
        return refs[0].segment(times[0][0], max(end for _, end in times), track=refs[0].track)
    if len(pages) == len(refs) and _touch(pages, 1):
        return refs[0].pages(pages[0][0], max(last for _, last in pages))
    return None


def _touch(spans: Sequence[tuple[float, float]], gap: float) -> bool:
    reached = spans[0][1]
    for low, high in spans[1:]:
        if low - reached > gap:
            return False
        reached = max(reached, high)
    return True
