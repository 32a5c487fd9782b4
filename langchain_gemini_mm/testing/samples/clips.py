"""Short generated audio and video files, with titles and comments in their metadata."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

RATE = 8000
"""Sample rate of the audio, in hertz."""


def tone(seconds: float, hertz: float = 440.0) -> NDArray[np.float32]:
    """Generate a sine tone.

    Args:
        seconds: duration.
        hertz: frequency.

    Returns:
        `(n,)` float32 samples within -1 and 1.
    """
    moments = np.arange(round(seconds * RATE), dtype=np.float64) / RATE
    return (0.4 * np.sin(2 * np.pi * hertz * moments)).astype(np.float32)


def purr(seconds: float) -> NDArray[np.float32]:
    """Generate a purr: `(n,)` float32 samples of a low hum that swells 24 times per second."""
    moments = np.arange(round(seconds * RATE)) / RATE
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 24 * moments)
    breath = 0.6 + 0.4 * np.sin(2 * np.pi * 0.5 * moments)
    return np.asarray(0.5 * swell * breath * _hiss(len(moments), smooth=24), dtype=np.float32)


def bark(seconds: float) -> NDArray[np.float32]:
    """Generate barks: `(n,)` float32 samples of short falling bursts, three in two seconds."""
    moments = np.arange(round(seconds * RATE)) / RATE
    since = moments % 0.66
    burst = np.exp(-since * 14) * (since < 0.4)
    voice = np.sign(np.sin(2 * np.pi * (420 - 260 * since) * since)) + _hiss(len(moments), smooth=2)
    return (0.35 * burst * voice).astype(np.float32)


def surf(seconds: float) -> NDArray[np.float32]:
    """Generate waves: `(n,)` float32 samples of noise that rises and falls."""
    moments = np.arange(round(seconds * RATE)) / RATE
    swell = (0.5 - 0.5 * np.cos(2 * np.pi * moments / 2.0)) ** 2
    return np.asarray((0.15 + 0.6 * swell) * _hiss(len(moments), smooth=3), dtype=np.float32)


def wav(seconds: float = 1.0, description: str | None = None, *, samples: NDArray[np.float32] | None = None) -> bytes:
    """Make a WAV file: 16 bit, mono, 8 kHz; a tone unless `samples` are given.

    ```python
    from langchain_gemini_mm.testing import wav

    assert wav(0.5)[8:12] == b"WAVE"
    ```

    Args:
        seconds: duration of the tone.
        description: title and comment (RIFF INFO); None for no metadata.
        samples: `(n,)` float32 within -1 and 1, instead of a tone.
    """
    pcm = _pcm(tone(seconds) if samples is None else samples).tobytes()
    chunks = _chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
    if description:
        words = description.encode("utf-8") + b"\0"
        chunks += _chunk(b"LIST", b"INFO" + _chunk(b"INAM", words) + _chunk(b"ICMT", words))
    chunks += _chunk(b"data", pcm)
    return _chunk(b"RIFF", b"WAVE" + chunks)


def mp3(seconds: float = 1.0, description: str | None = None, *, samples: NDArray[np.float32] | None = None) -> bytes:
    """Make an MP3 file: mono, 8 kHz; a tone unless `samples` are given.

    Args:
        seconds: duration of the tone.
        description: title and comment (ID3); None for no metadata.
        samples: `(n,)` float32 within -1 and 1, instead of a tone.
    """
    av = _av()
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3", options={"fflags": "+bitexact"}) as container:
        _describe(container, description)
        _encode_audio(container, _audio_stream(container, "libmp3lame"), tone(seconds) if samples is None else samples)
    return buffer.getvalue()


def mp4(
    seconds: float = 2.0,
    description: str | None = None,
    *,
    size: tuple[int, int] = (64, 64),
    colour: str = "teal",
    fps: int = 4,
    frame: Callable[[float], Image] | None = None,
    samples: NDArray[np.float32] | None = None,
    container: Literal["mp4", "mov"] = "mp4",
) -> bytes:
    """Make a video file: H.264, without audio unless `samples` are given.

    Args:
        seconds: duration.
        description: title and comment; None for no metadata.
        size: width and height in pixels, even numbers, of a video of one colour.
        colour: a CSS colour name, for a video of one colour.
        fps: frames per second.
        frame: returns the image at a time from 0 to 1, instead of a video of one colour.
        samples: `(n,)` float32 within -1 and 1, for an audio track.
        container: the file format.
    """
    av = _av()
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options={"fflags": "+bitexact"}) as output:
        _describe(output, description)
        options = {"crf": "30", "preset": "veryfast", "threads": "1"}
        video = output.add_stream("libx264", rate=fps, options=options)
        audio = None if samples is None else _audio_stream(output, "aac")
        _encode_frames(output, video, max(round(seconds * fps), 1), frame or _plain(size, colour))
        if samples is not None:
            _encode_audio(output, audio, samples)
    return buffer.getvalue()


def _encode_frames(container: Any, stream: Any, count: int, frame: Callable[[float], Image]) -> None:
    av = _av()
    first = frame(0.0)
    stream.width, stream.height = first.size
    stream.pix_fmt = "yuv420p"
    time_base = 1 / Fraction(stream.codec_context.framerate)
    for number in range(count):
        image = av.VideoFrame.from_image(frame(number / count) if number else first)
        image.pts, image.time_base = number, time_base
        container.mux(stream.encode(image))
    container.mux(stream.encode())


def _audio_stream(container: Any, codec: str) -> Any:
    stream = container.add_stream(codec, rate=RATE, layout="mono")
    stream.bit_rate = 24_000
    return stream


def _encode_audio(container: Any, stream: Any, samples: NDArray[np.float32]) -> None:
    av = _av()
    audio = av.AudioFrame.from_ndarray(_pcm(samples)[None, :], format="s16", layout="mono")
    audio.sample_rate, audio.pts, audio.time_base = RATE, 0, Fraction(1, RATE)
    stream.codec_context.open(strict=False)
    resampler = av.AudioResampler(
        format=stream.format, layout="mono", rate=RATE, frame_size=stream.codec_context.frame_size
    )
    for piece in [*resampler.resample(audio), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode())


def _describe(container: Any, description: str | None) -> None:
    if description:
        container.metadata["title"] = description
        container.metadata["comment"] = description


def _plain(size: tuple[int, int], colour: str) -> Callable[[float], Image]:
    from langchain_gemini_mm.testing.samples.images import plain

    image = plain(size, colour)
    return lambda _: image


def _pcm(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.asarray(np.clip(samples, -1, 1) * 32767, dtype="<i2")


def _hiss(count: int, *, smooth: int) -> NDArray[np.float32]:
    """Deterministic noise, low-pass filtered by averaging `smooth` samples."""
    state = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state ^= state >> np.uint64(29)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(32)
    white = (state >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0
    total = np.concatenate([np.zeros(smooth), np.cumsum(white)])
    return np.asarray((total[smooth:] - total[:-smooth]) / smooth**0.5, dtype=np.float32)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("making sample audio and video", package="av", extra="testing") from error
    return av
