"""Files of kinds that the package's own samples do not cover."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def picture(kind: str) -> bytes:
    """A small picture written by Pillow."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (24, 16), "teal").save(buffer, kind)
    return buffer.getvalue()


def clip(container: str, codec: str, seconds: int = 1, **options: str) -> bytes:
    """Silence or grey, written by PyAV with the options of a muxer."""
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
        sound: Any = output.add_stream(codec, rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000 * seconds), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        sound.codec_context.open()
        context = sound.codec_context
        resampler = av.AudioResampler(context.format, context.layout, context.rate, context.frame_size or None)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(sound.encode(piece))
        output.mux(sound.encode())
    else:
        video: Any = output.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(25 * seconds):
            grey = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            grey.pts, grey.time_base = number, Fraction(1, 25)
            output.mux(video.encode(grey))
        output.mux(video.encode())


def locked_pdf() -> bytes:
    """A PDF that asks for a password which nobody knows."""
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
