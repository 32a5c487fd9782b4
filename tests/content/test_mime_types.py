"""MIME types by first bytes: every supported type, independent of the file name, from real files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from langchain_gemini_mm.content.mime_types import HEAD_BYTES, canonical_mime_type, modality_of, sniff
from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from tests.media.generate import clip, picture

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = {
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "JPEG2000": "image/jp2",
}
CLIPS = {
    "flac": ("flac", "audio/flac"),
    "ogg": ("libopus", "audio/ogg"),
    "adts": ("aac", "audio/aac"),
    "ipod": ("aac", "audio/mp4"),
    "aiff": ("pcm_s16be", "audio/aiff"),
    "matroska": ("mpeg4", "video/x-matroska"),
    "webm": ("libvpx", "video/webm"),
    "avi": ("mpeg4", "video/x-msvideo"),
    "mpegts": ("mpeg2video", "video/mp2t"),
    "mpeg": ("mpeg1video", "video/mpeg"),
    "flv": ("flv", "video/x-flv"),
    "asf": ("mpeg4", "video/x-ms-asf"),
}


MADE: dict[str, tuple[Callable[[], bytes], str]] = {
    "png": (png, "image/png"),
    "jpeg": (jpeg, "image/jpeg"),
    "wav": (wav, "audio/wav"),
    "mp3": (mp3, "audio/mp3"),
    "mp4": (mp4, "video/mp4"),
    "mov": (lambda: mp4(container="mov"), "video/quicktime"),
    "pdf": (lambda: pdf(("one page",)), "application/pdf"),
    **{name: (partial(picture, name), mime_type) for name, mime_type in IMAGES.items()},
    **{name: (partial(clip, name, codec), mime) for name, (codec, mime) in CLIPS.items()},
}


@pytest.mark.parametrize(("make", "mime_type"), MADE.values(), ids=MADE)
def test_real_files_are_known(make: Callable[[], bytes], mime_type: str) -> None:
    """Files written by common programs are recognised by their first bytes alone."""
    assert sniff(make()[:HEAD_BYTES]) == mime_type


def box(brand: bytes, *compatible: bytes) -> bytes:
    """The first box of an ISO media file."""
    body = b"ftyp" + brand + b"\x00\x00\x02\x00" + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body + b"\x00\x00\x00\x08free"


HEADS = {
    "an iPhone photo": (box(b"heic", b"mif1", b"heic"), "image/heic"),
    "HEIF of an unnamed codec": (box(b"mif1", b"mif1", b"miaf"), "image/heif"),
    "HEIF that says heic later": (box(b"mif1", b"mif1", b"heic"), "image/heic"),
    "AVIF": (box(b"avif", b"mif1", b"miaf"), "image/avif"),
    "an iPhone video": (box(b"qt  ", b"qt  "), "video/quicktime"),
    "old QuickTime": (b"\x00\x00\x00\x20moov" + bytes(24), "video/quicktime"),
    "MP4": (box(b"isom", b"isom", b"iso2", b"avc1", b"mp41"), "video/mp4"),
    "3GP": (box(b"3gp4", b"isom"), "video/mp4"),
    "an audio book": (box(b"M4B ", b"M4A "), "audio/mp4"),
    "MP3 without tags": (b"\xff\xfb\x90\x64" + bytes(100), "audio/mp3"),
    "MP3 of a low rate": (b"\xff\xf3\x40\xc4" + bytes(100), "audio/mp3"),
    "MP3 with tags": (b"ID3\x04\x00\x00" + bytes(100), "audio/mp3"),
    "AMR": (b"#!AMR\n" + bytes(10), "audio/amr"),
    "PDF after junk": (b"\x00\x01junk\r\n%PDF-1.7\n", "application/pdf"),
    "PDF after HTTP headers": (b"HTTP/1.1 200 OK\r\n\r\n%PDF-1.4\n", "application/pdf"),
    "a Word file": (b"PK\x03\x04\x14\x00\x06\x00", "application/zip"),
    "gzip": (b"\x1f\x8b\x08\x00", "application/gzip"),
}


@pytest.mark.parametrize(("head", "mime_type"), HEADS.values(), ids=HEADS)
def test_heads_are_known(head: bytes, mime_type: str) -> None:
    """Types that are hard to generate are recognised by their published first bytes."""
    assert sniff(head) == mime_type


TEXTS = {
    "nothing": b"",
    "one byte": b"\xff",
    "text": b"just text",
    "text about PDFs": b'assert sniff(b"%PDF-1.7") == "application/pdf"',
    "text about ID3": b"ID3 tags are read by players",
    "text about ftyp": b"testftyp is no box",
    "text about Ogg": b"OggS is a capture pattern",
    "text about GIF": b"GIF is pronounced as you like",
    "text that begins with BM": b"BM is a car maker's bike",
    "UTF-16 text": "Hällo, wörld".encode("utf-16"),
    "big-endian UTF-16 text": b"\xfe\xff" + "Hello".encode("utf-16-be"),
    "UTF-8 with a byte order mark": "Hällo".encode("utf-8-sig"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "HTML": b"<!DOCTYPE html><html>",
    "a program": b"\x7fELF\x02\x01\x01",
    "SQLite": b"SQLite format 3\x00",
    "an unknown RIFF": b"RIFF\x10\x00\x00\x00CDXA",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("head", TEXTS.values(), ids=TEXTS)
def test_other_data_is_not_recognised_as_media(head: bytes) -> None:
    """Text, even text about media, and programs have no known type."""
    assert sniff(head) is None


@pytest.mark.parametrize("make", [png, jpeg, wav, mp4], ids=["png", "jpeg", "wav", "mp4"])
def test_any_beginning_can_be_sniffed(make: Callable[[], bytes]) -> None:
    """A prefix of a file of any length gives the type or nothing, never another type or an error."""
    data = make()
    answers = {sniff(data[:length]) for length in range(600)}
    assert answers <= {None, sniff(data)}


def test_types_have_modalities() -> None:
    """The main type of a MIME type is its modality; types of other modalities have none."""
    assert modality_of("image/webp") == "image"
    assert modality_of("application/pdf") == "pdf"
    assert modality_of("application/zip") is None


def test_types_have_one_spelling() -> None:
    """Common aliases, capital letters and parameters are accepted."""
    assert canonical_mime_type("Audio/MPEG; rate=44100") == "audio/mp3"
    assert canonical_mime_type("image/jpg") == "image/jpeg"
