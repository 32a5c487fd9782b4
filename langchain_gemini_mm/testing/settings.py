"""Settings of the emulator; the defaults behave like the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from langchain_gemini_mm.models import INLINE_BYTES
from langchain_gemini_mm.testing.quotas import WindowKind
from langchain_gemini_mm.validation import number_in

if TYPE_CHECKING:
    import random

Latency: TypeAlias = "float | tuple[float, float] | Callable[[], float]"
"""Seconds per response: a number, a range to draw from, or a function."""


@dataclass(kw_only=True)
class Settings:
    """Settings of a `GeminiEmulator`; they may be changed while it runs."""

    api_key: str = "emulator-key"
    """The accepted API key."""
    latency: Latency = 0.0
    """Seconds from the arrival of an embedding request to its response."""
    seed: int = 0
    """Seed of random latencies and failures."""
    rpm: int | None = None
    """Quota of requests per minute; each item of a batch counts. None for no quota."""
    tpm: int | None = None
    """Quota of input tokens per minute; None for no quota."""
    rpd: int | None = None
    """Quota of requests per day; each item of a batch counts. None for no quota."""
    minute: float = 60.0
    """Seconds of a quota minute; tests make it shorter."""
    quota_window: WindowKind = "sliding"
    """How quotas are counted: in any 60 seconds, in fixed minutes, or as a bucket that refills continuously."""
    retry_after_header: bool = False
    """Whether the 429 of a quota has a `Retry-After` header instead of RetryInfo, as from a gateway."""
    day: float = 86_400.0
    """Seconds of a quota day."""
    clock: Callable[[], float] = time.monotonic
    """The clock of quotas and files, in seconds."""
    failure_rate: float = 0.0
    """Share of embedding requests that fail at random, 0 to 1."""
    failures: Sequence[object] = (429, 503)
    """Their failures, as for `fail_next`."""
    modality_gap: float = 0.3
    """Distance between modalities that is independent of the content, 0 to 1."""
    long_text: Literal["truncate", "error"] = "truncate"
    """What the Gemini API does with text over the token limit; Vertex AI truncates it."""
    unsupported_mime: Literal["error", "empty"] = "error"
    """Response for an unsupported MIME type: status 400, or status 200 with an embedding without values."""
    images_per: Literal["content", "call"] = "content"
    """Whether the limit of six images applies to a content or to a whole request."""
    inline_bytes: int = INLINE_BYTES
    """Largest request body with inline data, in bytes."""
    file_processing: float = 0.0
    """Seconds for which an uploaded file is in state PROCESSING."""
    prepared: bool = False
    """Whether requests of the same size get the same response, made once; for measuring the speed of clients."""
    keep_requests: int = 1000
    """Most requests that are recorded; 0 for none."""
    keep_bytes: int = 32_000_000
    """Most bytes of inline media in recorded requests; of further media size and hash are recorded."""

    def __post_init__(self) -> None:
        for name in ("modality_gap", "failure_rate"):
            number_in(name, getattr(self, name), 0, 1)

    def draw_latency(self, dice: random.Random) -> float:
        """Draw the seconds until the next response."""
        if callable(self.latency):
            return float(self.latency())
        if isinstance(self.latency, tuple):
            return dice.uniform(*self.latency)
        return float(self.latency)
