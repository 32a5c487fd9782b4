"""What can be set on the emulator, with defaults that behave like the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_gemini_mm.models import INLINE_BYTES

if TYPE_CHECKING:
    import random

Latency: TypeAlias = "float | tuple[float, float] | Callable[[], float]"
"""Seconds per answer: fixed, drawn from a range, or asked for each time."""


@dataclass(kw_only=True)
class Settings:
    """Every knob of the emulator; may be changed while it runs."""

    api_key: str = "emulator-key"
    """The only key that is accepted."""
    latency: Latency = 0.0
    """Seconds from the arrival of an embedding request to its answer."""
    seed: int = 0
    """Seed of random latencies and failures."""
    rpm: int | None = None
    """Requests per minute; every item of a batch counts."""
    tpm: int | None = None
    """Input tokens per minute."""
    rpd: int | None = None
    """Requests per day; every item of a batch counts."""
    minute: float = 60.0
    """Seconds that "per minute" means, so that a test need not wait for one."""
    day: float = 86_400.0
    """Seconds that "per day" means."""
    clock: Callable[[], float] = time.monotonic
    """Where quotas and files read the time, in seconds."""
    failure_rate: float = 0.0
    """Share of embedding requests that fail at random, 0 to 1."""
    failures: Sequence[object] = (429, 503)
    """What they fail with: anything `fail_next` takes."""
    modality_gap: float = 0.3
    """How far apart modalities lie whatever they show, 0 to 1."""
    long_text: Literal["truncate", "error"] = "truncate"
    """What the Gemini API does with text over the token limit. Vertex truncates."""
    unsupported_mime: Literal["error", "empty"] = "error"
    """Answer to a type the model does not take: status 400, or status 200 with an embedding that has no values."""
    images_per: Literal["content", "call"] = "content"
    """What the six-image limit counts."""
    inline_bytes: int = INLINE_BYTES
    """Largest request body with inline data, in bytes."""
    file_processing: float = 0.0
    """Seconds an uploaded file stays in state PROCESSING."""
    keep_requests: int = 1000
    """How many requests are remembered, newest last; 0 for none."""
    keep_bytes: int = 32_000_000
    """How many bytes of inline media the remembered requests keep in total; later ones are kept as size and hash."""

    def __post_init__(self) -> None:
        if not 0 <= self.modality_gap <= 1:
            raise ValueError(f"modality_gap must be within 0 and 1, got {self.modality_gap!r}")
        if not 0 <= self.failure_rate <= 1:
            raise ValueError(f"failure_rate must be within 0 and 1, got {self.failure_rate!r}")

    def draw_latency(self, dice: random.Random) -> float:
        """Seconds to wait before the next answer."""
        if callable(self.latency):
            return float(self.latency())
        if isinstance(self.latency, tuple):
            return dice.uniform(*self.latency)
        return float(self.latency)
