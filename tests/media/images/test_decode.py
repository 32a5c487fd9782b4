"""Images: accepted ones keep their bytes; others become upright sRGB files within the size limits."""

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
"""The Pillow `Transpose` with which an image is stored, so that each EXIF orientation rotates it upright."""


def quadrants() -> Image.Image:
    """An image that identifies every rotation and mirroring: 120 by 80 pixels, each quadrant in another colour."""
    image = Image.new("RGB", (120, 80), "white")
    for box, colour in (((0, 0), "red"), ((60, 0), "lime"), ((0, 40), "blue")):
        image.paste(colour, (*box, box[0] + 60, box[1] + 40))
    return image


def noise() -> Image.Image:
    """An incompressible image."""
    values = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    return Image.fromarray(values)


def transparent() -> Image.Image:
    """A fully transparent image with black pixels."""
    return Image.new("RGBA", (40, 30), (0, 0, 0, 0))


def gradient(dtype: Any, highest: float) -> Image.Image:
    """A grey gradient from 0 to `highest`, from left to right."""
    return Image.fromarray(np.tile(np.linspace(0, highest, 256), (40, 1)).astype(dtype))


def animated(image_format: str) -> bytes:
    """An animation of a red and a blue frame."""
    return saved(
        Image.new("RGB", (40, 30), "red"),
        image_format,
        save_all=True,
        append_images=[Image.new("RGB", (40, 30), "blue")],
    )


def pixels(made: PreparedImage) -> Image.Image:
    """The decoded pixels of a prepared image."""
    image = Image.open(io.BytesIO(made.data))
    assert image.mode in ("L", "RGB")
    assert not image.getexif()
    assert (image.width, image.height) == (made.width, made.height)
    return image.convert("RGB")


def has_colour(image: Image.Image, place: tuple[float, float], colour: tuple[int, int, int], by: int = 8) -> bool:
    """Whether the pixel at a relative position has about this colour."""
    found: Any = image.getpixel((int(place[0] * image.width), int(place[1] * image.height)))
    return all(abs(one - other) <= by for one, other in zip(found, colour, strict=True))


RED, LIME, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

ACCEPTED: dict[str, tuple[Callable[[], bytes], frozenset[str]]] = {
    "png": (png, GEMINI),
    "jpeg": (jpeg, GEMINI),
    "upright by EXIF": (partial(jpeg, orientation=1), GEMINI),
    "an orientation that does not exist": (lambda: jpeg(orientation=9), GEMINI),
    "transparent": (lambda: saved(transparent(), "PNG"), GEMINI),
    "16 bits": (lambda: saved(gradient(np.uint16, 65_535), "PNG"), GEMINI),
    "a colour profile": (lambda: saved(quadrants(), "JPEG", icc_profile=swapping_profile()), GEMINI),
    "webp on Vertex": (partial(picture, "WEBP"), VERTEX),
    "avif on Vertex": (partial(picture, "AVIF"), VERTEX),
}


@pytest.mark.parametrize(("make", "accepted"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_images_are_unchanged(make: Callable[[], bytes], accepted: frozenset[str]) -> None:
    """An upright image of an accepted type and size keeps its bytes; its size is reported."""
    data = make()
    made = prepared(data, accepted=accepted, max_edge=256, max_bytes=100_000)
    assert (made.data, made.changed) == (data, False)
    assert (made.width, made.height) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", INVERSE)
@pytest.mark.parametrize("max_edge", [None, 60], ids=["whole", "scaled"])
def test_images_are_rotated_upright(image_format: str, orientation: int, max_edge: int | None) -> None:
    """An image with any EXIF orientation is rotated upright."""
    turn = INVERSE[orientation]
    stored = quadrants() if turn is None else quadrants().transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = prepared(saved(stored, image_format, exif=exif), accepted=GEMINI, max_edge=max_edge)
    assert (made.width, made.height) == ((120, 80) if max_edge is None else (60, 40))
    seen = Image.open(io.BytesIO(made.data)).convert("RGB")
    assert has_colour(seen, (0.2, 0.2), RED)
    assert has_colour(seen, (0.8, 0.2), LIME)
    assert has_colour(seen, (0.2, 0.8), BLUE)
    assert made.changed == (orientation != 1 or max_edge is not None or image_format not in ("JPEG", "PNG"))


CONVERTED: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "gif": (lambda: saved(quadrants(), "GIF"), RED),
    "tiff": (lambda: saved(quadrants(), "TIFF"), RED),
    "bmp": (lambda: saved(quadrants(), "BMP"), RED),
    "webp": (lambda: saved(quadrants(), "WEBP", lossless=True), RED),
    "jpeg 2000": (lambda: saved(quadrants(), "JPEG2000"), RED),
    "avif": (lambda: saved(quadrants(), "AVIF"), RED),
    "cmyk jpeg": (lambda: saved(quadrants().convert("CMYK"), "JPEG"), RED),
    "cmyk tiff": (lambda: saved(quadrants().convert("CMYK"), "TIFF"), RED),
    "animated gif": (partial(animated, "GIF"), RED),
    "animated webp": (partial(animated, "WEBP"), RED),
    "multipage tiff": (partial(animated, "TIFF"), RED),
    "transparent webp": (lambda: saved(transparent(), "WEBP", lossless=True), WHITE),
    "transparent gif": (lambda: saved(Image.new("P", (40, 30), 3), "GIF", transparency=3), WHITE),
    "transparent grey": (lambda: saved(transparent().convert("LA"), "TIFF"), WHITE),
    "black and white": (lambda: saved(Image.new("1", (40, 30), 1), "TIFF"), WHITE),
    "another RGB space": (lambda: saved(Image.new("RGB", (40, 30), LIME), "WEBP", icc_profile=swapping_profile()), RED),
    "a broken profile": (lambda: saved(Image.new("RGB", (40, 30), RED), "TIFF", icc_profile=b"broken" * 40), RED),
    "a profile for other colours": (
        lambda: saved(Image.new("CMYK", (40, 30)), "TIFF", icc_profile=swapping_profile()),
        WHITE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "colour"), CONVERTED.values(), ids=CONVERTED)
def test_other_formats_are_converted(make: Callable[[], bytes], colour: tuple[int, int, int]) -> None:
    """Other types become a PNG or JPEG of the first frame, in sRGB, with transparency on white."""
    made = prepared(make(), accepted=GEMINI)
    assert made.changed
    assert made.mime_type in GEMINI
    assert has_colour(pixels(made), (0.2, 0.2), colour)


def test_lab_is_converted() -> None:
    """Lab colours become the equivalent sRGB colours."""
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.new("RGB", (40, 30), (200, 90, 40)), srgb, lab, outputMode="LAB")
    assert image is not None
    assert has_colour(pixels(prepared(saved(image, "TIFF"), accepted=GEMINI)), (0.5, 0.5), (200, 90, 40), by=12)


DEEP_GREY: dict[str, Callable[[], bytes]] = {
    "16 bits": lambda: saved(gradient(np.uint16, 65_535), "TIFF"),
    "16 bits, big-endian": lambda: saved(gradient(">u2", 65_535), "TIFF"),
    "32 bits": lambda: saved(gradient(np.int32, 9_000_000), "TIFF"),
    "32 bits with 16-bit values": lambda: saved(gradient(np.int32, 65_535), "TIFF"),
    "floats": lambda: saved(gradient(np.float32, 1), "TIFF"),
    "floats up to 255": lambda: saved(gradient(np.float32, 255), "TIFF"),
    "negative floats": lambda: saved(Image.fromarray(np.asarray(gradient(np.float32, 8)) - 4), "TIFF"),
}


@pytest.mark.parametrize("make", DEEP_GREY.values(), ids=DEEP_GREY)
def test_deep_grey_keeps_its_gradient(make: Callable[[], bytes]) -> None:
    """Grey of more than 8 bits becomes the same gradient from black to white."""
    made = pixels(prepared(make(), accepted=GEMINI))
    shades = [made.getpixel((x, 20)) for x in (2, 64, 128, 192, 253)]
    assert np.allclose([shade[0] for shade in shades if isinstance(shade, tuple)], [2, 64, 128, 192, 253], atol=5)


def test_dark_16_bit_images_stay_dark() -> None:
    """16-bit values are not stretched to the range that the image uses."""
    assert has_colour(
        pixels(prepared(saved(gradient(np.uint16, 6_000), "TIFF"), accepted=GEMINI)), (0.99, 0.5), (23, 23, 23)
    )


def test_nan_pixels_are_black() -> None:
    """NaN pixels do not raise."""
    image = Image.fromarray(np.full((30, 40), np.nan, np.float32))
    assert has_colour(pixels(prepared(saved(image, "TIFF"), accepted=GEMINI)), (0.5, 0.5), (0, 0, 0))


SIZES: dict[str, tuple[tuple[int, int], int, tuple[int, int]]] = {
    "wide": ((400, 100), 200, (200, 50)),
    "tall": ((100, 400), 200, (50, 200)),
    "a line": ((1000, 1), 100, (100, 1)),
    "exact": ((200, 10), 200, (200, 10)),
    "small": ((20, 10), 200, (20, 10)),
    "odd": ((333, 222), 100, (100, 67)),
}


@pytest.mark.parametrize(("size", "max_edge", "expected"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG"])
def test_only_larger_images_are_scaled(
    size: tuple[int, int], max_edge: int, expected: tuple[int, int], image_format: str
) -> None:
    """The longer side becomes `max_edge` and the shape is kept; nothing is scaled up."""
    made = prepared(saved(Image.new("RGB", size, "red"), image_format), accepted=GEMINI, max_edge=max_edge)
    assert (made.width, made.height) == expected
    assert made.changed == (size != expected)


def test_scaled_jpeg_decoding_gives_the_same_image() -> None:
    """Decoding a JPEG at reduced size gives the same image as decoding it in full."""
    gradient = Image.merge(
        "RGB", [Image.linear_gradient("L").resize((1600, 1200)), *[Image.new("L", (1600, 1200))] * 2]
    )
    gradient.paste("white", (400, 300, 900, 800))
    data = saved(gradient, "JPEG", quality=95)
    ours = pixels(prepared(data, accepted=GEMINI, max_edge=400))
    whole = Image.open(io.BytesIO(data)).resize((400, 300), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(ours, int) - np.asarray(whole, int)).mean() < 2


def test_drawings_stay_sharp() -> None:
    """An image of few colours becomes a lossless PNG."""
    image = quadrants().quantize(8)
    made = prepared(saved(image, "GIF"), accepted=GEMINI)
    assert made.mime_type == "image/png"
    assert pixels(made).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("types", [["image/png"], ["image/jpeg"], ["image/jpeg", "image/webp"]], ids=" ".join)
def test_only_accepted_types_are_written(types: list[str]) -> None:
    """A model that accepts only PNG gets PNG; the same holds for JPEG."""
    for data in (saved(quadrants(), "TIFF"), saved(quadrants(), "GIF")):
        assert prepared(data, accepted=frozenset(types)).mime_type in GEMINI & set(types)


@pytest.mark.parametrize("max_bytes", [60_000, 20_000, 2_000])
def test_files_over_the_limit_are_compressed_further(max_bytes: int) -> None:
    """The quality is reduced first, then the number of pixels, until the file is within its limit."""
    made = prepared(saved(noise(), "PNG"), accepted=GEMINI, max_bytes=max_bytes)
    assert len(made.data) <= max_bytes
    assert made.changed
    assert made.width / made.height == pytest.approx(4 / 3, rel=0.05)
    assert (max_bytes < 60_000) == (made.width < 400)


def test_a_limit_that_cannot_be_met_is_an_error() -> None:
    """No thumbnail fits into a few bytes."""
    with pytest.raises(MediaLimitError, match=r"bytes even at 32 pixels a side; at most 100 are allowed"):
        prepared(saved(noise(), "PNG"), accepted=GEMINI, max_bytes=100)


@pytest.mark.parametrize("make", [entry[0] for entry in CONVERTED.values()], ids=CONVERTED)
def test_output_is_deterministic(make: Callable[[], bytes]) -> None:
    """Embeddings are cached by content, so the output depends only on the input."""
    data = make()
    assert prepared(data, accepted=GEMINI, max_edge=30).data == prepared(data, accepted=GEMINI, max_edge=30).data


def test_metadata_is_removed() -> None:
    """An image that is encoded again does not contain where and by whom it was taken."""
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x0112] = "my house", "me", 6
    exif.get_ifd(0x8825)[1] = "N"
    data = saved(quadrants(), "JPEG", exif=exif, comment=b"secret", icc_profile=swapping_profile(), dpi=(300, 300))
    made = Image.open(io.BytesIO(prepared(data, accepted=GEMINI).data))
    assert not made.getexif()
    assert not {"comment", "icc_profile", "exif", "xmp"} & set(made.info)


def test_the_repr_contains_no_bytes() -> None:
    """The repr does not contain the image bytes."""
    assert "data" not in repr(prepared(png(), accepted=GEMINI))


def test_sources(tmp_path: Path) -> None:
    """A path, bytes and an open file give the same result; the file is read from its beginning and stays open."""
    data = saved(quadrants(), "GIF")
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
    "no type that can be written": ({"accepted": frozenset({"image/webp"})}, "accepted has neither"),
    "edge of 0": ({"accepted": GEMINI, "max_edge": 0}, "max_edge must be at least 1, got 0"),
    "negative bytes": ({"accepted": GEMINI, "max_bytes": -1}, "max_bytes must be at least 1, got -1"),
}


@pytest.mark.parametrize(("arguments", "message"), CALLS.values(), ids=CALLS)
def test_invalid_arguments(arguments: dict[str, Any], message: str) -> None:
    """Invalid arguments are reported before a file is opened."""
    with pytest.raises(ValueError, match=message):
        prepared(b"", **arguments)


def test_heic_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r'pillow-heif.*"langchain-gemini-mm\[heif\]"') as caught:
        prepared(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, accepted=GEMINI)
    assert caught.value.extra == "heif"


@pytest.mark.real_media
def test_heic() -> None:
    """A HEIC photo is rotated upright and becomes a JPEG, or is unchanged if the model accepts it."""
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra `heif`")
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(quadrants().transpose(Image.Transpose.ROTATE_90)).save(buffer, quality=95, exif=exif.tobytes())
    data = buffer.getvalue()
    made = prepared(data, accepted=GEMINI)
    assert (made.mime_type, made.width, made.height) == ("image/jpeg", 120, 80)
    assert has_colour(pixels(made), (0.2, 0.2), RED, by=20)
    assert has_colour(pixels(made), (0.8, 0.2), LIME, by=20)
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
def test_third_party_images(package: str) -> None:
    """Photos, drawings and scans from other packages are converted within the limits and look the same."""
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
