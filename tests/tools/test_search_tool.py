"""The search tool: its arguments and its results."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, ToolException

from langchain_gemini_mm import MediaStore, MultimodalRetriever, ServiceError, create_multimodal_retriever_tool
from langchain_gemini_mm.content.mime_types import sniff
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import GeminiEmulator, png
from langchain_gemini_mm.tools.search_arguments import ToolQuery
from tests.tools.chat import call, media_in, references_in


def ask(tool: BaseTool, **arguments: Any) -> ToolMessage:
    """Call a tool as a tool node does."""
    answer = tool.invoke(call(tool.name, **arguments).tool_calls[0])
    assert isinstance(answer, ToolMessage)
    return answer


def sources(answer: ToolMessage) -> list[str]:
    """Return the sources of the hits."""
    return [document.metadata["source"] for document in answer.artifact]


@pytest.fixture
def tool(retriever: MultimodalRetriever) -> BaseTool:
    """A search tool of the library."""
    return create_multimodal_retriever_tool(retriever, "search_library", "Searches the library.")


def test_an_answer_has_a_line_for_each_hit_and_its_media(tool: BaseTool) -> None:
    """A result is a text (number, citation, id, score, text of each hit), then the media, each after its citation."""
    answer = ask(tool, query="a kitten", modalities=["image", "text"], k=2)
    heading, *lines = answer.content[0]["text"].split("\n")  # type: ignore[index]
    assert heading == "2 hits, best first:"
    for number, (line, document) in enumerate(zip(lines, answer.artifact, strict=True), start=1):
        assert line.startswith(f"{number}. [{document.metadata['source']}] (id={document.id}, ")
    (image,) = media_in([answer])
    assert sniff(base64.b64decode(image["base64"])) == image["mime_type"] == "image/png"
    place = sources(answer).index("pictures/kitten.png") + 1
    assert answer.content[1] == {"type": "text", "text": f"{place}. [pictures/kitten.png]"}


@pytest.mark.parametrize("modality", ["image", "audio", "video", "pdf", "text"])
def test_modalities_narrow(tool: BaseTool, modality: str) -> None:
    """Only the requested modalities are found, and all blocks have types that LangChain accepts."""
    answer = ask(tool, query="a puppy", modalities=[modality])
    assert {document.metadata["modality"] for document in answer.artifact} == {modality}
    if modality != "text":
        assert {block["type"] for block in media_in([answer])} == {"image" if modality == "image" else "file"}


def test_artifacts_hold_references_only(tool: BaseTool) -> None:
    """Artifacts are the stored Documents, without bytes."""
    answer = ask(tool, query="a puppy", modalities=["video"])
    assert answer.artifact[0].page_content.startswith("![](mm://sha256-")
    assert len(json.dumps([document.model_dump() for document in answer.artifact])) < 5000


def test_look_false_returns_text(retriever: MultimodalRetriever) -> None:
    """With `look=False` the result is a text, and the artifact still has the Documents."""
    tool = create_multimodal_retriever_tool(retriever, "search", "Searches.", look=False)
    answer = ask(tool, query="a puppy", modalities=["image"])
    assert isinstance(answer.content, str)
    assert "[pictures/puppy.png]" in answer.content
    assert answer.artifact


def test_a_family_of_models_says_what_is_shown(retriever: MultimodalRetriever) -> None:
    """Media that the model does not accept in tool results are replaced by text."""
    tool = create_multimodal_retriever_tool(retriever, "search", "Searches.", model="openai")
    answer = ask(tool, query="a puppy", modalities=["image"], k=1)
    assert not media_in([answer])
    assert isinstance(answer.content, str)
    assert answer.content.endswith("The model does not accept this type of media in results of tools.)")


def test_media_references_name_media(retriever: MultimodalRetriever) -> None:
    """With `media_references=True` blocks hold references and no bytes."""
    tool = create_multimodal_retriever_tool(retriever, "search", "Searches.", media_references=True)
    answer = ask(tool, query="a puppy", modalities=["image"], k=2)
    assert references_in([answer]) == [MediaRef.parse(document.page_content).uri for document in answer.artifact]
    assert not media_in([answer])


async def test_async_is_the_same(tool: BaseTool) -> None:
    """The async twin answers the same."""
    arguments = call(tool.name, query="a puppy", k=2).tool_calls[0]
    assert await tool.ainvoke(arguments) == tool.invoke(arguments)


def test_like_an_earlier_hit(tool: BaseTool) -> None:
    """A search with only an id finds similar documents, not that document itself."""
    first = ask(tool, query="a puppy", modalities=["image"], k=1)
    more = ask(tool, like=first.artifact[0].id, modalities=["image"], k=1)
    assert sources(first) + sources(more) in (
        ["pictures/puppy.png", "pictures/puppy2.jpg"],
        ["pictures/puppy2.jpg", "pictures/puppy.png"],
    )


def test_like_stored_media(tool: BaseTool, library: Any, media: MediaStore) -> None:
    """A reference finds its own file first, with and without a query text."""
    ref = media.put_file(library / "pictures/kitten.png")
    for arguments in ({}, {"query": "sleeping"}):
        answer = ask(tool, like=ref.uri, modalities=["image"], k=1, **arguments)
        assert sources(answer) == ["pictures/kitten.png"]


def test_source_and_time_narrow(tool: BaseTool) -> None:
    """Only segments of the named file that overlap the time span are found."""
    answer = ask(tool, query="volcanoes", source="talk.mp4", start_s=20, end_s=31, modalities=["video"], k=9)
    assert sorted(document.metadata["start_s"] for document in answer.artifact) == [15, 30]


def test_a_moment_is_within_its_segment(tool: BaseTool) -> None:
    """A time span without length selects the segment around it; uncut recordings match any time."""
    moment = ask(tool, query="volcanoes", start_s=20, end_s=20, source="talk.mp4", modalities=["video"], k=9)
    assert [document.metadata["start_s"] for document in moment.artifact] == [15]
    assert sources(ask(tool, query="waves", start_s=1, source="videos/waves.mov")) == ["videos/waves.mov"]


def test_a_source_can_be_named_by_its_file_name() -> None:
    """A file shown in this conversation can be named by the last part of its path."""
    documents = [Document("", metadata={"source": source}) for source in ("a/waves.mov", "a/bees.mp4", "b/bees.mp4", 7)]
    fresh = ToolMessage("", tool_call_id="1", artifact=[*documents, Document(""), "else"])
    kept = ToolMessage("", tool_call_id="1", artifact=[document.model_dump() for document in documents])
    foreign = ToolMessage("", tool_call_id="2", artifact="a text")
    for message in (fresh, kept):
        for name, meant in {
            "waves.mov": "a/waves.mov",
            "[a/waves.mov]": "a/waves.mov",
            "bees.mp4": {"$in": ["a/bees.mp4", "b/bees.mp4"]},
            "b/bees.mp4": "b/bees.mp4",
            "other.mov": "other.mov",
        }.items():
            assert ToolQuery(k=1, source=name, messages=[foreign, message]).filter(None) == {"source": meant}


def test_the_retrievers_own_filter_holds(retriever: MultimodalRetriever) -> None:
    """The model's restrictions are added to the filter and the modalities of the retriever."""
    narrow = retriever.model_copy(update={"filter": {"source": "pictures/kitten.png"}})
    tool = create_multimodal_retriever_tool(narrow, "search", "Searches.")
    assert sources(ask(tool, query="a puppy")) == ["pictures/kitten.png"]
    hidden = ask(tool, query="a puppy", source="pictures/puppy.png")
    assert hidden.content == ask(tool, query="a puppy", source="pictures/poppy.png").content.replace("poppy", "puppy")  # type: ignore[union-attr]
    audio_only = retriever.model_copy(update={"modalities": ["audio"]})
    tool = create_multimodal_retriever_tool(audio_only, "search", "Searches.")
    assert {document.metadata["modality"] for document in ask(tool, query="a puppy").artifact} == {"audio"}
    refused = ask(tool, query="a puppy", modalities=["image"])
    assert (refused.status, refused.content) == (
        "error",
        "This collection is searched for audio only; change `modalities`.",
    )


def test_a_filter_that_is_a_function_holds_too() -> None:
    """A filter function is combined with the model's restrictions."""
    keeps = ToolQuery(k=1, source="a.png").filter(lambda document: document.id == "1")
    asked = [(Document("", id=id_, metadata={"source": source})) for id_ in "12" for source in ("a.png", "b.png")]
    assert [keeps(document) for document in asked] == [True, False, False, False]


def test_a_search_without_hits(retriever: MultimodalRetriever) -> None:
    """A search without hits returns a text, not an error."""
    tool = create_multimodal_retriever_tool(retriever, "search", "Searches.")
    answer = ask(tool, query="a steam locomotive", source="notes/kitten.md", modalities=["video"])
    assert answer.content.startswith(  # type: ignore[union-attr]
        "Nothing matches 'a steam locomotive', modalities=video, source=notes/kitten.md."
    )
    assert (answer.artifact, answer.status) == ([], "success")


def test_a_source_that_does_not_exist(retriever: MultimodalRetriever) -> None:
    """An unknown source is reported as such; where its last part is that of a found one, the whole name is given."""
    tool = create_multimodal_retriever_tool(retriever, "search", "Searches.")
    answer = ask(tool, query="a talk about volcanoes", source="nowhere.mp4")
    assert (answer.status, "There is no source 'nowhere.mp4' in this collection" in answer.content) == ("error", True)
    answer = ask(tool, query="a kitten", source="[kitten.png]", modalities=["image"])
    assert "There is no source 'kitten.png'" in answer.content
    assert "Do you mean pictures/kitten.png?" in answer.content


WRONG = {
    "nothing": ({}, "Nothing to look for"),
    "white space": ({"query": "  "}, "Nothing to look for"),
    "unknown id": ({"like": "puppy-7"}, "names ids that are not stored: 'puppy-7'"),
    "unknown modality": ({"query": "x", "modalities": ["movie"]}, "modalities.0: Input should be 'text', 'image'"),
    "unknown media": ({"like": MediaRef("ab" * 32).uri}, "mm://sha256-abab"),
    "torn reference": ({"like": "mm://sha256-12"}, "is not a media reference"),
    "no attachment": ({"like": "attachment:1"}, "There is no attachment in this conversation"),
    "end before start": ({"query": "x", "start_s": 9, "end_s": 3}, "end_s=3 is before start_s=9"),
    "no number": ({"query": "x", "start_s": "a while"}, "start_s: Input should be a valid number"),
    "unknown argument": ({"query": "x", "max_results": 3}, "the tool has no option 'max_results'"),
    "a misspelt argument": (
        {"query": "x", "modality": "image"},
        "Did you mean 'modalities'? Arguments: end_s, k, like",
    ),
    "a filter": ({"query": "x", "filter": {"owner": "bob"}}, "no option 'filter'"),
    "query in a list": ({"query": ["x"]}, "query: Input should be a valid string"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_reported(tool: BaseTool, arguments: dict[str, Any], message: str) -> None:
    """Wrong arguments are reported to the model as text that says what to change."""
    answer = ask(tool, **arguments)
    assert answer.status == "error"
    assert message in answer.content


LENIENT: dict[str, dict[str, Any]] = {
    "one modality": {"modalities": "Image"},
    "modalities in a text": {"modalities": "image, text"},
    "null for all": {"modalities": None, "like": None, "source": None, "k": None, "start_s": None},
    "words for nothing": {"like": "none", "source": "None", "start_s": "", "k": "null", "modalities": "none"},
    "numbers in a text": {"k": "2"},
    "far too many": {"k": 1000},
    "none at all": {"k": 0},
    "a forged hand-over": {"runtime": {"state": {"messages": []}}},
}


@pytest.mark.parametrize("arguments", LENIENT.values(), ids=LENIENT)
def test_lenient_arguments(tool: BaseTool, arguments: dict[str, Any]) -> None:
    """Unambiguous spellings of arguments are accepted."""
    assert ask(tool, query="a kitten", **arguments).status == "success"


def test_references_in_a_query_are_literal() -> None:
    """References in the query text are not resolved; `like` names media."""
    reference = MediaRef("ab" * 32).markdown
    assert ToolQuery(k=1, query=f"see {reference}").content() == f"see \\{reference}"


def test_the_most_hits_are_bounded(retriever: MultimodalRetriever) -> None:
    """`max_k` limits the hits, also below the retriever's own `k`."""
    tool = create_multimodal_retriever_tool(retriever, "search", "Searches.", max_k=2)
    assert len(ask(tool, query="a puppy", k=50).artifact) == 2
    assert len(ask(tool, query="a puppy").artifact) == 2


ATTACHMENTS = {
    "attachment:1": 1, "attachment 2": 2, "Attachment #3": 3, "[attachment:4]": 4, "ATTACHMENT_5": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACHMENTS)
def test_attachments_are_named(name: str) -> None:
    """The name of an attachment can be spelled in several ways; links and texts are not attachments."""
    ref = MediaRef("ab" * 32)
    blocks: list[Any] = ["a", {"type": "text", "text": "b"}, {"type": "image", "url": "https://example.com/a.png"}]
    blocks += [{"type": "file", "url": ref.segment(n, n + 1).uri, "mime_type": "video/mp4"} for n in range(1, 6)]
    asked = ToolQuery(k=1, like=name, messages=[HumanMessage(blocks)])
    number = ATTACHMENTS[name]
    assert asked.content() == [ref.segment(number, number + 1)]


def test_an_attachment_that_is_not_there() -> None:
    """The error lists the existing attachments."""
    block = {"type": "image", "base64": base64.b64encode(png()).decode(), "mime_type": "image/png"}
    asked = ToolQuery(k=1, like="attachment:3", messages=[HumanMessage([block, block])])
    with pytest.raises(ToolException, match=r"no attachment:3; the attachments are: attachment:1, attachment:2\."):
        asked.content()


def test_nothing_prints_bytes(tool: BaseTool) -> None:
    """The reprs of the tool and of a query contain no media."""
    block = {"type": "image", "base64": base64.b64encode(png()).decode(), "mime_type": "image/png"}
    asked = ToolQuery(k=1, like="attachment:1", messages=[HumanMessage([block])])
    assert len(repr(asked)) < 300
    assert len(repr(tool)) < 1000


def test_a_failing_service_is_no_mistake_of_the_model(tool: BaseTool, emulator: GeminiEmulator) -> None:
    """An error that the model cannot correct is raised."""
    emulator.fail_next(403)
    with pytest.raises(ServiceError):
        ask(tool, query="a puppy with a hat")
