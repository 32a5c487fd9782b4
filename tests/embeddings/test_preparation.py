"""Preparation: limits of a whole content, titles, and the same vector for the same content however it is given."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import GeminiEmbeddings
from langchain_gemini_mm.errors import MissingMediaError
from langchain_gemini_mm.testing import png

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_gemini_mm.testing import GeminiEmulator


class CacheWithHook(InMemoryByteStore):
    """A cache that calls a function when it is asked, which is after hashing and before sending."""

    hook: Callable[[], object] = staticmethod(lambda: None)

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Call the hook, too."""
        found = super().mget(keys)
        self.hook()
        return found


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_file_that_changes_after_it_was_hashed_is_refused(how: str, emulator: GeminiEmulator, tmp_path: Path) -> None:
    """No other picture's vector gets under the hash of the first one: the input fails and the cache stays empty."""
    path, first, second = tmp_path / "shot.png", png("a dog"), png("a castle by the sea")
    path.write_bytes(first)
    cache = CacheWithHook()
    cache.hook = lambda: path.write_bytes(second)
    ours = GeminiEmbeddings(cache=cache, output_dimensionality=128)

    with pytest.raises(MissingMediaError, match="'shot.png' was changed while it was being embedded"):
        ours.embed([path]) if how == "sync" else asyncio.run(ours.aembed([path]))

    assert not list(cache.yield_keys())
    assert not emulator.embed_requests
    assert (ours.embed([path]) == ours.embed([second])).all()
