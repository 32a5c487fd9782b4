"""Probing opens a file to determine its facts; damage is reported, never ignored and never a crash."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, sniff
from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from tests.media.generate import clip, locked_pdf, picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from langchain_gemini_mm.media.facts import MediaFacts


def probed(data: bytes) -> MediaFacts:
    """Facts of bytes in memory."""
    return probe(io.BytesIO(data), sniff(data[:HEAD_BYTES]) or "unknown", name="'it'")


def progressive() -> bytes:
    """A progressive JPEG with a comment that looks like a thumbnail."""
    from PIL import Image

    buffer = io.BytesIO()
    noise = Image.effect_noise((320, 200), 80).convert("RGB")
    noise.save(buffer, "JPEG", progressive=True, comment=b"\xff\xd9" * 20)
    return buffer.getvalue()


FACTS: dict[str, tuple[Callable[[], bytes], dict[str, object]]] = {
    "png": (partial(picture, "PNG"), {"modality": "image", "width": 24, "height": 16}),
    "jpeg": (partial(picture, "JPEG"), {"mime_type": "image/jpeg", "width": 24, "height": 16}),
    "progressive jpeg": (progressive, {"width": 320, "height": 200}),
    "jpeg with a video appended": (lambda: progressive() + mp4(1), {"width": 320, "height": 200}),
    "png with trailing data": (lambda: picture("PNG") + b"junk" * 10, {"width": 24, "height": 16}),
    "webp": (partial(picture, "WEBP"), {"modality": "image", "width": 24, "height": 16}),
    "bmp": (partial(picture, "BMP"), {"width": 24, "height": 16}),
    "wav": (partial(wav, 1.5), {"modality": "audio", "seconds": 1.5, "has_audio": True}),
    "audio in a video container": (partial(clip, "mp4", "aac"), {"modality": "audio", "has_audio": True}),
    "pdf": (lambda: pdf(("one", "two", "three")), {"modality": "pdf", "pages": 3, "has_audio": False}),
}


@pytest.mark.parametrize(("make", "expected"), FACTS.values(), ids=FACTS)
def test_facts(make: Callable[[], bytes], expected: dict[str, object]) -> None:
    """Sizes, durations and page counts are those of the sample."""
    data = make()
    facts = probed(data)
    assert {name: getattr(facts, name) for name in expected} == expected
    assert facts.size == len(data)


DURATIONS: dict[str, tuple[Callable[[], bytes], bool, bool]] = {
    "mp3": (partial(mp3, 4.0), True, False),
    "mp4": (partial(mp4, 4.0), False, True),
    "mov": (partial(mp4, 4.0, container="mov"), False, True),
    "m4a": (partial(clip, "ipod", "aac", 4), True, False),
    "ogg": (partial(clip, "ogg", "libopus", 4), True, False),
    "flac": (partial(clip, "flac", "flac", 4), True, False),
    "adts": (partial(clip, "adts", "aac", 4), True, False),
    "mkv": (partial(clip, "matroska", "mpeg4", 4), False, True),
    "webm": (partial(clip, "webm", "libvpx", 4), False, True),
    "avi": (partial(clip, "avi", "mpeg4", 4), False, True),
    "mpeg": (partial(clip, "mpeg", "mpeg1video", 4), False, True),
    "ts": (partial(clip, "mpegts", "mpeg2video", 4), False, True),
    "live mkv without a length": (partial(clip, "matroska", "mpeg4", 4, live="1"), False, True),
}


@pytest.mark.parametrize(("make", "has_audio", "has_video"), DURATIONS.values(), ids=DURATIONS)
def test_durations(make: Callable[[], bytes], has_audio: bool, has_video: bool) -> None:
    """A clip of four seconds is reported as four seconds in every container."""
    facts = probed(make())
    assert facts.seconds == pytest.approx(4, abs=0.15)
    assert facts.has_audio or not has_audio
    assert (facts.width is not None) == has_video


def piped_wav() -> bytes:
    """A WAV from a pipe, whose header does not contain the length."""
    data = bytearray(wav(2.0))
    place = data.index(b"data") + 4
    data[place : place + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def test_the_duration_of_a_wav_from_a_pipe() -> None:
    """An unknown length in the header is computed from the file size."""
    assert probed(piped_wav()).seconds == pytest.approx(2.0, abs=0.01)


CUT: dict[str, Callable[[], bytes]] = {
    "png": partial(png, "noise"),
    "jpeg": progressive,
    "webp": lambda: noise("WEBP"),
    "tiff": lambda: noise("TIFF"),
    "wav": partial(wav, 2.0),
    "pdf": lambda: pdf(("one", "two")),
    "mp4": partial(clip, "mp4", "mpeg4", 8),
    "mp4 with its index first": partial(clip, "mp4", "mpeg4", 8, movflags="faststart"),
}


def noise(image_format: str) -> bytes:
    """An incompressible image."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((200, 150), 90).convert("RGB").save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
@pytest.mark.parametrize("make", CUT.values(), ids=CUT)
def test_truncated_files_are_refused(make: Callable[[], bytes], share: float) -> None:
    """A truncated file is an error that names it and its damage."""
    data = make()
    with pytest.raises(ContentError, match=r"'it' .*(cut off|damaged)"):
        probe(io.BytesIO(data[: int(len(data) * share)]), sniff(data[:HEAD_BYTES]) or "", name="'it'")


def test_the_duration_of_a_truncated_mp3() -> None:
    """MP3 has no end marker: half a file is a shorter file with half the duration."""
    data = mp3(8.0)
    assert probed(data[: len(data) // 2]).seconds == pytest.approx(4, abs=0.4)


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "image/png", "empty"),
    "a header only": (b"\x89PNG\r\n\x1a\n", "image/png", "damaged PNG"),
    "junk after a JPEG header": (b"\xff\xd8\xff\xe0" + b"junk" * 100, "image/jpeg", "damaged JPEG"),
    "a JPEG without an image": (b"\xff\xd8\xff\xd9", "image/jpeg", "says no size"),
    "a WAV without samples": (b"RIFF\x04\x00\x00\x00WAVE", "audio/wav", "cut off before its samples"),
    "a WAV without a length": (
        b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00\x80>\x00\x00\x02\x00\x10\x00data"
        b"\x00\x00\x00\x00",
        "audio/wav",
        "no audio",
    ),
    "a WAV without a rate": (
        b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00" + bytes(8) + b"\x02\x00\x10\x00data",
        "audio/wav",
        "no rate",
    ),
    "junk as video": (b"\x00\x00\x00\x18ftypisom" + b"junk" * 100, "video/mp4", "damaged or cut off"),
    "junk as audio": (b"ID3\x03" + b"junk" * 100, "audio/mp3", "damaged or cut off"),
    "junk as PDF": (b"%PDF-1.7\n" + b"junk" * 100, "application/pdf", "damaged or cut-off PDF"),
    "a locked PDF": (locked_pdf(), "application/pdf", "password"),
    "an image in an unknown format": (b"BM" + bytes(100), "image/bmp", "cannot be opened as an image"),
    "text": (b"text", "text/plain", "not an image"),
}


@pytest.mark.parametrize(("data", "mime_type", "message"), REFUSED.values(), ids=REFUSED)
def test_damage_is_reported(data: bytes, mime_type: str, message: str) -> None:
    """A damaged file raises ContentError with its name and the cause."""
    with pytest.raises(ContentError, match=message) as caught:
        probe(io.BytesIO(data), mime_type, name="'my file'")
    assert "'my file'" in str(caught.value)


def test_a_path_is_named_without_its_folder(tmp_path: Path) -> None:
    """Messages contain the file name without its folder."""
    path = tmp_path / "cat.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ContentError) as caught:
        probe(path, "image/png")
    assert "'cat.png'" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that declares very many pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + b"\x00\x00\x00\x00IEND\xaeB`\x82"
    )  # fmt: skip


def test_pixel_bombs_are_refused_before_decoding() -> None:
    """A small file with a huge image is refused by its declared size."""
    with pytest.raises(MediaLimitError, match="40,000 x 40,000"):
        probed(bomb(40_000))
    assert probed(bomb(10_000)).width == 10_000


@pytest.mark.parametrize(
    "make",
    [png, progressive, wav, partial(mp3, 0.5), partial(mp4, 0.5), lambda: pdf(("x",)), partial(picture, "WEBP")],
    ids=["png", "jpeg", "wav", "mp3", "mp4", "pdf", "webp"],
)
def test_flipped_bits_never_crash(make: Callable[[], bytes]) -> None:
    """Flipped bits give facts or an error of the package."""
    whole = make()
    dice = random.Random(7)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(12, min(len(data), 2000))] ^= 1 << dice.randrange(8)
        try:
            facts = probe(io.BytesIO(bytes(data)), sniff(whole[:HEAD_BYTES]) or "")
        except GeminiMMError:
            continue
        assert facts.size == len(data)


BARE = """
import io, sys
for name in ("PIL", "av", "pypdfium2"):
    sys.modules[name] = None
from langchain_gemini_mm.errors import MissingExtraError
from langchain_gemini_mm.media.probe import probe
for mime_type in sys.argv[1:]:
    data = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
    try:
        print(mime_type, probe(io.BytesIO(data), mime_type).modality)
    except MissingExtraError as error:
        print(mime_type, "needs", error.extra, 'pip install "langchain-gemini-mm[media]"' in str(error))
"""


def test_without_extras_png_jpeg_and_wav_are_opened() -> None:
    """Without extras these three types work; for others the error names the extra and the install command."""
    files = {
        "image/png": png(),
        "image/jpeg": jpeg(),
        "audio/wav": wav(),
        "audio/mp3": mp3(),
        "video/mp4": mp4(),
        "application/pdf": pdf(("x",)),
        "image/webp": picture("WEBP"),
    }
    given = b"".join(b"%d\n%s" % (len(data), data) for data in files.values())
    done = subprocess.run([sys.executable, "-c", BARE, *files], input=given, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [
        "image/png image",
        "image/jpeg image",
        "audio/wav audio",
        "audio/mp3 needs media True",
        "video/mp4 needs media True",
        "application/pdf needs media True",
        "image/webp needs media True",
    ]


class Counting(io.BytesIO):
    """A file that counts the bytes read."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """Count and read."""
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def test_large_files_are_not_read_whole() -> None:
    """Only the beginning and the end of a PNG, JPEG, WAV or MP4 are read."""
    from PIL import Image

    large = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).save(large, "JPEG", quality=95)
    for data in (large.getvalue(), wav(60.0), clip("mp4", "mpeg4", 60, movflags="faststart")):
        file = Counting(data)
        probe(file, sniff(data[:HEAD_BYTES]) or "")
        assert file.read_bytes < 300_000, sniff(data[:HEAD_BYTES])


def test_threads_can_count_pages_at_once() -> None:
    """PDFium is not thread-safe; the package is."""
    from concurrent.futures import ThreadPoolExecutor

    files = [pdf(tuple("x" * count)) for count in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        facts = list(pool.map(probed, files * 5))
    assert [fact.pages for fact in facts] == [*range(1, 9)] * 5
