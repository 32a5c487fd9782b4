"""The tool that opens a hit."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from langchain_gemini_mm import MultimodalRetriever, MultimodalToolkit
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.tools.open_tool import merged_documents
from tests.tools.chat import call, media_in, references_in

REF = MediaRef("ab" * 32)


def tools(retriever: MultimodalRetriever, **settings: Any) -> tuple[BaseTool, BaseTool]:
    """Make the search tool and the open tool."""
    search, opening = MultimodalToolkit(retriever=retriever, media_references=True, **settings).get_tools()
    return search, opening


def opened(retriever: MultimodalRetriever, id_: str | None, **arguments: Any) -> ToolMessage:
    """Return the result of the open tool."""
    _, opening = tools(retriever)
    answer = opening.invoke(call(opening.name, id=id_, **arguments).tool_calls[0])
    assert isinstance(answer, ToolMessage)
    return answer


def found(retriever: MultimodalRetriever, source: str, **conditions: Any) -> Document:
    """Find a Document of the library."""
    return next(iter(retriever.invoke("x", k=1, filter={"source": source, **conditions})))


def test_a_text_is_complete(retriever: MultimodalRetriever) -> None:
    """The open tool returns all of a text of which a list of hits shows the beginning."""
    search, opening = tools(retriever, snippet=20)
    note = found(retriever, "notes/kitten.md")
    line = search.invoke({"query": "feeding a kitten", "modalities": ["text"]})
    assert "# Looking after a ki…" in line
    assert "leave fresh water next to its bed" in opening.invoke({"id": note.id})


def test_a_longer_clip(retriever: MultimodalRetriever) -> None:
    """Adjacent segments are one clip, which ends with the file."""
    segment = found(retriever, "talk.mp4", modality="video", start_s=30)
    answer = opened(retriever, segment.id, before=1, after=9)
    assert [MediaRef.parse(uri) for uri in references_in([answer])] == [
        MediaRef.parse(segment.page_content).segment(15, 60)
    ]
    assert answer.content[0]["text"].startswith("[talk.mp4 0:15-1:00]:\n[talk.mp4 0:15-0:30] (id=")  # type: ignore[index]
    assert [document.metadata["start_s"] for document in answer.artifact] == [15, 30, 45]


def test_the_clip_can_be_seen(retriever: MultimodalRetriever) -> None:
    """The clip is cut out of the file in one piece."""
    segment = found(retriever, "talk.mp4", modality="video", start_s=0)
    _, opening = MultimodalToolkit(retriever=retriever).get_tools()
    answer = opening.invoke(call(opening.name, id=segment.id, after=1).tool_calls[0])
    (clip,) = media_in([answer])
    assert clip["mime_type"] == "video/mp4"


async def test_async_is_the_same(retriever: MultimodalRetriever) -> None:
    """The async twin answers the same."""
    _, opening = tools(retriever)
    asked = call(opening.name, id=found(retriever, "talk.mp4", modality="video").id, after=1).tool_calls[0]
    assert await opening.ainvoke(asked) == opening.invoke(asked)


def test_a_document_without_neighbours(retriever: MultimodalRetriever) -> None:
    """An image has no neighbours, whatever `before` and `after` are."""
    image = found(retriever, "pictures/puppy.png")
    assert opened(retriever, image.id, before=2, after=2).artifact == [image]


def test_an_unknown_id_is_reported(retriever: MultimodalRetriever) -> None:
    """An unknown id is reported to the model, not raised."""
    for id_ in ("puppy-7", "", None):
        answer = opened(retriever, id_)
        assert answer.status == "error"
        assert "There is no hit with the id" in answer.content


@pytest.mark.parametrize("narrow", [
    {"filter": {"source": "talk.mp4"}},
    {"modalities": ["video", "audio"]},
    {"filter": lambda document: document.metadata["source"] == "talk.mp4"},
    {"filter": {"source": {"$of another store": 1}}},
], ids=["filter", "modalities", "function", "foreign"])  # fmt: skip
def test_excluded_documents_cannot_be_opened(retriever: MultimodalRetriever, narrow: dict[str, Any]) -> None:
    """An id does not circumvent the retriever's own filter."""
    image = found(retriever, "pictures/puppy.png")
    assert opened(retriever, image.id).status == "success"
    closed = opened(retriever.model_copy(update=narrow), image.id)
    assert (closed.status, closed.artifact) == ("error", None)


JOINED: dict[str, tuple[list[MediaRef], MediaRef | None]] = {
    "segments": ([REF.segment(0, 30), REF.segment(30, 60)], REF.segment(0, 60)),
    "overlapping": ([REF.segment(25, 60), REF.segment(0, 30)], REF.segment(0, 60)),
    "audio": ([REF.segment(n, n + 1, track="audio") for n in (0, 1)], REF.segment(0, 2, track="audio")),
    "pages": ([REF.pages(1, 2), REF.pages(3, 3)], REF.pages(1, 3)),
    "a gap": ([REF.segment(0, 30), REF.segment(40, 60)], None),
    "pages apart": ([REF.pages(1, 1), REF.pages(3, 3)], None),
    "two files": ([REF.segment(0, 30), MediaRef("cd" * 32).segment(30, 60)], None),
    "video and audio": ([REF.segment(0, 30), REF.segment(30, 60, track="audio")], None),
    "whole files": ([REF, REF], None),
    "one": ([REF.segment(0, 30)], None),
    "none": ([], None),
}


@pytest.mark.parametrize(("refs", "whole"), JOINED.values(), ids=JOINED)
def test_merged_documents(refs: list[MediaRef], whole: MediaRef | None) -> None:
    """Adjacent parts of one file are merged; parts with a gap or of several files are not."""
    made = merged_documents([Document(ref.markdown) for ref in refs])
    assert [document.page_content for document in made] == ([whole.markdown] if whole else [])
