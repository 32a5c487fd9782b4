"""Embed many contents concurrently from async code, cache the vectors, and see the cost.

Run: python examples/03_async_and_cache.py     (without GOOGLE_API_KEY it runs on the emulator)
"""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from typing import Any

from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.testing import GeminiEmulator, png


async def main(service: dict[str, Any]) -> None:
    """Embed twice; the second time, all vectors come from the cache."""
    async with GeminiEmbeddings(
        output_dimensionality=768,
        cache=InMemoryByteStore(),  # any BaseStore[str, bytes]
        requests_per_minute=3000,  # your quota; each content of a batch counts as a request
        **service,
    ) as embeddings:
        # One vector each; an inner list is one content whose parts are embedded together.
        contents: list[Any] = [f"note number {n}" for n in range(18)]
        contents += [png("a red bicycle", colour="red"), ["a red bicycle, 300 euros", png(colour="red")]]

        vectors = await embeddings.aembed_documents(contents)
        again = await embeddings.aembed_documents(contents)

        assert vectors == again
        usage = embeddings.usage
        print(f"{len(vectors)} vectors of {len(vectors[0])} values")
        print(f"{usage.items} embedded in {usage.requests} request(s), {usage.cached} from the cache")
        print(f"about {sum(usage.estimated_tokens.values())} tokens, {usage.estimated_usd:.6f} USD")


with ExitStack() as stack:
    reach: dict[str, Any] = {}
    if not (os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")):
        emulator = stack.enter_context(GeminiEmulator())
        reach = {"api_key": emulator.api_key, "base_url": emulator.url}
    asyncio.run(main(reach))
