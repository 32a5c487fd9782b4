"""A question and its search results as one message."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage

from langchain_gemini_mm import Hit, MediaStore, to_message
from langchain_gemini_mm.errors import ContentError, MissingMediaError
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import INSTRUCTIONS, ato_message, to_blocks
from langchain_gemini_mm.testing import jpeg, mp4, png

if TYPE_CHECKING:
    from pathlib import Path


def summary(message: HumanMessage) -> list[str]:
    """The texts of text blocks and the types of other blocks."""
    return [block["text"] if block["type"] == "text" else block["type"] for block in message.content]  # type: ignore[index]


@pytest.fixture
def photo(media: MediaStore) -> Document:
    """An image with a text."""
    return media.document("our dog", png(), metadata={"source": "puppy.png"})


def test_a_message(media: MediaStore, photo: Document) -> None:
    """The message has instructions, each source with citation, text and media, then the question."""
    message = to_message("Who is it?", [photo, Document("It is Rex.", metadata={"source": "notes.md"})], media=media)
    assert summary(message) == [
        INSTRUCTIONS,
        "[puppy.png]\nour dog",
        "image",
        "[notes.md]\nIt is Rex.",
        "Question: Who is it?",
    ]
    assert isinstance(message, HumanMessage)


def test_other_instructions_and_none(media: MediaStore, photo: Document) -> None:
    """Instructions can be replaced or left out."""
    assert summary(to_message("Who?", [photo], media=media, instructions="Be brief."))[0] == "Be brief."
    assert summary(to_message("Who?", [photo], media=media, instructions=None))[0] == "[puppy.png]\nour dog"


def test_nothing_was_found() -> None:
    """Without sources there is a note."""
    assert summary(to_message("Who is it?", []))[1:] == ["(No sources were found.)", "Question: Who is it?"]


QUESTIONS: dict[str, tuple[Any, list[str]]] = {
    "a text": ("Who?", ["Question: Who?"]),
    "an image": (png(), ["Question:", "image"]),
    "an image and a text": ([jpeg(), "Who is it?"], ["Question:", "image", "Who is it?"]),
    "a text and an image": (["Who is it?", jpeg()], ["Question: Who is it?", "image"]),
    "a message": (HumanMessage("Who?"), ["Question: Who?"]),
    "a video": (["What is it?", mp4()], ["Question: What is it?", "video"]),
}


@pytest.mark.parametrize(("question", "expected"), QUESTIONS.values(), ids=QUESTIONS)
def test_questions_of_any_content(question: Any, expected: list[str], media: MediaStore, photo: Document) -> None:
    """A question is any content; its media are converted like those of the sources."""
    assert summary(to_message(question, [photo], media=media))[3:] == expected


def test_a_question_from_a_file(media: MediaStore, tmp_path: Path) -> None:
    """An image of a question is read from its path."""
    path = tmp_path / "board.jpg"
    path.write_bytes(jpeg(size=(4000, 30)))
    assert (
        summary(to_message([path, "Where is this explained?"], [], model="anthropic"))[-1] == "Where is this explained?"
    )


def test_the_media_of_hits(media: MediaStore, photo: Document) -> None:
    """The media store of hits is used by default."""
    hit = Hit(photo, 0.9, "cosine", 1, media=media)
    assert summary(to_message("Who?", [hit]))[1:3] == ["[puppy.png]\nour dog", "image"]
    assert to_blocks([hit]) == to_blocks([photo], media=media)


def test_media_without_a_store_are_an_error(photo: Document) -> None:
    """Media are not left out silently; a text-only model needs no store."""
    with pytest.raises(ValueError, match="media="):
        to_message("Who?", [photo])
    assert summary(to_message("Who?", [photo], model="text"))[1] == "[puppy.png]\nour dog"
    assert summary(to_message("Who?", [Document("It is Rex.")]))[1] == "[untitled]\nIt is Rex."


def test_an_invalid_question_is_an_error(media: MediaStore) -> None:
    """Defects of the question raise an error instead of a note."""
    with pytest.raises(ContentError, match="nothing"):
        to_message("  ", [], media=media)
    with pytest.raises(MissingMediaError):
        to_message(MediaRef("0" * 64), [], media=media)
    with pytest.raises(TypeError, match="str"):
        to_message("Who?", ["a text"], media=media)  # type: ignore[list-item]


def test_the_question_counts(media: MediaStore, photo: Document) -> None:
    """Media of the question are converted first, and their bytes count."""
    message = to_message([jpeg(), "Who?"], [photo], media=media, max_bytes=len(jpeg()) * 4 // 3 + 10)
    assert [word for word in summary(message) if word == "image"] == ["image"]
    assert summary(message)[-2:] == ["image", "Who?"]


async def test_async_messages_do_not_block_the_loop(library: tuple[list[Document], MediaStore]) -> None:
    """Media are converted in a thread, and the message is the same."""
    documents, media = library
    waits = []

    async def tick() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.005)
            waits.append(time.perf_counter() - started)

    ticking = asyncio.create_task(tick())
    message = await ato_message("Who?", documents, media=media)
    ticking.cancel()
    assert message.content == to_message("Who?", documents, media=media).content
    assert len(waits) > 3
