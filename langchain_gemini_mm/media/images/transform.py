"""Conversion of images to what a model takes: upright, in sRGB, of an accepted type and size.

Images that fulfil all of this are not changed, also if they are transparent or have a colour profile. The model's
documentation does not mention EXIF rotation and CMYK, which viewers show differently, so such images are converted.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from langchain_gemini_mm.content.mime_types import HEAD_BYTES
from langchain_gemini_mm.errors import ContentError, MediaLimitError
from langchain_gemini_mm.media import headers
from langchain_gemini_mm.media.facts import Measures
from langchain_gemini_mm.media.images.decode import (
    MAX_PIXELS,
    check_pixels,
    is_decoding_error,
    opened_image,
    page_frames,
)
from langchain_gemini_mm.media.source import Source, media_type, name_of, opened

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile


JPEG, PNG = "image/jpeg", "image/png"
_WHOLE: dict[str, Callable[[BinaryIO, int, str], Measures | None]] = {
    PNG: headers.read_png,
    JPEG: headers.read_jpeg,
}
_QUALITIES = (85, 75, 60)
_MIN_EDGE = 32
_ORIENTATION = 0x0112
_TRANSPOSED = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """An image file, ready to be sent."""

    data: bytes = field(repr=False)
    mime_type: str
    width: int
    """Pixels, after rotation."""
    height: int
    """As `width`."""
    changed: bool
    """Whether the image was encoded again; otherwise `data` are the bytes of the source."""


def prepared(
    source: Source,
    *,
    accepted: frozenset[str],
    max_edge: int | None = None,
    max_bytes: int | None = None,
    max_pixels: int = MAX_PIXELS,
    page: int | None = None,
    name: str | None = None,
) -> PreparedImage:
    """Convert an image if its type, size, rotation or colours require it; otherwise return its bytes.

    ```python
    from langchain_gemini_mm.media.images.transform import prepared
    from langchain_gemini_mm.testing import png

    small = prepared(png(size=(600, 400)), accepted=frozenset({"image/png", "image/jpeg"}), max_edge=300)
    assert (small.width, small.height, small.changed) == (300, 200, True)
    ```

    A converted image is upright, in sRGB or grey of 8 bits, on white where it was transparent, and without metadata;
    only the first frame remains. Equal sources give equal bytes with one version of Pillow.

    Args:
        source: a path, bytes, or an open seekable binary file.
        accepted: MIME types that the model takes; PNG or JPEG must be among them.
        max_edge: pixels of the longer side; larger images are scaled down.
        max_bytes: largest file; larger ones are encoded with less quality, then with fewer pixels.
        max_pixels: width times height; larger images are refused before they are decoded.
        page: of a TIFF with several pages, 1-based; the first by default.
        name: for messages.

    Raises:
        ContentError: damaged, truncated, or no image.
        MediaLimitError: over `max_pixels`, or impossible in `max_bytes`.
        MissingExtraError: Pillow is not installed, or pillow-heif for a HEIC image.
    """
    if not accepted & {PNG, JPEG}:
        raise ValueError(f"images are encoded as PNG or JPEG, and accepted has neither: {sorted(accepted)!r}")
    for word, limit in (("max_edge", max_edge), ("max_bytes", max_bytes), ("max_pixels", max_pixels)):
        if limit is not None and limit < 1:
            raise ValueError(f"{word} must be at least 1, got {limit!r}")
    name = name or name_of(source, "image")
    with opened(source) as file:
        size, mime_type, is_sound = _checked(file, name)
        with opened_image(file, mime_type, name, max_pixels=max_pixels) as image:
            if page is not None:
                _turn_to(image, page, name, max_pixels=max_pixels)
            within = (max_edge is None or max(image.size) <= max_edge) and (max_bytes is None or size <= max_bytes)
            if is_sound and page is None and mime_type in accepted and within and _looks_alike_everywhere(image):
                return _as_it_is(file, image, mime_type)
            drawn = image.mode in ("1", "P", "PA")
            plain = _plain(image, max_edge)
            scaled = max_edge is not None and max(plain.size) == max_edge
            return _written(plain, accepted, max_bytes, name, lossless=drawn and not scaled)


def encoded_image(image: Image, mime_type: str) -> PreparedImage:
    """Encode an image in sRGB or grey."""
    data = _saved(image, "PNG") if mime_type == PNG else _saved(image, "JPEG", quality=_QUALITIES[0])
    return PreparedImage(data=data, mime_type=mime_type, width=image.width, height=image.height, changed=True)


def _turn_to(image: ImageFile, page: int, name: str, *, max_pixels: int) -> None:
    frames = page_frames(image)
    if not 1 <= page <= len(frames):
        raise ContentError(f"{name} has {len(frames):,} pages; there is no page {page:,}")
    image.seek(frames[page - 1])
    check_pixels(*image.size, name, max_pixels=max_pixels)


def _checked(file: BinaryIO, name: str) -> tuple[int, str, bool]:
    """Size in bytes and type of an image file that looks complete, and whether all programs can read it."""
    size = file.seek(0, 2)
    file.seek(0)
    mime_type = media_type(file.read(HEAD_BYTES), name)
    if not mime_type.startswith("image/"):
        raise ContentError(f"{name} is {mime_type}, which is not an image")
    is_sound = True
    if mime_type in _WHOLE:
        file.seek(0)
        is_sound = _WHOLE[mime_type](file, size, name) is not None
    return size, mime_type, is_sound


def _looks_alike_everywhere(image: ImageFile) -> bool:
    return image.mode != "CMYK" and _orientation(image) == 1


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation, 1 by default. EXIF after the pixels of a PNG is ignored: finding it would decode them."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:
        if not is_decoding_error(error):
            raise
        return 1  # invalid EXIF is no reason to refuse the image
    return found if found in _TRANSPOSED else 1


def _as_it_is(file: BinaryIO, image: ImageFile, mime_type: str) -> PreparedImage:
    width, height = image.size
    if mime_type not in _WHOLE:
        image.load()
    file.seek(0)
    return PreparedImage(data=file.read(), mime_type=mime_type, width=width, height=height, changed=False)


def _plain(image: ImageFile, max_edge: int | None) -> Image:
    """Decode an image, upright, in sRGB and within `max_edge`, with each step on as few pixels as possible."""
    from PIL.Image import Transpose

    fitted = _fitted(image.size, max_edge)
    profile = image.info.get("icc_profile")
    if fitted != image.size and image.format == "JPEG":
        image.draft(None, fitted)
    image.load()
    plain = managed(_scaled(flattened(image), fitted), profile)
    orientation = _orientation(image)
    return plain if orientation == 1 else plain.transpose(Transpose[_TRANSPOSED[orientation]])


def _fitted(size: tuple[int, int], max_edge: int | None) -> tuple[int, int]:
    longest = max(size)
    if max_edge is None or longest <= max_edge:
        return size
    width, height = (max(1, round(side * max_edge / longest)) for side in size)
    return width, height


def _scaled(image: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return image if image.size == size else image.resize(size, Resampling.BICUBIC, reducing_gap=2.0)


def _written(
    image: Image, accepted: frozenset[str], max_bytes: int | None, name: str, *, lossless: bool
) -> PreparedImage:
    """Encode an image, with less quality and then fewer pixels until it fits."""
    while True:
        least = 0
        for data, mime_type in _encodings(image, accepted, lossless=lossless):
            if max_bytes is None or len(data) <= max_bytes:
                width, height = image.size
                return PreparedImage(data=data, mime_type=mime_type, width=width, height=height, changed=True)
            least = min(least or len(data), len(data))
        edge = max(image.size)
        if edge <= _MIN_EDGE or max_bytes is None:
            raise MediaLimitError(
                f"{name} takes {least:,} bytes even at {edge} pixels a side; at most {max_bytes:,} are allowed. "
                "Allow more"
            )
        smaller = int(edge * min(0.75, math.sqrt(max_bytes / least)))
        image = _scaled(image, _fitted(image.size, max(_MIN_EDGE, smaller)))


def _encodings(image: Image, accepted: frozenset[str], *, lossless: bool) -> Iterator[tuple[bytes, str]]:
    if PNG in accepted and (lossless or JPEG not in accepted):
        yield _saved(image, "PNG"), PNG
    if JPEG in accepted:
        for quality in _QUALITIES:
            yield _saved(image, "JPEG", quality=quality), JPEG


def _saved(image: Image, image_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.info.clear()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


_WHITE = 255
_USUAL = {"I": (255.0, 65_535.0), "F": (1.0, 255.0)}
"""Usual largest values of grey images with 32 bits or fractions."""


def flattened(image: Image) -> Image:
    """Convert an image to eight bits a channel, without palette and transparency, in mode L, RGB, CMYK or LAB."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _eight_bits(image)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def managed(image: Image, profile: bytes | None) -> Image:
    """Convert colours from an ICC profile to sRGB, mode L or RGB; a profile that cannot be used counts as sRGB."""
    given = profile if isinstance(profile, bytes) and profile else None  # in a damaged TIFF, a number
    if given is not None or image.mode == "LAB":
        converted = _by_profile(image, given)
        if converted is not None:
            return converted
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _by_profile(image: Image, profile: bytes | None) -> Image | None:
    from PIL import ImageCms

    try:
        if profile is None:
            source = ImageCms.createProfile("LAB")
        else:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode in ("L", "RGB") and "sRGB" in ImageCms.getProfileDescription(own):
                return image
            source = own.profile
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except Exception as error:
        if not is_decoding_error(error):
            raise
        return None


def _eight_bits(image: Image) -> Image:
    """Scale grey of 16 bits by its full range, of 32 bits and fractions by a usual range or that of the image."""
    import PIL.Image

    values = np.asarray(image)
    if values.dtype.itemsize == 2:
        return PIL.Image.fromarray((values >> 8).astype(np.uint8))
    lowest, highest = _range(float(values.min()), float(values.max()), _USUAL[image.mode])
    with np.errstate(all="ignore"):
        grey = (values.astype(np.float32) - lowest) * (_WHITE / ((highest - lowest) or 1.0))
        return PIL.Image.fromarray(np.nan_to_num(np.clip(grey, 0, _WHITE) + 0.5).astype(np.uint8))


def _range(lowest: float, highest: float, usual: tuple[float, ...]) -> tuple[float, float]:
    """The values of black and white."""
    return next(((0.0, limit) for limit in usual if lowest >= 0 and highest <= limit), (lowest, highest))


def _on_white(image: Image) -> Image:
    import PIL.Image

    clear = image.convert("RGBA")
    white = PIL.Image.new("RGB", clear.size, "white")
    white.paste(clear, mask=clear.getchannel("A"))
    return white
