"""Which media of a conversation a model call shows: within a budget, those of the question and the newest first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.rendering import Accepts, Place, expand_blocks
from langchain_gemini_mm.tools.attachments import Block, attachment_name, attachments, payload_of

Expand: TypeAlias = Callable[[Block, Accepts, Place, int], list[Block]]
"""Makes content blocks of a reference block, for a model and a place in the request, within so many bytes."""

DROPPED = "(not shown any more, to save space; search for it or open it again to see it)"
AGAIN = "(shown elsewhere in this conversation)"
BELOW = "(shown in the message behind the results)"
HEADING = "The media of the results above:"

_LEAST = 10_000
"""With fewer bytes left nothing more is shown."""


@dataclass(frozen=True, slots=True)
class _Shown:
    blocks: list[Block]
    apart: bool = False
    """In a message of its own, since the model does not take it within the result of a tool."""


@dataclass(frozen=True, slots=True)
class _Spot:
    message: int
    block: int
    ref: MediaRef
    content: Block = field(repr=False)
    in_tool: bool


def show_media(
    messages: Sequence[BaseMessage], expand: Expand, *, accepts: Accepts, max_bytes: int, keep: int
) -> list[BaseMessage]:
    """The conversation with media in the place of references; the messages given stay as they are.

    Args:
        messages: of the conversation.
        expand: makes content blocks of a reference block; it says in text what cannot be shown.
        accepts: what the model takes, and where.
        max_bytes: of all media together, as base64.
        keep: most media.
    """
    spots = list(_by_priority(messages))
    if not spots:
        return list(messages)
    shown: dict[tuple[int, int], _Shown] = {}
    seen: set[MediaRef] = set()
    left, count = max_bytes, 0
    for spot in spots:
        if spot.ref in seen:
            found = _Shown([_text(AGAIN)])
        elif accepts.max_bytes and (count >= keep or left < _LEAST):
            found = _Shown([_text(DROPPED)])
        else:
            found = _expanded(spot, expand, accepts, left)
            size = weight(found.blocks)
            left, count = left - size, count + (size > 0)
            seen.add(spot.ref)
        shown[spot.message, spot.block] = found
    return list(_written(messages, shown))


def _by_priority(messages: Sequence[BaseMessage]) -> Iterator[_Spot]:
    """References of the last question, then from the newest message to the oldest; within one as they stand."""
    asked = max((n for n, message in enumerate(messages) if isinstance(message, HumanMessage)), default=-1)
    order = sorted(range(len(messages)), key=lambda number: (number != asked, -number))
    for number in order:
        message = messages[number]
        if isinstance(message, HumanMessage | ToolMessage) and isinstance(message.content, list):
            for place, block in enumerate(message.content):
                ref = payload_of(block)
                if isinstance(block, dict) and isinstance(ref, MediaRef):
                    yield _Spot(number, place, ref, block, isinstance(message, ToolMessage))


def _expanded(spot: _Spot, expand: Expand, accepts: Accepts, left: int) -> _Shown:
    apart = spot.in_tool and bool(accepts.max_bytes) and not accepts.in_tools
    place: Place = "tool" if spot.in_tool and not apart else "message"
    return _Shown(expand(spot.content, accepts, place, left), apart)


def _written(messages: Sequence[BaseMessage], shown: Mapping[tuple[int, int], _Shown]) -> Iterator[BaseMessage]:
    names = {
        (number, place): attachment_name(count) for count, (number, place, _) in enumerate(attachments(messages), 1)
    }
    apart: list[Block] = []
    for number, message in enumerate(messages):
        if apart and not isinstance(message, ToolMessage):
            yield HumanMessage([_text(HEADING), *apart])
            apart = []
        if not any((number, place) in shown or (number, place) in names for place in range(len(message.content))):
            yield message
            continue
        content: list[Any] = []
        for place, block in enumerate(message.content):
            here = shown.get((number, place))
            if (number, place) in names:
                content.append(_text(f"[{names[number, place]}]"))
            if here is not None and here.apart:
                apart += [*_cited(block), *here.blocks]
                content.append(_text(BELOW))
            else:
                content += [block] if here is None else here.blocks
        yield message.model_copy(update={"content": content})
    if apart:
        yield HumanMessage([_text(HEADING), *apart])


def _cited(block: Any) -> list[Block]:
    said = (block.get("extras") or {}).get("citation")
    return [_text(said)] if said else []


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


KEPT_BYTES = 32_000_000
"""Of blocks held in memory, base64 counted."""


class _Made(NamedTuple):
    blocks: list[Block]
    size: int
    room: int
    """What there was room for when they were made; with more room they might have been larger."""


@dataclass
class Expansions:
    """Cuts and scales media for a model once; safe for threads.

    Args:
        media: where references lead.
        kept_bytes: of blocks held in memory.
    """

    media: MediaSource
    kept_bytes: int = KEPT_BYTES
    _made: OrderedDict[object, _Made] = field(init=False, default_factory=OrderedDict, repr=False)
    _lock: Lock = field(init=False, default_factory=Lock, repr=False)

    def blocks(self, block: Block, accepts: Accepts, place: Place, room: int) -> list[Block]:
        """Content blocks for a reference block, within `room` bytes, base64 counted; words where it cannot be shown."""
        key = (block.get("url"), str(block.get("extras")), accepts, place)
        with self._lock:
            known = self._made.get(key)
            if known is not None:
                self._made.move_to_end(key)
        if known is not None and known.size <= room and (room <= known.room or known.size < known.room // 2):
            return known.blocks
        blocks = expand_blocks([block], self.media, accepts=accepts, place=place, max_bytes=room)
        self._keep(key, _Made(blocks, weight(blocks), room))
        return blocks

    def _keep(self, key: object, made: _Made) -> None:
        """Words are not kept: what is missing now may be there the next time."""
        if not made.size:
            return
        with self._lock:
            self._made[key] = made
            self._made.move_to_end(key)
            while self._made and sum(other.size for other in self._made.values()) > self.kept_bytes:
                self._made.popitem(last=False)


def weight(blocks: Iterable[Any]) -> int:
    """Bytes of the media in content blocks, base64 counted."""
    return sum(len(block.get("base64", "")) for block in blocks if isinstance(block, dict))
