"""Media in the messages of a conversation: what the user attached and what tools returned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from langchain_gemini_mm.content.blocks import InlineMedia, read_block
from langchain_gemini_mm.content.parts import to_parts
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import MediaRef

if TYPE_CHECKING:
    from langchain_gemini_mm.storage import MediaStore


Block: TypeAlias = dict[str, Any]
"""A LangChain content block."""

MessageT = TypeVar("MessageT", bound=BaseMessage)

_NAME = re.compile(r"\W*attachment[\s:_#]*(?P<number>[0-9]{1,4})\W*", re.IGNORECASE)

REFERENCES_FOR: ContextVar[str | None] = ContextVar("references_for", default=None)
"""Name of the tool that must return references instead of bytes; set by `MediaMiddleware` around a tool call.

It is a name and not a flag because the tool may run another agent, whose tools must return bytes.
"""


class MediaBlock(NamedTuple):
    """A content block with media, and its position in the conversation."""

    message: int
    """Index of the message, from 0."""
    position: int
    """Index of the block in its message, from 0."""
    block: Block
    payload: MediaRef | InlineMedia
    in_tool_result: bool


def media_blocks(messages: Sequence[Any]) -> Iterator[MediaBlock]:
    """List the media of the user's messages and of tool results, in the order of the conversation."""
    for index, message in enumerate(messages):
        if not isinstance(message, HumanMessage | ToolMessage) or isinstance(message.content, str):
            continue
        for position, block in enumerate(message.content):
            payload = media_payload(block)
            if payload is not None and isinstance(block, dict):
                yield MediaBlock(index, position, block, payload, isinstance(message, ToolMessage))


def media_payload(block: object) -> MediaRef | InlineMedia | None:
    """Return the media of a content block; None for other content, for remote addresses and for unknown types."""
    if not isinstance(block, Mapping) or block.get("type") == "text":
        return None
    try:
        payloads = read_block(block)
    except ContentError:
        return None
    return payloads[0] if len(payloads) == 1 and not isinstance(payloads[0], str) else None


def attachment_name(number: int) -> str:
    """Return the name by which the model refers to an attachment; `number` counts from 1."""
    return f"attachment:{number}"


def attachment_number(name: str) -> int | None:
    """Read the number of `attachment:1`, also from the variants that models write; None for anything else."""
    match = _NAME.fullmatch(name)
    return int(match["number"]) if match else None


def with_references(message: MessageT, media: MediaStore) -> MessageT:
    """Store the media of a message and return it with references in their place.

    Blocks that `media` does not accept, such as text files and links, are kept. A message without media is returned
    itself, not a copy.

    Raises:
        StoreError: `media` cannot be written.
    """
    if isinstance(message.content, str):
        return message
    content: list[Any] = []
    changed = False
    for block in message.content:
        stored = _stored_block(block, media) if isinstance(media_payload(block), InlineMedia) else None
        content.append(block if stored is None else stored)
        changed = changed or stored is not None
    return message.model_copy(update={"content": content}) if changed else message


def _stored_block(block: Any, media: MediaStore) -> Block | None:
    """Store the bytes of a block and return a reference block; None where `media` does not accept them."""
    try:
        (part,) = to_parts(block)
        if part.data is None:  # a text file
            return None
        ref = media.put(part.data)
        mime_type = media.info(ref).mime_type
    except ContentError:
        return None
    # LangChain accepts only `text`, `image` and `file` blocks in tool results.
    return {"type": "image" if mime_type.startswith("image/") else "file", "url": ref.uri, "mime_type": mime_type}
