"""Recordings in which every frame encodes its number and every second has its own tone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from langchain_gemini_mm.media.av.container import reading_options

SIZE = (128, 64)
BITS = 16
RATE = 48_000
TICKS = 1000
PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le", "wmv2": "yuv420p"}
"""Pixel formats of encoders that do not take `yuv420p`."""
STEREO = {"libopus", "vorbis"}
RATES = {"libopencore_amrnb": 8_000, "pcm_mulaw": 8_000}


@cache
def recording(
    container: str = "mp4",
    *,
    video: str | None = "libx264",
    audio: str | None = "aac",
    seconds: float = 12,
    fps: int = 10,
    key_every: int = 10,
    b_frames: int = 0,
    moments: tuple[float, ...] | None = None,
    start_s: float = 0.0,
    size: tuple[int, int] = SIZE,
    noisy: bool = False,
    silent: bool = False,
    audio_tracks: int = 1,
    pixels: str | None = None,
    **options: str,
) -> bytes:
    """A file with numbered frames and an audio track.

    Args:
        container: libav's name of a format.
        video: an encoder, or None for audio only.
        audio: an encoder, or None for no audio track.
        seconds: the duration.
        fps: frames per second.
        key_every: frames from keyframe to keyframe.
        b_frames: consecutive B-frames.
        moments: times of the frames in seconds, instead of `fps`.
        start_s: the first timestamp.
        size: width and height of the video.
        noisy: whether frames contain noise, which makes the file larger.
        silent: whether the audio track contains only zeros.
        audio_tracks: the number of audio tracks.
        pixels: libav's name of the pixel format.
        options: of the muxer.
    """
    import av

    with TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        with av.open(str(path), "w", format=container, container_options=options) as output:
            ticks = fps if moments is None else TICKS
            video_stream = (
                _video_stream(output, video, fps, ticks, key_every, b_frames, size, pixels) if video else None
            )
            tracks = [_audio_stream(output, audio) for _ in range(audio_tracks)] if audio else []
            packets: list[Any] = []
            if video_stream is not None:
                times = moments if moments is not None else [number / fps for number in range(round(seconds * fps))]
                packets += _video_packets(video_stream, times, start_s, size, noisy=noisy)
            for track in tracks:
                packets += _audio_packets(track, seconds, start_s, silent=silent)
            for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
                output.mux(packet)
        return path.read_bytes()


def numbers(data: bytes) -> list[int]:
    """The numbers of a file's frames, in display order."""
    import av

    with av.open(io.BytesIO(data), "r", **reading_options(data)) as container:
        if not container.streams.video:
            return []
        return [_number(frame) for frame in container.decode(video=0)]


def moments(data: bytes) -> list[float]:
    """The times of a file's frames in seconds."""
    import av

    with av.open(io.BytesIO(data), "r", **reading_options(data)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def beginning(data: bytes) -> float:
    """The first timestamp of a file in seconds."""
    import av

    with av.open(io.BytesIO(data), "r", **reading_options(data)) as container:
        return (container.start_time or 0) / 1_000_000


def sound(data: bytes) -> tuple[np.ndarray, int]:
    """`(n,)` audio samples of a file, mixed to one channel, and the sample rate."""
    import av

    with av.open(io.BytesIO(data), "r", **reading_options(data)) as container:
        if not container.streams.audio:
            return np.zeros(0), RATE
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("flt", "mono", rate)
        frames = [frame for given in container.decode(audio=0) for frame in resampler.resample(given)]
        frames += resampler.resample(None)
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]), rate


def note(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency in Hertz."""
    strengths = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(strengths) * rate / len(samples))


def hertz(second: int) -> float:
    """The frequency of the tone in a second."""
    return 400.0 + 100 * (second % 12)


def declared_seconds(data: bytes) -> float:
    """The longest duration that a file's headers declare, in seconds."""
    import av

    with av.open(io.BytesIO(data), "r", **reading_options(data)) as container:
        lengths = [float(stream.duration * (stream.time_base or 0)) for stream in container.streams if stream.duration]
        return max([*lengths, (container.duration or 0) / 1_000_000])


def _video_stream(
    output: Any,
    codec: str,
    fps: int,
    ticks: int,
    key_every: int,
    b_frames: int,
    size: tuple[int, int],
    pixels: str | None,
) -> Any:
    options = {"g": str(key_every), "keyint_min": str(key_every), "threads": "1", "bf": str(b_frames)}
    if codec == "libx264":
        options |= {"preset": "veryfast", "crf": "24", "sc_threshold": "0"}
    if codec == "libx265":
        options = {"preset": "ultrafast", "x265-params": f"keyint={key_every}:bframes={b_frames}:log-level=none"}
    if codec.startswith("libvpx"):
        options = {"g": str(key_every), "deadline": "realtime", "cpu-used": "8", "threads": "1", "b": "300k"}
    stream = output.add_stream(codec, rate=fps, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = pixels or PIXELS.get(codec, "yuv420p")
    stream.codec_context.time_base = Fraction(1, ticks)
    return stream


def _video_packets(
    stream: Any, times: Sequence[float], start_s: float, size: tuple[int, int], *, noisy: bool
) -> list[Any]:
    time_base = stream.codec_context.time_base
    packets = []
    for number, moment in enumerate(times):
        frame = _frame(number, size, noisy=noisy).reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = round((moment + start_s) / time_base), time_base
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _frame(number: int, size: tuple[int, int], *, noisy: bool) -> Any:
    import av

    bars = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8) * 180 + 40
    grey = np.repeat(np.repeat(bars[None, :], size[0] // BITS, axis=1), size[1], axis=0)
    if noisy:
        grey = grey + np.random.default_rng(number).integers(-35, 35, grey.shape).astype(np.uint8)
    return av.VideoFrame.from_ndarray(np.repeat(grey[:, :, None], 3, axis=2), format="rgb24").reformat(format="yuv420p")


def _number(frame: Any) -> int:
    grey = frame.to_ndarray(format="gray").astype(float)
    width = grey.shape[1] / BITS
    means = [grey[:, round((bit + 0.25) * width) : round((bit + 0.75) * width)].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 128)


def _audio_stream(output: Any, codec: str) -> Any:
    stream = output.add_stream(codec, rate=RATES.get(codec, RATE), options={"strict": "experimental"})
    stream.layout = "stereo" if codec in STEREO else "mono"
    if codec == "wmav2":
        stream.bit_rate = 128_000
    stream.codec_context.open(strict=False)
    return stream


def _audio_packets(stream: Any, seconds: float, start_s: float, *, silent: bool) -> list[Any]:
    import av

    times = np.arange(round(seconds * RATE)) / RATE
    tones = 400.0 + 100 * (times.astype(int) % 12)
    wave = np.sin(2 * np.pi * tones * (times % 1)) * (0 if silent else 12_000)
    frame = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, round(start_s * RATE), Fraction(1, RATE)
    context = stream.codec_context
    resampler = av.AudioResampler(context.format, context.layout, context.rate, context.frame_size or 1024)
    packets = []
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        packets += stream.encode(piece)
    return [*packets, *stream.encode(None)]
