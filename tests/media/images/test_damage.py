"""Damaged, truncated and decompression-bomb images are refused with an error of the package, at low cost."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError
from langchain_gemini_mm.media.images.decode import opened_image
from langchain_gemini_mm.media.images.transform import managed, prepared
from langchain_gemini_mm.testing import pdf, png
from tests.media.generate import picture, saved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GEMINI = frozenset({"image/png", "image/jpeg"})
VERTEX = GEMINI | {"image/webp", "image/bmp", "image/heic", "image/heif", "image/avif"}
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF")


def noise(width: int, height: int) -> Image.Image:
    """An incompressible image."""
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG header that declares many pixels, without data."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    data = b"IDAT" + zlib.compress(b"junk")
    whole += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return whole + b"\x00\x00\x00\x00IEND\xaeB`\x82"


def enlarged(image_format: str, place: int, form: str, side: int = 60_000) -> bytes:
    """A small image whose header declares a huge size."""
    data = bytearray(picture(image_format))
    sides = struct.pack(form, side, side)
    data[place : place + len(sides)] = sides
    return bytes(data)


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": partial(png_header, 60_000, 60_000),
    "png, a line": partial(png_header, 2_000_000_000, 1),
    "gif": partial(enlarged, "GIF", 6, "<HH"),
    "bmp": partial(enlarged, "BMP", 18, "<ii"),
    "jpeg": lambda: (data := picture("JPEG")).replace(
        data[(at := data.index(b"\xff\xc0")) : at + 9], data[at : at + 5] + struct.pack(">HH", 60_000, 60_000)
    ),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("max_edge", [None, 100], ids=["whole", "scaled"])
def test_pixel_bombs_are_refused(make: Callable[[], bytes], max_edge: int | None) -> None:
    """A small file that declares too many pixels is refused after reading its header."""
    with pytest.raises(MediaLimitError, match=r"pixels; at most 250,000,000 are opened"):
        prepared(make(), accepted=GEMINI, max_edge=max_edge)


def test_the_limit_on_pixels_can_be_set() -> None:
    """The limit is that of the package, not Pillow's global one; it is inclusive."""
    data = saved(noise(120, 80), "WEBP")
    assert prepared(data, accepted=GEMINI, max_pixels=9600).width == 120
    with pytest.raises(MediaLimitError, match=r"120 x 80 pixels; at most 9,599 "):
        prepared(data, accepted=GEMINI, max_pixels=9599)


def test_photos_of_200_million_pixels_are_opened() -> None:
    """Pillow alone would refuse them."""
    data = saved(Image.new("L", (16_384, 12_288), 77), "JPEG")
    made = prepared(data, accepted=GEMINI, max_edge=256)
    assert (made.width, made.height) == (256, 192)


@pytest.mark.parametrize("accepted", [GEMINI, VERTEX], ids=["converted", "unchanged"])
@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("share", [0.2, 0.7, 0.97])
def test_truncated_files_are_refused(image_format: str, accepted: frozenset[str], share: float) -> None:
    """A truncated image is refused, with and without conversion."""
    data = saved(noise(80, 60), image_format)
    with pytest.raises(ContentError, match=r"cut off|no image"):
        prepared(data[: int(len(data) * share)], accepted=accepted)


@pytest.mark.soak
@pytest.mark.parametrize("image_format", FORMATS)
def test_flipped_bits_raise_only_content_errors(image_format: str, rounds: Callable[..., Iterable[int]]) -> None:
    """Flipped bits give an image or an error of the package, never an exception of a decoder."""
    data = saved(noise(40, 30), image_format)
    for seed in rounds(60, parts=len(FORMATS)):
        damaged, rng = bytearray(data), random.Random(f"{image_format} {seed}")
        for _ in range(rng.choice((1, 4, 40))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            made = prepared(bytes(damaged), accepted=GEMINI, max_edge=20, max_pixels=1_000_000)
        except GeminiMMError:
            continue
        assert max(made.width, made.height) <= 20


REFUSED: dict[str, tuple[object, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"just text, no picture", "no image"),
    "a pdf": (pdf(1), "application/pdf, which is not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_other_files_are_refused(data: Any, message: str) -> None:
    """Only formats recognized by their first bytes are opened, so that no other decoder runs."""
    with pytest.raises(ContentError, match=message) as caught:
        prepared(data, accepted=GEMINI, name="'my file'")
    assert "'my file'" in str(caught.value)


def test_programming_errors_are_not_reported_as_damage() -> None:
    """Only exceptions of Pillow or the file are reported as damage."""
    for mistake in (TypeError, ValueError, KeyError, RuntimeError):
        with (
            pytest.raises(mistake, match="no such argument"),
            opened_image(io.BytesIO(png()), "image/png", "it"),
        ):
            raise mistake("no such argument")


class Lost(io.BytesIO):
    """A file whose store goes away after the header was read."""

    lost = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Fail once it is lost."""
        if self.lost:
            raise RuntimeError("the store is gone")
        return super().read(size)


def test_errors_of_reading_the_file_are_not_damage() -> None:
    """Whatever a file object raises inside of Pillow is raised as it is, also where damaged metadata are ignored."""
    scan = io.BytesIO()
    noise = Image.effect_noise((64, 64), 50)
    noise.save(scan, "TIFF", exif=noise.getexif())
    file = Lost(scan.getvalue())

    def read_on() -> None:
        with opened_image(file, "image/tiff", "it") as image:
            file.lost = True
            image.load()

    with pytest.raises(RuntimeError, match="store is gone"):
        read_on()


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200, 7, (1, 2)], ids=repr)
def test_a_profile_that_cannot_be_used_counts_as_srgb(profile: Any) -> None:
    """A damaged colour profile changes nothing, whatever type a damaged file gives it."""
    image = Image.new("RGB", (4, 4), (10, 200, 30))
    assert managed(image, profile).getpixel((0, 0)) == (10, 200, 30)
