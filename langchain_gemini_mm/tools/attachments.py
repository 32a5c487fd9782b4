"""Media in the messages of a conversation: what the user attached, and what tools returned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage

from langchain_gemini_mm.content.blocks import Base64Payload, block_payload
from langchain_gemini_mm.content.parts import to_parts
from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.references import MediaRef

if TYPE_CHECKING:
    from langchain_gemini_mm.storage import MediaStore


Block: TypeAlias = dict[str, Any]
MessageT = TypeVar("MessageT", bound=BaseMessage)

_NAME = re.compile(r"\W*attachment[\s:_#]*(?P<number>[0-9]{1,4})\W*", re.IGNORECASE)


def payload_of(block: object) -> MediaRef | Base64Payload | None:
    """The media a content block carries; None for text, for what lies elsewhere, and for what is not understood."""
    if not isinstance(block, Mapping):
        return None
    try:
        payload = block_payload(block)
    except ContentError:
        return None
    return None if isinstance(payload, str) else payload


def attachments(messages: Sequence[Any]) -> Iterator[tuple[int, int, Block]]:
    """The media of the user's messages in the order of the conversation: message, place in it, block."""
    for number, message in enumerate(messages):
        if isinstance(message, HumanMessage) and isinstance(message.content, list):
            for place, block in enumerate(message.content):
                if isinstance(block, dict) and payload_of(block) is not None:
                    yield number, place, block


def attachment_name(number: int) -> str:
    """What an attachment is called towards the model; `number` counts from 1."""
    return f"attachment:{number}"


def attachment_number(name: str) -> int | None:
    """The number in `attachment:1`, or in what models make of it; None for anything else."""
    match = _NAME.fullmatch(name)
    return int(match["number"]) if match else None


def reference_block(ref: MediaRef, mime_type: str) -> Block:
    """A content block that names stored media, of a type that may stand in a tool's result."""
    kind = "image" if mime_type.startswith("image/") else "file"
    return {"type": kind, "url": ref.uri, "mime_type": mime_type}


def with_references(message: MessageT, media: MediaStore) -> MessageT | None:
    """The message with its media put into `media` and named by reference; None when it holds none.

    What `media` does not take, such as a text file or a link, stays as it is.

    Raises:
        StoreError: `media` cannot be written.
    """
    if not isinstance(message.content, list):
        return None
    content = [_stored(block, media) for block in message.content]
    if all(new is old for new, old in zip(content, message.content, strict=True)):
        return None
    return message.model_copy(update={"content": content})


def all_with_references(messages: Sequence[AnyMessage], media: MediaStore) -> list[AnyMessage]:
    """Those of the user's messages that held media, with references in their place."""
    found = (with_references(message, media) for message in messages if isinstance(message, HumanMessage))
    return [message for message in found if message is not None]


def _stored(block: Any, media: MediaStore) -> Any:
    if not isinstance(payload_of(block), Base64Payload):
        return block
    try:
        (part,) = to_parts(block)
        if part.data is None:  # a text file
            return block
        ref = media.put(part.data)
        return reference_block(ref, media.info(ref).mime_type)
    except ContentError:
        return block


_REFERENCES: ContextVar[str | None] = ContextVar("media_references", default=None)
"""Name of the tool that is to return references; tools of an agent that this one asks in turn are not meant."""


@contextmanager
def references_wanted(tool: str) -> Iterator[None]:
    """Have the tool of this name, called within, return references instead of bytes."""
    token = _REFERENCES.set(tool)
    try:
        yield
    finally:
        _REFERENCES.reset(token)


def are_references_wanted(given: bool | None, tool: str) -> bool:
    """Whether a tool is to return references: as `given`, else as the middleware around its call wants it."""
    return _REFERENCES.get() == tool if given is None else given


def messages_in(runtime: Any) -> Sequence[Any]:
    """The messages of the conversation that a tool node hands over; none outside of an agent."""
    state = getattr(runtime, "state", None)
    if isinstance(state, Mapping):
        state = state.get("messages", ())
    elif state is not None and not isinstance(state, list):
        state = getattr(state, "messages", ())
    return state if isinstance(state, list | tuple) else ()
