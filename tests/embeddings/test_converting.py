"""Files of types that the model does not accept are converted; others are sent unchanged."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.stores import InMemoryByteStore

from langchain_gemini_mm import ContentError, GeminiEmbeddings, MediaLimitError, MediaStore, PartialEmbeddingError
from langchain_gemini_mm.testing import GeminiEmulator, jpeg, mp3, mp4, pdf, png, wav
from tests.media.generate import picture, saved
from tests.media.recordings import numbers, recording, sound


def _drawn(image_format: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **options: Any) -> bytes:
    from PIL import Image

    image = Image.new("RGB", size, "teal")
    image.paste("white", (0, 0, size[0] // 2, size[1] // 2))
    return saved(image.convert(mode), image_format, **options)


IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "WebP": (lambda: _drawn("WEBP"), "image/jpeg"),
    "GIF": (lambda: _drawn("GIF", "P"), "image/png"),
    "BMP": (lambda: _drawn("BMP"), "image/jpeg"),
    "TIFF": (lambda: _drawn("TIFF"), "image/jpeg"),
    "16-bit TIFF": (lambda: _drawn("TIFF", "I;16"), "image/jpeg"),
    "CMYK TIFF": (lambda: _drawn("TIFF", "CMYK"), "image/jpeg"),
    "CMYK JPEG": (lambda: _drawn("JPEG", "CMYK"), "image/jpeg"),
    "turned JPEG": (lambda: jpeg("a label", size=(60, 40), orientation=6), "image/jpeg"),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_images_are_converted(name: str, how: str, emulator: GeminiEmulator) -> None:
    """The model gets an accepted type, upright and in RGB, and the same bytes every time."""
    from PIL import Image

    make, mime_type = IMAGES[name]
    ours = GeminiEmbeddings(output_dimensionality=128)

    for _ in range(2):
        _ = ours.embed(["a", make()]) if how == "sync" else asyncio.run(ours.aembed(["a", make()]))

    first, second = [part for request in emulator.embed_requests for part in request.parts if part.text is None]
    assert (first.mime_type, first.sha256) == (mime_type, second.sha256)
    assert first.sha256 != hashlib.sha256(make()).hexdigest()
    with Image.open(io.BytesIO(first.data or b"")) as image:
        assert image.size == ((40, 60) if name == "turned JPEG" else (60, 40))
        assert image.mode in ("RGB", "L", "P")
        assert not image.getexif()


TAKEN: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: png("a"),
    "JPEG with EXIF": lambda: jpeg("a label"),
    "upright JPEG": lambda: jpeg("a label", orientation=1),
    "transparent PNG": lambda: _drawn("PNG", "RGBA"),
    "MP3": lambda: mp3(1),
    "WAV": lambda: wav(1),
    "MP4": lambda: mp4(1),
    "MOV": lambda: mp4(1, container="mov"),
    "PDF": lambda: pdf(2),
}


@pytest.mark.parametrize("name", TAKEN)
def test_accepted_types_are_sent_unchanged(name: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Files of accepted types are sent unchanged by default."""
    data = TAKEN[name]()

    embeddings.embed([data])

    (part,) = emulator.embed_requests[-1].parts
    assert part.sha256 == hashlib.sha256(data).hexdigest()


RECORDINGS: dict[str, tuple[Callable[[], bytes], str]] = {
    "M4A": (lambda: recording("ipod", video=None), "audio/mp3"),
    "FLAC": (lambda: recording("flac", video=None, audio="flac"), "audio/mp3"),
    "OGG": (lambda: recording("ogg", video=None, audio="libopus"), "audio/mp3"),
    "audio in a WebM": (lambda: recording("webm", video=None, audio="libopus"), "audio/mp3"),
    "audio in an MP4": (lambda: recording("mp4", video=None), "audio/mp3"),
    "MKV": (lambda: recording("matroska"), "video/mp4"),
    "WebM": (lambda: recording("webm", video="libvpx-vp9", audio="libopus"), "video/mp4"),
    "AVI": (lambda: recording("avi", video="mpeg4", audio="libmp3lame"), "video/mp4"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_are_converted(name: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Audio and video are sent completely, in an accepted type, with the same bytes every time."""
    make, mime_type = RECORDINGS[name]

    for _ in range(2):
        embeddings.embed([make()])

    first, second = [part for request in emulator.embed_requests for part in request.parts]
    assert (first.mime_type, first.sha256) == (mime_type, second.sha256)
    assert first.data is not None
    if mime_type == "video/mp4":
        assert numbers(first.data) == list(range(120))
        assert len(sound(first.data)[0]) == 0
    else:
        samples, rate = sound(first.data)
        assert len(samples) / rate == pytest.approx(12, abs=0.15)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "half a TIFF": (lambda: _drawn("TIFF", size=(600, 400))[:9000], ContentError, "image/tiff.*damaged"),
    "half an MKV": (lambda: recording("matroska")[:9000], ContentError, "cut off"),
    "a long M4A": (
        lambda: recording("ipod", video=None, seconds=181),
        MediaLimitError,
        "181.* s; .*at most 180 s of audio.*MediaLoader",
    ),
    "a long MP3": (lambda: mp3(181), MediaLimitError, "at most 180 s of audio.*MediaLoader"),
    "a long PDF": (lambda: pdf(7), MediaLimitError, "7 pages.*at most 6 pages of a PDF.*MediaLoader"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, embeddings: GeminiEmbeddings, emulator: GeminiEmulator) -> None:
    """Damaged files, and files over a limit, are errors that name input, limit, value and remedy."""
    make, error, message = REFUSED[name]

    with pytest.raises(PartialEmbeddingError) as caught:
        embeddings.embed(["a", make()])

    assert caught.value.vectors.keys() == {0}
    with pytest.raises(error, match=f"(?s)^input 1: .*{message}"):
        raise caught.value.failed[1]
    assert emulator.embedded == 1


def test_images_are_scaled_down_on_request(emulator: GeminiEmulator) -> None:
    """`image_max_edge` limits the longer side; smaller images are unchanged."""
    from PIL import Image

    ours = GeminiEmbeddings(image_max_edge=100, output_dimensionality=128)
    small = png("a", size=(80, 100))

    ours.embed([_drawn("JPEG", size=(400, 300)), small, _drawn("GIF", "P", size=(300, 400))])

    scaled, same, gif = emulator.embed_requests[-1].parts
    with Image.open(io.BytesIO(scaled.data or b"")) as image:
        assert image.size == (100, 75)
    with Image.open(io.BytesIO(gif.data or b"")) as image:
        assert image.size == (75, 100)
    assert same.data == small


def test_videos_are_scaled_down_on_request(emulator: GeminiEmulator, media: MediaStore) -> None:
    """With `video_max_edge`, larger videos and their segments are re-encoded; smaller ones are copied."""
    import av

    large, small = recording(size=(256, 128)), recording()
    ours = GeminiEmbeddings(media=media, video_max_edge=128, output_dimensionality=128, max_concurrency=1)

    ours.embed([large, small, media.put(large).segment(0, 4), media.put(small).segment(0, 4)])

    sent = [part for request in emulator.embed_requests for part in request.parts]
    widths = []
    for part in sent:
        with av.open(io.BytesIO(part.data or b""), "r") as container:
            widths.append(container.streams.video[0].width)
    assert widths == [128, 128, 128, 128]
    assert sent[1].data == small
    assert numbers(sent[3].data or b"") == list(range(40))


def test_preparation_is_part_of_the_space_when_it_is_not_the_default(emulator: GeminiEmulator) -> None:
    """The default keeps its fingerprint; an option that changes bytes is part of it and of the cache keys."""
    cache = InMemoryByteStore()
    plain = GeminiEmbeddings(cache=cache, output_dimensionality=128)
    small = GeminiEmbeddings(cache=cache, output_dimensionality=128, image_max_edge=100)

    assert plain.fingerprint["preparation"] == "1"
    assert small.fingerprint["preparation"] == "1 image_max_edge=100"
    plain.embed([png()])
    small.embed([png()])
    assert emulator.embedded == 2


def test_vertex_accepts_more_image_types(emulator: GeminiEmulator) -> None:
    """On Vertex AI a WebP is sent unchanged, and a GIF is converted."""
    vertex = GeminiEmbeddings(vertexai=True, base_url=emulator.url, api_key=emulator.api_key, max_concurrency=1)
    webp = picture("WEBP")

    vertex.embed([webp, picture("GIF")])

    first, second = [part for request in emulator.embed_requests for part in request.parts]
    assert (first.mime_type, first.data) == ("image/webp", webp)
    assert second.mime_type == "image/png"
