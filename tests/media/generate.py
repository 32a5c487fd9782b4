"""Files in formats that the samples of the package do not cover."""

from __future__ import annotations

import hashlib
import io
import struct
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def picture(image_format: str) -> bytes:
    """A small image written by Pillow."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), "teal").save(buffer, image_format)
    return buffer.getvalue()


def clip(container: str, codec: str, seconds: int = 1, **options: str) -> bytes:
    """A silent or grey recording, written by PyAV with the options of a muxer."""
    import av

    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        with av.open(str(path), "w", format=container, options=options) as output:
            _encode(output, codec, seconds)
        return path.read_bytes()


def _encode(output: Any, codec: str, seconds: int) -> None:
    import av
    import numpy as np

    if av.codec.Codec(codec, "w").type == "audio":
        stream: Any = output.add_stream(codec, rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000 * seconds), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        stream.codec_context.open()
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, context.layout, context.rate, context.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode())
    else:
        video: Any = output.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(25 * seconds):
            grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            grey.pts, grey.time_base = number, Fraction(1, 25)
            output.mux(video.encode(grey))
        output.mux(video.encode())


def locked_pdf() -> bytes:
    """A PDF that requires an unknown password."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>",
        b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> >>",
    ]
    data = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(data)
    data += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    identity = b"/ID [<" + b"00" * 16 + b"> <" + b"00" * 16 + b">]"
    data += b"trailer\n<< /Size 5 /Root 1 0 R /Encrypt 4 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (identity, start)
    return bytes(data)


def saved(image: Any, image_format: str, **options: Any) -> bytes:
    """A Pillow image as file bytes."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def swapping_profile() -> bytes:
    """An ICC profile of an RGB space whose red is the green of sRGB, and vice versa."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {}
    for number in range(int.from_bytes(data[128:132], "big")):
        entry = 132 + 12 * number
        places[bytes(data[entry : entry + 4])] = entry + 4
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB b", b"swap b"))


def pdf_objects(*objects: bytes) -> bytes:
    """A PDF file of objects numbered from 1; the first is the catalog."""
    data = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return bytes(data) + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, len(data))
    )


def pdf_stream(content: bytes, entries: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(content), content)


def form_pdf(value: str) -> bytes:
    """A PDF with a form field that is filled in."""
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    look = b"/Tx BMC q BT 0 g /Helv 12 Tf 2 5 Td (%s) Tj ET Q EMC" % value.encode()
    return pdf_objects(
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [4 0 R] /DA (/Helv 12 Tf 0 g) >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Annots [4 0 R] /Contents 7 0 R "
        b"/Resources << /Font << /F1 6 0 R >> >> >>",
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (%s) /Rect [20 100 200 120] /P 3 0 R /F 4 "
        b"/AP << /N 5 0 R >> /DA (/Helv 12 Tf 0 g) >>" % value.encode(),
        pdf_stream(look, b"/Type /XObject /Subtype /Form /BBox [0 0 180 20] /Resources << /Font << /Helv 6 0 R >> >>"),
        font,
        pdf_stream(b"BT /F1 12 Tf 20 160 Td (Name of applicant) Tj ET"),
    )


def images_pdf(*images: tuple[int, bytes]) -> bytes:
    """A PDF with a square grey JPEG on each page, given by its edge in pixels and its bytes."""
    pages, streams = [], []
    for number, (side, data) in enumerate(images):
        entries = b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 "
        first = 3 + len(images) + 2 * number
        pages.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents %d 0 R "
            b"/Resources << /XObject << /I %d 0 R >> >> >>" % (first, first + 1)
        )
        streams.append(pdf_stream(b"300 0 0 300 0 0 cm /I Do"))
        streams.append(pdf_stream(data, entries % (side, side) + b"/Filter /DCTDecode"))
    kids = b" ".join(b"%d 0 R" % (3 + number) for number in range(len(images)))
    tree = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(images))
    return pdf_objects(b"<< /Type /Catalog /Pages 2 0 R >>", tree, *pages, *streams)


@cache
def noise_pdf(*sides: int) -> bytes:
    """A PDF with a square noise image on each page, given by its edge in pixels."""
    from PIL import Image

    drawn = {side: saved(Image.effect_noise((side, side), 90), "JPEG", quality=90) for side in set(sides)}
    return images_pdf(*((side, drawn[side]) for side in sides))


_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def restricted_pdf(content: bytes) -> bytes:
    """A PDF of one page that opens without a password, and is encrypted to forbid printing."""
    owner = _rc4(hashlib.md5(b"owner" + _PADDING[:27]).digest()[:5], _PADDING)
    permissions, identity = struct.pack("<i", -44), bytes(16)
    key = hashlib.md5(_PADDING + owner + permissions + identity).digest()[:5]

    def encrypted(number: int, data: bytes) -> bytes:
        return _rc4(hashlib.md5(key + number.to_bytes(3, "little") + bytes(2)).digest()[:10], data)

    stream = encrypted(4, content)
    plain = pdf_objects(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R "
        b"/Resources << /Font << /F 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Filter /Standard /V 1 /R 2 /P -44 /O <%s> /U <%s> >>"
        % (owner.hex().encode(), _rc4(key, _PADDING).hex().encode()),
    )
    return plain.replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt 6 0 R /ID [<%s> <%s>]" % ((b"00" * 16,) * 2))


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    found, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        found.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(found)


def portfolio(files: dict[str, bytes]) -> bytes:
    """A PDF with a cover and attached files."""
    names = b" ".join(b"(%s) %d 0 R" % (name.encode("latin-1"), 4 + 2 * number) for number, name in enumerate(files))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Collection << /Type /Collection /View /T >> "
        b"/Names << /EmbeddedFiles << /Names [" + names + b"] >> >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] >>",
    ]
    for number, (name, data) in enumerate(files.items()):
        objects += [
            b"<< /Type /Filespec /F (%s) /EF << /F %d 0 R >> >>" % (name.encode("latin-1"), 5 + 2 * number),
            b"<< /Type /EmbeddedFile /Length %d >>\nstream\n%s\nendstream" % (len(data), data),
        ]
    return pdf_objects(*objects)
