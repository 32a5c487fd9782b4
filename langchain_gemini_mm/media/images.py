"""Pictures other than PNG and JPEG, opened with Pillow."""

from __future__ import annotations

import struct
from typing import BinaryIO

from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError, MissingExtraError
from langchain_gemini_mm.media.facts import Measures


def decode(file: BinaryIO, size: int, name: str, *, max_pixels: int) -> Measures:
    """Measure a picture and decode it, which is the only sure way to tell that it is whole.

    Raises:
        ContentError: damaged, cut off, or of a kind that Pillow does not open.
        MediaLimitError: more than `max_pixels`; nothing was decoded.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(f"opening {name}", package="Pillow", extra="media") from error
    try:
        with Image.open(file) as image:
            width, height = image.size
            if width * height <= max_pixels:
                image.load()
    except GeminiMMError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaLimitError(f"{name} has too many pixels: {error}. Scale it down") from error
    except (OSError, ValueError, SyntaxError, LookupError, RuntimeError, ArithmeticError, struct.error) as error:
        raise ContentError(
            f"{name} ({size:,} bytes) cannot be opened as a picture: it is damaged, cut off, or of a kind that Pillow "
            "does not know. Convert it to PNG or JPEG"
        ) from error
    return Measures(width=width, height=height)
