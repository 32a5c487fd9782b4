"""References made into content blocks, kept for the next model call, which shows most of them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from langchain_gemini_mm.interfaces import MediaSource
from langchain_gemini_mm.rendering import Accepts, Place, expand_blocks
from langchain_gemini_mm.tools.attachments import Block

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
