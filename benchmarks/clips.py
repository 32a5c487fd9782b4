"""Cut a video into segments, compared with the segmenter of the ffmpeg program, and show one as HTML."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from langchain_core.documents import Document

from benchmarks.report import Row, cost, interleaved, skipped, speed
from langchain_gemini_mm import Hit, MediaStore
from langchain_gemini_mm.media.av.cut import segments
from langchain_gemini_mm.media.av.segments import SegmentFormat, windows

AIM = 0.9
WINDOW_S = 30
_FORM = SegmentFormat(limit_s=120, mime_types=("video/mp4",))
_SHOWN_S = 1.0
"""Longest time for one hit, in seconds."""
_AGAINST = "ffmpeg -c copy -f segment"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Length of the video in seconds, its width in pixels, and number of rounds."""

    seconds: int
    width: int
    rounds: int


FULL = Size(seconds=600, width=1280, rounds=7)
QUICK = Size(seconds=60, width=640, rounds=3)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Cut an H.264 video with B-frames, AAC and a keyframe every two seconds into the same segments with both."""
    name = f"cutting {size.seconds:,} s of {size.width} x {size.width * 9 // 16} video into {WINDOW_S} s"
    program = shutil.which("ffmpeg")
    if program is None:
        yield skipped(name, _AGAINST, "the ffmpeg program is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        film = home / "film.mp4"
        make_film(program, film, size)
        files = home / "files"
        files.mkdir()
        contenders = {
            "ours": lambda: cut_with_ours(film, size),
            "theirs": lambda: cut_with_ffmpeg(program, film, files),
        }
        for contender in contenders.values():
            contender()
        turns = interleaved(contenders, size.rounds)
        seconds = {name: [turn.wall for turn in taken] for name, taken in turns.items()}
        note = (
            f"{film.stat().st_size / 1e6:.0f} MB, {size.seconds / min(seconds['ours']):,.0f} x realtime against "
            f"{size.seconds / min(seconds['theirs']):,.0f}; both return the bytes of every segment; "
            "ffmpeg writes them to files first. By processor time, which other programs disturb less: "
            f"{statistics.median(theirs.cpu / ours.cpu for ours, theirs in zip(*turns.values(), strict=True)):.2f}"
        )
        yield speed(name, _AGAINST, seconds["ours"], seconds["theirs"], aim=AIM, note=note)
        yield _shown(home, film, size)


def _shown(home: Path, film: Path, size: Size) -> Row:
    """Render a segment that begins between keyframes."""
    media = MediaStore.links(home / "links")
    start_s = size.seconds / 2 + 1.3
    reference = media.put_file(film).segment(start_s, start_s + WINDOW_S - 2)
    hit = Hit(Document(reference.markdown), 0.5, "cosine", 1, media=media)
    assert "data:" in hit._repr_html_()
    turns = interleaved({"ours": hit._repr_html_}, size.rounds)["ours"]
    name = f"processor time of showing {WINDOW_S - 2} s of this video as HTML"
    return cost(name, f"{_SHOWN_S:g} s", [turn.cpu for turn in turns], [_SHOWN_S] * size.rounds, aim=1.0)


def make_film(program: str, film: Path, size: Size) -> None:
    """Write a test video with moving images and noise, and a tone."""
    short = film.with_name("short.mp4")
    made = min(size.seconds, 60)
    video = f"testsrc2=s={size.width}x{size.width * 9 // 16}:r=24:d={made},noise=alls=12:allf=t"
    sources = ["-f", "lavfi", "-i", video, "-f", "lavfi", "-i", f"sine=440:d={made}"]
    codecs = [
        "-c:v",
        "libx264",
        "-preset",
        "superfast",
        "-bf",
        "2",
        "-g",
        "48",
        "-b:v",
        "5M",
        "-c:a",
        "aac",
        "-shortest",
    ]
    _run(program, *sources, *codecs, str(short))
    _run(program, "-stream_loop", str(size.seconds // made - 1), "-i", str(short), "-c", "copy", str(film))


def cut_with_ours(film: Path, size: Size) -> None:
    """Cut all segments with audio, using the package."""
    planned = windows(size.seconds, WINDOW_S)
    found = [len(cut.data) for cut in segments(film, video=planned, video_format=_FORM, with_audio=True) if cut.copied]
    assert len(found) == len(planned)


def cut_with_ffmpeg(program: str, film: Path, folder: Path) -> None:
    """Cut the same segments, using the ffmpeg program."""
    segmenter = ["-c", "copy", "-f", "segment", "-segment_time", str(WINDOW_S), "-reset_timestamps", "1"]
    _run(program, "-i", str(film), *segmenter, str(folder / "%03d.mp4"))
    assert sum(len(path.read_bytes()) for path in folder.iterdir()) > film.stat().st_size * 0.9


def _run(program: str, *arguments: str) -> None:
    subprocess.run([program, "-v", "error", "-nostdin", "-y", *arguments], check=True)
