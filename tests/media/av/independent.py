"""Recordings read by the `ffmpeg` and `ffprobe` programs, independently of PyAV and of the package."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media.recordings import BITS

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE_RATE = 24_000
_WIDTH, _HEIGHT = 160, 16

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="the ffmpeg program is not installed"
)


@dataclass(frozen=True, kw_only=True)
class Played:
    """What a player shows of a file."""

    seconds: float
    """The duration that the container declares."""
    codecs: dict[str, str]
    """Codec by the type of stream, `audio` or `video`."""
    numbers: list[int] = field(default_factory=list)
    """Numbers of the frames, in display order."""
    times: list[float] = field(default_factory=list)
    """Times of the frames in seconds, from the start of the file."""
    samples: NDArray[np.float32]
    """`(n,)` samples of its audio, mixed to one channel, at 24 kHz."""


def play(data: bytes, folder: Path) -> Played:
    """Decode a whole file."""
    path = folder / "played"
    path.write_bytes(data)
    shown = json.loads(_output("ffprobe", "-of", "json", "-show_format", "-show_streams", str(path)))
    codecs = {stream["codec_type"]: stream["codec_name"] for stream in shown["streams"]}
    numbers: list[int] = []
    times: list[float] = []
    if "video" in codecs:
        scaled = ["-map", "0:v:0", "-vf", f"scale={_WIDTH}:{_HEIGHT}:flags=area", "-vsync", "passthrough"]
        raw = _output("ffmpeg", "-i", str(path), *scaled, "-f", "rawvideo", "-pix_fmt", "gray", "-")
        numbers = [_number(frame) for frame in np.frombuffer(raw, np.uint8).reshape(-1, _HEIGHT, _WIDTH)]
        entries = ["-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time", "-of", "json"]
        frames = json.loads(_output("ffprobe", *entries, str(path)))["frames"]
        step = float(1 / Fraction(next(stream["r_frame_rate"] for stream in shown["streams"] if "width" in stream)))
        for frame in frames:
            following = times[-1] + step if times else 0.0
            times.append(float(frame.get("best_effort_timestamp_time", following)))
    raw = b""
    if "audio" in codecs:
        raw = _output(
            "ffmpeg", "-i", str(path), "-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "f32le", "-"
        )
    return Played(
        seconds=float(shown["format"]["duration"]),
        codecs=codecs,
        numbers=numbers,
        times=times,
        samples=np.frombuffer(raw, np.float32),
    )


def _number(frame: NDArray[np.uint8]) -> int:
    """The number that the bars of a frame encode."""
    bar = _WIDTH // BITS
    means = [frame[:, bit * bar + bar // 4 : (bit + 1) * bar - bar // 4].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 128)


def _output(*command: str) -> bytes:
    return subprocess.run([command[0], "-v", "error", *command[1:]], check=True, capture_output=True).stdout
