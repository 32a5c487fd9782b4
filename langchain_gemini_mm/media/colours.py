"""Pixels of any kind as the 8-bit sRGB or grey that everybody reads alike."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_WHITE = 255
_USUAL = {"I": (65_535.0,), "F": (1.0, 255.0)}
"""Largest values of grey that is kept in more bits than it needs."""


def flattened(image: Image) -> Image:
    """Eight bits a channel, no palette, and white where it was transparent; colours are as they were.

    Gives mode L, RGB, CMYK or LAB.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _eight_bits(image)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def managed(image: Image, profile: bytes | None) -> Image:
    """Colours of the picture's own ICC profile as sRGB, mode L or RGB. A profile that cannot be used counts as sRGB."""
    if profile or image.mode == "LAB":
        converted = _by_profile(image, profile)
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
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _eight_bits(image: Image) -> Image:
    """Grey of 16 bits by its full range; of 32 bits and of fractions, by a usual range or what the picture uses."""
    import PIL.Image

    values = np.asarray(image)
    if values.dtype.itemsize == 2:
        return PIL.Image.fromarray((values >> 8).astype(np.uint8))
    lowest, highest = _range(float(values.min()), float(values.max()), _USUAL[image.mode])
    with np.errstate(all="ignore"):
        grey = (values.astype(np.float32) - lowest) * (_WHITE / ((highest - lowest) or 1.0))
        return PIL.Image.fromarray(np.nan_to_num(np.clip(grey, 0, _WHITE) + 0.5).astype(np.uint8))


def _range(lowest: float, highest: float, usual: tuple[float, ...]) -> tuple[float, float]:
    """What is black and what is white."""
    return next(((0.0, limit) for limit in usual if lowest >= 0 and highest <= limit), (lowest, highest))


def _on_white(image: Image) -> Image:
    import PIL.Image

    clear = image.convert("RGBA")
    white = PIL.Image.new("RGB", clear.size, "white")
    white.paste(clear, mask=clear.getchannel("A"))
    return white
