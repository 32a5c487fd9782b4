"""Pictures: as they are where the model takes them so, and upright, plain sRGB files of the right size otherwise."""

from __future__ import annotations

import io
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from langchain_gemini_mm.errors import ContentError, MediaLimitError, MissingExtraError
from langchain_gemini_mm.media.images.transform import PreparedImage, prepared
from langchain_gemini_mm.media.probe import probe
from langchain_gemini_mm.testing import jpeg, png
from tests.media.generate import picture, saved, swapping_profile

if TYPE_CHECKING:
    from collections.abc import Callable

GEMINI = frozenset({"image/png", "image/jpeg"})
VERTEX = GEMINI | {"image/webp", "image/bmp", "image/heic", "image/heif", "image/avif"}
INVERSE = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
"""How a picture is stored for each EXIF orientation to turn it upright, as Pillow's `Transpose`."""


def corners() -> Image.Image:
    """A picture of which every turn and mirroring can be told: 120 by 80, each quarter of a colour."""
    image = Image.new("RGB", (120, 80), "white")
    for box, colour in (((0, 0), "red"), ((60, 0), "lime"), ((0, 40), "blue")):
        image.paste(colour, (*box, box[0] + 60, box[1] + 40))
    return image


def noise() -> Image.Image:
    """A picture that does not compress."""
    values = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    return Image.fromarray(values)


def clear() -> Image.Image:
    """Fully transparent, black below."""
    return Image.new("RGBA", (40, 30), (0, 0, 0, 0))


def ramp(kind: Any, highest: float) -> Image.Image:
    """Grey from nothing to `highest` from left to right."""
    return Image.fromarray(np.tile(np.linspace(0, highest, 256), (40, 1)).astype(kind))


def animated(kind: str) -> bytes:
    """Red first, then blue."""
    return saved(
        Image.new("RGB", (40, 30), "red"), kind, save_all=True, append_images=[Image.new("RGB", (40, 30), "blue")]
    )


def pixels(made: PreparedImage) -> Image.Image:
    """What is to be seen in a prepared picture."""
    image = Image.open(io.BytesIO(made.data))
    assert image.mode in ("L", "RGB")
    assert not image.getexif()
    assert (image.width, image.height) == (made.width, made.height)
    return image.convert("RGB")


def near(image: Image.Image, place: tuple[float, float], colour: tuple[int, int, int], by: int = 8) -> bool:
    """Whether the pixel at a place, given as shares of width and height, is about of a colour."""
    found: Any = image.getpixel((int(place[0] * image.width), int(place[1] * image.height)))
    return all(abs(one - other) <= by for one, other in zip(found, colour, strict=True))


RED, LIME, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

TAKEN: dict[str, tuple[Callable[[], bytes], frozenset[str]]] = {
    "png": (png, GEMINI),
    "jpeg": (jpeg, GEMINI),
    "upright by EXIF": (partial(jpeg, orientation=1), GEMINI),
    "an orientation that does not exist": (lambda: jpeg(orientation=9), GEMINI),
    "transparent": (lambda: saved(clear(), "PNG"), GEMINI),
    "16 bits": (lambda: saved(ramp(np.uint16, 65_535), "PNG"), GEMINI),
    "a colour profile": (lambda: saved(corners(), "JPEG", icc_profile=swapping_profile()), GEMINI),
    "webp on Vertex": (partial(picture, "WEBP"), VERTEX),
    "avif on Vertex": (partial(picture, "AVIF"), VERTEX),
}


@pytest.mark.parametrize(("make", "accepted"), TAKEN.values(), ids=TAKEN)
def test_what_is_taken_stays_as_it_is(make: Callable[[], bytes], accepted: frozenset[str]) -> None:
    """A type that the model takes, upright and not too large, keeps its bytes; its size is told."""
    data = make()
    made = prepared(data, accepted=accepted, max_edge=256, max_bytes=100_000)
    assert (made.data, made.changed) == (data, False)
    assert (made.width, made.height) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", INVERSE)
@pytest.mark.parametrize("max_edge", [None, 60], ids=["whole", "scaled"])
def test_pictures_are_turned_upright(kind: str, orientation: int, max_edge: int | None) -> None:
    """Whatever EXIF orientation a picture is stored with, it comes out as it is to be seen."""
    turn = INVERSE[orientation]
    stored = corners() if turn is None else corners().transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = prepared(saved(stored, kind, exif=exif), accepted=GEMINI, max_edge=max_edge)
    assert (made.width, made.height) == ((120, 80) if max_edge is None else (60, 40))
    seen = Image.open(io.BytesIO(made.data)).convert("RGB")
    assert near(seen, (0.2, 0.2), RED)
    assert near(seen, (0.8, 0.2), LIME)
    assert near(seen, (0.2, 0.8), BLUE)
    assert made.changed == (orientation != 1 or max_edge is not None or kind not in ("JPEG", "PNG"))


LOOKS: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "gif": (lambda: saved(corners(), "GIF"), RED),
    "tiff": (lambda: saved(corners(), "TIFF"), RED),
    "bmp": (lambda: saved(corners(), "BMP"), RED),
    "webp": (lambda: saved(corners(), "WEBP", lossless=True), RED),
    "jpeg 2000": (lambda: saved(corners(), "JPEG2000"), RED),
    "avif": (lambda: saved(corners(), "AVIF"), RED),
    "cmyk jpeg": (lambda: saved(corners().convert("CMYK"), "JPEG"), RED),
    "cmyk tiff": (lambda: saved(corners().convert("CMYK"), "TIFF"), RED),
    "animated gif": (partial(animated, "GIF"), RED),
    "animated webp": (partial(animated, "WEBP"), RED),
    "several pages of tiff": (partial(animated, "TIFF"), RED),
    "transparent webp": (lambda: saved(clear(), "WEBP", lossless=True), WHITE),
    "transparent gif": (lambda: saved(Image.new("P", (40, 30), 3), "GIF", transparency=3), WHITE),
    "transparent grey": (lambda: saved(clear().convert("LA"), "TIFF"), WHITE),
    "black and white": (lambda: saved(Image.new("1", (40, 30), 1), "TIFF"), WHITE),
    "another space": (lambda: saved(Image.new("RGB", (40, 30), LIME), "WEBP", icc_profile=swapping_profile()), RED),
    "a broken profile": (lambda: saved(Image.new("RGB", (40, 30), RED), "TIFF", icc_profile=b"broken" * 40), RED),
    "a profile for other colours": (
        lambda: saved(Image.new("CMYK", (40, 30)), "TIFF", icc_profile=swapping_profile()),
        WHITE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "colour"), LOOKS.values(), ids=LOOKS)
def test_other_kinds_are_converted(make: Callable[[], bytes], colour: tuple[int, int, int]) -> None:
    """What the model does not take becomes a PNG or JPEG of the first frame, in sRGB, white where it was clear."""
    made = prepared(make(), accepted=GEMINI)
    assert made.changed
    assert made.mime_type in GEMINI
    assert near(pixels(made), (0.2, 0.2), colour)


def test_lab_is_converted() -> None:
    """Colours by their looks become the same looks in sRGB."""
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.new("RGB", (40, 30), (200, 90, 40)), srgb, lab, outputMode="LAB")
    assert image is not None
    assert near(pixels(prepared(saved(image, "TIFF"), accepted=GEMINI)), (0.5, 0.5), (200, 90, 40), by=12)


DEEP: dict[str, Callable[[], bytes]] = {
    "16 bits": lambda: saved(ramp(np.uint16, 65_535), "TIFF"),
    "16 bits, the other way round": lambda: saved(ramp(">u2", 65_535), "TIFF"),
    "32 bits": lambda: saved(ramp(np.int32, 9_000_000), "TIFF"),
    "32 bits used as 16": lambda: saved(ramp(np.int32, 65_535), "TIFF"),
    "fractions": lambda: saved(ramp(np.float32, 1), "TIFF"),
    "fractions of 255": lambda: saved(ramp(np.float32, 255), "TIFF"),
    "numbers below nothing": lambda: saved(Image.fromarray(np.asarray(ramp(np.float32, 8)) - 4), "TIFF"),
}


@pytest.mark.parametrize("make", DEEP.values(), ids=DEEP)
def test_deep_grey_keeps_its_shades(make: Callable[[], bytes]) -> None:
    """Grey of more than 8 bits comes out as the same ramp from black to white."""
    made = pixels(prepared(make(), accepted=GEMINI))
    shades = [made.getpixel((x, 20)) for x in (2, 64, 128, 192, 253)]
    assert np.allclose([shade[0] for shade in shades if isinstance(shade, tuple)], [2, 64, 128, 192, 253], atol=5)


def test_dark_16_bit_pictures_stay_dark() -> None:
    """Sixteen bits are not stretched to what the picture uses of them."""
    assert near(pixels(prepared(saved(ramp(np.uint16, 6_000), "TIFF"), accepted=GEMINI)), (0.99, 0.5), (23, 23, 23))


def test_numbers_that_are_none_are_black() -> None:
    """A picture of NaN is no reason to fail."""
    image = Image.fromarray(np.full((30, 40), np.nan, np.float32))
    assert near(pixels(prepared(saved(image, "TIFF"), accepted=GEMINI)), (0.5, 0.5), (0, 0, 0))


SIZES: dict[str, tuple[tuple[int, int], int, tuple[int, int]]] = {
    "wide": ((400, 100), 200, (200, 50)),
    "tall": ((100, 400), 200, (50, 200)),
    "a line": ((1000, 1), 100, (100, 1)),
    "exactly": ((200, 10), 200, (200, 10)),
    "small": ((20, 10), 200, (20, 10)),
    "odd": ((333, 222), 100, (100, 67)),
}


@pytest.mark.parametrize(("size", "max_edge", "expected"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_only_larger_pictures_are_scaled(
    size: tuple[int, int], max_edge: int, expected: tuple[int, int], kind: str
) -> None:
    """The longer side becomes `max_edge`, the other follows; nothing is scaled up."""
    made = prepared(saved(Image.new("RGB", size, "red"), kind), accepted=GEMINI, max_edge=max_edge)
    assert (made.width, made.height) == expected
    assert made.changed == (size != expected)


def test_scaling_a_jpeg_early_looks_the_same() -> None:
    """Decoding only as much as is needed gives what decoding all of it would have given."""
    gradient = Image.merge(
        "RGB", [Image.linear_gradient("L").resize((1600, 1200)), *[Image.new("L", (1600, 1200))] * 2]
    )
    gradient.paste("white", (400, 300, 900, 800))
    data = saved(gradient, "JPEG", quality=95)
    ours = pixels(prepared(data, accepted=GEMINI, max_edge=400))
    whole = Image.open(io.BytesIO(data)).resize((400, 300), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(ours, int) - np.asarray(whole, int)).mean() < 2


def test_drawings_stay_sharp() -> None:
    """A picture of few colours becomes a PNG, pixel for pixel."""
    image = corners().quantize(8)
    made = prepared(saved(image, "GIF"), accepted=GEMINI)
    assert made.mime_type == "image/png"
    assert pixels(made).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("types", [["image/png"], ["image/jpeg"], ["image/jpeg", "image/webp"]], ids=" ".join)
def test_only_accepted_types_are_written(types: list[str]) -> None:
    """A model that takes PNG only gets PNG, and the same with JPEG."""
    for data in (saved(corners(), "TIFF"), saved(corners(), "GIF")):
        assert prepared(data, accepted=frozenset(types)).mime_type in GEMINI & set(types)


@pytest.mark.parametrize("most", [60_000, 20_000, 2_000])
def test_a_file_too_large_is_made_smaller(most: int) -> None:
    """Less quality first, then fewer pixels, of the same shape, until the file is within its limit."""
    made = prepared(saved(noise(), "PNG"), accepted=GEMINI, max_bytes=most)
    assert len(made.data) <= most
    assert made.changed
    assert made.width / made.height == pytest.approx(4 / 3, rel=0.05)
    assert (most < 60_000) == (made.width < 400)


def test_a_limit_that_cannot_be_met_is_told() -> None:
    """Not even a thumbnail fits into a few bytes."""
    with pytest.raises(MediaLimitError, match=r"bytes even at 32 pixels a side; at most 100 are allowed"):
        prepared(saved(noise(), "PNG"), accepted=GEMINI, max_bytes=100)


@pytest.mark.parametrize("make", [entry[0] for entry in LOOKS.values()], ids=LOOKS)
def test_the_same_bytes_give_the_same_bytes(make: Callable[[], bytes]) -> None:
    """Embeddings are cached by content, so preparing must not depend on anything else."""
    data = make()
    assert prepared(data, accepted=GEMINI, max_edge=30).data == prepared(data, accepted=GEMINI, max_edge=30).data


def test_metadata_is_left_behind() -> None:
    """Where and by whom a picture was taken is not sent along with an image that is encoded again."""
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x0112] = "my house", "me", 6
    exif.get_ifd(0x8825)[1] = "N"
    data = saved(corners(), "JPEG", exif=exif, comment=b"secret", icc_profile=swapping_profile(), dpi=(300, 300))
    made = Image.open(io.BytesIO(prepared(data, accepted=GEMINI).data))
    assert not made.getexif()
    assert not {"comment", "icc_profile", "exif", "xmp"} & set(made.info)


def test_a_picture_shows_no_bytes() -> None:
    """The bytes stay out of the repr."""
    assert "data" not in repr(prepared(png(), accepted=GEMINI))


def test_sources(tmp_path: Path) -> None:
    """A path, bytes and an open file give the same; the file is read from its beginning and left open."""
    data = saved(corners(), "GIF")
    path = tmp_path / "corners.gif"
    path.write_bytes(data)
    with path.open("rb") as file:
        file.seek(10)
        sources: list[Any] = [path, data, bytearray(data), file]
        made = [prepared(source, accepted=GEMINI) for source in sources]
        assert not file.closed
    assert len({one.data for one in made}) == 1
    with pytest.raises(ContentError, match=r"cannot read .*missing\.gif"):
        prepared(tmp_path / "missing.gif", accepted=GEMINI)
    with pytest.raises(TypeError, match="Path, bytes or an open binary file, got str"):
        prepared(str(path), accepted=GEMINI)  # type: ignore[arg-type]


CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to write": ({"accepted": frozenset({"image/webp"})}, "accepted has neither"),
    "no edge": ({"accepted": GEMINI, "max_edge": 0}, "max_edge must be at least 1, got 0"),
    "no bytes": ({"accepted": GEMINI, "max_bytes": -1}, "max_bytes must be at least 1, got -1"),
}


@pytest.mark.parametrize(("arguments", "words"), CALLS.values(), ids=CALLS)
def test_mistakes_in_a_call(arguments: dict[str, Any], words: str) -> None:
    """They are told before anything is opened."""
    with pytest.raises(ValueError, match=words):
        prepared(b"", **arguments)


def test_heic_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that opens it."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r'pillow-heif.*"langchain-gemini-mm\[heif\]"') as caught:
        prepared(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, accepted=GEMINI)
    assert caught.value.extra == "heif"


@pytest.mark.real_media
def test_heic() -> None:
    """A photograph of a phone is turned upright and becomes a JPEG, or stays as it is where the model takes it."""
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra `heif`")
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(corners().transpose(Image.Transpose.ROTATE_90)).save(buffer, quality=95, exif=exif.tobytes())
    data = buffer.getvalue()
    made = prepared(data, accepted=GEMINI)
    assert (made.mime_type, made.width, made.height) == ("image/jpeg", 120, 80)
    assert near(pixels(made), (0.2, 0.2), RED, by=20)
    assert near(pixels(made), (0.8, 0.2), LIME, by=20)
    assert prepared(data, accepted=VERTEX).data == data
    assert probe(io.BytesIO(data), "image/heic").modality == "image"
    with pytest.raises(ContentError):
        prepared(data[: len(data) // 2], accepted=VERTEX)


REAL = {
    "skimage": ("data/*.png", "data/*.jpg", "data/*.gif", "data/multipage.tif"),
    "sklearn": ("datasets/images/*.jpg",),
    "matplotlib": ("mpl-data/sample_data/*.png", "mpl-data/sample_data/*.jpg"),
}


@pytest.mark.real_media
@pytest.mark.parametrize("package", REAL)
def test_pictures_of_others(package: str) -> None:
    """Photographs, drawings and scans that others made come out within their limits and looking as they did."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    home = Path(found.submodule_search_locations[0])
    paths = [path for pattern in REAL[package] for path in sorted(home.glob(pattern))]
    assert paths
    for path in paths:
        made = prepared(path, accepted=GEMINI, max_edge=200)
        assert max(made.width, made.height) <= 200, path
        with Image.open(path) as image:
            if made.changed and "icc_profile" not in image.info:
                white = Image.new("RGBA", image.size, "white")
                white.alpha_composite(image.convert("RGBA"))
                expected = white.convert("RGB").resize((made.width, made.height))
                assert np.abs(np.asarray(pixels(made), int) - np.asarray(expected, int)).mean() < 8, path
