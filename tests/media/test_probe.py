"""Probing: what a file is, by opening it; damage is told, never guessed around and never a crash."""

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
    """A JPEG in several scans, with a thumbnail-like comment."""
    from PIL import Image

    buffer = io.BytesIO()
    noise = Image.effect_noise((320, 200), 80).convert("RGB")
    noise.save(buffer, "JPEG", progressive=True, comment=b"\xff\xd9" * 20)
    return buffer.getvalue()


FACTS: dict[str, tuple[Callable[[], bytes], dict[str, object]]] = {
    "png": (partial(picture, "PNG"), {"modality": "image", "width": 24, "height": 16}),
    "jpeg": (partial(picture, "JPEG"), {"mime_type": "image/jpeg", "width": 24, "height": 16}),
    "progressive jpeg": (progressive, {"width": 320, "height": 200}),
    "jpeg with a video behind it": (lambda: progressive() + mp4(1), {"width": 320, "height": 200}),
    "png with junk behind it": (lambda: picture("PNG") + b"junk" * 10, {"width": 24, "height": 16}),
    "webp": (partial(picture, "WEBP"), {"modality": "image", "width": 24, "height": 16}),
    "bmp": (partial(picture, "BMP"), {"width": 24, "height": 16}),
    "wav": (partial(wav, 1.5), {"modality": "audio", "seconds": 1.5, "has_audio": True}),
    "sound in a container for video": (partial(clip, "mp4", "aac"), {"modality": "audio", "has_audio": True}),
    "pdf": (lambda: pdf(("one", "two", "three")), {"modality": "pdf", "pages": 3, "has_audio": False}),
}


@pytest.mark.parametrize(("make", "expected"), FACTS.values(), ids=FACTS)
def test_facts(make: Callable[[], bytes], expected: dict[str, object]) -> None:
    """Sizes, lengths and pages are those the file was made with."""
    data = make()
    facts = probed(data)
    assert {name: getattr(facts, name) for name in expected} == expected
    assert facts.size == len(data)


LENGTHS: dict[str, tuple[Callable[[], bytes], bool, bool]] = {
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


@pytest.mark.parametrize(("make", "sound", "pictures"), LENGTHS.values(), ids=LENGTHS)
def test_lengths(make: Callable[[], bytes], sound: bool, pictures: bool) -> None:
    """A clip of four seconds has four seconds, whatever holds it."""
    facts = probed(make())
    assert facts.seconds == pytest.approx(4, abs=0.15)
    assert facts.has_audio or not sound
    assert (facts.width is not None) == pictures


def streamed_wav() -> bytes:
    """A WAV from a pipe: its writer could not know the length."""
    data = bytearray(wav(2.0))
    place = data.index(b"data") + 4
    data[place : place + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def test_a_wav_from_a_pipe_has_the_length_that_is_there() -> None:
    """An unknown length in the header is taken from the file's size."""
    assert probed(streamed_wav()).seconds == pytest.approx(2.0, abs=0.01)


CUT: dict[str, Callable[[], bytes]] = {
    "png": partial(png, "noise"),
    "jpeg": progressive,
    "webp": lambda: noise("WEBP"),
    "tiff": lambda: noise("TIFF"),
    "wav": partial(wav, 2.0),
    "pdf": lambda: pdf(("one", "two")),
    "mp4": partial(clip, "mp4", "mpeg4", 8),
    "mp4 with its index in front": partial(clip, "mp4", "mpeg4", 8, movflags="faststart"),
}


def noise(kind: str) -> bytes:
    """A picture that does not compress."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((200, 150), 90).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
@pytest.mark.parametrize("make", CUT.values(), ids=CUT)
def test_cut_off_files_are_refused(make: Callable[[], bytes], share: float) -> None:
    """A file whose end is missing is an error that names it and says so."""
    data = make()
    with pytest.raises(ContentError, match=r"'it' .*(cut off|damaged)"):
        probe(io.BytesIO(data[: int(len(data) * share)]), sniff(data[:HEAD_BYTES]) or "", name="'it'")


def test_a_cut_off_mp3_is_as_long_as_what_is_left() -> None:
    """MP3 has no end mark: half a file is a shorter file, and counts as such."""
    data = mp3(8.0)
    assert probed(data[: len(data) // 2]).seconds == pytest.approx(4, abs=0.4)


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "image/png", "empty"),
    "a head alone": (b"\x89PNG\r\n\x1a\n", "image/png", "damaged PNG"),
    "junk behind a JPEG's head": (b"\xff\xd8\xff\xe0" + b"junk" * 100, "image/jpeg", "damaged JPEG"),
    "a JPEG without a picture": (b"\xff\xd8\xff\xd9", "image/jpeg", "says no size"),
    "a WAV without sound": (b"RIFF\x04\x00\x00\x00WAVE", "audio/wav", "cut off before its samples"),
    "a WAV of no length": (
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
    "junk as sound": (b"ID3\x03" + b"junk" * 100, "audio/mp3", "damaged or cut off"),
    "junk as PDF": (b"%PDF-1.7\n" + b"junk" * 100, "application/pdf", "damaged or cut-off PDF"),
    "a locked PDF": (locked_pdf(), "application/pdf", "password"),
    "a picture of no kind we know": (b"BM" + bytes(100), "image/bmp", "cannot be opened as an image"),
    "text": (b"text", "text/plain", "not an image"),
}


@pytest.mark.parametrize(("data", "mime_type", "words"), REFUSED.values(), ids=REFUSED)
def test_damage_is_told(data: bytes, mime_type: str, words: str) -> None:
    """What cannot be used is a ContentError with the file's name and what is wrong."""
    with pytest.raises(ContentError, match=words) as caught:
        probe(io.BytesIO(data), mime_type, name="'my file'")
    assert "'my file'" in str(caught.value)


def test_a_path_is_named_without_its_folder(tmp_path: Path) -> None:
    """Messages show the file's name, not where somebody keeps it."""
    path = tmp_path / "cat.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ContentError) as caught:
        probe(path, "image/png")
    assert "'cat.png'" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims very many pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        + b"\x00\x00\x00\x00IEND\xaeB`\x82"
    )  # fmt: skip


def test_pixel_bombs_are_refused_before_decoding() -> None:
    """A small file with a picture that fills the memory is refused by its size alone."""
    with pytest.raises(MediaLimitError, match="40,000 x 40,000"):
        probed(bomb(40_000))
    assert probed(bomb(10_000)).width == 10_000


@pytest.mark.parametrize(
    "make",
    [png, progressive, wav, partial(mp3, 0.5), partial(mp4, 0.5), lambda: pdf(("x",)), partial(picture, "WEBP")],
    ids=["png", "jpeg", "wav", "mp3", "mp4", "pdf", "webp"],
)
def test_flipped_bits_never_crash(make: Callable[[], bytes]) -> None:
    """Whatever is flipped, the answer is facts or one of our errors."""
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


def test_a_bare_install_opens_png_jpeg_and_wav() -> None:
    """Without any library these three work; the others name the extra and the command that brings it."""
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
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        """Count and read."""
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def test_large_files_are_not_read_through() -> None:
    """Of a whole PNG, JPEG, WAV or MP4 only heads and ends are read."""
    from PIL import Image

    large = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).save(large, "JPEG", quality=95)
    for data in (large.getvalue(), wav(60.0), clip("mp4", "mpeg4", 60, movflags="faststart")):
        file = Counting(data)
        probe(file, sniff(data[:HEAD_BYTES]) or "")
        assert file.read_bytes < 300_000, sniff(data[:HEAD_BYTES])


def test_many_threads_may_count_pages_at_once() -> None:
    """PDFium cannot be used by two threads; ours can."""
    from concurrent.futures import ThreadPoolExecutor

    files = [pdf(tuple("x" * count)) for count in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        facts = list(pool.map(probed, files * 5))
    assert [fact.pages for fact in facts] == [*range(1, 9)] * 5
