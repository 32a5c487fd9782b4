"""Image files of noise, which cannot be compressed, made quickly."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

_SMALL_SIDE = 256
_PNG_SIDE = 1000
_JPEG_SIDE = 1755


def small_images(folder: Path, count: int) -> list[Path]:
    """Write `count` JPEG files of 20 to 50 kB."""
    rng = np.random.default_rng(1)
    paths = []
    for number in range(count):
        path = folder / f"small-{number:05}.jpg"
        path.write_bytes(noise(rng, _SMALL_SIDE, "JPEG", quality=int(rng.integers(45, 80))))
        paths.append(path)
    return paths


def large_images(folder: Path, total: int) -> int:
    """Write different PNG and JPEG files of 3 MB, up to `total` bytes; return their number.

    Two images are drawn; each file is one of them with a comment of its own. All have one size, so that a larger
    number of files does not contain larger files.
    """
    rng = np.random.default_rng(2)
    drawn = {"png": noise(rng, _PNG_SIDE, "PNG"), "jpg": noise(rng, _JPEG_SIDE, "JPEG", quality=92)}
    written = number = 0
    while written < total:
        suffix = ("png", "jpg")[number % 2]
        data = commented(drawn[suffix], f"file {number} of {total} bytes")
        written += (folder / f"large-{number:05}.{suffix}").write_bytes(data)
        number += 1
    return number


def noise(rng: np.random.Generator, side: int, file_format: str, **options: int) -> bytes:
    """Return one square image of random pixels."""
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, file_format, **options)
    return file.getvalue()


def commented(data: bytes, comment: str) -> bytes:
    """Return the same image with a comment: a COM segment at the start of a JPEG, a tEXt chunk at the end of a PNG."""
    if data.startswith(b"\xff\xd8"):
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment.encode("ascii") + data[2:]
    chunk = b"tEXtComment\0" + comment.encode("ascii")
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:-12] + whole + data[-12:]
