"""Peak memory of indexing much, against indexing little."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.media import large_pictures
from benchmarks.report import Row, cost, skipped, tell
from benchmarks.service import ROOT, emulator_process

AIM = 1.1
_SPARE = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """Two folders, in bytes, and how often each is indexed."""

    little: int
    much: int
    rounds: int


FULL = Size(little=100_000_000, much=2_000_000_000, rounds=3)
QUICK = Size(little=60_000_000, much=240_000_000, rounds=1)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Two folders, the emulator elsewhere, a fresh process for each run."""
    name = f"peak memory of indexing {_shown(size.much)} of pictures"
    against = f"{_shown(size.little)} of pictures"
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        needed = 2 * size.much + size.little + _SPARE
        if shutil.disk_usage(home).free < needed:
            yield skipped(name, against, f"{home} has no {needed / 1e9:.1f} GB free; TMPDIR names another place")
            return
        if sys.platform == "win32":
            yield skipped(name, against, "Python does not tell the peak memory of a process on Windows")
            return
        folders = {"little": home / "little", "much": home / "much"}
        counts = {}
        for which, folder in folders.items():
            folder.mkdir()
            counts[which] = large_pictures(folder, getattr(size, which))
        peaks: dict[str, list[float]] = {which: [] for which in folders}
        with emulator_process(0.0) as url:
            for number in range(size.rounds):
                for which, folder in folders.items():
                    tell(f"  round {number + 1}: {counts[which]} pictures")
                    peaks[which].append(peak_of_indexing(folder, home / "library", url, counts[which]))
    middle = {which: statistics.median(values) / 1e6 for which, values in peaks.items()}
    note = f"{middle['much']:.0f} MB for {counts['much']} files, {middle['little']:.0f} MB for {counts['little']}"
    yield cost(name, against, peaks["much"], peaks["little"], aim=AIM, note=note)


def peak_of_indexing(folder: Path, library: Path, url: str, count: int) -> int:
    """Bytes of a process that indexes `folder` into a new `library`, which is removed again."""
    documents, _, peak = indexed(folder, library, url)
    assert documents == count, f"{documents} documents of {count} files"
    return peak


def indexed(folder: Path, library: Path, url: str) -> tuple[int, int, int]:
    """Index in a process of its own: how many documents, and bytes of memory at its start and at its peak."""
    command = [sys.executable, "-m", "benchmarks.indexing", str(folder), str(library), url]
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    finally:
        shutil.rmtree(library, ignore_errors=True)
    documents, start, peak = map(int, done.stdout.split())
    return documents, start, peak


def _shown(size: int) -> str:
    return f"{size / 1e9:g} GB" if size >= 1_000_000_000 else f"{size / 1e6:g} MB"
