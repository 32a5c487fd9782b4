"""Selection of the media that a model call shows: within a budget, those of the last question, then the newest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import Accepts, Place, expand_blocks
from langchain_gemini_mm.tools.attachments import Block, MediaBlock, attachment_name, media_blocks

Expand: TypeAlias = Callable[[Block, Accepts, Place, int], list[Block]]
"""Returns content blocks for a reference block, a model, a place in the request and a number of bytes."""

DROPPED = "(no longer shown, to save space; search for it or open it again to see it)"
REPEATED = "(shown elsewhere in this conversation)"
MOVED = "(shown in the message after the results)"
MOVED_UP = "(shown with the question)"
HEADING = "The media of the results above:"
HEADING_UP = "The media of the results of tools that follow:"

CACHED_BYTES = 32_000_000
"""Default memory for expanded blocks, base64 included."""

_MIN_BYTES = 10_000
"""With fewer bytes left, no further media are shown."""


def show_media(
    messages: Sequence[BaseMessage], expand: Expand, *, accepts: Accepts, max_bytes: int, keep: int
) -> list[BaseMessage]:
    """Return the conversation with media in place of references; the given messages are not changed.

    Media of the last question are shown first, then those of the newest messages, until the budget is used up. Each
    attachment of the user is preceded by its name, such as `[attachment:1]`.

    Args:
        messages: the conversation, oldest message first.
        expand: returns the content blocks of a reference block, or text that says why it is not shown.
        accepts: what the model accepts, and where.
        max_bytes: bytes of all media together, base64 included.
        keep: most media that are shown.
    """
    found = list(media_blocks(messages))
    references = [(block, block.payload) for block in found if isinstance(block.payload, MediaRef)]
    if not references:
        return list(messages)
    question = max((i for i, message in enumerate(messages) if isinstance(message, HumanMessage)), default=-1)
    references.sort(key=lambda item: (item[0].message != question, -item[0].message))
    takes_media = bool(accepts.max_bytes)
    shown: dict[tuple[int, int], list[Block]] = {}
    moved: dict[tuple[int, int], list[Block]] = {}
    seen: set[MediaRef] = set()
    left, number, images = max_bytes, 0, 0
    for block, ref in references:
        at = (block.message, block.position)
        if ref in seen:
            shown[at] = [_text(REPEATED)]
        elif takes_media and (number >= keep or left < _MIN_BYTES):
            shown[at] = [_text(DROPPED)]
        else:
            # Some models accept no media in tool results: these follow in a message of the user.
            is_moved = block.in_tool_result and takes_media and not accepts.in_tools
            blocks = expand(block.block, accepts, "tool" if block.in_tool_result and not is_moved else "message", left)
            size = media_size(blocks)
            added = sum(block.get("type") == "image" for block in blocks)
            if accepts.max_images is not None and images + added > accepts.max_images:
                shown[at] = [_text(DROPPED)]
                continue
            left, number, images = left - size, number + (size > 0), images + added
            seen.add(ref)
            shown[at] = [_text(MOVED if accepts.user_after_tools else MOVED_UP)] if is_moved else blocks
            if is_moved:
                moved[at] = blocks
    written = _Rewriting(found, shown, moved, up=not accepts.user_after_tools).messages(messages)
    return written if accepts.in_tools else [_with_plain_text(message) for message in written]


def _with_plain_text(message: BaseMessage) -> BaseMessage:
    """The result of a tool as a string, where only text is left in it: many servers take nothing else."""
    if not isinstance(message, ToolMessage) or isinstance(message.content, str):
        return message
    texts = [block if isinstance(block, str) else block.get("text") for block in message.content if _is_text(block)]
    if len(texts) < len(message.content):
        return message
    return message.model_copy(update={"content": "\n".join(map(str, texts))})


def _is_text(block: object) -> bool:
    return isinstance(block, str) or (isinstance(block, dict) and block.get("type") == "text")


@dataclass(frozen=True)
class _Rewriting:
    """Replaces blocks of messages, and moves those that tool results cannot hold."""

    found: Sequence[MediaBlock]
    shown: Mapping[tuple[int, int], list[Block]]
    moved: Mapping[tuple[int, int], list[Block]]
    up: bool
    """Whether moved blocks are added to the question before the tool results; else a message after these has them."""

    def messages(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Return the messages with blocks replaced; moved blocks follow the last of several tool results."""
        with_media = {block.message for block in self.found}
        numbers = count(1)
        written: list[BaseMessage] = []
        waiting: list[Block] = []
        question: int | None = None
        for index, message in enumerate(messages):
            if waiting and not isinstance(message, ToolMessage):
                self._place(written, waiting, question)
                waiting = []
            if isinstance(message, HumanMessage):
                question = len(written)
            if index not in with_media:
                written.append(message)
                continue
            content: list[Any] = []
            for position, blocks in enumerate(self._blocks(index, message, numbers)):
                content += blocks
                waiting += self._cited(message, index, position)
            written.append(message.model_copy(update={"content": content}))
        if waiting:
            self._place(written, waiting, question)
        return written

    def _blocks(self, index: int, message: BaseMessage, numbers: Iterator[int]) -> Iterator[list[Any]]:
        """The blocks of a message after replacement, for each position; attachments of the user have their names."""
        attached = {block.position for block in self.found if block.message == index and not block.in_tool_result}
        for position, block in enumerate(message.content):
            named = [_text(f"[{attachment_name(next(numbers))}]")] if position in attached else []
            yield [*named, *self.shown.get((index, position), [block])]

    def _cited(self, message: BaseMessage, index: int, position: int) -> list[Block]:
        """The moved blocks of a position, after their citation."""
        blocks = self.moved.get((index, position))
        if blocks is None:
            return []
        block: Any = message.content[position]
        cited = (block.get("extras") or {}).get("citation") if isinstance(block, dict) else None
        return [*([_text(cited)] if cited else []), *blocks]

    def _place(self, written: list[BaseMessage], blocks: list[Block], question: int | None) -> None:
        """Add moved blocks to the question, or as a message of their own."""
        if not self.up or question is None:
            written.append(HumanMessage([_text(HEADING), *blocks]))
            return
        asked = written[question]
        content = [_text(asked.content)] if isinstance(asked.content, str) else list(asked.content)
        written[question] = asked.model_copy(update={"content": [*content, _text(HEADING_UP), *blocks]})


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


class _CachedBlocks(NamedTuple):
    blocks: list[Block]
    size: int
    """Bytes, base64 included."""
    room: int
    """Bytes that were available when the blocks were made; with more, they might have been larger."""


@dataclass
class BlockCache:
    """Content blocks made for reference blocks, so that media are cut and scaled once; thread-safe.

    Args:
        media: holds what the references name.
        max_bytes: memory for blocks, base64 included.
    """

    media: MediaSource
    max_bytes: int = CACHED_BYTES
    _cached: OrderedDict[object, _CachedBlocks] = field(init=False, default_factory=OrderedDict, repr=False)
    _size: int = field(init=False, default=0, repr=False)
    _lock: Lock = field(init=False, default_factory=Lock, repr=False)

    def expand(self, block: Block, accepts: Accepts, place: Place, max_bytes: int) -> list[Block]:
        """Return content blocks for a reference block, or text where it cannot be shown.

        Args:
            block: names media by reference.
            accepts: what the model accepts.
            place: where the blocks are sent.
            max_bytes: bytes that are available, base64 included.
        """
        key = (block.get("url"), str(block.get("extras")), accepts, place)
        with self._lock:
            known = self._cached.get(key)
            if known is not None:
                self._cached.move_to_end(key)
        if known is not None and known.size <= max_bytes and (max_bytes <= known.room or known.size < known.room // 2):
            return known.blocks
        blocks = expand_blocks([block], self.media, accepts=accepts, place=place, max_bytes=max_bytes)
        size = media_size(blocks)
        if size:  # text is not cached: missing media may be there next time
            with self._lock:
                replaced = self._cached.pop(key, None)
                self._cached[key] = _CachedBlocks(blocks, size, max_bytes)
                self._size += size - (replaced.size if replaced else 0)
                while self._size > self.max_bytes:
                    self._size -= self._cached.popitem(last=False)[1].size
        return blocks


def media_size(blocks: Iterable[Any]) -> int:
    """Return the bytes of the media in content blocks, base64 included."""
    return sum(len(block.get("base64", "")) for block in blocks if isinstance(block, dict))
