"""Embedding throughput at 100 ms latency, compared with the bare SDK (ideal concurrency) and langchain-google-genai."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from benchmarks.report import Row, Turn, cost, installed, interleaved, skipped, speed
from benchmarks.service import KEY, MODEL, PlainClient, emulator_process
from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.testing import jpeg

if TYPE_CHECKING:
    from google.genai.types import Content

T = TypeVar("T")

LATENCY = 0.1
TEXT_AIM, PROCESSOR_AIM, RIVAL_AIM, IMAGE_AIM = 3.0, 0.25, 8.0, 0.95
QUERY_AIM_S = 0.001
"""Most seconds that one query adds to the HTTP round trip."""
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
    queries: int
    texts_per_call: int = 100
    image_bytes: int = 1_000_000
    settings: tuple[tuple[int, int], ...] = ((768, 8), (768, 64), (3072, 8), (3072, 64))
    """Dimensions and concurrency."""


FULL = Size(texts=6400, images=96, rounds=5, queries=300)
QUICK = Size(texts=3200, images=32, rounds=2, queries=50)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure texts and images, with threads and async, and single queries."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(_WORDS, k=20)) + f" {number}" for number in range(size.texts)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(emulator_process(LATENCY, prepared=True))
        for dimensions, concurrency in size.settings:
            with Arena(url, dimensions, concurrency) as arena:
                yield from _text_rows(arena, texts, size)
        images = [folder / f"{number}.jpg" for number in range(size.images)]
        for number, path in enumerate(images):
            # Bytes after the end of the picture make it as large as a photograph, and different from the others.
            path.write_bytes(jpeg(f"photo {number}") + random.Random(number).randbytes(size.image_bytes))
        with Arena(url, *size.settings[0]) as arena:
            yield from _image_rows(arena, images, size)
        with Arena(stack.enter_context(emulator_process(0.0, prepared=True)), *size.settings[0]) as arena:
            yield _query_row(arena, size)


def _text_rows(arena: Arena, texts: Sequence[str], size: Size) -> Iterator[Row]:
    """Return the rows of texts for one setting, also those of langchain-google-genai."""
    per_call = size.texts_per_call
    name = f"embedding texts, {arena.dimensions} dimensions, concurrency {arena.concurrency}"
    threads: dict[str, Callable[[], Any]] = {
        "ours": lambda: arena.ours(texts, per_call),
        "raw": lambda: arena.raw(texts, per_call),
        "plain": arena.plain(texts, per_call),
    }
    rival = arena.rival()
    if rival is not None:
        threads["rival"] = lambda: rival.embed_documents(list(texts), batch_size=per_call)
        threads["rival threads"] = lambda: arena.rival_in_threads(rival, texts, per_call)
    _require_equal(threads["ours"](), threads["raw"]())
    turns = _warm(threads, size.rounds)
    yield _throughput(f"{name}, threads", turns, TEXT_AIM, _headroom(turns))
    yield _processor(f"processor time of that, {name}, threads", turns)
    if rival is None:
        yield skipped(name, "langchain-google-genai", "langchain-google-genai is not installed")
    else:
        ours = _wall(turns["ours"])
        yield speed(name, "langchain-google-genai", ours, _wall(turns["rival"]), aim=RIVAL_AIM)
        others = f"langchain-google-genai, called from {arena.concurrency} threads"
        yield speed(name, others, ours, _wall(turns["rival threads"]), aim=None)
    turns = _warm(
        {"ours": lambda: arena.ours_in_tasks(texts, per_call), "raw": lambda: arena.raw_in_tasks(texts, per_call)},
        size.rounds,
    )
    yield _throughput(f"{name}, async", turns, TEXT_AIM)
    yield _processor(f"processor time of that, {name}, async", turns)


def _image_rows(arena: Arena, images: Sequence[Path], size: Size) -> Iterator[Row]:
    """Return the rows of images of a megabyte; two fit into the default size of a request."""
    name = f"embedding images of {size.image_bytes / 1e6:.1g} MB"
    turns = _warm({"ours": lambda: arena.ours(images, 2), "raw": lambda: arena.raw(images, 2)}, size.rounds)
    yield _throughput(f"{name}, threads", turns, IMAGE_AIM)
    yield _processor(f"processor time of that, {name}, threads", turns)


def _query_row(arena: Arena, size: Size) -> Row:
    """Return the time that a query adds to a prepared request on an open connection."""
    plain = arena.plain(["a question"], 1, concurrency=1)
    ours, theirs = [], []
    plain.keep_open()
    arena.ours_alone("a question")
    for _ in range(size.queries):
        started = time.perf_counter()
        arena.ours_alone("a question")
        middle = time.perf_counter()
        plain.send_one()
        ours.append(middle - started)
        theirs.append(time.perf_counter() - middle)
    plain.close()
    added = statistics.median(ours) - statistics.median(theirs)
    return Row(
        measured="one query, milliseconds added",
        against="HTTP round trip",
        ratio=f"{added * 1000:.2f}",
        aim=f"≤ {QUERY_AIM_S * 1000:.2f}",
        met=added <= QUERY_AIM_S,
        note=f"{statistics.median(ours) * 1000:.2f} and {statistics.median(theirs) * 1000:.2f} ms",
    )


def _warm(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Turn]]:
    for contender in contenders.values():
        contender()
    return interleaved(contenders, rounds)


def _wall(turns: Sequence[Turn]) -> list[float]:
    return [turn.wall for turn in turns]


def _throughput(name: str, turns: dict[str, list[Turn]], aim: float, note: str = "") -> Row:
    return speed(name, "bare SDK", _wall(turns["ours"]), _wall(turns["raw"]), aim=aim, note=note)


def _processor(name: str, turns: dict[str, list[Turn]]) -> Row:
    ours, raw = ([turn.cpu for turn in turns[which]] for which in ("ours", "raw"))
    return cost(name, "bare SDK", ours, raw, aim=None if "images" in name else PROCESSOR_AIM)


def _headroom(turns: dict[str, list[Turn]]) -> str:
    """Return a note on the highest throughput of the emulator."""
    times = {
        name: statistics.median(turn.wall / plain.wall for turn, plain in zip(turns[name], turns["plain"], strict=True))
        for name in ("ours", "raw")
    }
    return (
        f"the emulator answers prepared requests {times['ours']:.1f} times as fast as this package sends them, and "
        f"{times['raw']:.1f} times as fast as the bare SDK"
    )


def _require_equal(ours: Any, raw: Any) -> None:
    assert np.shape(ours) == np.shape(raw)
    assert np.allclose(ours, raw, atol=1e-5), "the contenders do not do the same work"


class Arena:
    """Yield all contenders, connected to one emulator; close it at the end."""

    def __init__(self, url: str, dimensions: int, concurrency: int) -> None:
        from google import genai

        self.dimensions, self.concurrency = dimensions, concurrency
        self._url = url
        self._embeddings = GeminiEmbeddings(
            model=MODEL, api_key=KEY, base_url=url, output_dimensionality=dimensions, max_concurrency=concurrency
        )
        options = genai.types.HttpOptions(base_url=url, api_version="v1beta")
        self._client = genai.Client(vertexai=False, api_key=KEY, http_options=options)
        self._config = genai.types.EmbedContentConfig(output_dimensionality=dimensions)
        self._pool = ThreadPoolExecutor(concurrency)
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

    def ours_alone(self, text: str) -> list[float]:
        """Embed one query with the package."""
        return self._embeddings.embed_query(text)

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
        gate = asyncio.Semaphore(self.concurrency)

        async def call(batch: Sequence[str | Path]) -> list[Any]:
            async with gate:
                contents: Any = [content_of(item) for item in batch]
                response = await self._client.aio.models.embed_content(
                    model=MODEL, contents=contents, config=self._config
                )
            return [embedding.values for embedding in response.embeddings or ()]

        answers = await asyncio.gather(*map(call, _batches(items, per_call)))
        return [values for part in answers for values in part]

    def plain(self, items: Sequence[str], per_call: int, concurrency: int | None = None) -> PlainClient:
        """Send prepared requests, which measures the emulator alone."""
        bodies = [
            json.dumps({"requests": [_request(item, self.dimensions) for item in batch]}).encode()
            for batch in _batches(items, per_call)
        ]
        return PlainClient(self._url, bodies, concurrency or self.concurrency)

    def rival(self) -> Any:
        """Return the embeddings of langchain-google-genai, or None if it is not installed."""
        if installed("langchain-google-genai") is None:
            return None
        from langchain_google_genai import GoogleGenerativeAIEmbeddings

        return GoogleGenerativeAIEmbeddings(
            model=MODEL, google_api_key=KEY, base_url=self._url, output_dimensionality=self.dimensions
        )

    def rival_in_threads(self, rival: Any, texts: Sequence[str], per_call: int) -> list[list[float]]:
        """Call langchain-google-genai from as many threads as the package uses."""

        def call(batch: Sequence[str]) -> Any:
            return rival.embed_documents(list(batch), batch_size=per_call)

        return [values for part in self._pool.map(call, _batches(texts, per_call)) for values in part]


def content_of(item: str | Path) -> Content:
    """Return the SDK's input, with the prefix of the model's document task."""
    from google.genai import types

    if isinstance(item, str):
        return types.Content(parts=[types.Part(text=f"title: none | text: {item}")])
    blob = types.Blob(data=item.read_bytes(), mime_type="image/jpeg")
    return types.Content(parts=[types.Part(inline_data=blob)])


def _request(text: str, dimensions: int) -> dict[str, Any]:
    part = {"text": f"title: none | text: {text}"}
    return {"model": f"models/{MODEL}", "content": {"parts": [part]}, "outputDimensionality": dimensions}


def _batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
