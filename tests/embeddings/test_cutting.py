"""Parts of files: cut when they are embedded, with one reading of each file."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import ContentError, GeminiEmbeddings, MediaLimitError, MediaStore, PartialEmbeddingError
from langchain_gemini_mm.interfaces import Content, MediaInfo
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import GeminiEmulator, pdf, png, wav
from tests.media.recordings import numbers, recording, sound

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ("a sleepy kitten", "a brown puppy", "waves on a beach", "pizza dough", "the last page")


class CountingStore:
    """A media source that counts the bytes that are read."""

    def __init__(self, store: MediaStore) -> None:
        self._store = store
        self.opened = 0
        self.read = 0

    def info(self, ref: MediaRef) -> MediaInfo:
        """Return the info of the store."""
        return self._store.info(ref)

    def get(self, ref: MediaRef) -> bytes:
        """Count a complete reading."""
        data = self._store.get(ref)
        self.opened, self.read = self.opened + 1, self.read + len(data)
        return data

    def open(self, ref: MediaRef) -> BinaryIO:
        """Count the bytes that are read of the file."""
        self.opened += 1
        return io.BufferedReader(_Counted(self._store.open(ref), self), 1 << 12)


class _Counted(io.RawIOBase):
    def __init__(self, file: BinaryIO, counts: CountingStore) -> None:
        self._file, self._counts = file, counts

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._counts.read += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def sent(emulator: GeminiEmulator) -> list[Any]:
    """All parts of all contents so far, in order."""
    return [part for request in emulator.embed_requests for part in request.parts]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_parts_are_cut_and_embedded(
    how: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator, scratch: Path
) -> None:
    """Video, audio and pages of several files in one call: each input is the named part, in its position."""
    assert isinstance(embeddings.media, MediaStore)
    ours = embeddings.model_copy(update={"max_concurrency": 1})
    film = embeddings.media.put(recording(seconds=12))
    paper = embeddings.media.put(pdf(PAGES))
    contents: list[Any] = [
        film.segment(4, 8).markdown,
        ["before", paper.pages(2, 3), "between", film.segment(8, 12, track="audio")],
        film.segment(0, 4),
        paper.pages(5, 5).markdown,
        film.segment(2.5, 4.25),
    ]

    vectors = ours.embed(contents) if how == "sync" else asyncio.run(ours.aembed(contents))

    parts = sent(emulator)
    types = [part.text or part.mime_type for part in parts]
    film_type, paper_type = "video/mp4", "application/pdf"
    assert types == [film_type, "before", paper_type, "between", "audio/mp3", film_type, paper_type, film_type]
    shown = [numbers(part.data) for part in parts if part.mime_type == film_type]
    assert [set(range(40, 80)) <= set(shown[0]), shown[1], set(range(25, 42)) <= set(shown[2])] == [
        True,
        list(range(40)),
        True,
    ]
    samples, rate = sound(parts[4].data)
    assert len(samples) / rate == pytest.approx(4, abs=0.15)
    question = embeddings.embed(["a brown puppy"], role="query")
    assert int(np.argmax(vectors @ question[0])) == 1
    assert not list(scratch.iterdir())


def test_whole_tracks_and_ends_beyond_the_file(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """`track=audio` alone selects all audio of a video; a segment ends at the end of the file."""
    assert isinstance(embeddings.media, MediaStore)
    film = embeddings.media.put(recording(seconds=12))
    ours = embeddings.model_copy(update={"max_concurrency": 1})

    ours.embed([MediaRef(film.sha256, track="audio"), film.segment(10, 90)])

    track, tail = sent(emulator)
    samples, rate = sound(track.data)
    assert len(samples) / rate == pytest.approx(12, abs=0.15)
    assert set(numbers(tail.data)) >= set(range(100, 120))
    # The encoder adds a few hundredths of a second.
    assert embeddings.usage.estimated_tokens == {"audio": 25 * 12 + 1, "video": 66 * 2}
    assert emulator.tokens == 25 * 12 + 1 + 66 * 2


@pytest.mark.slow
def test_a_file_is_read_about_once(emulator: GeminiEmulator, media: MediaStore) -> None:
    """All segments of video and audio take one reading; one from the middle of a long file reads only a part of it."""
    data = recording(seconds=60, noisy=True, fps=20)
    ref = media.put(data)
    counts = CountingStore(media)
    ours = GeminiEmbeddings(media=counts, output_dimensionality=128)
    starts = range(0, 60, 4)

    ours.embed([ref.segment(start, start + 4, track=track) for start in starts for track in (None, "audio")])
    assert counts.read < 1.15 * len(data)
    assert counts.opened == 1

    counts.read = 0
    ours.embed([ref.segment(50, 52), ref.segment(30, 32)])
    assert counts.read < 0.4 * len(data)


def test_pages_are_cut_from_one_opening(emulator: GeminiEmulator, media: MediaStore) -> None:
    """Page ranges of a PDF share one opening of it."""
    ref = media.put(pdf(40))
    counts = CountingStore(media)

    GeminiEmbeddings(media=counts, output_dimensionality=128).embed([ref.pages(page, page) for page in range(1, 41)])

    assert counts.opened == 1


def test_equal_parts_are_cut_once(embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """The same reference in several positions gives the same bytes and the same vector."""
    assert isinstance(embeddings.media, MediaStore)
    part = embeddings.media.put(recording(seconds=12)).segment(4, 8)

    vectors = embeddings.embed([part, "a text", part])

    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert len({part.sha256 for part in sent(emulator) if part.text is None}) == 1


@pytest.mark.parametrize("how", ["sync", "async"])
def test_the_cache_is_read_before_anything_is_cut(how: str, emulator: GeminiEmulator, media: MediaStore) -> None:
    """Cached vectors need no reading of the file; parts and tracks are separate entries."""
    ref = media.put(recording(seconds=12))
    counts = CountingStore(media)
    ours = GeminiEmbeddings(media=counts, cache=InMemoryByteStore(), output_dimensionality=128)
    parts = [ref.segment(0, 4), ref.segment(4, 8), ref.segment(4, 8, track="audio")]
    first = ours.embed(parts)
    assert emulator.embedded == 3
    counts.opened = 0

    again = ours.embed(parts) if how == "sync" else asyncio.run(ours.aembed(parts))

    np.testing.assert_array_equal(first, again)
    assert (emulator.embedded, counts.opened, ours.usage.cached) == (3, 0, 3)


def _film(store: MediaStore, **options: Any) -> MediaRef:
    return store.put(recording(seconds=12, **options))


REFUSED: dict[str, tuple[Callable[[MediaStore], MediaRef], type[ContentError], str]] = {
    "beyond the end": (lambda store: _film(store).segment(12, 20), ContentError, "#t=12,20 begins at 12 s.*12.0. s"),
    "far beyond the end": (lambda store: _film(store).segment(700, 720), ContentError, "700 s.*lasts 12.0. s.*earlier"),
    "beyond the end of audio": (lambda store: store.put(wav(3)).segment(5, 6), ContentError, "begins at 5 s.*3.00 s"),
    "page 9 of 5": (lambda store: store.put(pdf(PAGES)).pages(9, 9), ContentError, "page 9.*5 pages.*1 to 5"),
    "pages 4 to 9 of 5": (lambda store: store.put(pdf(PAGES)).pages(4, 9), ContentError, "page 6.*5 pages"),
    "audio of a silent video": (
        lambda store: _film(store, audio=None).segment(0, 4, track="audio"),
        ContentError,
        "#t=0,4&track=audio asks for the audio of a video that has none.*Leave track=audio out",
    ),
    "video of an audio file": (
        lambda store: _film(store, video=None).segment(0, 4),
        ContentError,
        "asks for video, and the file holds only audio.*track=audio",
    ),
    "pages of a video": (
        lambda store: _film(store).pages(1, 2),
        ContentError,
        "selects pages, and the file is a video",
    ),
    "seconds of a PDF": (lambda store: store.put(pdf()).segment(0, 1), ContentError, "selects seconds.*is a PDF"),
    "seconds of an image": (lambda store: store.put(png()).segment(0, 1), ContentError, "is an image"),
    "an audio track of a PDF": (
        lambda store: MediaRef(store.put(pdf()).sha256, track="audio"),
        ContentError,
        "selects an audio track, and the file is a PDF",
    ),
    "too many seconds": (lambda store: _film(store).segment(0, 121), MediaLimitError, "121.00 s.*120 s of video"),
    "too much audio": (
        lambda store: _film(store).segment(0, 181, track="audio"),
        MediaLimitError,
        "181.00 s.*180 s of audio.*MediaLoader",
    ),
    "too many pages": (lambda store: store.put(pdf(9)).pages(1, 7), MediaLimitError, "7 pages.*6 pages.*MediaLoader"),
    "a whole audio track too long": (
        lambda store: MediaRef(store.put(wav(200)).sha256, track="audio"),
        MediaLimitError,
        "track=audio lasts 200.00 s.*180 s of audio",
    ),
    "half a file": (
        lambda store: store.put(recording(seconds=12)[:9000]).segment(0, 4),
        ContentError,
        "mm://.*cut off",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_refusals(
    name: str,
    how: str,
    embeddings: GeminiEmbeddings,
    emulator: GeminiEmulator,
    media: MediaStore,
    scratch: Path,
) -> None:
    """Missing parts and unsupported types: the error has input, reference, value and remedy; others are embedded."""
    make, error, message = REFUSED[name]
    contents: list[Content] = ["a text", media.put(pdf(PAGES)).pages(1, 1), make(media)]

    with pytest.raises(PartialEmbeddingError) as caught:
        embeddings.embed(contents) if how == "sync" else asyncio.run(embeddings.aembed(contents))

    assert caught.value.vectors.keys() == {0, 1}
    with pytest.raises(error, match=f"(?s)^input 2: .*{message}"):
        raise caught.value.failed[2]
    assert emulator.embedded == 2
    assert not list(scratch.iterdir())


@pytest.mark.slow
def test_large_segments_go_through_the_files_api(emulator: GeminiEmulator, media: MediaStore) -> None:
    """A segment over the inline limit is uploaded; on Vertex AI it is reduced to fit."""
    ref = media.put(recording(seconds=12, noisy=True, fps=20, size=(640, 320)))
    with GeminiEmbeddings(media=media, inline_limit=400_000, output_dimensionality=128) as ours:
        ours.embed([ref.segment(2, 8)])
        (upload,) = emulator.uploads
        assert upload.size > 300_000

    vertex = GeminiEmbeddings(
        media=media, inline_limit=400_000, vertexai=True, base_url=emulator.url, api_key=emulator.api_key
    )
    vertex.embed([ref.segment(2, 8)])
    assert sent(emulator)[-1].size < 300_000
