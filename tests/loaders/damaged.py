"""A folder of damaged files of every format: truncated, corrupted, renamed, empty and oversized, and special files."""

from __future__ import annotations

import base64
import gzip
import io
import os
import random
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from langchain_gemini_mm.testing import jpeg, mp3, mp4, pdf, png, wav
from tests.media.generate import locked_pdf, pdf_objects, pdf_stream, picture, portfolio, saved
from tests.media.recordings import recording

MAIL = (
    b"From: ada@example.com\nSubject: Lunch\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=cut\n\n"
    b"--cut\nContent-Type: text/plain\n\nAt noon?\n--cut\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n"
    b"Content-Disposition: attachment; filename=a.png\n\n"
)
GOOD: dict[str, Callable[[], bytes]] = {
    "png": lambda: png("a cat", image=_noise()),
    "jpg": lambda: jpeg("a dog", image=_noise()),
    "webp": lambda: picture("WEBP"),
    "gif": lambda: picture("GIF"),
    "bmp": lambda: picture("BMP"),
    "tiff": lambda: picture("TIFF"),
    "avif": lambda: picture("AVIF"),
    "wav": lambda: wav(0.5, "a bell"),
    "mp3": lambda: mp3(0.5, "a bell"),
    "flac": lambda: recording("flac", video=None, audio="flac", seconds=2),
    "ogg": lambda: recording("ogg", video=None, audio="libopus", seconds=2),
    "m4a": lambda: recording("ipod", video=None, seconds=2),
    "mp4": lambda: mp4(2.0, "a ball", samples=np.sin(np.arange(16_000, dtype=np.float32))),
    "mov": lambda: mp4(1.0, container="mov"),
    "mkv": lambda: recording("matroska", seconds=2),
    "webm": lambda: recording("webm", video="libvpx", audio="libopus", seconds=2),
    "avi": lambda: recording("avi", video="mpeg4", audio="libmp3lame", seconds=2),
    "pdf": lambda: pdf(("one", "two"), title="Numbers"),
}
"""Suffixes, each with a function that makes a valid file."""


def write_damaged(folder: Path, *, thorough: bool = False) -> tuple[dict[str, bytes], set[str]]:
    """Write all files below `folder`.

    Args:
        folder: a new folder.
        thorough: write more than 1,000 instead of some 200.

    Returns:
        Files that may be usable, by source, and the sources of files that never are.
    """
    made = {ending: make() for ending, make in GOOD.items()}
    certain = {
        **dict(_truncated(made)),
        **dict(_empty()),
        **dict(_wrong_contents(made)),
        **dict(_archives(made)),
        **dict(_undecodable()),
    }
    doubtful = {
        **dict(_flipped(made, 25 if thorough else 3)),
        **dict(_renamed(made)),
        **dict(_bombs()),
        **dict(_nested(made)),
        **dict(_damaged_texts(made)),
        **(dict(_cut_anywhere(made)) if thorough else {}),
    }
    for name, data in {**certain, **doubtful}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return doubtful, set(certain) | set(_special_files(folder))


def _truncated(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for ending, data in made.items():
        yield f"cut/beginning.{ending}", data[:24]
        if ending not in {"mp3", "ogg", "mkv", "webm", "avi", "flac", "gif"}:
            # A truncated stream is a shorter recording, and a truncated image its first lines.
            yield f"cut/half.{ending}", data[: len(data) // 2]


def _empty() -> Iterator[tuple[str, bytes]]:
    for ending in [*GOOD, "txt", "md", "html", "eml", "mbox", "docx"]:
        yield f"empty/nothing.{ending}", b""


def _wrong_contents(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """A valid header followed by noise, or only a suffix."""
    noise = random.Random(7).randbytes(4000)
    for ending, data in made.items():
        if ending not in {"mp3", "bmp", "ogg"}:
            yield f"posing/begins-like.{ending}", data[:16] + noise
        yield f"posing/noise.{ending}", b"\x00\x01" + noise


def _archives(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    inner = _zipped({"a.png": made["png"]})
    for depth in range(3):
        yield f"archives/nested-{depth}.zip", inner
        inner = _zipped({f"inner-{depth}.zip": inner})
    yield "archives/bomb.zip", _zipped({"zeros": bytes(20_000_000)})
    yield "archives/bomb.gz", gzip.compress(bytes(20_000_000))
    yield "archives/book.epub", _zipped({"mimetype": b"application/epub+zip"})
    yield "archives/letter.docx", _zipped({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"})
    yield "archives/old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000)
    yield "archives/named.mp4", inner
    yield "archives/files.7z", b"7z\xbc\xaf\x27\x1c" + bytes(100)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("../../escape.txt")
        archive.addfile(entry, io.BytesIO())
    yield "archives/escaping.tar", tar.getvalue()


def _undecodable() -> Iterator[tuple[str, bytes]]:
    yield "texts/binary.txt", bytes(range(256)) * 20
    yield "texts/binary.md", b"\x00\x01\x02" * 300
    yield "texts/binary.html", b"<p>\x00\x01" * 300
    yield "texts/half-utf16.txt", b"\xff\xfe\x41\x00\x42"
    yield "texts/spaces.md", b"  \n\t\n"
    yield "texts/no-words.html", b"<html><script>x</script></html>"
    yield "texts/no-box.mbox", b"Dear all"
    yield "texts/drawing.svg", b"<svg/>"
    yield "texts/rich.rtf", b"{\\rtf1 x}"
    yield "bombs/huge.png", _huge_png()
    yield "bombs/locked.pdf", locked_pdf()
    yield "bombs/endless.wav", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + bytes(12)
    yield "bombs/atoms.mp4", b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + b"\xff\xff\xff\xffmoov" * 50
    yield "bombs/playlist.mp4", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\x00\n"
    yield "bombs/huge.bmp", b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    yield "bombs/huge.gif", b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x00\x00\x00," + bytes(20)


def _cut_anywhere(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files cut off, with a hole of zeros, and with a part repeated, at places of each."""
    for ending, data in made.items():
        for seed in range(8):
            chance = random.Random(seed)
            place, length = chance.randrange(len(data)), chance.randrange(1, 2000)
            yield f"cuts/{seed}.{ending}", data[:place]
            yield f"holes/{seed}.{ending}", data[:place] + bytes(length) + data[place + length :]
            yield f"repeats/{seed}.{ending}", data[: place + length] + data[place:]


def _nested(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Files inside of files, which may be inside of others."""
    pile = made["png"]
    for depth in range(9):
        name = f"inner-{depth}"
        pile = portfolio({f"{name}.pdf" if depth else "a.png": pile, "note.txt": b"words", "bad.pdf": b"%PDF-1.4"})
        yield f"nested/{depth}.pdf", pile
    yield "nested/many.pdf", portfolio({f"{number}.txt": b"words" for number in range(1100)})
    yield "nested/bomb.pdf", portfolio({"bomb.pdf": _flate_bomb(100_000_000), "zip.zip": _zipped({"a": pile})})
    mail = b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: application/pdf\n"
    mail += b"Content-Disposition: attachment; filename=a.pdf\nContent-Transfer-Encoding: base64\n\n"
    yield "nested/mail.eml", mail + base64.encodebytes(pile) + b"\n--b--\n"
    yield "nested/page.html", b"<img src='data:image/png;base64," + base64.b64encode(made["pdf"]) + b"'>words"
    yield "nested/page.md", b"words ![](data:image/png;base64," + base64.b64encode(made["png"][:90]) + b")"


def _flipped(made: dict[str, bytes], seeds: int) -> Iterator[tuple[str, bytes]]:
    for ending, data in made.items():
        for seed in range(seeds):
            chance = random.Random(seed)
            flipped = bytearray(data)
            for _ in range(max(4, len(data) // 500)):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            yield f"flipped/{seed}.{ending}", bytes(flipped)


def _renamed(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    endings = list(made)
    for ending, other in zip(endings, endings[1:] + endings[:1], strict=True):
        yield f"renamed/{ending}-as.{other}", made[ending]
    yield "renamed/text-as.png", b"just a text"
    for name in ("-rf", "%s%n", "a b", "$(x)", "名前", "e\u0301", "quote'\"", "x" * 200, "tab\tnew\nline"):
        yield f"odd names/{name}.png", made["png"]


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "bombs/words.png", _captioned_png()
    yield "bombs/deflated.pdf", _deflated_pdf()
    yield "bombs/flate.pdf", _flate_bomb(400_000_000)
    yield "bombs/words.pdf", _flate_bomb(0, b"(hello world) Tj " * 200_000)
    yield "bombs/forms.pdf", _form_bomb()
    yield "bombs/pages.tiff", picture_pages(300)
    yield "bombs/tags.md", b"[x]: " * 100_000 + b"\n![x]"
    yield "bombs/ticks.md", b"words `" + b"`a " * 100_000
    yield "bombs/data.md", b"words " + b"![a](data:image/png;base64," * 20_000
    yield "bombs/no-spaces.txt", "\u6f22\u5b57".encode() * 300_000
    yield "bombs/smi.smi", b"<SAMI>" + b"<SYNC Start=1><P>x" * 50_000
    yield "bombs/unclosed.html", b"<p>words" + b"<a " * 100_000
    yield "bombs/comments.html", b"<p>words" + b"<!--" * 100_000
    yield "bombs/quotes.html", b"<p>words" + b"<img src='" * 50_000
    yield "bombs/spaces.html", b"<pre>words" + b" " * 1_000_000
    yield "bombs/pictures.md", b"words ![" * 100_000
    yield (
        "bombs/deep.eml",
        b"Subject: x\n"
        + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (depth, depth) for depth in range(3000)),
    )
    yield "bombs/line.mbox", b"From x\nSubject: y\n\n" + b"z" * 1_000_000
    yield "bombs/header.eml", b"To: " + b"=?utf-8?q?a?= " * 100_000 + b"\n\nwords"
    yield "bombs/cues.mp4", mp4(0.5)
    yield "bombs/cues.srt", b"00:00:01,000 --> 00:00:02,000\nx\n" * 50_000


def _damaged_texts(made: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield "texts/cyrillic.txt", "Привет, мир! Как дела?".encode("cp1251")
    mail = MAIL + b"iVBORw0KGgo=\n--cut--\n"
    for part in (0.3, 0.7, 0.9):
        yield f"texts/cut-{part}.eml", mail[: int(len(mail) * part)]
        yield (
            f"texts/cut-{part}.html",
            b"<p>words <img src='../cut/beginning.png' alt='x'>"[: int(50 * part)] + b"words",
        )
    for seed in range(5):
        chance = random.Random(seed)
        yield f"texts/bent-{seed}.eml", bytes(byte ^ (chance.random() < 0.02) for byte in mail)
    yield (
        "captions.jsonl",
        b'{"source": 5}\n' + b"[" * 100_000 + b'\nnull\n{"source": "a", "text": "b", "start_s": NaN}\n',
    )
    yield "cut/half.srt", b"\x00\x01\x02"
    yield "texts/named-as-text.txt", made["jpg"]


def _special_files(folder: Path) -> Iterator[str]:
    """Special files, and files without read permission."""
    if os.name != "posix":
        return
    place = folder / "no files"
    place.mkdir()
    os.mkfifo(place / "pipe.png")
    os.mkfifo(place / "pipe.srt")
    here = Path.cwd()
    os.chdir(place)  # A socket path must be short.
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.mp4")
    finally:
        os.chdir(here)
    (place / "loop").symlink_to(place)
    (place / "self.png").symlink_to(place / "self.png")
    (place / "dangling.pdf").symlink_to(place / "gone.pdf")
    (place / "device.wav").symlink_to("/dev/zero")
    (place / "outside.txt").symlink_to("/etc/passwd")
    yield from (f"no files/{name}" for name in sorted(path.name for path in place.iterdir()))
    if os.geteuid():
        (place / "secret.png").write_bytes(png())
        (place / "secret.png").chmod(0)
        yield "no files/secret.png"


def _noise() -> Any:
    from PIL import Image

    return Image.frombytes("RGB", (96, 64), random.Random(3).randbytes(96 * 64 * 3))


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _chunk(chunk_type: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + chunk_type + data + struct.pack(">I", zlib.crc32(chunk_type + data))


def _huge_png() -> bytes:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _captioned_png() -> bytes:
    """An image whose caption is a decompression bomb."""
    whole = png()
    bomb = b"Description\0\x01\0\0\0" + zlib.compress(b"x" * 50_000_000)
    return whole[:33] + _chunk(b"iTXt", bomb) + whole[33:]


def _deflated_pdf() -> bytes:
    """A page whose content stream decompresses to 50 MB."""
    content = zlib.compress(b"BT /F1 12 Tf (x) Tj ET " + b" " * 50_000_000)
    plain = pdf(("one",))
    start, end = plain.index(b"<< /Length"), plain.index(b"endstream")
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(content) + content + b"\n"
    return plain[:start] + stream + plain[end:]


def _flate_bomb(size: int, words: bytes = b"") -> bytes:
    """A PDF whose page decompresses to `size` spaces and then words."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * 1_000_000) for _ in range(size // 1_000_000))
    packed += packer.compress(b"BT /F 9 Tf " + words + b"ET") + packer.flush()
    return pdf_objects(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R "
        b"/Resources << /Font << /F 5 0 R >> >> >>",
        pdf_stream(packed, b"/Filter /FlateDecode"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )


def _form_bomb() -> bytes:
    """A PDF whose page draws a form ten times, which draws another one ten times, and so on."""
    forms = [
        pdf_stream(
            b"/X Do " * 10,
            b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X %d 0 R >> >>" % (n + 1),
        )
        for n in range(4, 24)
    ]
    last = pdf_stream(b"0 0 9 9 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9]")
    return pdf_objects(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 25 0 R "
        b"/Resources << /XObject << /X 4 0 R >> >> >>",
        *forms,
        last,
        pdf_stream(b"/X Do " * 10),
    )


def picture_pages(count: int) -> bytes:
    """A TIFF with many pages."""
    from PIL import Image

    pages = [Image.new("1", (200, 200), number % 2) for number in range(count)]
    return saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="group4")
