"""Selection of the media that a model call shows."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_gemini_mm import MediaStore
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import Accepts, Place, accepts_of
from langchain_gemini_mm.testing import png
from langchain_gemini_mm.testing.samples import drawings
from langchain_gemini_mm.tools.media_budget import DROPPED, REPEATED, BlockCache, media_size, show_media
from tests.tools.chat import text_in

GEMINI = accepts_of("gemini")
SIZE = 20_000


def ref(number: int) -> MediaRef:
    """Make a reference from a number."""
    return MediaRef(f"{number:064x}")


def block(number: int) -> dict[str, Any]:
    """Make the block of a reference."""
    return {"type": "file", "url": ref(number).uri, "mime_type": "video/mp4"}


def result(*numbers: int) -> ToolMessage:
    """Make a tool result."""
    return ToolMessage([block(number) for number in numbers], tool_call_id="1")


def expand(block: dict[str, Any], accepts: Accepts, place: Place, room: int) -> list[dict[str, Any]]:
    """Expand every reference to 20 kB."""
    return [{"type": "file", "base64": "A" * SIZE, "mime_type": "video/mp4", "was": block}]


def shown(messages: list[BaseMessage], *, room: int = 10**9, keep: int = 10**9) -> list[list[Any]]:
    """Return the numbers of the media of each message, and the text of what is not shown."""
    written = show_media(messages, expand, accepts=GEMINI, max_bytes=room, keep=keep)
    return [
        [int(b["was"]["url"][-3:], 16) if "was" in b else b["text"] for b in m.content if isinstance(b, dict)]
        for m in written
        if isinstance(m.content, list)
    ]


def test_the_newest_results_are_kept() -> None:
    """Older media are dropped first, and within a result the best hits are kept."""
    messages = [HumanMessage("?"), AIMessage(""), result(1, 2), AIMessage(""), result(3, 4)]
    assert shown(messages, keep=3) == [[1, DROPPED], [3, 4]]
    assert shown(messages, keep=1) == [[DROPPED, DROPPED], [3, DROPPED]]
    assert shown(messages) == [[1, 2], [3, 4]]


def test_the_question_keeps_its_attachments() -> None:
    """Attachments of the last question have priority over results; earlier attachments do not."""
    messages = [HumanMessage([block(1)]), AIMessage(""), HumanMessage([block(2)]), AIMessage(""), result(3), result(4)]
    assert shown(messages, keep=2) == [["[attachment:1]", DROPPED], ["[attachment:2]", 2], [DROPPED], [4]]


def test_bytes_are_bounded() -> None:
    """Media beyond the number of bytes are dropped without being opened."""
    messages: list[BaseMessage] = [HumanMessage("?"), result(1), result(2), result(3)]
    assert shown(messages, room=2 * SIZE + 1000) == [[DROPPED], [2], [3]]
    written = show_media(messages, expand, accepts=GEMINI, max_bytes=2 * SIZE, keep=9)
    assert sum(media_size(m.content) for m in written) == 2 * SIZE


def test_repeated_media_are_shown_once() -> None:
    """A medium that occurs twice is shown once, in the newest message."""
    assert shown([HumanMessage("?"), result(1, 2), result(2)]) == [[1, REPEATED], [2]]


def test_messages_without_media_are_the_same() -> None:
    """Messages without media are not copied, and the given messages are not changed."""
    messages = [HumanMessage("?"), AIMessage([{"type": "text", "text": "!"}]), result(1)]
    before = [message.model_copy(deep=True) for message in messages]
    written = show_media(messages, expand, accepts=GEMINI, max_bytes=10**9, keep=9)
    assert [new is old for new, old in zip(written, messages, strict=True)] == [True, True, False]
    assert messages == before
    assert show_media(messages[:2], expand, accepts=GEMINI, max_bytes=10**9, keep=9) == messages[:2]


def test_media_follow_parallel_results() -> None:
    """Where tool results cannot hold media, these follow the last of several parallel results."""
    messages = [HumanMessage("?"), AIMessage(""), result(1), result(2), AIMessage("!"), HumanMessage("and?")]
    written = show_media(messages, expand, accepts=accepts_of("openai"), max_bytes=10**9, keep=9)
    assert [message.type for message in written] == ["human", "ai", "tool", "tool", "human", "ai", "human"]
    assert [b["was"]["url"] for b in written[4].content if "was" in b] == [ref(1).uri, ref(2).uri]  # type: ignore[index]
    assert "shown in the message after" in text_in(written[2:4])


def test_blocks_are_cached(media: MediaStore) -> None:
    """Blocks are cached for the next call, and made again when less room is left."""
    image = media.put(png(image=drawings.puppy()))
    cache = BlockCache(media)
    given = {"type": "image", "url": image.uri, "mime_type": "image/png"}
    first = cache.expand(given, GEMINI, "message", 10**6)
    assert cache.expand(given, GEMINI, "message", 10**6) is first
    assert cache.expand(given, GEMINI, "message", media_size(first)) is first
    assert media_size(cache.expand(given, GEMINI, "message", media_size(first) - 1)) < media_size(first)


def test_memory_is_bounded(media: MediaStore) -> None:
    """The cache stays within its memory, and does not keep missing media."""
    images = [media.put(png(str(number))) for number in range(5)]
    given = [{"type": "image", "url": image.uri, "mime_type": "image/png"} for image in images]
    size = media_size(BlockCache(media).expand(given[0], GEMINI, "message", 10**6))
    cache = BlockCache(media, max_bytes=3 * size)
    made = [cache.expand(one, GEMINI, "message", 10**6) for one in given]
    again = [cache.expand(one, GEMINI, "message", 10**6) for one in given[::-1]]
    assert sum(new is old for new, old in zip(again[::-1], made, strict=True)) in (2, 3)
    gone = {"type": "image", "url": ref(1).uri, "mime_type": "image/png"}
    assert cache.expand(gone, GEMINI, "message", 10**6) is not cache.expand(gone, GEMINI, "message", 10**6)
