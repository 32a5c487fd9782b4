"""Reference blocks filled with bytes, within a budget; what cannot be shown is said in words."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_gemini_mm.content.parts import Part, to_parts
from langchain_gemini_mm.errors import (
    ContentError,
    GeminiMMError,
    MediaLimitError,
    MissingExtraError,
    MissingMediaError,
)
from langchain_gemini_mm.interfaces import MediaSource, Modality
from langchain_gemini_mm.rendering.model_capabilities import Place, accepts_of
from langchain_gemini_mm.rendering.pieces import Making, Piece
from langchain_gemini_mm.rendering.reference_blocks import Block, Reference, read_reference, text_block

KEPT_BYTES = 200_000
"""What is kept free for each later medium, at most half of what is left: enough for a picture."""

_NOUNS: Mapping[Modality, str] = {"image": "picture", "audio": "sound", "video": "video", "pdf": "PDF"}
_ENDINGS = {"application/pdf": "pdf", "audio/mp3": "mp3", "audio/wav": "wav", "video/mp4": "mp4", "video/webm": "webm"}
_NOT_IN_NAMES = re.compile(r"[^\w .,()&+-]+")
_LOG = logging.getLogger(__name__)


def expand_blocks(
    blocks: Sequence[Any],
    media: MediaSource | None,
    *,
    accepts: Any,
    place: Place = "message",
    max_bytes: int | None = None,
) -> list[Any]:
    """Put bytes in the places of reference blocks, as a chat model takes them.

    Segments and pages are cut out, pictures scaled down, other formats converted. The first blocks are served first; a
    little is kept free for the later ones. A video for a model that takes none becomes a few stills, a PDF pictures of
    its pages. What is not taken, does not fit, is missing or damaged becomes a text block that says so; the words that
    belong to it stand in the text block before it. Blocks without a reference are left as they are, and count.

    ```python
    from langchain_gemini_mm import MediaStore
    from langchain_gemini_mm.rendering import expand_blocks
    from langchain_gemini_mm.testing import png

    media = MediaStore.memory()
    block = {"type": "image", "url": media.put(png()).uri, "mime_type": "image/png"}
    (shown,) = expand_blocks([block], media, accepts="anthropic")
    assert shown["base64"] and shown["mime_type"] == "image/png"
    (said,) = expand_blocks([block], media, accepts="text")
    assert said == {"type": "text", "text": "(Not shown: a picture. This model takes none.)"}
    ```

    Args:
        blocks: of a message, the most relevant first.
        media: where the references lead.
        accepts: as in `accepts_of`.
        place: `"tool"` for the result of a tool: LangChain lets only `text`, `image` and `file` blocks through there,
            and some models read no media in it.
        max_bytes: of all media together, base64 counted; that of the model's family by default. 0 leaves all out.

    Raises:
        ValueError: no such family of models or place.
    """
    if place not in ("message", "tool"):
        raise ValueError(f"place must be 'message' or 'tool', got {place!r}")
    if max_bytes is not None and max_bytes < 0:
        raise ValueError(f"max_bytes must be at least 0, got {max_bytes!r}")
    family = accepts_of(accepts)
    left = (family.max_bytes if max_bytes is None else max_bytes) - sum(map(_held_bytes, blocks))
    references = [read_reference(block) for block in blocks]
    expansion = Expansion(Making(accepts=family, media=media, place=place), left, sum(map(bool, references)))
    expanded: list[Any] = []
    for block, reference in zip(blocks, references, strict=True):
        expanded += [block] if reference is None else expansion.of_reference(reference)
    return expanded


@dataclass
class Expansion:
    """The media of one message: what is left of its budget, and what it shows already."""

    making: Making
    left: int
    """Bytes, base64 counted."""
    waiting: int
    """How many media are yet to come, this one included."""
    _shown: set[str] = field(default_factory=set)

    def of_reference(self, reference: Reference) -> list[Block]:
        """The blocks for a reference; never none."""
        if reference.ref is None:
            self.waiting -= 1
            return [_not_shown("medium", reference.citation, "Its reference is malformed")]
        if reference.ref.uri in self._shown:
            self.waiting -= 1
            return [text_block(f"(Shown above{_of(reference.citation)}.)")]
        try:
            (part,) = to_parts(reference.ref, self.making.media)
        except Exception as error:  # noqa: BLE001  one bad medium must not cost the others
            self.waiting -= 1
            return [_failed(None, reference.citation, error)]
        blocks = self.of_part(part, reference.citation)
        if any(block["type"] != "text" for block in blocks):
            self._shown.add(reference.ref.uri)
        return blocks

    def of_part(self, part: Part, cited: str = "") -> list[Block]:
        """The blocks for a medium; never none."""
        self.waiting -= 1
        noun = _NOUNS[part.modality]
        allowed = self.left - min(self.waiting * KEPT_BYTES, self.left // 2)
        try:
            pieces = self.making.pieces(part, max(allowed, 0)) if self._may_fit(part) else None
        except Exception as error:  # noqa: BLE001  as above
            return [_failed(part.modality, cited, error)]
        if pieces is None:
            return [_not_shown(noun, cited, "There is no room left for it")]
        if not pieces:
            where = " in the results of tools" if self.making.accepts.takes(part.modality) else ""
            return [_not_shown(noun, cited, f"This model takes none{where}")]
        self.left -= sum(piece.encoded_bytes for piece in pieces)
        blocks: list[Block] = []
        for piece in pieces:
            blocks += [text_block(f"({piece.says}{_of(cited)})")] if piece.says else []
            blocks.append(_media_block(piece, self.making.place, cited))
        return blocks

    def _may_fit(self, part: Part) -> bool:
        """Without room nothing is opened; what is not taken is told as such all the same."""
        taken = self.making.accepts.takes
        kinds: tuple[Modality, ...] = {
            "video": ("video", "image", "audio"), "pdf": ("pdf", "image"), "audio": ("audio",)
        }.get(part.modality, ("image",))  # type: ignore[assignment]  # fmt: skip
        return self.left > 0 or not any(taken(kind, self.making.place) for kind in kinds)


def _media_block(piece: Piece, place: Place, cited: str) -> Block:
    encoded = base64.b64encode(piece.data).decode("ascii")
    block: Block = {"type": piece.modality, "base64": encoded, "mime_type": piece.mime_type}
    if piece.modality == "pdf" or (place == "tool" and piece.modality != "image"):
        block |= {"type": "file", "extras": {"filename": _file_name(cited, piece.mime_type)}}
    return block


def _file_name(cited: str, mime_type: str) -> str:
    """OpenAI wants a name for each file; models repeat it."""
    name = _NOT_IN_NAMES.sub("_", cited.strip("[]").rpartition("/")[2]).strip(" ._") or "file"
    ending = f".{_ENDINGS.get(mime_type, mime_type.rpartition('/')[2])}"
    return name if name.lower().endswith(ending) else f"{name}{ending}"


def _failed(modality: Modality | None, cited: str, error: Exception) -> Block:
    """Say it to the model in general words, for the message may name a place on this machine; the log has it all."""
    ours = isinstance(error, GeminiMMError)
    _LOG.warning("%s is not shown to the model: %s", cited or "a medium", error, exc_info=None if ours else error)
    noun = "medium" if modality is None else _NOUNS[modality]
    return _not_shown(noun, cited, next(words for kind, words in _REASONS if isinstance(error, kind)))


def _not_shown(noun: str, cited: str, reason: str) -> Block:
    which = f"the {noun} of {cited}" if cited else f"a {noun}"
    return text_block(f"(Not shown: {which}. {reason}.)")


def _of(cited: str) -> str:
    return f" of {cited}" if cited else ""


def _held_bytes(block: object) -> int:
    """Bytes that a block brings along."""
    if not isinstance(block, Mapping):
        return 0
    held = (block.get("base64"), block.get("data"))
    inner = block.get("image_url")
    url = inner.get("url") if isinstance(inner, Mapping) else inner
    return sum(len(value) for value in (*held, url) if isinstance(value, str | bytes))


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (MissingMediaError, "Its file is missing"),
    (MediaLimitError, "It is too large"),
    (MissingExtraError, "It cannot be opened here"),
    (ContentError, "Its file is damaged or has no such part"),
    (Exception, "Its file cannot be read"),
)
