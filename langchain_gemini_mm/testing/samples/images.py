"""Small pictures, drawn here, with descriptions in their own metadata."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from langchain_gemini_mm.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

_TITLE, _DESCRIPTION = "Title", "Description"
_EXIF_DESCRIPTION, _EXIF_ORIENTATION = 0x010E, 0x0112


def png(
    description: str | None = None,
    *,
    size: tuple[int, int] = (64, 64),
    colour: str = "orange",
    image: Image | None = None,
) -> bytes:
    """A PNG file.

    ```python
    from langchain_gemini_mm.testing import png

    assert png("a ripe orange", size=(8, 8)).startswith(bytes([0x89]) + b"PNG")
    ```

    Args:
        description: words for its `Description` text; none, and only its colours speak.
        size: width and height in pixels, of a plain picture.
        colour: a CSS colour name, of a plain picture.
        image: what to save instead of a plain picture.
    """
    picture = image or plain(size, colour)
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if description:
        info.add_itxt(_DESCRIPTION, description)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info, optimize=image is not None)
    return buffer.getvalue()


def jpeg(
    description: str | None = None,
    *,
    size: tuple[int, int] = (64, 64),
    colour: str = "orange",
    image: Image | None = None,
    orientation: int | None = None,
) -> bytes:
    """A JPEG file; its description is the EXIF ImageDescription.

    Args:
        description: ASCII words; none, and only its colours speak.
        size: width and height in pixels, of a plain picture.
        colour: a CSS colour name, of a plain picture.
        image: what to save instead of a plain picture.
        orientation: EXIF orientation, 1 to 8.
    """
    picture = image or plain(size, colour)
    from PIL.Image import Exif

    exif = Exif()
    if description:
        exif[_EXIF_DESCRIPTION] = description
    if orientation:
        exif[_EXIF_ORIENTATION] = orientation
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=85, exif=exif)
    return buffer.getvalue()


def plain(size: tuple[int, int], colour: str) -> Image:
    """A picture of one colour. Raises `MissingExtraError` without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("making pictures", package="Pillow", extra="testing") from error
    return Image.new("RGB", size, colour)
