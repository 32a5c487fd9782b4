"""Long runs under every kind of failure at once: no wrong vector, nothing paid twice without reason."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import GeminiEmbeddings, GeminiMMError
from langchain_gemini_mm.interfaces import Vectors
from langchain_gemini_mm.testing import Failure, GeminiEmulator

if TYPE_CHECKING:
    from types import FrameType

FAULTS = (
    Failure(status=429, retry_delay=0.02),
    Failure(status=429),
    Failure(status=503),
    Failure(status=500),
    Failure(cut="before"),
    Failure(cut="middle"),
    *(Failure(damage=damage) for damage in ("short", "extra", "missing", "empty", "nan", "zero", "malformed", "html")),
    Failure(delay=2.0),
)
CALL = 1000
"""Inputs of a call."""
LATE_S = 1.0
"""The time-out; a response that is later may have been paid."""


@contextmanager
def interrupted(seconds: float) -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the main thread after some seconds, unless the block has ended."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def cancelled(ours: GeminiEmbeddings, texts: list[str], seconds: float) -> None:
    """Cancel a call after some seconds."""
    try:
        async with asyncio.timeout(seconds):
            await ours.aembed(texts)
    except TimeoutError:
        pass


def whole(ours: GeminiEmbeddings, texts: list[str], how: Callable[[list[str]], Vectors]) -> Vectors:
    """Call until every input has its vector; what a call has paid is in the cache."""
    for _ in range(20):
        try:
            return how(texts)
        except GeminiMMError as error:
            if ours.cache is None:
                raise AssertionError from error
    raise AssertionError("twenty calls have failed")


@pytest.mark.slow
@pytest.mark.soak
# An interrupt may come while a callback of the garbage collector runs, which cannot raise it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_failure_at_once(rounds: Callable[..., Iterator[int]], request: pytest.FixtureRequest) -> None:
    """Threads and tasks, interrupts and cancellations: all vectors are right, and usage bounds what was paid."""
    count = 100_000 if request.config.getoption("--soak-seconds") else 2_000
    texts = [f"text number {n}" for n in range(count)]
    with GeminiEmulator(keep_requests=0) as calm:
        expected = GeminiEmbeddings(api_key=calm.api_key, base_url=calm.url, output_dimensionality=128).embed(texts)
    for seed in rounds(1):
        dice = random.Random(seed)
        with GeminiEmulator(
            failure_rate=0.25, failures=FAULTS, latency=(0.0, 0.02), seed=seed, keep_requests=0
        ) as emulator:
            ours = GeminiEmbeddings(
                api_key=emulator.api_key,
                base_url=emulator.url,
                output_dimensionality=128,
                cache=InMemoryByteStore(),
                timeout=LATE_S,
                max_retries=20,
            )
            vectors = [_embedded(ours, texts[at : at + CALL], dice) for at in range(0, count, CALL)]
            time.sleep(2 * LATE_S)  # requests of interrupted calls end

            np.testing.assert_allclose(np.concatenate(vectors), expected, atol=1e-6)
            usage = ours.usage
            assert usage.items <= count <= emulator.embedded
            assert usage.items <= emulator.embedded <= usage.items + usage.unconfirmed
            gc.collect()  # what interrupts have left open must not be reported in another test


def _embedded(ours: GeminiEmbeddings, texts: list[str], dice: random.Random) -> Vectors:
    """The vectors, after a call that was interrupted and one that was cancelled."""
    with interrupted(dice.uniform(0.02, 1.0)):
        whole(ours, texts, ours.embed)
    asyncio.run(cancelled(ours, texts, dice.uniform(0.02, 1.0)))
    if dice.random() < 0.5:
        return whole(ours, texts, ours.embed)
    return whole(ours, texts, lambda some: asyncio.run(ours.aembed(some)))
