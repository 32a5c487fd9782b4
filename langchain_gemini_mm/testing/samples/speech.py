"""Sentences as audio: first spoken (if espeak-ng is installed), then repeated as tones, which the emulator decodes.

A tone lasts 40 ms and encodes four bits; a message starts with two alternating tones and ends with a checksum. Messages
survive MP3 and AAC encoding, and are decoded only if they are complete.
"""

from __future__ import annotations

import binascii
import io
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_gemini_mm.testing.samples.clips import RATE, purr

_TONE = RATE // 25
_HOP = _TONE // 4
_LOWEST_HZ, _STEP_HZ = 600, 100
_OPENING = (16, 17, 16, 17)
_TONES = 18
_CLEAR = 0.5
"""Lowest share of the energy that a tone must have to be detected."""
_LONGEST = 255
_PAUSE_S = 0.2


def speech(text: str) -> NDArray[np.float32]:
    """Generate `(n,)` float32 samples at 8 kHz of a sentence: spoken, or a hum without espeak-ng, and then as tones.

    ```python
    from langchain_gemini_mm.testing.samples.speech import heard, speech

    assert heard(speech("Swifts sleep on the wing.")) == ["Swifts sleep on the wing."]
    ```

    Raises:
        ValueError: the text is longer than 255 bytes.
    """
    voice = _spoken(text)
    pause = np.zeros(round(_PAUSE_S * RATE), dtype=np.float32)
    return np.concatenate([purr(0.05 * len(text)) if voice is None else voice, pause, in_tones(text), pause])


def in_tones(text: str) -> NDArray[np.float32]:
    """Encode a text as tones: `(n,)` float32 samples at 8 kHz.

    Raises:
        ValueError: the text is longer than 255 bytes.
    """
    data = text.encode("utf-8")
    if len(data) > _LONGEST:
        raise ValueError(f"at most {_LONGEST} bytes are encoded as tones, got {len(data)}")
    message = bytes([len(data)]) + data + binascii.crc_hqx(data, 0).to_bytes(2, "big")
    numbers = [*_OPENING, *(half for byte in message for half in divmod(byte, 16))]
    moments = np.arange(_TONE) / RATE
    fade = np.minimum(1.0, np.minimum(np.arange(_TONE), np.arange(_TONE)[::-1]) / (RATE / 500))
    tones = [fade * np.sin(2 * np.pi * (_LOWEST_HZ + _STEP_HZ * number) * moments) for number in numbers]
    return (0.3 * np.concatenate(tones)).astype(np.float32)


def heard(samples: NDArray[np.float32]) -> list[str]:
    """Decode the texts in tones, in their order.

    Args:
        samples: `(n,)` at 8 kHz.
    """
    numbers, texts, start = _numbers(samples), [], 0
    for place in _openings(numbers):
        if place >= start and (found := _message(numbers, place)):
            texts.append(found[0])
            start = place + found[1]
    return texts


def heard_in(frames: Iterable[Any]) -> list[str]:
    """Decode the texts in the audio of PyAV frames, up to the first damaged frame."""
    import av

    pieces = [np.zeros(0, dtype=np.float32)]
    with suppress(av.error.FFmpegError, ValueError):  # frames before the damage are used
        for piece in _resampled(frames):
            pieces.append(piece)  # noqa: PERF402  pieces before an error are kept
    return heard(np.concatenate(pieces))


def _numbers(samples: NDArray[np.float32]) -> NDArray[np.intp]:
    """Detect the tone at each hop of 10 ms: `(n,)` numbers of tones, -1 for none."""
    if len(samples) < _TONE:
        return np.zeros(0, dtype=np.intp)
    half = _TONE // 2
    frames = np.lib.stride_tricks.sliding_window_view(samples, half)[::_HOP] * np.hanning(half)
    energy = np.square(np.abs(np.fft.rfft(frames, n=_TONE)))
    bins = (_LOWEST_HZ + _STEP_HZ * np.arange(_TONES)) * _TONE // RATE
    near = energy[:, bins] + energy[:, bins - 1] + energy[:, bins + 1]
    clear = near.max(axis=1) > _CLEAR * energy.sum(axis=1) + 1e-6
    return np.where(clear, near.argmax(axis=1), -1)


def _openings(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions, in hops, of the four tones that start a message."""
    last = len(numbers) - 4 * len(_OPENING)
    if last <= 0:
        return np.zeros(0, dtype=np.intp)
    fits = [numbers[4 * turn : 4 * turn + last] == tone for turn, tone in enumerate(_OPENING)]
    return np.flatnonzero(np.logical_and.reduce(fits))


def _message(numbers: NDArray[np.intp], place: int) -> tuple[str, int] | None:
    """Decode the text at a start; returns it with its length in hops, or None."""
    halves = numbers[place::4][len(_OPENING) :]
    size = _bytes(halves[:2])
    data = _bytes(halves[2 : 2 * (1 + size[0] + 2)]) if size else b""
    if not size or len(data) != size[0] + 2 or binascii.crc_hqx(data[:-2], 0) != int.from_bytes(data[-2:], "big"):
        return None
    return data[:-2].decode("utf-8", "replace"), 4 * (len(_OPENING) + 2 * (len(data) + 1))


def _bytes(halves: NDArray[np.intp]) -> bytes:
    """Join two numbers to a byte; empty if one of them is not four bits."""
    if len(halves) % 2 or np.any((halves < 0) | (halves > 15)):
        return b""
    return bytes((16 * halves[::2] + halves[1::2]).astype(np.uint8))


def _spoken(text: str) -> NDArray[np.float32] | None:
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    import av

    command = [program, "--stdin", "--stdout"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)  # noqa: S603  a program's path
    with av.open(io.BytesIO(done.stdout), "r", format="wav") as container:
        return np.concatenate(list(_resampled(container.decode(audio=0))))


def _resampled(frames: Iterable[Any]) -> Iterator[NDArray[np.float32]]:
    import av

    resampler: Any = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    for frame in chain(frames, [None]):
        yield from (piece.to_ndarray().ravel() for piece in resampler.resample(frame))
