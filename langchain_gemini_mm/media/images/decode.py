"""Opening images with Pillow, by their real type, and decoding them only below a limit on their pixels."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, cast

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, sniff
from langchain_gemini_mm.errors import ContentError, GeminiMMError, MediaLimitError, MissingExtraError
from langchain_gemini_mm.media.facts import Measures

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 250_000_000
"""Larger images are refused before they are decoded; the largest phone cameras give 200 million pixels."""

# Pillow's own `open` tries every plugin, Ghostscript's among them, and has its own limit on pixels.
_OPENERS = {
    "image/png": ("PIL.PngImagePlugin", "PngImageFile"),
    "image/jpeg": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "image/webp": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "image/gif": ("PIL.GifImagePlugin", "GifImageFile"),
    "image/bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "image/tiff": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "image/jp2": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "image/avif": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "image/heic": ("pillow_heif", "HeifImageFile"),
    "image/heif": ("pillow_heif", "HeifImageFile"),
}
_FOR_HEIF = "pillow_heif"
_SUBFILE_TYPE = 0x00FE
_MAX_FRAMES = 10_000


def decode(file: BinaryIO, name: str, *, max_pixels: int = MAX_PIXELS) -> Measures:
    """Measure and decode an image; only decoding proves that it is complete.

    Args:
        file: open, seekable.
        name: for messages.
        max_pixels: width times height.

    Raises:
        ContentError: damaged, truncated, or of a type that is not opened.
        MediaLimitError: more than `max_pixels`; nothing was decoded.
        MissingExtraError: Pillow is not installed, or pillow-heif for a HEIC image.
    """
    file.seek(0)
    mime_type = sniff(file.read(HEAD_BYTES)) or "unknown"
    with opened_image(file, mime_type, name, max_pixels=max_pixels) as image:
        width, height = image.size
        image.load()
        pages = len(page_frames(image))
    # Rotation and colours are only looked at by `transform.prepared`.
    measures = Measures(width=width, height=height, needs_redraw=True)
    if pages > 1:
        measures["pages"] = pages
    return measures


def page_frames(image: ImageFile) -> list[int]:
    """The frames of a TIFF that are pages: all but smaller copies of others; one for images of other types."""
    frames = []
    for frame in range(min(getattr(image, "n_frames", 1), _MAX_FRAMES) if image.format == "TIFF" else 1):
        image.seek(frame)
        if not (image.format == "TIFF" and int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & 1):  # type: ignore[attr-defined]
            frames.append(frame)
    image.seek(0)
    return frames or [0]


@contextmanager
def opened_image(file: BinaryIO, mime_type: str, name: str, *, max_pixels: int = MAX_PIXELS) -> Iterator[ImageFile]:
    """Open an image whose header declares at most `max_pixels`; errors of Pillow become `ContentError`s.

    Args:
        file: open, seekable.
        mime_type: of the file, by its content.
        name: for messages.
        max_pixels: width times height.

    Raises:
        ContentError: damaged, truncated, or of a type that is not opened.
        MediaLimitError: more than `max_pixels`; nothing was decoded.
        MissingExtraError: Pillow is not installed, or pillow-heif for a HEIC image.
    """
    if mime_type not in _OPENERS:
        raise ContentError(f"{name} is {mime_type}, which is no image type that is opened. Convert it to PNG")
    factory = _factory(mime_type, name)
    file.seek(0)
    try:
        with cast("ImageFile", factory(file, "")) as image:
            check_pixels(*image.size, name, max_pixels=max_pixels)
            yield image
    except GeminiMMError:
        raise
    except MemoryError as error:
        raise MediaLimitError(f"{name} does not fit into memory when it is opened. Scale it down") from error
    except Exception as error:
        if not is_decoding_error(error):
            raise
        raise ContentError(
            f"{name} cannot be opened as an image ({mime_type}): it is damaged, cut off, or of a type that Pillow "
            "does not know. Convert it to PNG or JPEG, or export or copy it again"
        ) from error


def is_decoding_error(error: Exception) -> bool:
    """Whether an error is Pillow's or the file's, rather than one of our own code.

    Pillow raises exceptions of nearly every type for damaged files, and warnings that may be errors, so the code that
    raised it decides, where the standard library counts as its caller. What else Pillow calls are the caller's files.
    """
    if isinstance(error, OSError | EOFError | SyntaxError):
        return True
    last, trace = "", error.__traceback__
    while trace is not None:
        package = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
        last = last if package in sys.stdlib_module_names else package
        trace = trace.tb_next
    return last in ("PIL", "pillow_heif")


def check_pixels(width: int, height: int, name: str, *, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse an image of too many pixels.

    Args:
        width: in pixels.
        height: in pixels.
        name: for messages.
        max_pixels: width times height.

    Raises:
        MediaLimitError: more than `max_pixels`.
    """
    if width * height > max_pixels:
        raise MediaLimitError(
            f"{name} has {width:,} x {height:,} pixels; at most {max_pixels:,} are opened, because a small file may "
            "contain an image that fills the memory. Scale it down"
        )


def _factory(mime_type: str, name: str) -> type:
    module, opener = _OPENERS[mime_type]
    try:
        import_module("PIL.Image")
    except ImportError as error:
        raise MissingExtraError(f"opening {name}", package="Pillow", extra="media") from error
    try:
        return cast("type", getattr(import_module(module), opener))
    except ImportError as error:
        if module != _FOR_HEIF:
            raise ContentError(f"{name} is {mime_type}, which this Pillow was built without; reinstall it") from error
        raise MissingExtraError(f"opening {name} ({mime_type})", package="pillow-heif", extra="heif") from error
