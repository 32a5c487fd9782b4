"""Peak memory of indexing a large folder, compared with a small one."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.media import large_images
from benchmarks.report import Row, cost, skipped, tell
from benchmarks.service import ROOT, emulator_process

AIM = 1.1
_SPARE = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of the two folders in bytes, and number of rounds."""

    little: int
    much: int
    rounds: int


FULL = Size(little=100_000_000, much=2_000_000_000, rounds=3)
QUICK = Size(little=60_000_000, much=240_000_000, rounds=1)


def measure(size: Size = FULL) -> Iterator[Row]:
    """Measure both folders, with the emulator in one process and each run in a new one."""
    name = f"peak memory of indexing {_shown(size.much)} of images"
    against = f"{_shown(size.little)} of images"
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        needed = 2 * size.much + size.little + _SPARE
        if shutil.disk_usage(home).free < needed:
            yield skipped(name, against, f"{home} has no {needed / 1e9:.1f} GB free; set TMPDIR to another folder")
            return
        if sys.platform == "win32":
            yield skipped(name, against, "Python does not report the peak memory of a process on Windows")
            return
        folders = {"little": home / "little", "much": home / "much"}
        counts = {}
        for which, folder in folders.items():
            folder.mkdir()
            counts[which] = large_images(folder, getattr(size, which))
        peaks: dict[str, list[float]] = {which: [] for which in folders}
        with emulator_process(0.0) as url:
            for number in range(size.rounds):
                for which, folder in folders.items():
                    tell(f"  round {number + 1}: {counts[which]} images")
                    peaks[which].append(peak_of_indexing(folder, home / "library", url, counts[which]))
    middle = {which: statistics.median(values) / 1e6 for which, values in peaks.items()}
    note = f"{middle['much']:.0f} MB for {counts['much']} files, {middle['little']:.0f} MB for {counts['little']}"
    yield cost(name, against, peaks["much"], peaks["little"], aim=AIM, note=note)


def peak_of_indexing(folder: Path, library: Path, url: str, count: int) -> int:
    """Return the memory in bytes of a process that indexes `folder` into a new, temporary `library`."""
    documents, _, peak = indexed(folder, library, url)
    assert documents == count, f"{documents} documents of {count} files"
    return peak


def indexed(folder: Path, library: Path, url: str) -> tuple[int, int, int]:
    """Index in a separate process; return the number of documents, and the initial and peak memory in bytes."""
    command = [sys.executable, "-m", "benchmarks.indexing", str(folder), str(library), url]
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    finally:
        shutil.rmtree(library, ignore_errors=True)
    documents, start, peak = map(int, done.stdout.split())
    return documents, start, peak


def _shown(size: int) -> str:
    return f"{size / 1e9:g} GB" if size >= 1_000_000_000 else f"{size / 1e6:g} MB"
