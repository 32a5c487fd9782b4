"""PNG, JPEG and WAV files, measured by their headers and ends, without a library and without decoding.

A PNG or JPEG with EXIF rotation or CMYK colours is marked `needs_redraw`, because viewers show it differently.
A truncated file is recognised by its end. Of PNG, the checksums of the pixels are compared; damage inside of a JPEG is
not detected where its structure is intact.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from langchain_gemini_mm.errors import ContentError
from langchain_gemini_mm.media.facts import Measures

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_MAX_CHUNKS = 200_000
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_APP1 = 0xE1
_EXIF = b"Exif\x00\x00"
_CMYK = b"\x04"
"""Four channels."""
_ORIENTATION = 0x0112
_MAX_ENTRIES = 500
_END_OF_IMAGE = b"\xff\xd9"
_TAIL = 4096
_BLOCK = 1 << 20
_WAV_EXTENSIBLE = 0xFFFE
_WAV_UNCOMPRESSED = (1, 3)
"""Integers and floating-point numbers."""
_STREAMED_BYTES = 0x7FFF_0000
"""Programs that do not know the length write this or more, or 0."""


def read_png(file: BinaryIO, size: int, name: str) -> Measures:
    """Measure a PNG and check that it is complete.

    Args:
        file: open, seekable, at its beginning.
        size: of the file, in bytes.
        name: for messages.

    Raises:
        ContentError: damaged or cut off.
    """
    head = file.read(33)
    if len(head) < 33 or head[:16] != _PNG_SIGNATURE + b"\x00\x00\x00\rIHDR":
        raise _damaged(name, "PNG", "it has no header")
    width, height, checksum = struct.unpack(">II5xI", head[16:])
    if zlib.crc32(head[12:29]) != checksum or not width or not height:
        raise _damaged(name, "PNG", "its header is wrong")
    turned = False
    ended = pixels = False
    for chunk_type, length in _png_chunks(file, size, until=b"IEND"):
        if chunk_type == b"IDAT":
            pixels = True
            _check_sum(file, length, name)
        turned = turned or (chunk_type == b"eXIf" and not pixels and _is_turned(file.read(length)))
        ended = chunk_type == b"IEND"
    if not ended:
        raise _damaged(name, "PNG", "it is cut off")
    return Measures(width=width, height=height, needs_redraw=turned)


def read_jpeg(file: BinaryIO, size: int, name: str) -> Measures | None:
    """Measure a JPEG and check that it is complete; None for one with stray bytes, which only a decoder can judge.

    Args:
        file: open, seekable, at its beginning.
        size: of the file, in bytes.
        name: for messages.

    Raises:
        ContentError: damaged or cut off.
    """
    frame: tuple[int, int] | None = None
    redraw = False
    for marker, segment, position in _jpeg_segments(file, size, name):
        if marker is None:
            return None
        if marker in _JPEG_FRAMES and frame is None:
            frame = (int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[3:5], "big"))
            redraw = redraw or segment[7:] == _CMYK
        if marker == _APP1 and frame is None and segment[2:] == _EXIF:
            file.seek(position)
            redraw = redraw or _is_turned(file.read(max(int.from_bytes(segment[:2], "big") - 8, 0)))
    if frame is None or 0 in frame:
        raise _damaged(name, "JPEG", "it says no size")
    return Measures(width=frame[0], height=frame[1], needs_redraw=redraw)


def read_wav(file: BinaryIO, size: int, name: str) -> Measures | None:
    """Measure a WAV of uncompressed samples and check that it is complete; None for other codecs.

    Args:
        file: open, seekable, at its beginning.
        size: of the file, in bytes.
        name: for messages.

    Raises:
        ContentError: damaged, truncated, or without samples.
    """
    position, bytes_per_second, block = 12, 0, 1
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        length = int.from_bytes(head[4:], "little")
        position += 8
        if head[:4] == b"fmt ":
            form = file.read(26)
            if len(form) < 16:
                break
            codec, _, rate, bytes_per_second, block, _ = struct.unpack("<HHIIHH", form[:16])
            if codec == _WAV_EXTENSIBLE:
                codec = int.from_bytes(form[24:26], "little")
            if codec not in _WAV_UNCOMPRESSED:
                return None
            if not rate or not bytes_per_second or not block:
                raise _damaged(name, "WAV", "its format says no rate")
        if head[:4] == b"data":
            seconds = _wav_bytes(length, size - position, block, name) / (bytes_per_second or 1)
            if not bytes_per_second:
                raise _damaged(name, "WAV", "it has no format before its samples")
            return Measures(seconds=seconds, has_audio=True)
        position += length + length % 2
    raise _damaged(name, "WAV", "it is cut off before its samples")


def _png_chunks(file: BinaryIO, size: int, until: bytes) -> Iterator[tuple[bytes, int]]:
    """Type and length of each chunk up to the first of the type `until`; the file is positioned at the data."""
    position = len(_PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        length, chunk_type = int.from_bytes(head[:4], "big"), head[4:]
        position += 12 + length
        if len(head) < 8 or position > size:
            return
        yield chunk_type, length
        if chunk_type == until:
            return


def _check_sum(file: BinaryIO, length: int, name: str) -> None:
    """Refuse a chunk of pixels that has changed since it was written."""
    found = zlib.crc32(b"IDAT")
    while length > 0 and (block := file.read(min(length, _BLOCK))):
        found = zlib.crc32(block, found)
        length -= len(block)
    if file.read(4) != found.to_bytes(4, "big"):
        raise _damaged(name, "PNG", "the checksum of its pixels is wrong")


def _is_turned(exif: bytes) -> bool:
    """Whether EXIF data have an orientation other than upright."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None:
        return False
    file = io.BytesIO(exif)
    try:
        file.seek(*struct.unpack_from(f"{order}I", exif, 4))
        (entries,) = struct.unpack(f"{order}H", file.read(2))
        for _ in range(min(entries, _MAX_ENTRIES)):
            tag, value_type, count, value = struct.unpack(f"{order}HHIH2x", file.read(12))
            if (tag, value_type, count) == (_ORIENTATION, 3, 1):
                return bool(2 <= value <= 8)
    except struct.error:
        return False
    return False


def _jpeg_marker(file: BinaryIO, position: int, size: int, name: str) -> tuple[int | None, int]:
    """The marker at `position`, None where other bytes are there, and the position after it."""
    while position < size:
        file.seek(position)
        code = file.read(2)
        if code[:1] != b"\xff":
            return None, position
        if code[1:] != b"\xff":
            if len(code) < 2:
                break
            return code[1], position + 2
        position += 1
    raise _damaged(name, "JPEG", "it is cut off")


def _jpeg_segments(file: BinaryIO, size: int, name: str) -> Iterator[tuple[int | None, bytes, int]]:
    """Marker, first bytes and the position after these of each segment; the marker is None for what is none."""
    position = 2
    for _ in range(_MAX_CHUNKS):
        marker, position = _jpeg_marker(file, position, size, name)
        if marker == 0xD9:
            return
        if marker in _JPEG_ALONE:
            continue
        segment = file.read(8)
        if len(segment) < 7:
            raise _damaged(name, "JPEG", "it is cut off")
        length = int.from_bytes(segment[:2], "big")
        yield (marker if length >= 2 else None), segment, position + 8
        position += length
        if marker == 0xDA:
            if _ends_with_jpeg_end(file, size):
                return
            position = _after_scan(file, position, name)


def _ends_with_jpeg_end(file: BinaryIO, size: int) -> bool:
    file.seek(max(size - _TAIL, 0))
    return file.read().rstrip(b"\x00\n\r ").endswith(_END_OF_IMAGE)


def _after_scan(file: BinaryIO, position: int, name: str) -> int:
    """Skip compressed image data; returns the position of the next marker."""
    file.seek(position)
    held = b""
    while block := file.read(_BLOCK):
        data = held + block
        match = _JPEG_MARKER.search(data)
        if match:
            return position - len(held) + match.end() - 2
        position += len(block)
        held = b"\xff" if data.endswith(b"\xff") else b""
    raise _damaged(name, "JPEG", "it is cut off")


def _wav_bytes(length: int, left: int, block: int, name: str) -> int:
    if length == 0 or length >= _STREAMED_BYTES:
        length = left
    if length - left > max(block, 64):
        raise _damaged(name, "WAV", f"it is cut off: {left:,} of {length:,} bytes of audio are there")
    if min(length, left) <= 0:
        raise ContentError(f"{name} has no audio")
    return min(length, left)


def _damaged(name: str, file_format: str, what: str) -> ContentError:
    return ContentError(f"{name} is a damaged {file_format} file: {what}. Export or copy it again")
