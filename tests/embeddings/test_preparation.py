"""Preparation: limits of a whole content, titles, and the same vector for the same content however it is given."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.genai.types import Part
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.stores import InMemoryByteStore
from PIL import Image

from langchain_gemini_mm import GeminiEmbeddings, LocalVectorStore, MediaStore
from langchain_gemini_mm.errors import ContentError, MissingMediaError, PartialEmbeddingError, SpaceMismatchError
from langchain_gemini_mm.references import MediaRef
from langchain_gemini_mm.testing import mp3, mp4, pdf, png, wav
from tests.path_loader import PathLoader

if TYPE_CHECKING:
    from collections.abc import Sequence
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


@pytest.mark.parametrize("inline_limit", [20_000_000, 100])
@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_file_that_changes_after_it_was_hashed_is_refused(
    how: str, inline_limit: int, emulator: GeminiEmulator, tmp_path: Path
) -> None:
    """No other picture's vector gets under the hash of the first one: the input fails and the cache stays empty."""
    path, first, second = tmp_path / "shot.png", png("a dog"), png("a castle by the sea")
    path.write_bytes(first)
    cache = CacheWithHook()
    cache.hook = lambda: path.write_bytes(second)
    ours = GeminiEmbeddings(cache=cache, output_dimensionality=128, inline_limit=inline_limit)

    with pytest.raises(MissingMediaError, match=r"'shot\.png' was changed while it was being embedded"):
        ours.embed([path]) if how == "sync" else asyncio.run(ours.aembed([path]))

    assert not list(cache.yield_keys())
    assert not emulator.embed_requests
    assert not emulator.uploads
    assert (ours.embed([path]) == ours.embed([second])).all()


def test_the_title_of_a_document_reaches_the_model(emulator: GeminiEmulator, tmp_path: Path) -> None:
    """Loaded, stored and embedded: the title stands in the document form, and a title of media is left out silently."""
    (tmp_path / "The life of bees.txt").write_text("They dance.")
    (tmp_path / "hive.png").write_bytes(png("a hive"))
    media = MediaStore.memory()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = LocalVectorStore(tmp_path / "x.db", GeminiEmbeddings(media=media, output_dimensionality=128))
        store.add_documents(PathLoader(tmp_path, media, glob=["*.txt", "*.png"]).load())
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
        store.add_documents(
            [Document(page_content="a dog", id="1"), Document(page_content="a cat")], skip_unchanged=True
        )
    assert [request.count for request in emulator.embed_requests] == [1, 1], "what is stored is not embedded again"
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


def _base() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))


def _turned() -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    _base().save(buffer, "JPEG", exif=exif)
    return Image.open(io.BytesIO(buffer.getvalue()))


def _decoded(image: Image.Image) -> Image.Image:
    image.load()
    return image


IMAGES: dict[str, Callable[[], Image.Image]] = {
    **{mode: partial(_base().convert, mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")},
    "HSV": lambda: _base().convert("HSV"),
    "premultiplied": lambda: _base().convert("RGBA").convert("RGBa"),
    "palette with alpha": lambda: _base().convert("P").convert("PA"),
    "16 bits": lambda: Image.fromarray(np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.uint16)),
    "32 bits": lambda: Image.fromarray(np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.int32)),
    "32 bits, small": lambda: _base().convert("L").convert("I"),
    "fractions": lambda: Image.fromarray(np.linspace(0, 1, 2400).reshape(40, 60).astype(np.float32)),
    "fractions to 255": lambda: _base().convert("F"),
    "turned": _turned,
    "turned and decoded": lambda: _decoded(_turned()),
}


@pytest.mark.parametrize("name", IMAGES)
def test_pillow_images_look_as_they_are(name: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Images of every mode are sent upright, with their brightness; none white, black or sideways."""
    embeddings.embed_query(IMAGES[name]())

    sent = Image.open(io.BytesIO(emulator.embed_requests[-1].parts[0].data or b""))
    assert sent.size == ((40, 60) if name.startswith("turned") else (60, 40))
    assert sent.getexif().get(0x0112, 1) == 1
    assert np.asarray(sent.convert("L")).mean() == pytest.approx(127, abs=2)


def test_the_same_picture_however_it_is_given(emulator: GeminiEmulator, tmp_path: Path, media: MediaStore) -> None:
    """Path, bytes, Blob, content block, Part, reference and opened PIL image have one cache key; one is sent."""
    path = tmp_path / "dog.jpg"
    _base().save(path, "JPEG")
    data = path.read_bytes()
    block = {"type": "image", "base64": base64.b64encode(data).decode(), "mime_type": "image/jpeg"}
    blob = Blob.from_data(data, mime_type="image/jpeg")
    part = Part.from_bytes(data=data, mime_type="image/jpeg")
    ours = GeminiEmbeddings(media=media, cache=InMemoryByteStore(), output_dimensionality=128)

    with Image.open(path) as image:
        for content in (path, data, blob, Blob.from_path(path), block, part, media.put(data), image):
            ours.embed([content])

    assert (ours.usage.items, ours.usage.cached) == (1, 7)
    with pytest.raises(ContentError, match=r"the image has no pixels \(0 x 0\)"):
        ours.embed([Image.new("RGB", (0, 0))])


LIMITS: dict[str, tuple[list[Any], str]] = {
    "seconds": ([wav(100), wav(90)], r"the audio of this content lasts 190.00 s; .* takes at most 180 s of audio"),
    "pages": ([pdf(4), "and", pdf(3)], "the PDFs of this content have 7 pages; .* takes at most 6 in one content"),
    "images": ([png(str(number)) for number in range(7)], "7 image files in one content; .* takes at most 6"),
    "tokens": ([mp4(32), wav(179), "word " * 1700], "at least 8,28. tokens .*2,112 of video, 4,475 of audio"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_hold_for_all_files_of_a_content(
    name: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator
) -> None:
    """Each of these files is within the limits; together they are not. The other content is embedded."""
    content, message = LIMITS[name]
    with pytest.raises(PartialEmbeddingError) as caught:
        embeddings.embed(["a text", content])
    assert re.search(message, str(caught.value.failed[1]))
    assert emulator.embedded == 1
    embeddings.embed([content[:1]])


def test_files_at_the_service_are_counted_by_their_limits(emulator: GeminiEmulator) -> None:
    """The length of an object in Cloud Storage is not known before it is embedded, and then reported."""
    emulator.add_object("gs://b/film.mp4", mp4(100.0), "video/mp4")
    film = Part.from_uri(file_uri="gs://b/film.mp4", mime_type="video/mp4")
    ours = GeminiEmbeddings(vertexai=True, base_url=emulator.url, output_dimensionality=128)

    assert ours.plan([film]).tokens == {"video": 120 * 66}
    paper = Part.from_uri(file_uri="gs://b/paper.pdf", mime_type="application/pdf")
    assert ours.plan([paper]).tokens == {"pdf": 6 * 258}
    ours.embed([film])
    assert emulator.tokens == 100 * 66
    if ours.usage.reported_tokens:
        assert ours.usage.estimated_tokens == {"video": 100 * 66}


WHOLE: dict[str, tuple[bytes, Callable[[MediaRef], MediaRef]]] = {
    "pages": (pdf(3), lambda ref: ref.pages(1, 3)),
    "seconds of audio": (mp3(2.0), lambda ref: ref.segment(0, 5, track="audio")),
    "seconds of sound": (wav(2.0), lambda ref: ref.segment(0, 2, track="audio")),
    "seconds of video": (mp4(3.0), lambda ref: ref.segment(0, 3)),
    "the audio of an audio file": (wav(2.0), lambda ref: MediaRef(ref.sha256, track="audio")),
}


@pytest.mark.parametrize("name", WHOLE)
def test_all_of_a_file_is_the_file(
    name: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator, media: MediaStore
) -> None:
    """A part that is the whole file is sent as the file, and gives the same vector."""
    data, part = WHOLE[name]
    ours = embeddings.model_copy(update={"media": media})
    ref = media.put(data)

    vectors = ours.embed([data, part(ref), ref])

    assert {sent.sha256 for request in emulator.embed_requests for sent in request.parts} == {ref.sha256}
    assert np.array_equal(vectors[0], vectors[1])
    assert np.array_equal(vectors[0], vectors[2])
