"""Embedding throughput at 100 ms latency, compared with the bare SDK (ideal concurrency) and langchain-google-genai."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from benchmarks.media import small_images
from benchmarks.report import Row, Turn, cost, installed, interleaved, skipped, speed
from benchmarks.service import KEY, MODEL, PlainClient, emulator_process
from langchain_gemini_mm import GeminiEmbeddings

if TYPE_CHECKING:
    from google.genai.types import Content

LATENCY = 0.1
CONCURRENCY = 8
DIMENSIONS = 768
AIM = 0.95
_ENOUGH = 1.3
"""Factor by which the emulator must be faster than the SDK."""
_WORDS = [
    "dog",
    "cat",
    "revenue",
    "table",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "lazy",
    "river",
    "mountain",
    "graph",
    "bread",
    "sound",
    "music",
    "invoice",
]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Amounts embedded in one turn, and number of rounds."""

    texts: int
    images: int
    rounds: int
    texts_per_call: int = 100
    images_per_call: int = 50


FULL = Size(texts=6400, images=1600, rounds=7)
QUICK = Size(texts=1600, images=400, rounds=3)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure texts and images, with threads and async."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(_WORDS, k=20)) + f" {number}" for number in range(size.texts)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(emulator_process(LATENCY))
        arena = stack.enter_context(Arena(url))
        yield from _rows(arena, "texts", texts, size.texts_per_call, size.rounds)
        yield from _rows(arena, "images", small_images(folder, size.images), size.images_per_call, size.rounds)


def _rows(arena: Arena, contents: str, items: Sequence[str | Path], per_call: int, rounds: int) -> Iterator[Row]:
    """Return the rows of one modality; for texts also those of langchain-google-genai."""
    tasks = {"ours": lambda: arena.ours_in_tasks(items, per_call), "raw": lambda: arena.raw_in_tasks(items, per_call)}
    threads: dict[str, Callable[[], Any]] = {
        "ours": lambda: arena.ours(items, per_call),
        "raw": lambda: arena.raw(items, per_call),
        "plain": arena.plain(items, per_call),
    }
    name = f"embedding {contents}, calls of {per_call}"
    rival = arena.rival() if contents == "texts" else None
    if rival is not None:
        threads["rival"] = lambda: rival.embed_documents(items, batch_size=per_call)
    _require_equal(threads["ours"](), threads["raw"]())
    turns = _warm(threads, rounds)
    yield _throughput(f"{name}, threads", turns, _headroom(turns))
    if rival is not None:
        yield speed(f"{name}, threads", "langchain-google-genai", _wall(turns["ours"]), _wall(turns["rival"]), aim=None)
    elif contents == "texts":
        yield skipped(
            f"{name}, threads",
            "langchain-google-genai",
            "langchain-google-genai is not installed",
        )
    yield _processor(f"processor time of that, {contents}, threads", turns)
    turns = _warm(tasks, rounds)
    yield _throughput(f"{name}, async", turns)
    yield _processor(f"processor time of that, {contents}, async", turns)


def _warm(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Turn]]:
    for contender in contenders.values():
        contender()
    return interleaved(contenders, rounds)


def _wall(turns: Sequence[Turn]) -> list[float]:
    return [turn.wall for turn in turns]


def _throughput(name: str, turns: dict[str, list[Turn]], note: str = "") -> Row:
    return speed(name, "bare SDK", _wall(turns["ours"]), _wall(turns["raw"]), aim=AIM, note=note)


def _processor(name: str, turns: dict[str, list[Turn]]) -> Row:
    return cost(name, "bare SDK", [turn.cpu for turn in turns["ours"]], [turn.cpu for turn in turns["raw"]], aim=None)


def _headroom(turns: dict[str, list[Turn]]) -> str:
    """Return a note on the highest throughput of the emulator."""
    times = statistics.median(raw.wall / plain.wall for raw, plain in zip(turns["raw"], turns["plain"], strict=True))
    verdict = "is not the bottleneck" if times >= _ENOUGH else "**may be the bottleneck, which hides differences**"
    return f"the emulator {verdict}: it answers prepared requests {times:.1f} times as fast as the SDK sends them"


def _require_equal(ours: Any, raw: Any) -> None:
    assert np.shape(ours) == np.shape(raw)
    assert np.allclose(ours, raw, atol=1e-5), "the contenders do not do the same work"


class Arena:
    """Yield all contenders, connected to one emulator; close it at the end."""

    def __init__(self, url: str) -> None:
        from google import genai

        self._url = url
        self._embeddings = GeminiEmbeddings(
            model=MODEL, api_key=KEY, base_url=url, output_dimensionality=DIMENSIONS, max_concurrency=CONCURRENCY
        )
        options = genai.types.HttpOptions(base_url=url, api_version="v1beta")
        self._client = genai.Client(vertexai=False, api_key=KEY, http_options=options)
        self._config = genai.types.EmbedContentConfig(output_dimensionality=DIMENSIONS)
        self._pool = ThreadPoolExecutor(CONCURRENCY)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aio.aclose())
        self._runner.close()
        self._pool.shutdown()
        self._client.close()
        self._embeddings.close()

    def ours(self, items: Sequence[str | Path], per_call: int) -> list[list[float]]:
        """Embed with the package, sync."""
        return self._embeddings.embed_documents(items, batch_size=per_call)

    def ours_in_tasks(self, items: Sequence[str | Path], per_call: int) -> list[list[float]]:
        """Embed with the package, async."""
        return self._runner.run(self._embeddings.aembed_documents(items, batch_size=per_call))

    def raw(self, items: Sequence[str | Path], per_call: int) -> list[Any]:
        """Embed with the SDK in a thread pool, without checking its answers."""

        def call(batch: Sequence[str | Path]) -> list[Any]:
            contents: Any = [content_of(item) for item in batch]
            response = self._client.models.embed_content(model=MODEL, contents=contents, config=self._config)
            return [embedding.values for embedding in response.embeddings or ()]

        return [values for part in self._pool.map(call, _batches(items, per_call)) for values in part]

    def raw_in_tasks(self, items: Sequence[str | Path], per_call: int) -> list[Any]:
        """Embed with the SDK's async client and a semaphore."""
        return self._runner.run(self._raw_in_tasks(items, per_call))

    async def _raw_in_tasks(self, items: Sequence[str | Path], per_call: int) -> list[Any]:
        gate = asyncio.Semaphore(CONCURRENCY)

        async def call(batch: Sequence[str | Path]) -> list[Any]:
            async with gate:
                contents: Any = [content_of(item) for item in batch]
                response = await self._client.aio.models.embed_content(
                    model=MODEL, contents=contents, config=self._config
                )
            return [embedding.values for embedding in response.embeddings or ()]

        answers = await asyncio.gather(*map(call, _batches(items, per_call)))
        return [values for part in answers for values in part]

    def plain(self, items: Sequence[str | Path], per_call: int) -> PlainClient:
        """Send prepared requests, which measures the emulator alone."""
        bodies = [
            json.dumps({"requests": [_request(item) for item in batch]}).encode() for batch in _batches(items, per_call)
        ]
        return PlainClient(self._url, bodies, CONCURRENCY)

    def rival(self) -> Any:
        """Return the embeddings of langchain-google-genai, or None if it is not installed."""
        if installed("langchain-google-genai") is None:
            return None
        from langchain_google_genai import GoogleGenerativeAIEmbeddings

        return GoogleGenerativeAIEmbeddings(
            model=MODEL, google_api_key=KEY, base_url=self._url, output_dimensionality=DIMENSIONS
        )


def content_of(item: str | Path) -> Content:
    """Return the SDK's input, with the prefix of the model's document task."""
    from google.genai import types

    if isinstance(item, str):
        return types.Content(parts=[types.Part(text=f"title: none | text: {item}")])
    blob = types.Blob(data=item.read_bytes(), mime_type="image/jpeg")
    return types.Content(parts=[types.Part(inline_data=blob)])


def _request(item: str | Path) -> dict[str, Any]:
    part: dict[str, Any] = {"text": f"title: none | text: {item}"}
    if isinstance(item, Path):
        part = {"inlineData": {"mimeType": "image/jpeg", "data": base64.b64encode(item.read_bytes()).decode()}}
    return {"model": f"models/{MODEL}", "content": {"parts": [part]}, "outputDimensionality": DIMENSIONS}


def _batches(items: Sequence[str | Path], size: int) -> list[Sequence[str | Path]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
