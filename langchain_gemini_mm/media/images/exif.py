"""Whether a JPEG or PNG must be written anew to look alike everywhere, by its header and without any library."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

_ORIENTATION = 0x0112
_EXIF = b"Exif\x00\x00"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CMYK_CHANNELS = 4
_MOST_SEGMENTS = 1000
_MOST_ENTRIES = 500


def looks_turned(file: BinaryIO, mime_type: str) -> bool:
    """Whether EXIF turns a picture, or its colours are CMYK; False for types other than JPEG and PNG.

    ```python
    import io

    from langchain_gemini_mm.media.images.exif import looks_turned
    from langchain_gemini_mm.testing import jpeg

    assert not looks_turned(io.BytesIO(jpeg()), "image/jpeg")
    ```

    Args:
        file: open and seekable, a whole picture as far as `probe` can tell.
        mime_type: by content.
    """
    look = {"image/jpeg": _jpeg, "image/png": _png}.get(mime_type)
    return look is not None and look(file)


def _jpeg(file: BinaryIO) -> bool:
    position = 2
    for _ in range(_MOST_SEGMENTS):
        file.seek(position)
        head = file.read(10)
        if len(head) < 10 or head[0] != 0xFF or head[1] == 0xDA:
            return False
        if head[1] == 0xFF:
            position += 1
            continue
        length = int.from_bytes(head[2:4], "big")
        if head[1] == 0xE1 and head[4:] == _EXIF and _turned(file.read(max(length - 8, 0))):
            return True
        if head[1] in _FRAMES:
            return head[9] == _CMYK_CHANNELS
        position += 2 + length
    return False


def _png(file: BinaryIO) -> bool:
    position = 8
    for _ in range(_MOST_SEGMENTS):
        file.seek(position)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind in (b"IDAT", b"IEND"):
            return False
        if kind == b"eXIf":
            return _turned(file.read(length))
        position += 12 + length
    return False


def _turned(exif: bytes) -> bool:
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None:
        return False
    file = io.BytesIO(exif)
    try:
        file.seek(*struct.unpack_from(f"{order}I", exif, 4))
        (entries,) = struct.unpack(f"{order}H", file.read(2))
        for _ in range(min(entries, _MOST_ENTRIES)):
            tag, kind, count, value = struct.unpack(f"{order}HHIH2x", file.read(12))
            if (tag, kind, count) == (_ORIENTATION, 3, 1):
                return bool(2 <= value <= 8)
    except struct.error:
        return False
    return False
