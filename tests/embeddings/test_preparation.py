"""Preparation: limits of a whole content, titles, and the same vector for the same content however it is given."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import warnings
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaLoader, MediaStore
from langchain_gemini_mm.errors import MissingMediaError, SpaceMismatchError
from langchain_gemini_mm.testing import mp4, png

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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


def test_the_title_of_a_document_reaches_the_model(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """Loaded, stored and embedded: the title stands in the document form, and a title of media is left out silently."""
    (tmp_path / "The life of bees.txt").write_text("They dance.")
    (tmp_path / "hive.png").write_bytes(png("a hive"))
    media = MediaStore.memory()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = LocalVectorStore(tmp_path / "x.db", GeminiEmbeddings(media=media, output_dimensionality=128))
        store.add_documents(MediaLoader(tmp_path, media, glob=["*.txt", "*.png"]).load())
        GeminiEmbeddings().embed_documents([Document(page_content="They dance.", metadata={"title": "Bees"})])
    assert emulator.embed_requests[0].texts == ("title: The life of bees | text: They dance.",)
    assert emulator.embed_requests[1].texts == ("title: Bees | text: They dance.",)


def test_a_space_without_the_sampling_of_video_is_completed(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """An index of an earlier version opens with a warning; after a write it belongs to one backend."""
    path = tmp_path / "x.db"
    gemini = GeminiEmbeddings(output_dimensionality=128)
    vertex = GeminiEmbeddings(output_dimensionality=128, vertexai=True, base_url=emulator.url)
    LocalVectorStore(path, gemini).add_texts(["a dog"], ids=["1"])
    with closing(sqlite3.connect(path)) as connection, connection:
        (text,) = connection.execute("SELECT fingerprint FROM collection").fetchone()
        old = {key: value for key, value in json.loads(text).items() if key != "video"}
        connection.execute("UPDATE collection SET fingerprint = ?", (json.dumps(old),))

    with pytest.warns(UserWarning, match="does not record how video was sampled"):
        store = LocalVectorStore(path, gemini)
    with pytest.warns(UserWarning, match="does not record"):
        assert store.add_documents([Document(page_content="a dog", id="1")], skip_unchanged=True) == ["1"]
        assert len(emulator.embed_requests) == 1, "nothing is embedded again"
        store.add_texts(["a cat"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LocalVectorStore(path, gemini).similarity_search("a dog")
    with pytest.raises(SpaceMismatchError, match="video: 'gemini fps=1 frames<=32' stored, 'vertex fps=1 frames<=120'"):
        LocalVectorStore(path, vertex)


def test_the_cache_knows_how_video_was_sampled(emulator: GeminiEmulator) -> None:
    """The two services sample other frames of a minute, so a vector of one is no vector of the other; images share."""
    cache = InMemoryByteStore()
    gemini = GeminiEmbeddings(output_dimensionality=128, cache=cache)
    vertex = GeminiEmbeddings(output_dimensionality=128, cache=cache, vertexai=True, base_url=emulator.url)
    film, picture = mp4(40.0), png("a dog")

    gemini.embed([film, picture])
    vertex.embed([film, picture])

    assert [[part.mime_type for part in request.parts] for request in emulator.embed_requests] == [
        ["video/mp4", "image/png"],
        ["video/mp4"],
    ]
    assert gemini.usage.estimated_tokens["video"] == 32 * 66
    assert vertex.usage.estimated_tokens == {"video": 40 * 66}
    assert gemini.fingerprint != vertex.fingerprint
