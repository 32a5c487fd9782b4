"""Memory of indexing one long video, in addition to that of the program before it opens a file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import clips
from benchmarks.memory import indexed
from benchmarks.report import Row, cost, skipped
from benchmarks.service import emulator_process

ALLOWED = 250_000_000
"""Limit in bytes above the initial memory."""
_BYTES_A_SECOND = 640_000
_SPARE = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """Length of the video in seconds, and its width in pixels."""

    seconds: int
    width: int


FULL = Size(seconds=3180, width=640)
QUICK = Size(seconds=300, width=640)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Embed windows of 30 s of video and of 60 s of audio."""
    name = f"memory of indexing a video of {size.seconds / 60:g} minutes, over the start"
    against = f"{ALLOWED / 1e6:g} MB"
    program = shutil.which("ffmpeg")
    if program is None:
        yield skipped(name, against, "the ffmpeg program is not installed")
        return
    if sys.platform == "win32":
        yield skipped(name, against, "Python does not report the peak memory of a process on Windows")
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        needed = 2 * size.seconds * _BYTES_A_SECOND + _SPARE
        if shutil.disk_usage(home).free < needed:
            yield skipped(name, against, f"{home} has no {needed / 1e9:.1f} GB free; set TMPDIR to another folder")
            return
        film = home / "films" / "film.mp4"
        film.parent.mkdir()
        clips.make_film(program, film, clips.Size(seconds=size.seconds, width=size.width, rounds=1))
        (film.parent / "short.mp4").unlink()
        with emulator_process(0.0) as url:
            documents, start, peak = indexed(film.parent, home / "library", url)
        note = (
            f"{film.stat().st_size / 1e9:.2f} GB, {documents} segments embedded; {start / 1e6:.0f} MB at the start, "
            f"{peak / 1e6:.0f} MB at the peak"
        )
        yield cost(name, against, [peak - start], [ALLOWED], aim=1.0, note=note)
