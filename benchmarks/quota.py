"""How much of a quota is used in two minutes, how many requests are refused, and a first run on the free tier.

The emulator enforces 3,000 requests (contents) and 1,000,000 tokens per minute, and names them in its 429 responses.
With --quick a minute has 20 seconds.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.media import small_images
from benchmarks.report import Row
from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.testing import GeminiEmulator

LATENCY = 0.1
FREE_RPM, FREE_TPM = 100, 30_000
MINUTES = 2
SHARE_AIM, REFUSED_AIM = 0.97, 2
_CHARACTERS = {"requests": 40, "tokens": 8_000}
"""Length of the texts by the quota that binds."""
_WORDS = ["river", "mountain", "graph", "bread", "sound", "music", "invoice", "revenue", "table", "harbour"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The quota, seconds of a minute, and contents of the run on the free tier."""

    requests: int = 3_000
    tokens: int = 1_000_000
    minute: float
    free_texts: int
    free_images: int
    free_minute: float


FULL = Size(minute=60.0, free_texts=1000, free_images=100, free_minute=6.0)
QUICK = Size(minute=20.0, free_texts=200, free_images=20, free_minute=1.0)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure all combinations at the same time, then the free tier."""
    yield from asyncio.run(_shares(size))
    yield from asyncio.run(_free_tier(size))


async def _shares(size: Size) -> list[Row]:
    cases = [(bound, learnt) for bound in _CHARACTERS for learnt in (False, True)]
    return await asyncio.gather(*(_share(bound, learnt, size) for bound, learnt in cases))


async def _share(bound: str, learnt: bool, size: Size) -> Row:
    """Embed for two minutes more texts than the quota allows."""
    limits: dict[str, Any] = {} if learnt else {"requests_per_minute": size.requests, "tokens_per_minute": size.tokens}
    enough = size.requests if bound == "requests" else 4 * size.tokens // _CHARACTERS["tokens"]
    texts = _texts((MINUTES + 1) * enough, _CHARACTERS[bound])
    async with _embeddings(size.minute, size.requests, size.tokens, limits) as (emulator, embeddings):
        with suppress(TimeoutError):
            await asyncio.wait_for(embeddings.aembed_documents(texts), MINUTES * size.minute)
        usage, refused = embeddings.usage, _refused(emulator)
    share = max(usage.items / size.requests, usage.reported_tokens / size.tokens) / MINUTES
    return Row(
        measured=f"share used of {MINUTES} minutes, {bound} bind, {'learnt' if learnt else 'configured'}",
        against="quota",
        ratio=f"{share:.3f}",
        aim=f"≥ {SHARE_AIM:.2f}",
        met=share >= SHARE_AIM and refused <= REFUSED_AIM,
        note=f"{refused} refused requests; at most {REFUSED_AIM} are allowed",
    )


async def _free_tier(size: Size) -> list[Row]:
    """Embed texts and images with default settings, where nothing about the quota is configured."""
    with tempfile.TemporaryDirectory() as folder:
        contents: list[str | Path] = [
            *_texts(size.free_texts, 100),
            *small_images(Path(folder), size.free_images),
        ]
        async with _embeddings(size.free_minute, FREE_RPM, FREE_TPM, {}) as (emulator, embeddings):
            started = time.perf_counter()
            vectors = await embeddings.aembed_documents(contents)
            minutes = (time.perf_counter() - started) / size.free_minute
            refused = _refused(emulator)
            paid = emulator.embedded / len(vectors)
    least = len(contents) / FREE_RPM - 1
    return [
        Row(
            measured=f"first run of {len(contents)} contents on the free tier: contents paid",
            against="vectors returned",
            ratio=f"{paid:.2f}",
            aim="≤ 1.00",
            met=paid <= 1,
            note=f"{refused} refused requests",
        ),
        Row(measured="minutes of that", against="least possible", ratio=f"{minutes / least:.2f}"),
    ]


@asynccontextmanager
async def _embeddings(
    minute: float, rpm: int, tpm: int, limits: dict[str, Any]
) -> AsyncIterator[tuple[GeminiEmulator, GeminiEmbeddings]]:
    """Yield embeddings that know how long a minute is, and the emulator that answers them."""
    with GeminiEmulator(latency=LATENCY, rpm=rpm, tpm=tpm, minute=minute, keep_bytes=0) as emulator:
        async with GeminiEmbeddings(
            api_key=emulator.api_key, base_url=emulator.url, output_dimensionality=128, **limits
        ) as embeddings:
            pipeline = embeddings._pipeline
            quota = pipeline.service.quota(pipeline.settings.spec.name)
            quota._window_s = minute
            await embeddings.aembed_query("connect")
            emulator.reset()
            embeddings.reset_usage()
            yield emulator, embeddings


def _refused(emulator: GeminiEmulator) -> int:
    return sum(request.status == 429 for request in emulator.embed_requests)


def _texts(count: int, characters: int) -> Sequence[str]:
    rng = random.Random(1)
    return [f"{number} {' '.join(rng.choices(_WORDS, k=characters // 7))}"[:characters] for number in range(count)]
