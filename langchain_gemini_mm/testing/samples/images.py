"""Small generated images, with descriptions in their metadata."""

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
    """Make a PNG file.

    ```python
    from langchain_gemini_mm.testing import png

    assert png("a ripe orange", size=(8, 8)).startswith(bytes([0x89]) + b"PNG")
    ```

    Args:
        description: its `Description` text; None for no metadata.
        size: width and height in pixels, of an image of one colour.
        colour: a CSS colour name, for an image of one colour.
        image: the image to save, instead of one colour.
    """
    shown = image or plain(size, colour)
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if description:
        info.add_itxt(_DESCRIPTION, description)
    buffer = io.BytesIO()
    shown.save(buffer, "PNG", pnginfo=info, optimize=image is not None)
    return buffer.getvalue()


def jpeg(
    description: str | None = None,
    *,
    size: tuple[int, int] = (64, 64),
    colour: str = "orange",
    image: Image | None = None,
    orientation: int | None = None,
) -> bytes:
    """Make a JPEG file; its description is the EXIF ImageDescription.

    Args:
        description: ASCII text; None for no metadata.
        size: width and height in pixels, of an image of one colour.
        colour: a CSS colour name, for an image of one colour.
        image: the image to save, instead of one colour.
        orientation: EXIF orientation, 1 to 8.
    """
    shown = image or plain(size, colour)
    from PIL.Image import Exif

    exif = Exif()
    if description:
        exif[_EXIF_DESCRIPTION] = description
    if orientation:
        exif[_EXIF_ORIENTATION] = orientation
    buffer = io.BytesIO()
    shown.convert("RGB").save(buffer, "JPEG", quality=85, exif=exif)
    return buffer.getvalue()


def plain(size: tuple[int, int], colour: str) -> Image:
    """Make an image of one colour.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("making sample images", package="Pillow", extra="testing") from error
    return Image.new("RGB", size, colour)
